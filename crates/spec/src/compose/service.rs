//! A service: an app of the pod.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::profiles::{Chosen, needs};
use super::shared::Shared;
use super::values::{boolean, command, flag, flag_at, is_object, pairs, word_at, words};
use super::{EnvFile, keys, mounts};
use crate::flags::{self, SecurityOption, take_over};
use crate::located::{FaultKind, Kind, Node};
use crate::{
    App, Dependency, DependencyCondition, EnvVar, Handler, HealthTest, ImageReference, ImageSource,
    Lifecycle, LogLimits, Overrides, PullPolicy, RestartPolicy, RootfsAccess,
};

/// Reads a service, and what it says of all of them; the apps before it are there for `volumes_from`.
pub(super) fn read<'a>(
    service: &Chosen<'a>,
    shared: &mut Shared<'a>,
    before: &[App],
) -> Option<(App, Vec<EnvFile>)> {
    let node = &service.node;
    keys::check(node, "service");
    shared.take(service);
    let deploy = node.get("deploy");
    if let Some(deploy) = &deploy {
        keys::check(deploy, "deploy");
    }
    let image = image(node);
    // What else is wrong with a service without an image is wanted too.
    let read = image
        .clone()
        .or_else(|| ImageReference::parse(OsStr::new("unread")).ok())?;
    let mut app = App::new(service.app.clone(), ImageSource::Reference(read));
    app.pull = pull_policy(node);
    app.overrides = overrides(node, deploy.as_ref(), shared);
    app.lifecycle = Lifecycle {
        post_start: hook(node, "post_start"),
        pre_stop: hook(node, "pre_stop"),
    };
    as_it_is(node, deploy.as_ref());
    app.restart = restart(node, deploy.as_ref());
    app.depends_on = depends_on(node, shared);
    if boolean(node, "read_only") == Some(true) {
        app.rootfs = RootfsAccess::ReadOnly;
    }
    mounts::read(node, shared, &mut app);
    for (from, name) in words(node, "volumes_from") {
        let Some(from_flag) = flag(&from, flags::read_volumes_from(OsStr::new(&name))) else {
            continue;
        };
        let other = shared.chosen.iter().find(|other| other.name == from_flag.name);
        match other.and_then(|other| before.iter().find(|app| app.name == other.app)) {
            Some(other) => take_over(&mut app, other.mounts.iter().cloned(), from_flag.read_only),
            None => from.rule("no service above this one has that name"),
        }
    }
    let env_files = env_files(node);
    image.map(|_| (app, env_files))
}

fn image(node: &Node<'_>) -> Option<ImageReference> {
    let build = node.get("build").filter(|build| !keys::says_nothing(build));
    let Some((image, text)) = node.text("image") else {
        match build {
            Some(build) => build.unsupported(
                "building images is",
                None,
                "build the image with buildah(1) or docker(1), and name it: `image: oci-archive:FILE`",
            ),
            None => node.missing("image"),
        }
        return None;
    };
    if let Some(build) = build {
        let notice = "it changes nothing: the image of that name is taken, and not built";
        build.fault(FaultKind::Notice(notice.to_owned()));
    }
    let read = ImageReference::parse(OsStr::new(text));
    read.map_err(|error| image.fault(FaultKind::Reference(error)))
        .ok()
}

/// What is run once in the service.
fn hook(node: &Node<'_>, name: &str) -> Option<Handler> {
    let hooks = node.get(name).map(|hooks| hooks.own_items()).unwrap_or_default();
    let (first, others) = hooks.split_first()?;
    keys::check(first, "hook");
    if let Some(other) = others.first() {
        other.unsupported(
            "more than one command is",
            None,
            "write one: `sh -c 'FIRST && SECOND'`",
        );
    }
    let found = command(first, "command").filter(|command| !command.is_empty());
    if found.is_none() {
        first.missing("command");
    }
    found.map(Handler::Exec)
}

/// Refuses what a service has one value of, and another is asked for.
fn as_it_is(node: &Node<'_>, deploy: Option<&Node<'_>>) {
    if let Some((cgroup, word)) = word_at(node, "cgroup")
        && word != "private"
    {
        cgroup.unsupported(
            "another cgroup namespace than the service's own is",
            None,
            "leave it out",
        );
    }
    if let Some((ipc, word)) = word_at(node, "ipc")
        && word != "shareable"
        && !word.starts_with("service:")
    {
        let hint = "leave it out: the services of a project share /dev/shm as it is";
        ipc.unsupported("that IPC namespace is", None, hint);
    }
    let replicas = deploy.and_then(|deploy| word_at(deploy, "replicas"));
    for (scale, word) in word_at(node, "scale").into_iter().chain(replicas) {
        if ["0", "1"].contains(&word.as_str()) {
            continue;
        }
        let hint = "the services of a project share one network, in which each has its port once: write it as several services";
        scale.unsupported("running a service more than once is", None, hint);
    }
}

fn pull_policy(node: &Node<'_>) -> PullPolicy {
    let Some((policy, word)) = word_at(node, "pull_policy") else {
        return PullPolicy::Missing;
    };
    match word.as_str() {
        "always" => PullPolicy::Always,
        "never" => PullPolicy::Never,
        "missing" | "if_not_present" => PullPolicy::Missing,
        "build" => {
            policy.unsupported(
                "building images is",
                None,
                "build the image first: buildah(1), docker(1)",
            );
            PullPolicy::Missing
        }
        "daily" | "weekly" => PullPolicy::Newer,
        other if other.starts_with("every_") => PullPolicy::Newer,
        other => {
            policy.reject(
                other,
                "`always`, `missing`, `never`, `daily`, `weekly` or `every_TIME`",
            );
            PullPolicy::Missing
        }
    }
}

fn overrides(node: &Node<'_>, deploy: Option<&Node<'_>>, shared: &Shared<'_>) -> Overrides {
    let mut overrides = Overrides {
        args: command(node, "command"),
        env: environment(node, shared),
        tty: boolean(node, "tty") == Some(true),
        privileged: boolean(node, "privileged") == Some(true),
        init: boolean(node, "init"),
        stop_signal: flag_at(node, "stop_signal", flags::read_stop_signal),
        working_dir: flag_at(node, "working_dir", flags::read_workdir),
        ..Overrides::default()
    };
    if let Some(mut entry) = command(node, "entrypoint") {
        let program = if entry.is_empty() {
            String::new()
        } else {
            entry.remove(0)
        };
        overrides.exec = Some(program);
        if !entry.is_empty() {
            let rest = overrides.args.take().unwrap_or_default();
            overrides.args = Some(entry.into_iter().chain(rest).collect());
        }
    }
    if let Some((user, group)) = flag_at(node, "user", flags::read_user) {
        (overrides.user, overrides.group) = (Some(user), group);
    }
    let capability =
        |(node, word): (Node<'_>, String)| flag(&node, flags::read_capability("cap_add", OsStr::new(&word)));
    overrides.cap_add = words(node, "cap_add")
        .into_iter()
        .filter_map(capability)
        .collect();
    overrides.cap_drop = words(node, "cap_drop")
        .into_iter()
        .filter_map(capability)
        .collect();
    overrides.group_add = words(node, "group_add")
        .into_iter()
        .map(|(_, word)| word)
        .collect();
    let device = |(node, word): (Node<'_>, String)| flag(&node, flags::read_device(OsStr::new(&word)));
    overrides.devices = words(node, "devices").into_iter().filter_map(device).collect();
    for (node, word) in words(node, "security_opt") {
        match flag(&node, flags::read_security_opt(OsStr::new(&word))) {
            Some(SecurityOption::NoNewPrivileges(value)) => overrides.no_new_privileges = Some(value),
            Some(SecurityOption::Seccomp(seccomp)) => overrides.seccomp = Some(seccomp),
            Some(SecurityOption::NoHostProfile) | None => {}
        }
    }
    if let Some(logging) = node.get("logging") {
        overrides.log = log_limits(&logging);
    }
    for (name, limit) in node.entries("ulimits") {
        let text = match is_object(&limit) {
            false => word_of(&limit, name),
            true => {
                let word = |key: &str| word_at(&limit, key).map(|(_, word)| word).unwrap_or_default();
                format!("{name}={}:{}", word("soft"), word("hard"))
            }
        };
        overrides
            .rlimits
            .extend(flag(&limit, flags::read_ulimit(OsStr::new(&text))));
    }
    limits(node, deploy, &mut overrides);
    check_swap(node, &overrides);
    health_check(node, &mut overrides);
    platform(node);
    overrides
}

fn word_of(limit: &Node<'_>, name: &str) -> String {
    format!("{name}={}", super::values::word(limit).unwrap_or_default())
}

fn limits(node: &Node<'_>, deploy: Option<&Node<'_>>, overrides: &mut Overrides) {
    let bytes =
        |node: &Node<'_>, key: &'static str| flag_at(node, key, |text| flags::read_memory_bytes(key, text));
    let resources = &mut overrides.resources;
    resources.memory_limit_bytes = bytes(node, "mem_limit");
    resources.memory_request_bytes = bytes(node, "mem_reservation");
    resources.cpu_limit_millis = flag_at(node, "cpus", flags::read_cpu_millis);
    if resources.cpu_limit_millis.is_none()
        && let Some((quota, period)) = quota(node)
    {
        resources.limit_cpu(quota, period);
    }
    resources.cpu_request_millis = flag_at(node, "cpu_shares", flags::read_cpu_shares);
    resources.pids_limit = flag_at(node, "pids_limit", flags::read_pids_limit).flatten();
    resources.oom_score_adj = flag_at(node, "oom_score_adj", flags::read_oom_score_adj);
    let Some(deployed) = deploy.and_then(|deploy| deploy.get("resources")) else {
        return;
    };
    keys::check(&deployed, "resources");
    if let Some(limits) = deployed.get("limits") {
        keys::check(&limits, "limits");
        resources.memory_limit_bytes = bytes(&limits, "memory").or(resources.memory_limit_bytes);
        resources.cpu_limit_millis =
            flag_at(&limits, "cpus", flags::read_cpu_millis).or(resources.cpu_limit_millis);
        resources.pids_limit = flag_at(&limits, "pids", flags::read_pids_limit)
            .flatten()
            .or(resources.pids_limit);
    }
    if let Some(reserved) = deployed.get("reservations") {
        keys::check(&reserved, "limits");
        resources.memory_request_bytes = bytes(&reserved, "memory").or(resources.memory_request_bytes);
        resources.cpu_request_millis =
            flag_at(&reserved, "cpus", flags::read_cpu_millis).or(resources.cpu_request_millis);
    }
}

/// What `logging` says of the size of a log, which is what all but the network's drivers have.
fn log_limits(logging: &Node<'_>) -> LogLimits {
    keys::check(logging, "logging");
    if let Some((driver, name)) = word_at(logging, "driver")
        && !["json-file", "local", "k8s-file"].contains(&name.as_str())
    {
        driver.fault(FaultKind::Notice(
            "it changes nothing: the logs are kept, which `isopod compose logs` shows".to_owned(),
        ));
        return LogLimits::default();
    }
    let mut limits = LogLimits::default();
    for pair in pairs(logging, "options", &['=']) {
        if !["max-size", "max-file"].contains(&pair.name.as_str()) {
            let words = "it changes nothing: a log's options are `max-size` and `max-file`";
            pair.node.fault(FaultKind::Notice(words.to_owned()));
            continue;
        }
        let text = format!("{}={}", pair.name, pair.value.unwrap_or_default());
        if let Some(read) = flag(&pair.node, flags::read_log_opt(OsStr::new(&text))) {
            limits = read.or(limits);
        }
    }
    limits
}

/// Whether the swap space that is asked for can be had: none, or as much as there is.
fn check_swap(node: &Node<'_>, overrides: &Overrides) {
    let Some((node, word)) = word_at(node, "memswap_limit").filter(|(_, word)| word != "-1") else {
        return;
    };
    let both = flag(
        &node,
        flags::read_memory_bytes("memswap_limit", OsStr::new(&word)),
    );
    if both.is_some_and(|both| overrides.resources.asks_for_swap(both)) {
        node.unsupported(
            "swap space is",
            None,
            "the guest has none: write as much as `mem_limit`, or leave it out",
        );
    }
}

/// `cpu_quota` and `cpu_period`, in microseconds.
fn quota(node: &Node<'_>) -> Option<(u64, Option<u64>)> {
    let micros = |name: &str| {
        let (node, word) = word_at(node, name)?;
        // As with the kernel, no limit.
        if name == "cpu_quota" && word == "-1" {
            return None;
        }
        // The specification has a number, or a time.
        let read = match word.strip_suffix("us").unwrap_or(&word).parse::<u64>() {
            Ok(micros) => Some(micros),
            Err(_) => flag(&node, flags::read_health_time("cpu_period", OsStr::new(&word)))
                .flatten()
                .and_then(|time| u64::try_from(time.as_micros()).ok()),
        };
        if read == Some(0) {
            node.rule("it is 0");
        }
        read.filter(|micros| *micros > 0)
    };
    let (quota, period) = (micros("cpu_quota"), micros("cpu_period"));
    Some((quota?, period))
}

fn health_check(node: &Node<'_>, overrides: &mut Overrides) {
    let Some(check) = node.get("healthcheck") else {
        return;
    };
    keys::check(&check, "healthcheck");
    let own = &mut overrides.health_check;
    if boolean(&check, "disable") == Some(true) {
        own.test = Some(HealthTest::Nothing);
        return;
    }
    let time =
        |name: &'static str| flag_at(&check, name, |text| flags::read_health_time(name, text)).flatten();
    own.interval = time("interval");
    own.timeout = time("timeout");
    own.start_period = time("start_period");
    own.start_interval = time("start_interval");
    own.retries = flag_at(&check, "retries", flags::read_health_retries).flatten();
    let Some(test) = check.get("test") else {
        return;
    };
    let words: Vec<String> = test.own_items().iter().filter_map(super::values::word).collect();
    own.test = match (test.kind(), words.split_first()) {
        (Kind::List(_), Some((kind, rest))) => match (kind.as_str(), rest) {
            ("NONE", []) => Some(HealthTest::Nothing),
            ("CMD", [_, ..]) => Some(HealthTest::Command(rest.to_vec())),
            ("CMD-SHELL", [line]) => flag(&test, flags::read_health_cmd(OsStr::new(line))),
            _ => {
                test.rule("it is `[NONE]`, `[CMD, PROGRAM, ARGUMENT...]`, `[CMD-SHELL, LINE]` or a line");
                None
            }
        },
        (Kind::List(_), None) => None,
        _ => {
            super::values::word(&test).and_then(|line| flag(&test, flags::read_health_cmd(OsStr::new(&line))))
        }
    };
}

fn platform(node: &Node<'_>) {
    // Which one the host has is for the import to find, which refuses images of another.
    if let Some((platform, word)) = word_at(node, "platform")
        && !word.starts_with("linux")
    {
        platform.unsupported("the platform is", None, "a VM runs Linux on the host's processor");
    }
}

fn restart(node: &Node<'_>, deploy: Option<&Node<'_>>) -> RestartPolicy {
    if let Some(policy) = flag_at(node, "restart", flags::read_restart) {
        return policy;
    }
    let Some(policy) = deploy.and_then(|deploy| deploy.get("restart_policy")) else {
        return RestartPolicy::No;
    };
    keys::check(&policy, "restart policy");
    let most = word_at(&policy, "max_attempts").and_then(|(_, word)| word.parse().ok());
    let Some((condition, word)) = word_at(&policy, "condition") else {
        return RestartPolicy::Always;
    };
    match word.as_str() {
        "none" => RestartPolicy::No,
        "on-failure" => RestartPolicy::OnFailure { max_retries: most },
        "any" => RestartPolicy::Always,
        other => {
            condition.reject(other, "`none`, `on-failure` or `any`");
            RestartPolicy::No
        }
    }
}

fn depends_on(node: &Node<'_>, shared: &Shared<'_>) -> Vec<Dependency> {
    let mut dependencies = Vec::new();
    for needed in needs(node) {
        if needed.condition.is_some() {
            keys::check(&needed.node, "dependency");
        }
        let Some(other) = shared.chosen.iter().find(|other| other.name == needed.name) else {
            continue;
        };
        let condition = match needed.condition.as_ref().and_then(Node::as_text) {
            None | Some("service_started") => DependencyCondition::Started,
            Some("service_healthy") => DependencyCondition::Healthy,
            Some("service_completed_successfully") => DependencyCondition::Succeeded,
            Some(word) => {
                needed.node.reject(
                    word,
                    "`service_started`, `service_healthy` or `service_completed_successfully`",
                );
                continue;
            }
        };
        dependencies.push(Dependency {
            app: other.app.clone(),
            condition,
        });
    }
    dependencies
}

/// The variables; one without a value has the caller's, or is left out.
fn environment(node: &Node<'_>, shared: &Shared<'_>) -> Vec<EnvVar> {
    let variable = |pair: super::values::Pair<'_>| {
        let value = pair.value.or_else(|| shared.env.get(&pair.name).cloned())?;
        Some(EnvVar {
            name: pair.name,
            value: Some(value),
            secret: false,
        })
    };
    pairs(node, "environment", &['='])
        .into_iter()
        .filter_map(variable)
        .collect()
}

/// The files of labels, whose labels come below those of `labels`.
pub(super) fn label_files(node: &Node<'_>) -> Vec<PathBuf> {
    let Some(files) = node.get("label_file") else {
        return Vec::new();
    };
    let items = match files.kind() {
        Kind::List(_) => files.own_items(),
        _ => vec![files],
    };
    let path = |item: Node<'_>| super::values::word(&item).map(PathBuf::from);
    items.into_iter().filter_map(path).collect()
}

fn env_files(node: &Node<'_>) -> Vec<EnvFile> {
    let Some(files) = node.get("env_file") else {
        return Vec::new();
    };
    let items = match files.kind() {
        Kind::List(_) => files.own_items(),
        _ => vec![files],
    };
    let file = |item: Node<'_>| {
        if !is_object(&item) {
            let path = PathBuf::from(super::values::word(&item)?);
            return Some(EnvFile {
                path,
                required: true,
                raw: false,
            });
        }
        keys::check(&item, "environment file");
        let Some((_, path)) = word_at(&item, "path") else {
            item.missing("path");
            return None;
        };
        Some(EnvFile {
            path: path.into(),
            required: boolean(&item, "required").unwrap_or(true),
            raw: word_at(&item, "format").is_some_and(|(_, word)| word == "raw"),
        })
    };
    items.into_iter().filter_map(file).collect()
}
