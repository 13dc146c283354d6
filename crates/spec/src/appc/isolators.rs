//! Isolators (appc specification, "Isolators"): of an app and of the pod.
//!
//! The reader is in the specification's strict mode: an isolator that cannot be honoured is a fault that names it. Beside
//! those of the specification's text, `os/linux/cpu-shares` and `os/linux/oom-score-adj` are read, which its schema has.

use std::collections::{BTreeSet, HashSet};

use super::quantity;
use crate::located::{FaultKind, Node};
use crate::seccomp::{errno_number, is_syscall, nearest_syscall, syscall_set};
use crate::size::{MAX_CPUS, MIN_MEMORY_MIB};
use crate::words::shown;
use crate::{Capabilities, Refusal, RunConfig, Seccomp, SyscallFilter, Sysctl, capability};

/// Reads an app's `isolators` into `config`.
pub(super) fn read_app_isolators(app: &Node<'_>, config: &mut RunConfig) {
    for (node, isolator) in Isolator::last_of_each(app.expect_items("isolators")) {
        let name = isolator.name.as_str();
        match name {
            "os/linux/capabilities-retain-set" | "os/linux/capabilities-remove-set" => {
                let set = isolator.set(read_capability);
                config.capabilities = Some(match name.ends_with("retain-set") {
                    true => Capabilities::Retain(set),
                    false => Capabilities::Remove(set),
                });
            }
            "os/linux/seccomp-retain-set" | "os/linux/seccomp-remove-set" => {
                config.seccomp = isolator.seccomp(name.ends_with("retain-set"));
            }
            "os/linux/no-new-privileges" => {
                let value = isolator.value.and_then(|value| value.expect_boolean());
                config.no_new_privileges = value.unwrap_or_default();
            }
            "resource/memory" => {
                let (request, limit) =
                    isolator.request_and_limit(quantity::bytes, "an amount of bytes, such as `64Mi`");
                config.resources.memory_request_bytes = request.filter(|bytes| *bytes > 0);
                config.resources.memory_limit_bytes = limit;
            }
            "resource/cpu" => {
                let (request, limit) =
                    isolator.request_and_limit(quantity::millis, "a number of cores, such as `250m`");
                config.resources.cpu_request_millis = request.filter(|millis| *millis > 0);
                config.resources.cpu_limit_millis = limit;
            }
            "os/linux/cpu-shares" => {
                let shares =
                    isolator.number("a whole number from 2 to 262144", |n| (2..=262_144).contains(&n));
                let shares = shares.and_then(|shares| u32::try_from(shares).ok());
                config.resources.cpu_request_millis = shares.map(|shares| (shares * 1000).div_ceil(1024));
            }
            "os/linux/oom-score-adj" => {
                let adj = isolator.number("a whole number from -1000 to 1000", |n| {
                    (-1000..=1000).contains(&n)
                });
                config.resources.oom_score_adj = adj.and_then(|adj| adj.try_into().ok());
            }
            "os/unix/sysctl" => node.refuse_it(
                "isolator `os/unix/sysctl` of an app is",
                "put it into the pod's own `isolators`: the kernel is the pod's",
            ),
            _ => refuse(&node, name),
        }
    }
}

/// What a pod's `isolators` say.
#[derive(Default)]
pub(super) struct PodIsolators {
    /// What bounds all of the pod's apps is the size of its VM: its memory, in MiB, where they say it.
    pub(super) memory_mib: Option<u32>,
    pub(super) cpus: Option<u32>,
    pub(super) sysctls: Vec<Sysctl>,
}

/// Reads a pod's `isolators`.
pub(super) fn read_pod_isolators(pod: &Node<'_>) -> PodIsolators {
    let mut read = PodIsolators::default();
    for (node, isolator) in Isolator::last_of_each(pod.expect_items("isolators")) {
        match isolator.name.as_str() {
            "resource/memory" => {
                let amounts =
                    isolator.request_and_limit(quantity::bytes, "an amount of bytes, such as `512Mi`");
                let mib = isolator.of_machine(amounts, |bytes| {
                    let mib = u32::try_from(bytes.div_ceil(1 << 20)).ok();
                    mib.filter(|mib| *mib >= MIN_MEMORY_MIB)
                });
                read.memory_mib = mib.or(read.memory_mib);
            }
            "resource/cpu" => {
                let amounts = isolator.request_and_limit(quantity::millis, "a number of cores, such as `2`");
                let cpus = isolator.of_machine(amounts, |millis| {
                    Some(millis.div_ceil(1000)).filter(|cpus| (1..=MAX_CPUS).contains(cpus))
                });
                read.cpus = cpus.or(read.cpus);
            }
            "os/unix/sysctl" => {
                let texts = isolator
                    .value
                    .and_then(|value| value.expect_texts())
                    .unwrap_or_default();
                let sysctl = |(name, value)| Sysctl { name, value };
                read.sysctls = texts.into_iter().map(sysctl).collect();
            }
            name => refuse(&node, name),
        }
    }
    read
}

/// Reports an isolator as one that cannot be honoured.
fn refuse(node: &Node<'_>, name: &str) {
    let hint = match name {
        "resource/network-bandwidth" => "leave it out; traffic is not shaped",
        "resource/block-bandwidth" | "resource/block-iops" => {
            "leave it out; volumes are the host's file systems, or in the VM's memory"
        }
        "os/linux/selinux-context" => "leave it out; the guest's kernel runs without SELinux",
        _ => "leave it out; docs/pod-files.md lists the isolators that are honoured",
    };
    node.refuse_it(&format!("isolator `{}` is", shown(name)), hint);
}

/// An isolator: its name and its value.
struct Isolator<'a> {
    name: String,
    value: Option<Node<'a>>,
}

impl<'a> Isolator<'a> {
    /// The isolators that `nodes` are: of several of one name the last, as with rkt.
    fn last_of_each(nodes: Vec<Node<'a>>) -> Vec<(Node<'a>, Self)> {
        let mut names = HashSet::new();
        let mut last: Vec<_> = nodes
            .into_iter()
            .rev()
            .filter_map(|node| Some((Self::read(&node)?, node)))
            .filter(|((_, isolator), _)| names.insert(isolator.name.clone()))
            .collect();
        last.reverse();
        // A retain set and a remove set exclude each other.
        let mut kinds = HashSet::new();
        let alone = last.into_iter().filter_map(|((name_node, isolator), node)| {
            let expected = match isolator.kind() {
                "os/linux/capabilities" => "the only capability isolator of the app",
                _ => "the only seccomp isolator of the app",
            };
            match kinds.insert(isolator.kind().to_owned()) {
                true => Some((node, isolator)),
                false => {
                    name_node.reject(&isolator.name, expected);
                    None
                }
            }
        });
        alone.collect()
    }

    fn read(node: &Node<'a>) -> Option<(Node<'a>, Self)> {
        let fields = node.expect_object(&["name", "value"])?;
        let value = fields.required("value");
        let (name_node, name) = fields.required_text("name")?;
        Some((name_node, Self { name, value }))
    }

    /// The name without what the set is for.
    fn kind(&self) -> &str {
        let name = self.name.trim_end_matches("-retain-set");
        name.trim_end_matches("-remove-set")
    }

    /// The `set` of the value, of which `read` reads an item.
    fn set(&self, read: impl Fn(&Node<'_>) -> Option<String>) -> Vec<String> {
        let fields = self
            .value
            .as_ref()
            .and_then(|value| value.expect_object(&["set"]));
        fields.map(|fields| read_set(&fields, read)).unwrap_or_default()
    }

    fn seccomp(&self, retain: bool) -> Option<Seccomp> {
        let fields = self.value.as_ref()?.expect_object(&["set", "errno"])?;
        let sets: Vec<Listed> = read_items(&fields, |node| read_syscalls(node, retain));
        let errno = fields.get("errno").and_then(|node| {
            let name = node.expect_text().filter(|name| !name.is_empty())?;
            if errno_number(&name).is_none() {
                node.reject(&name, "an error of errno(3), such as `EPERM`");
            }
            Some(name)
        });
        // A wildcard masks all other names.
        if sets.contains(&Listed::Unconfined) {
            return Some(Seccomp::Unconfined);
        }
        let listed = |set| match set {
            Listed::Syscalls(names) => names,
            Listed::Unconfined => BTreeSet::new(),
        };
        let names = sets.into_iter().flat_map(listed).collect();
        let refusal = errno.map_or(Refusal::Kill, Refusal::Errno);
        let filter = SyscallFilter { names, refusal };
        Some(match retain {
            true => Seccomp::Retain(filter),
            false => Seccomp::Remove(filter),
        })
    }

    /// `request` and `limit`; a request that is not there is as large as the limit.
    fn request_and_limit<T: Copy>(
        &self,
        read: impl Fn(&str) -> Option<T>,
        expected: &'static str,
    ) -> (Option<T>, Option<T>) {
        let Some(fields) = self
            .value
            .as_ref()
            .and_then(|value| value.expect_object(&["request", "limit"]))
        else {
            return (None, None);
        };
        let amount = |name| {
            let node = fields.get(name)?;
            let text = node.expect_text_or_number()?;
            let amount = read(&text);
            if amount.is_none() {
                node.reject(&text, expected);
            }
            amount
        };
        let (request, limit) = (amount("request"), amount("limit"));
        if fields.get("request").is_none() && fields.get("limit").is_none() {
            fields.missing("limit");
        }
        (request.or(limit), limit)
    }

    /// What a VM has by the pod's `request` and `limit`: as much as the limit says, where there is one.
    fn of_machine<T: Copy>(
        &self,
        (request, limit): (Option<T>, Option<T>),
        size: impl Fn(T) -> Option<u32>,
    ) -> Option<u32> {
        let size = size(limit.or(request)?);
        if let (None, Some(value)) = (size, &self.value) {
            let expected = "an amount that a VM can have: at least 160 MiB of memory, at most 255 CPUs";
            value.reject(&self.name, expected);
        }
        size
    }

    fn number(&self, expected: &'static str, valid: impl Fn(i64) -> bool) -> Option<i64> {
        let node = self.value.as_ref()?;
        let text = node.expect_number()?;
        let number = text.parse().ok().filter(|number| valid(*number));
        if number.is_none() {
            node.reject(text, expected);
        }
        number
    }
}

fn read_set(fields: &Node<'_>, read: impl Fn(&Node<'_>) -> Option<String>) -> Vec<String> {
    read_items(fields, read)
}

fn read_items<T>(fields: &Node<'_>, read: impl Fn(&Node<'_>) -> Option<T>) -> Vec<T> {
    let Some(list) = fields.required("set") else {
        return Vec::new();
    };
    if list.is_empty_list() {
        list.reject("[]", "a list of at least one name");
    }
    list.expect_list()
        .unwrap_or_default()
        .iter()
        .filter_map(read)
        .collect()
}

fn read_capability(node: &Node<'_>) -> Option<String> {
    let name = node.expect_text()?;
    let known = capability::CAPABILITIES.into_iter().find(|known| *known == name);
    if known.is_none() {
        node.reject(&name, "a capability of capabilities(7), such as `CAP_NET_ADMIN`");
    }
    known.map(str::to_owned)
}

/// What an item of a set of system calls stands for.
#[derive(PartialEq, Eq)]
enum Listed {
    /// These.
    Syscalls(BTreeSet<String>),
    /// No filter at all.
    Unconfined,
}

/// A system call, a set that has a name, or the wildcard that the set can have.
fn read_syscalls(node: &Node<'_>, retain: bool) -> Option<Listed> {
    let name = node.expect_text()?;
    if name.starts_with('@') {
        return read_named_set(node, &name, retain);
    }
    if !is_syscall(&name) {
        node.fault(FaultKind::UnknownSyscall {
            nearest: nearest_syscall(&name),
            name: shown(name),
        });
        return None;
    }
    Some(Listed::Syscalls(BTreeSet::from([name])))
}

fn read_named_set(node: &Node<'_>, name: &str, retain: bool) -> Option<Listed> {
    match (name, retain) {
        ("@appc.io/all", true) | ("@appc.io/empty", false) => return Some(Listed::Unconfined),
        ("@appc.io/all", false) | ("@appc.io/empty", true) => {
            let what = format!("an app without system calls (`{name}`) is");
            node.refuse_it(
                &what,
                "no program can be executed without; name those that the app needs",
            );
            return None;
        }
        _ => {}
    }
    match syscall_set(name) {
        Ok(Some(names)) => Some(Listed::Syscalls(names)),
        Ok(None) | Err(_) => {
            let what = format!("the set of system calls `{}` is", shown(name));
            let hint = "list the system calls by their names; sets are `@docker/default-whitelist`, `@docker/default-blacklist`, \
                        the same two of `@rkt`, `@appc.io/all` to retain and `@appc.io/empty` to remove";
            node.refuse_it(&what, hint);
            None
        }
    }
}
