//! Who a container runs as and what it may do: its `securityContext` and the pod's.

use super::super::security::{MAX_ID, SECCOMP_ROOT};
use crate::gaps::Gaps;
use crate::tree::{Fields, Tree};
use crate::{App, ImageGroups, PodSpec, RootfsAccess, Seccomp, VolumeKind};

/// The groups that all of a pod's containers have.
pub(super) struct Groups {
    /// The one whose files its volumes are.
    pub(super) fs: Option<u32>,
    supplemental: Vec<u32>,
    policy: Option<&'static str>,
}

impl Groups {
    /// The groups of `pod`.
    pub(super) fn of(pod: &PodSpec, gaps: &Gaps) -> Self {
        let fs = fs_group(pod);
        let common = pod.apps.first().map(|app| &app.overrides.group_add);
        for app in pod
            .apps
            .iter()
            .filter(|app| Some(&app.overrides.group_add) != common)
        {
            gaps.add(
                format!(
                    "app `{}`: groups other than those of app `{}`",
                    app.name, pod.apps[0].name
                ),
                "`supplementalGroups` are the pod's",
            );
        }
        let mut supplemental = Vec::new();
        for group in common.into_iter().flatten() {
            match read_id(group) {
                Some(id) => supplemental.push(id),
                None => gaps.add(
                    format!("the further group `{group}`"),
                    "`supplementalGroups` are numbers",
                ),
            }
        }
        if fs.is_some() {
            supplemental.pop();
        }
        let policy = policy(pod, gaps);
        Self {
            fs,
            supplemental,
            policy,
        }
    }
}

/// What the pod says of the groups in which images have their users; `None`: they hold.
fn policy(pod: &PodSpec, gaps: &Gaps) -> Option<&'static str> {
    let strict = |app: &&App| match app.overrides.image_groups {
        ImageGroups::WithoutGroup => app.overrides.group.is_some(),
        ImageGroups::Always => false,
        ImageGroups::Never => true,
    };
    if pod.apps.iter().all(|app| strict(&app)) {
        return Some("Strict");
    }
    for app in pod.apps.iter().filter(strict) {
        let what = format!("app `{}`: that its image adds no groups", app.name);
        gaps.add(
            what,
            "`supplementalGroupsPolicy` is the pod's, and others have them",
        );
    }
    None
}

/// The group that is the last one of every app, and in whose name all empty volumes and volumes of files are.
fn fs_group(pod: &PodSpec) -> Option<u32> {
    let last = pod.apps.first()?.overrides.group_add.last();
    let group = read_id(last?)?;
    let mut volumes = pod.volumes.iter().filter_map(|volume| match &volume.kind {
        VolumeKind::Empty(empty) => {
            Some(empty.gid == Some(group) && empty.mode.is_some_and(|mode| mode & 0o2000 != 0))
        }
        VolumeKind::Files(files) => {
            let readable = files.files.iter().all(|file| file.mode & 0o440 == 0o440);
            Some(files.gid == Some(group) && readable)
        }
        VolumeKind::Host(_) | VolumeKind::Image(_) => None,
    });
    let of_apps = pod.apps.iter().all(|app| app.overrides.group_add.last() == last);
    // At least one, and all of them.
    let of_volumes = volumes.next() == Some(true) && volumes.all(|of_group| of_group);
    (of_apps && of_volumes).then_some(group)
}

/// A user or group that is a number.
fn read_id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id <= MAX_ID)
}

/// The pod's own context.
pub(super) fn of_pod(pod: &PodSpec, groups: &Groups) -> Fields {
    let sysctls = pod.sysctls.iter();
    Fields::new()
        .with_list("supplementalGroups", groups.supplemental.iter().copied())
        .with_some("supplementalGroupsPolicy", groups.policy)
        .with_some("fsGroup", groups.fs)
        .with_list(
            "sysctls",
            sysctls.map(|sysctl| {
                Fields::new()
                    .with("name", &sysctl.name)
                    .with("value", &sysctl.value)
            }),
        )
}

/// A container's context.
pub(super) fn of_app(app: &App, gaps: &Gaps) -> Fields {
    let overrides = &app.overrides;
    let id = |what: &str, field: &str, value: &Option<String>| {
        let text = value.as_ref()?;
        let id = read_id(text);
        if id.is_none() {
            let what = format!("app `{}`: the {what} `{text}`", app.name);
            gaps.add(what, format!("`{field}` takes a number up to {MAX_ID}"));
        }
        id
    };
    let bare = |name: &String| Tree::from(name.strip_prefix("CAP_").unwrap_or(name));
    let capabilities = Fields::new()
        .with_list("add", overrides.cap_add.iter().map(bare))
        .with_list("drop", overrides.cap_drop.iter().map(bare));
    let mut no_new_privileges = overrides.no_new_privileges;
    if no_new_privileges == Some(true) && overrides.cap_add.iter().any(|name| name == "CAP_SYS_ADMIN") {
        let what = format!(
            "app `{}`: `no-new-privileges` beside the capability SYS_ADMIN",
            app.name
        );
        gaps.add(
            what,
            "`allowPrivilegeEscalation: false` cannot be given to a container with it",
        );
        no_new_privileges = None;
    }
    let read_only = app.rootfs == RootfsAccess::ReadOnly;
    let seccomp = overrides.seccomp.as_ref();
    let (seccomp, unheld) = match overrides.privileged {
        true => (None, seccomp),
        false => (seccomp.or(Some(&Seccomp::RuntimeDefault)), None),
    };
    if unheld.is_some() {
        let what = format!("app `{}`: its filter of system calls", app.name);
        gaps.add(what, "none holds for a privileged container");
    }
    Fields::new()
        .with_some("runAsUser", id("user", "runAsUser", &overrides.user))
        .with_some("runAsGroup", id("group", "runAsGroup", &overrides.group))
        .with_some("runAsNonRoot", overrides.must_not_be_root.then_some(true))
        .with_some("privileged", overrides.privileged.then_some(true))
        .with_some("readOnlyRootFilesystem", read_only.then_some(true))
        .with_some("allowPrivilegeEscalation", no_new_privileges.map(|never| !never))
        .with_fields("capabilities", capabilities)
        .with_some(
            "seccompProfile",
            seccomp.and_then(|seccomp| profile(app, seccomp, gaps)),
        )
}

fn profile(app: &App, seccomp: &Seccomp, gaps: &Gaps) -> Option<Fields> {
    let of_type = |kind: &str| Fields::new().with("type", kind);
    match seccomp {
        Seccomp::Unconfined => None,
        Seccomp::RuntimeDefault => Some(of_type("RuntimeDefault")),
        Seccomp::Profile(path) => {
            let inner = path
                .strip_prefix(SECCOMP_ROOT)
                .ok()
                .and_then(|inner| inner.to_str());
            if inner.is_none() {
                let what = format!("app `{}`: the seccomp profile `{}`", app.name, path.display());
                gaps.add(
                    what,
                    format!("a `Localhost` profile is a file below `{SECCOMP_ROOT}`"),
                );
            }
            Some(of_type("Localhost").with("localhostProfile", inner?))
        }
        Seccomp::Retain(_) | Seccomp::Remove(_) => {
            let what = format!("app `{}`: its list of system calls", app.name);
            gaps.add(
                what,
                format!("a `Localhost` profile is a file below `{SECCOMP_ROOT}`"),
            );
            None
        }
    }
}
