//! Who a container runs as and what it may do: its `securityContext` and the pod's.

use std::path::{Component, Path};

use crate::located::Node;
use crate::{ImageGroups, OomKill, Overrides, RootfsAccess, Seccomp, capability};

/// Where the kubelet, and podman after it, look for the profiles of the host.
pub(super) const SECCOMP_ROOT: &str = "/var/lib/kubelet/seccomp";

/// The largest user or group id of the API (`IsValidUserID`).
pub(super) const MAX_ID: u32 = i32::MAX.unsigned_abs();

/// What the contexts of a container and its pod say; the container's own wins, each field for itself.
pub(super) fn overrides(own: Option<&Node<'_>>, pod: Option<&Node<'_>>) -> Overrides {
    const ID: &str = "a whole number up to 2147483647";
    let read = |node: Option<&Node<'_>>, name: &str| {
        let node = node?.get(name)?;
        let id: u32 = node.as_number(ID)?;
        if id > MAX_ID {
            node.reject(&id.to_string(), ID);
        }
        Some(id.to_string())
    };
    let either = |name: &str| read(own, name).or_else(|| read(pod, name));
    for context in [own, pod].into_iter().flatten() {
        check_app_armor(context);
    }
    let policy = pod.and_then(|pod| pod.text("supplementalGroupsPolicy"));
    if let Some((node, policy)) = &policy
        && !["Merge", "Strict"].contains(policy)
    {
        node.reject(policy, "`Merge` or `Strict`");
    }
    let strict = policy.is_some_and(|(_, policy)| policy == "Strict");
    let group = either("runAsGroup");
    let image_groups = match (strict, &group) {
        (false, Some(_)) => ImageGroups::Always,
        (true, None) => ImageGroups::Never,
        (false, None) | (true, Some(_)) => ImageGroups::WithoutGroup,
    };
    let mut group_add: Vec<String> = Vec::new();
    for node in pod.map(|pod| pod.items("supplementalGroups")).unwrap_or_default() {
        let id = node.as_number::<u32>(ID);
        if let Some(id) = id.filter(|id| *id > MAX_ID) {
            node.reject(&id.to_string(), ID);
        }
        group_add.extend(id.map(|id| id.to_string()));
    }
    group_add.extend(read(pod, "fsGroup"));
    let boolean = |name: &str| {
        let own = own.and_then(|own| own.boolean(name));
        own.or_else(|| pod.and_then(|pod| pod.boolean(name)))
    };
    if let Some((node, mount)) = own.and_then(|own| own.text("procMount"))
        && mount != "Default"
    {
        node.refuse(
            format!("`{}` is", crate::words::shown(mount)),
            "`/proc` is masked as far as systemd does it",
        );
    }
    let capabilities = own.and_then(|own| own.get("capabilities"));
    let named = |list: &str| {
        let nodes = capabilities
            .as_ref()
            .map(|node| node.items(list))
            .unwrap_or_default();
        nodes.iter().filter_map(capability).collect()
    };
    let privileged = own.and_then(|own| own.boolean("privileged")).unwrap_or(false);
    let escalation = own.and_then(|own| own.get("allowPrivilegeEscalation"));
    if privileged && own.and_then(|own| own.boolean("allowPrivilegeEscalation")) == Some(false) {
        escalation
            .iter()
            .for_each(|node| node.rule("a privileged container may gain privileges"));
    }
    if let Some(own) = own {
        check_escalation(own);
    }
    Overrides {
        privileged,
        user: either("runAsUser"),
        group,
        image_groups,
        oom_kill: OomKill::App,
        group_add,
        cap_add: named("add"),
        cap_drop: named("drop"),
        no_new_privileges: own
            .and_then(|own| own.boolean("allowPrivilegeEscalation"))
            .map(|allow| !allow),
        // As with the kubelet, no profile holds for a privileged container, and none where none is named.
        seccomp: own
            .and_then(seccomp)
            .or_else(|| pod.and_then(seccomp))
            .or(Some(Seccomp::Unconfined))
            .filter(|_| !privileged),
        must_not_be_root: boolean("runAsNonRoot").unwrap_or(false),
        ..Overrides::default()
    }
}

/// What the API refuses beside `allowPrivilegeEscalation: false`: what is all privileges already.
fn check_escalation(own: &Node<'_>) {
    let Some(node) = own
        .get("allowPrivilegeEscalation")
        .filter(|_| own.boolean("allowPrivilegeEscalation") == Some(false))
    else {
        return;
    };
    let added = own
        .get("capabilities")
        .map(|node| node.items("add"))
        .unwrap_or_default();
    if added
        .iter()
        .filter_map(capability_of)
        .any(|name| name == "CAP_SYS_ADMIN")
    {
        node.rule("it cannot be `false` for a container with the capability `SYS_ADMIN`");
    }
}

/// A capability that is known.
fn capability_of(node: &Node<'_>) -> Option<&'static str> {
    capability::read(node.as_text()?)
}

/// Whether the container may write to its root filesystem.
pub(super) fn rootfs(container: &Node<'_>) -> RootfsAccess {
    let context = container.get("securityContext");
    match context.is_some_and(|context| context.is_true("readOnlyRootFilesystem")) {
        true => RootfsAccess::ReadOnly,
        false => RootfsAccess::Writable,
    }
}

fn capability(node: &Node<'_>) -> Option<String> {
    let text = node.as_text()?;
    if text.eq_ignore_ascii_case("all") {
        return Some("ALL".to_owned());
    }
    let known = capability::read(text);
    if known.is_none() {
        node.reject(
            text,
            "`ALL` or a capability of capabilities(7), such as `NET_ADMIN`",
        );
    }
    known.map(str::to_owned)
}

fn seccomp(context: &Node<'_>) -> Option<Seccomp> {
    let profile = context.get("seccompProfile")?;
    let (node, kind) = profile.text("type")?;
    check_profile_name(&profile, kind);
    match kind {
        "RuntimeDefault" => Some(Seccomp::RuntimeDefault),
        "Unconfined" => Some(Seccomp::Unconfined),
        "Localhost" => {
            let Some((path_node, path)) = profile.text("localhostProfile") else {
                profile.missing("localhostProfile");
                return None;
            };
            if !Path::new(path)
                .components()
                .all(|c| matches!(c, Component::Normal(_)))
            {
                path_node.reject(path, "a relative path without `..`");
            }
            Some(Seccomp::Profile(Path::new(SECCOMP_ROOT).join(path)))
        }
        other => {
            node.reject(other, "`RuntimeDefault`, `Unconfined` or `Localhost`");
            None
        }
    }
}

/// Reports a profile's name beside a type that has none.
fn check_profile_name(profile: &Node<'_>, kind: &str) {
    if let Some((node, _)) = profile.text("localhostProfile")
        && kind != "Localhost"
    {
        node.rule("only a profile of `type: Localhost` has a name");
    }
}

fn check_app_armor(context: &Node<'_>) {
    let profile = context.get("appArmorProfile");
    if let Some((node, kind)) = profile.as_ref().and_then(|profile| profile.text("type")) {
        match kind {
            // A host without AppArmor has neither.
            "Unconfined" | "RuntimeDefault" => {}
            "Localhost" => refuse_app_armor(&node, kind),
            other => node.reject(other, "`RuntimeDefault`, `Unconfined` or `Localhost`"),
        }
    }
}

/// Refuses a profile of the host's own.
pub(super) fn refuse_app_armor(node: &Node<'_>, profile: &str) {
    node.refuse(
        format!("profile `{}` is", crate::words::shown(profile)),
        "the guest has no AppArmor",
    );
}
