//! A container's variables: `env`, `envFrom` and what their values come from.

use std::collections::BTreeMap;

use super::downward::{Destination, Downward};
use super::expand::expand;
use super::objects::{Secrecy, Seen, Values};
use crate::EnvVar;
use crate::located::Node;
use crate::words::shown;

/// What a variable's name stands for.
struct Variable {
    value: String,
    /// Whether a secret is in it.
    secrecy: Secrecy,
    /// How many were defined before it.
    order: usize,
}

/// A container's variables by their names; a later one of a name takes the earlier one's place.
#[derive(Default)]
pub(super) struct Variables {
    variables: BTreeMap<String, Variable>,
    defined: usize,
}

impl Variables {
    /// Reads the variables of the container `node`, which is called `name`.
    pub(super) fn read(
        node: &Node<'_>,
        name: &str,
        objects: Seen<'_, '_>,
        downward: &Downward<'_, '_>,
    ) -> Self {
        let mut variables = Self::default();
        for source in node.items("envFrom") {
            variables.add_all(&source, objects);
        }
        for item in node.items("env") {
            let Some((name_node, variable)) = item.text("name") else {
                continue;
            };
            if !is_variable_name(variable) {
                name_node.reject(variable, "a name without `=`");
                continue;
            }
            let value = match (item.get("value"), item.get("valueFrom")) {
                (Some(_), Some(from)) if item.text("value").is_some() => {
                    from.rule("the variable has a `value` too");
                    continue;
                }
                (_, Some(from)) => value_from(&from, name, objects, downward),
                (Some(value), None) => value.as_text().and_then(|text| variables.expand(&value, text)),
                (None, None) => Some((String::new(), Secrecy::Open)),
            };
            if let Some((value, secrecy)) = value {
                variables.set(variable.to_owned(), value, secrecy);
            }
        }
        variables
    }

    /// Adds the variables of `env` that it does not have.
    pub(super) fn add_missing(&mut self, env: &[(&'static str, String)]) {
        for (name, value) in env {
            if !self.variables.contains_key(*name) {
                self.set((*name).to_owned(), value.clone(), Secrecy::Open);
            }
        }
    }

    /// `text` at `node` with its `$(NAME)`s replaced, and whether a secret went into it; `None` where it gets too long.
    pub(super) fn expand(&self, node: &Node<'_>, text: &str) -> Option<(String, Secrecy)> {
        let mut secrecy = Secrecy::Open;
        let expanded = expand(text, node.room(), |name| {
            let variable = self.variables.get(name)?;
            if variable.secrecy == Secrecy::Secret {
                secrecy = Secrecy::Secret;
            }
            Some(&variable.value)
        });
        node.take_room(expanded.as_ref().map_or(usize::MAX, String::len))
            .then_some((expanded?, secrecy))
    }

    /// The first name in `text` that none of them has.
    pub(super) fn unknown_in(&self, text: &str) -> Option<String> {
        let mut unknown = None;
        expand(text, usize::MAX, |name| {
            if !self.variables.contains_key(name) {
                unknown.get_or_insert_with(|| name.to_owned());
            }
            None
        });
        unknown
    }

    /// As an app takes them: in the order of their definition.
    pub(super) fn into_env(self) -> Vec<EnvVar> {
        let mut all: Vec<_> = self.variables.into_iter().collect();
        all.sort_by_key(|(_, variable)| variable.order);
        let var = |(name, variable): (String, Variable)| EnvVar {
            name,
            value: Some(variable.value),
            secret: variable.secrecy == Secrecy::Secret,
        };
        all.into_iter().map(var).collect()
    }

    fn set(&mut self, name: String, value: String, secrecy: Secrecy) {
        let order = self.defined;
        self.defined += 1;
        let variable = Variable {
            value,
            secrecy,
            order,
        };
        self.variables.insert(name, variable);
    }

    /// Adds every value of what an `envFrom` names.
    fn add_all(&mut self, source: &Node<'_>, objects: Seen<'_, '_>) {
        let prefix = source.text("prefix");
        if let Some((node, prefix)) = prefix.as_ref().filter(|(_, prefix)| prefix.contains('=')) {
            node.reject(prefix, "a name without `=`");
        }
        let prefix = prefix.map_or("", |(_, prefix)| prefix);
        let (config_map, secret) = (source.get("configMapRef"), source.get("secretRef"));
        let (node, secrecy) = match (config_map, secret) {
            (Some(node), None) => (node, Secrecy::Open),
            (None, Some(node)) => (node, Secrecy::Secret),
            _ => return source.rule("`configMapRef` or `secretRef` must be given"),
        };
        let Some(values) = objects.named(&node, "name", secrecy) else {
            return;
        };
        for (key, value) in &values.entries {
            if values.binary.contains(key) {
                continue;
            }
            let name = format!("{prefix}{key}");
            if !is_variable_name(&name) {
                let what = format!("a variable `{}` is", shown(&name));
                node.refuse(what, "a name has no `=` and is not empty");
                continue;
            }
            if let Some(text) = text_of(&node, key, value) {
                self.set(name, text, secrecy);
            }
        }
    }
}

/// The variables that a container's file itself gives values to, as they are written there: what the command of a probe
/// may refer to (the kubelet's `ExpandContainerCommandOnlyStatic`). One that has its value from elsewhere is empty there, so
/// no secret is among them.
pub(super) struct StaticVariables<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> StaticVariables<'a> {
    /// Those of the container `node`.
    pub(super) fn read(node: &Node<'a>) -> Self {
        let read = |item: &Node<'a>| {
            Some((
                item.text("name")?.1,
                item.text("value").map_or("", |(_, value)| value),
            ))
        };
        Self(node.items("env").iter().filter_map(read).collect())
    }

    /// `text` at `node` with its `$(NAME)`s replaced; `None` where it gets too long.
    pub(super) fn expand(&self, node: &Node<'_>, text: &str) -> Option<String> {
        let expanded = expand(text, node.room(), |name| self.0.get(name).copied());
        let length = expanded.as_ref().map_or(usize::MAX, String::len);
        expanded.filter(|_| node.take_room(length))
    }
}

/// What a `valueFrom` names.
fn value_from(
    from: &Node<'_>,
    container: &str,
    objects: Seen<'_, '_>,
    downward: &Downward<'_, '_>,
) -> Option<(String, Secrecy)> {
    let sources = [
        "configMapKeyRef",
        "secretKeyRef",
        "fieldRef",
        "resourceFieldRef",
        "fileKeyRef",
    ];
    let mut there = sources.iter().filter_map(|name| Some((*name, from.get(name)?)));
    let (Some((source, node)), None) = (there.next(), there.next()) else {
        from.rule(
            "one source must be given: `configMapKeyRef`, `secretKeyRef`, `fieldRef` or `resourceFieldRef`",
        );
        return None;
    };
    let key = |secrecy| -> Option<(String, Secrecy)> {
        let values: &Values<'_> = objects.named(&node, "name", secrecy)?;
        let value = values.value(&node, false)?;
        let (key_node, key) = node.text("key")?;
        if values.binary.contains(key) {
            key_node.rule("the key is in `binaryData`, which gives files and no variables");
            return None;
        }
        Some((text_of(&node, key, value)?, secrecy))
    };
    match source {
        "configMapKeyRef" => key(Secrecy::Open),
        "secretKeyRef" => key(Secrecy::Secret),
        "fieldRef" => Some((downward.field(&node, Destination::Variable)?, Secrecy::Open)),
        "resourceFieldRef" => Some((downward.resource(&node, Some(container))?, Secrecy::Open)),
        _ => None,
    }
}

/// The value of `key` as a variable has it.
fn text_of(node: &Node<'_>, key: &str, value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value)
        .ok()
        .filter(|text| !text.contains('\0'));
    if text.is_none() {
        let what = format!("a variable with the value of key `{}` is", shown(key));
        node.refuse(what, "a variable holds UTF-8 text without NUL characters");
    }
    text.filter(|text| node.take_room(text.len())).map(str::to_owned)
}

/// What a program can have as a variable's name; Kubernetes wants it printable, too.
fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}
