//! Annotations that mean something: the profiles of AppArmor, which had no field before Kubernetes 1.30.

use super::security::refuse_app_armor;
use crate::located::Node;
use crate::words::{nearest, shown};

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Reports what the annotations of the pod `node` ask of its `containers` that cannot be.
pub(super) fn check(node: &Node<'_>, containers: &[Node<'_>]) {
    let entries = node.get("metadata").map(|node| node.entries("annotations"));
    for (key, value) in entries.unwrap_or_default() {
        let (Some(container), Some(profile)) = (key.strip_prefix(APP_ARMOR), value.as_text()) else {
            continue;
        };
        let names = || containers.iter().filter_map(|node| Some(node.text("name")?.1));
        if !names().any(|name| name == container) {
            let nearest = nearest(container, names()).map(str::to_owned);
            value.fault(crate::located::FaultKind::NotFound {
                what: "container".to_owned(),
                name: shown(container),
                nearest,
            });
        }
        match profile {
            "" | "unconfined" | "runtime/default" => {}
            other if other.starts_with("localhost/") => refuse_app_armor(&value, other),
            other => value.reject(other, "`runtime/default`, `unconfined` or `localhost/PROFILE`"),
        }
    }
}
