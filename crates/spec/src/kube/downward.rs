//! What a pod says about itself: the downward API's fields (`fieldRef`) and resources (`resourceFieldRef`).

use std::fmt::Write as _;

use super::KubeSurroundings;
use super::names;
use super::quantity::Quantity;
use crate::located::Node;
use crate::words::shown;

/// What the pod says about itself.
pub(super) struct Downward<'a, 'o> {
    pub(super) surroundings: &'a KubeSurroundings,
    pub(super) uuid: &'o str,
    pub(super) name: String,
    pub(super) namespace: &'a str,
    pub(super) service_account: &'a str,
    pub(super) labels: Vec<(&'a str, &'o str)>,
    pub(super) annotations: Vec<(&'a str, &'o str)>,
    /// The pod's own limits, or else the VM's memory, in bytes, and CPUs: what a container without limits may use.
    pub(super) all: ContainerResources,
    /// The containers' names and resources.
    pub(super) containers: Vec<(&'a str, ContainerResources)>,
}

/// The resources that a container asks for, or a VM has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ContainerResources {
    pub(super) cpu_limit: Option<Quantity>,
    pub(super) cpu_request: Option<Quantity>,
    pub(super) memory_limit: Option<Quantity>,
    pub(super) memory_request: Option<Quantity>,
    pub(super) storage_limit: Option<Quantity>,
    pub(super) storage_request: Option<Quantity>,
}

/// Where a value ends up, which decides what it can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    Variable,
    File,
}

impl Downward<'_, '_> {
    /// What `fieldRef` names.
    pub(super) fn field(&self, node: &Node<'_>, destination: Destination) -> Option<String> {
        if let Some((version_node, version)) = node.text("apiVersion")
            && version != "v1"
        {
            version_node.reject(version, "`v1`");
        }
        let (node, path) = node.text("fieldPath")?;
        let whole = destination == Destination::File;
        let subscript = |list: &str| {
            let inner = path.strip_prefix(list)?.strip_prefix("['")?;
            inner.strip_suffix("']")
        };
        Some(match path {
            "metadata.name" => self.name.clone(),
            "metadata.namespace" => self.namespace.to_owned(),
            "metadata.uid" => self.uuid.to_owned(),
            "spec.nodeName" if !whole => self.surroundings.node_name.clone(),
            "spec.serviceAccountName" if !whole => self.service_account.to_owned(),
            "status.podIP" | "status.podIPs" if !whole => match self.surroundings.pod_ip {
                Some(address) => address.to_string(),
                None => {
                    node.rule("the pod has no network, so it has no address");
                    return None;
                }
            },
            "status.hostIP" | "status.hostIPs" if !whole => match self.surroundings.host_ip {
                Some(address) => address.to_string(),
                None => {
                    node.rule("the pod has no network, so it reaches no host");
                    return None;
                }
            },
            "metadata.labels" if whole => lines(&self.labels),
            "metadata.annotations" if whole => lines(&self.annotations),
            _ => match (subscript("metadata.labels"), subscript("metadata.annotations")) {
                (Some(key), _) => value_of(&self.labels, checked(&node, key, "key of a label")?),
                (_, Some(key)) => {
                    // As the keys of annotations are held against the rule, too.
                    checked(&node, &key.to_ascii_lowercase(), "key of an annotation")?;
                    value_of(&self.annotations, key)
                }
                _ => {
                    let expected = match destination {
                        Destination::Variable => FIELDS,
                        Destination::File => FIELDS_OF_FILES,
                    };
                    node.reject(path, expected);
                    return None;
                }
            },
        })
    }

    /// What `resourceFieldRef` names; `own` is the container that it stands in, if it does.
    pub(super) fn resource(&self, node: &Node<'_>, own: Option<&str>) -> Option<String> {
        let (name_node, resource) = node.text("resource")?;
        let container = match (node.text("containerName"), own) {
            (Some((node, name)), _) => match self.containers.iter().find(|(other, _)| *other == name) {
                Some((_, resources)) => resources,
                None => {
                    node.reject(name, "the name of a container of the pod");
                    return None;
                }
            },
            (None, Some(own)) => &self.containers.iter().find(|(name, _)| *name == own)?.1,
            (None, None) => {
                node.missing("containerName");
                return None;
            }
        };
        let value = match resource {
            "limits.cpu" => container.cpu_limit.or(self.all.cpu_limit),
            "limits.memory" => container.memory_limit.or(self.all.memory_limit),
            "requests.cpu" => container.cpu_request.or(container.cpu_limit),
            "requests.memory" => container.memory_request.or(container.memory_limit),
            "limits.ephemeral-storage" => container.storage_limit.or(self.all.storage_limit),
            "requests.ephemeral-storage" => container.storage_request.or(container.storage_limit),
            other => {
                let why = "`limits` and `requests` of `cpu`, `memory` and `ephemeral-storage` are known";
                name_node.refuse(format!("resource `{}` is", shown(other)), why);
                return None;
            }
        };
        let divisor = match node.get("divisor") {
            Some(node) => divisor(&node, resource)?,
            None => Quantity::whole(1),
        };
        Some(value.unwrap_or_default().divided_by(divisor)?.to_string())
    }
}

/// What the amounts of `resource` are counted in. 0 is Go's way to say nothing.
fn divisor(node: &Node<'_>, resource: &str) -> Option<Quantity> {
    let word = node.as_word()?;
    let of_cpus = resource.ends_with(".cpu");
    let known: &[&str] = if of_cpus { &CPU_DIVISORS } else { &BYTE_DIVISORS };
    match Quantity::read(&word) {
        Some(divisor) if divisor == Quantity::default() => Some(Quantity::whole(1)),
        Some(divisor) if known.iter().any(|one| Quantity::read(one) == Some(divisor)) => Some(divisor),
        _ => {
            node.reject(
                &word,
                match of_cpus {
                    true => "`1` or `1m`, in which CPUs are counted",
                    false => "`1`, `1k` to `1E` or `1Ki` to `1Ei`, in which bytes are counted",
                },
            );
            None
        }
    }
}

/// What CPUs are counted in (`validateContainerResourceDivisor`).
const CPU_DIVISORS: [&str; 2] = ["1", "1m"];

/// What memory and room on disk are counted in.
const BYTE_DIVISORS: [&str; 13] = [
    "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
];

const FIELDS: &str = "`metadata.name`, `metadata.namespace`, `metadata.uid`, `metadata.labels['KEY']`, \
     `metadata.annotations['KEY']`, `spec.nodeName`, `spec.serviceAccountName`, `status.hostIP` or `status.podIP`";

const FIELDS_OF_FILES: &str = "`metadata.name`, `metadata.namespace`, `metadata.uid`, `metadata.labels`, `metadata.annotations`, \
     or one of the latter two with `['KEY']`";

/// `key`, where it is one that a label or annotation can have.
fn checked<'k>(node: &Node<'_>, key: &'k str, what: &str) -> Option<&'k str> {
    names::check(node, key, what, names::qualified).then_some(key)
}

/// The value of a label or annotation; one that is not there is empty, as in the API.
fn value_of(list: &[(&str, &str)], key: &str) -> String {
    let found = list.iter().find(|(other, _)| *other == key);
    found.map(|(_, value)| (*value).to_owned()).unwrap_or_default()
}

/// Labels or annotations as a file has them: `key="value"`, sorted, a line each (kubernetes, `pkg/fieldpath`).
fn lines(list: &[(&str, &str)]) -> String {
    let mut list = list.to_vec();
    list.sort_unstable();
    let mut out = String::new();
    for (index, (key, value)) in list.iter().enumerate() {
        let newline = if index == 0 { "" } else { "\n" };
        let _ = write!(out, "{newline}{key}={}", go_quoted(value));
    }
    out
}

/// `text` as Go's `%q` writes it, for what labels and annotations hold.
fn go_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if c.is_ascii_control() => _ = write!(out, "\\x{:02x}", c as u32),
            c if c.is_control() => _ = write!(out, "\\u{:04x}", c as u32),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_lines_as_the_kubelet_writes_them() {
        let list = [("zone", "a"), ("app", "x \"y\"\n\u{1}ä")];
        assert_eq!(lines(&list), "app=\"x \\\"y\\\"\\n\\x01ä\"\nzone=\"a\"");
        assert_eq!(lines(&[]), "");
        assert_eq!(
            (value_of(&list, "zone"), value_of(&list, "no")),
            ("a".into(), String::new())
        );
    }
}
