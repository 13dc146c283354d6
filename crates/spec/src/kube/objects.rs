//! What a pod file brings beside its pod: ConfigMaps, Secrets, claims and volumes, by name.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::located::{FaultKind, Node};
use crate::words::{nearest, shown};

/// The most bytes of all values of a ConfigMap or Secret.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// What a cluster puts into each of its namespaces: the certificate of its API server.
const ROOT_CA: &str = "kube-root-ca.crt";

/// The objects of all files, each kind in the order of the files.
#[derive(Default)]
pub(super) struct Objects<'a> {
    values: Vec<Values<'a>>,
    /// PersistentVolumeClaims.
    pub(super) claims: Vec<Named<'a>>,
    /// PersistentVolumes.
    pub(super) volumes: Vec<Named<'a>>,
}

/// An object and its name.
pub(super) struct Named<'a> {
    pub(super) name: String,
    pub(super) node: Node<'a>,
}

/// Whether values may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrecy {
    Open,
    Secret,
}

impl Secrecy {
    /// The kind of object that has such values.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Secrecy::Open => "ConfigMap",
            Secrecy::Secret => "Secret",
        }
    }
}

/// A ConfigMap or a Secret.
pub(super) struct Values<'a> {
    pub(super) secrecy: Secrecy,
    pub(super) name: &'a str,
    /// Its namespace, where it says one.
    namespace: Option<&'a str>,
    pub(super) entries: BTreeMap<&'a str, Vec<u8>>,
    /// The keys of a ConfigMap's `binaryData`, which gives files and no variables.
    pub(super) binary: BTreeSet<&'a str>,
}

impl<'a> Objects<'a> {
    /// Adds a ConfigMap or Secret.
    pub(super) fn add_values(&mut self, node: &Node<'a>, secrecy: Secrecy) {
        let mut entries = BTreeMap::new();
        let mut binary = BTreeSet::new();
        let (plain, encoded) = match secrecy {
            Secrecy::Open => ("data", "binaryData"),
            Secrecy::Secret => ("stringData", "data"),
        };
        for (key, value) in node.entries(encoded) {
            let Some(text) = value.as_text() else { continue };
            if secrecy == Secrecy::Open {
                binary.insert(key);
            }
            let text: String = text.split_ascii_whitespace().collect();
            match STANDARD.decode(&text) {
                Ok(bytes) => add(&mut entries, key, &value, bytes),
                // Neither the value nor what is wrong with it is said: it may be a secret.
                Err(_) => value.rule("the value is not base64"),
            }
        }
        for (key, value) in node.entries(plain) {
            let Some(text) = value.as_text() else { continue };
            if secrecy == Secrecy::Open && entries.contains_key(key) {
                value.rule("the key is in `binaryData` too");
            }
            add(&mut entries, key, &value, text.as_bytes().to_vec());
        }
        let bytes: usize = entries.values().map(Vec::len).sum();
        if bytes > MAX_BYTES {
            node.rule(format!("the values have {bytes} bytes together, more than 1 MiB"));
        }
        check_type(node, &entries);
        let Some(name) = name_of(node) else { return };
        let kind = secrecy.kind();
        let namespace = namespace_of(node);
        let is_same = |other: &Values<'_>| {
            other.name == name && other.secrecy == secrecy && other.namespace == namespace
        };
        if self.values.iter().any(is_same) {
            node.rule(format!("the file has a second {kind} `{}`", shown(name)));
        }
        self.values.push(Values {
            secrecy,
            name,
            namespace,
            entries,
            binary,
        });
    }

    /// Adds a PersistentVolumeClaim or PersistentVolume to `list`.
    pub(super) fn add_named(list: &mut Vec<Named<'a>>, node: &Node<'a>, kind: &str) {
        let Some(name) = name_of(node) else { return };
        if list.iter().any(|other| other.name == name) {
            node.rule(format!("the file has a second {kind} `{}`", shown(name)));
        }
        let (name, node) = (name.to_owned(), node.clone());
        list.push(Named { name, node });
    }

    /// Those that a pod of that namespace sees.
    pub(super) fn seen_from(&self, namespace: Option<&'a str>) -> Seen<'_, 'a> {
        Seen {
            objects: self,
            namespace,
        }
    }
}

/// The objects as a pod of a namespace sees them.
#[derive(Clone, Copy)]
pub(super) struct Seen<'o, 'a> {
    pub(super) objects: &'o Objects<'a>,
    namespace: Option<&'a str>,
}

impl<'o, 'a> Seen<'o, 'a> {
    /// The ConfigMap or Secret that the field `name_field` of `node` names. One that is missing is a fault, unless the
    /// node says that it is `optional`. What says no namespace is in any: `kubectl apply -n` would put it into the pod's.
    pub(super) fn named(self, node: &Node<'_>, name_field: &str, secrecy: Secrecy) -> Option<&'o Values<'a>> {
        let Some((name_node, name)) = node.text(name_field) else {
            node.missing(name_field);
            return None;
        };
        let of_kind = || (self.objects.values.iter()).filter(|values| values.secrecy == secrecy);
        let of_name = || of_kind().filter(|values| values.name == name);
        let found = of_name()
            .find(|values| values.namespace == self.namespace)
            .or_else(|| of_name().find(|values| values.namespace.is_none() || self.namespace.is_none()));
        if found.is_none() && secrecy == Secrecy::Open && name == ROOT_CA {
            // Every pod that a cluster gives back has it, beside its token.
            name_node.refuse(
                "the ConfigMap of the cluster's certificate is",
                "there is no API server",
            );
        } else if let (None, Some(other), false) = (found, of_name().next(), node.is_true("optional")) {
            name_node.rule(format!(
                "{} `{}` is in the namespace `{}`, and the pod in `{}`",
                secrecy.kind(),
                shown(name),
                shown(other.namespace.unwrap_or_default()),
                shown(self.namespace.unwrap_or_default())
            ));
        } else if found.is_none() && !node.is_true("optional") {
            name_node.fault(FaultKind::NotFound {
                what: secrecy.kind().to_owned(),
                name: shown(name),
                nearest: nearest(name, of_kind().map(|values| values.name)).map(str::to_owned),
            });
        }
        found
    }
}

impl Values<'_> {
    /// The value of the key that the field `key` of `node` names. One that is missing is a fault, unless the node, or
    /// what it is part of, is `optional`.
    pub(super) fn value(&self, node: &Node<'_>, optional: bool) -> Option<&[u8]> {
        let (key_node, key) = node.text("key")?;
        let value = self.entries.get(key);
        if value.is_none() && !optional && !node.is_true("optional") {
            key_node.fault(FaultKind::NotFound {
                what: format!("key of {} `{}`", self.secrecy.kind(), shown(self.name)),
                name: shown(key),
                nearest: nearest(key, self.entries.keys().copied()).map(str::to_owned),
            });
        }
        value.map(Vec::as_slice)
    }
}

/// Reports the keys that a Secret of its `type` must have and has not.
fn check_type(node: &Node<'_>, entries: &BTreeMap<&str, Vec<u8>>) {
    let Some((type_node, kind)) = node.text("type") else {
        return;
    };
    // All of the keys, but of a user's name and password one will do.
    let keys: &[&str] = match kind {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/basic-auth" => &["username", "password"],
        _ => &[],
    };
    let missing: Vec<&&str> = keys.iter().filter(|key| !entries.contains_key(**key)).collect();
    let enough = kind == "kubernetes.io/basic-auth" && missing.len() < keys.len();
    if let (Some(key), false) = (missing.first(), enough) {
        type_node.rule(format!("a Secret of the type `{kind}` needs the key `{key}`"));
    }
}

fn add<'a>(entries: &mut BTreeMap<&'a str, Vec<u8>>, key: &'a str, node: &Node<'_>, value: Vec<u8>) {
    let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if key.is_empty() || key.len() > 253 || !key.bytes().all(known) || key == "." || key.starts_with("..") {
        node.rule(
            "the key must be of letters, digits, `-`, `_` and `.`, no more than 253 of them, and not begin with `..`",
        );
        return;
    }
    entries.insert(key, value);
}

/// The namespace that an object says.
fn namespace_of<'a>(node: &Node<'a>) -> Option<&'a str> {
    let metadata = node.get("metadata")?;
    metadata.text("namespace").map(|(_, namespace)| namespace)
}

/// An object's name, which must be there.
pub(super) fn name_of<'a>(node: &Node<'a>) -> Option<&'a str> {
    let metadata = node.get("metadata")?;
    let name = metadata.text("name");
    if name.is_none() {
        metadata.missing("name");
    }
    name.map(|(_, name)| name)
}
