//! Which services are started: those of the profiles that are asked for, those that are named, and what they depend on.

use std::collections::BTreeSet;

use super::ComposeSurroundings;
use super::values::{fields, pairs, word_at, words};
use crate::AppName;
use crate::located::{FaultKind, Key, Kind, Node};
use crate::words::nearest;

/// A service that is started.
#[derive(Clone)]
pub(super) struct Chosen<'a> {
    /// Its name in the file.
    pub(super) name: &'a str,
    pub(super) app: AppName,
    /// What the file says of it.
    pub(super) node: Node<'a>,
}

/// A service that another one depends on.
pub(super) struct Needed<'a> {
    pub(super) name: String,
    pub(super) node: Node<'a>,
    /// What it is needed for; `None`: that it has started.
    pub(super) condition: Option<Node<'a>>,
    /// Whether there is nothing to do about one that is not started.
    pub(super) optional: bool,
}

/// The services that are started, in the order of the file.
pub(super) fn chosen<'a>(file: &Node<'a>, surroundings: &ComposeSurroundings<'_>) -> Vec<Chosen<'a>> {
    let all = file.entries("services");
    let asked = |name: &str| surroundings.services.iter().any(|asked| asked == name);
    for name in surroundings.services {
        if !all.iter().any(|(known, _)| known == name) {
            file.fault(not_found(name, &all));
        }
    }
    let in_profile = |node: &Node<'_>| {
        let own = words(node, "profiles");
        let wanted = |profile: &String| {
            surroundings
                .profiles
                .iter()
                .any(|asked| asked == profile || asked == "*")
        };
        own.is_empty() || own.iter().any(|(_, profile)| wanted(profile))
    };
    let mut names: BTreeSet<&str> = all
        .iter()
        .filter(|(name, node)| match surroundings.services.is_empty() {
            true => in_profile(node) && runs(node),
            false => asked(name),
        })
        .map(|(name, _)| *name)
        .collect();
    let mut waiting: Vec<&str> = names.iter().copied().collect();
    while let Some(name) = waiting.pop() {
        let Some((_, node)) = all.iter().find(|(known, _)| *known == name) else {
            continue;
        };
        for needed in needs(node) {
            match all.iter().find(|(known, _)| *known == needed.name) {
                Some((known, _)) if names.insert(known) => waiting.push(known),
                Some(_) => {}
                None if needed.optional => {}
                None => needed.node.fault(not_found(&needed.name, &all)),
            }
        }
    }
    let mut chosen: Vec<Chosen<'_>> = Vec::new();
    for (name, node) in all.iter().filter(|(name, _)| names.contains(name)) {
        let Some(app) = AppName::nearest(name) else {
            node.rule("no app name can be made of the service's");
            continue;
        };
        if let Some(other) = chosen.iter().find(|other| other.app == app) {
            node.rule(format!(
                "the service would be app `{app}`, which service `{}` is",
                other.name
            ));
        }
        chosen.push(Chosen {
            name,
            app,
            node: node.clone(),
        });
    }
    chosen
}

/// Whether a service is not scaled to nothing.
fn runs(node: &Node<'_>) -> bool {
    let deploy = node.get("deploy");
    let replicas = deploy.as_ref().and_then(|deploy| word_at(deploy, "replicas"));
    let mut numbers = replicas.into_iter().chain(word_at(node, "scale"));
    numbers.all(|(_, number)| number != "0")
}

/// What a service depends on.
pub(super) fn needs<'a>(node: &Node<'a>) -> Vec<Needed<'a>> {
    let plain = |name: String, node: Node<'a>| Needed {
        name,
        node,
        condition: None,
        optional: false,
    };
    match node.get("depends_on") {
        Some(list) if matches!(list.kind(), Kind::Map(_)) => {
            let needed = |(key, node): (&Key, Node<'a>)| Needed {
                name: key.text.clone(),
                condition: node.get("condition"),
                optional: node.boolean("required") == Some(false),
                node,
            };
            fields(&list).into_iter().map(needed).collect()
        }
        _ => pairs(node, "depends_on", &[])
            .into_iter()
            .map(|pair| plain(pair.name, pair.node))
            .collect(),
    }
}

fn not_found(name: &str, all: &[(&str, Node<'_>)]) -> FaultKind {
    FaultKind::NotFound {
        what: "service".to_owned(),
        name: name.to_owned(),
        nearest: nearest(name, all.iter().map(|(known, _)| *known)).map(str::to_owned),
    }
}
