//! What an app executes: program, arguments, environment, identity, working directory, capabilities, from what the
//! image says and what the user changed of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use isopod_contract::environment::is_name;
use isopod_contract::launch::PidNamespace;
use isopod_spec::capability::{self, CAPABILITIES};
use isopod_spec::words::shown;
use isopod_spec::{
    App, AppName, AppRoot, Capabilities, Device, ImageSource, KernelPaths, PidMode, RunConfig,
};

use crate::apps::limits::{self, Limits};
use crate::apps::pod::Pod;
use crate::apps::users::{Identity, UserDatabase};
use crate::facts::AppFacts;
use crate::fault::Fault;
use crate::path::{self, NodeKind};
use crate::systemd::unit;
use crate::volumes::View;

/// The search path of an image that names none (docker's).
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Capabilities of an app that asks for none in particular: docker's and podman's default set (capabilities(7)).
pub const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// What an app executes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The program's path in the app's root, as far as it is known; its name where only the app's start can find out, which
    /// of a volume's files it is.
    pub executable: PathBuf,
    /// Its arguments, the name it is called by first.
    pub argv: Vec<String>,
    /// Which of them hold a secret.
    pub secret_args: BTreeSet<usize>,
    pub env: BTreeMap<String, String>,
    /// Who it runs as.
    pub identity: Identity,
    pub working_dir: PathBuf,
    /// The capabilities it may have.
    pub capabilities: BTreeSet<String>,
    /// The devices of the guest that it has beyond a container's.
    pub devices: Vec<Device>,
    /// Whether it finds the guest's devices, `/proc` and `/sys` as they are.
    pub privileged: bool,
    /// What it finds empty or read-only in place of what docker's containers do.
    pub kernel_paths: Option<KernelPaths>,
    /// Which processes it sees, and which is the first of them.
    pub processes: PidNamespace,
    /// Whether its standard streams are a terminal of its own.
    pub tty: bool,
    /// The signal that asks it to stop, as systemd.kill(5) names it.
    pub stop_signal: String,
    /// What it may take of the VM, and which system calls it may make.
    pub limits: Limits,
    /// What must succeed before it: program and arguments.
    pub pre_start: Option<Vec<String>>,
    /// What runs after it.
    pub post_stop: Option<Vec<String>>,
    /// Whether these two run as root whoever the app is, so that they can prepare a volume for it (as with rkt).
    pub handlers_as_root: bool,
}

/// Decides what `app` executes in the root that `view` shows, in that pod. Notices are added to `notices`.
///
/// # Errors
/// Every [`Fault`] found.
pub fn process_of(
    app: &App,
    facts: &AppFacts,
    config: &RunConfig,
    pod: &Pod,
    view: &View<'_>,
    notices: &mut Vec<String>,
) -> Result<Process, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut note = |result: Result<(), String>| {
        faults.extend(result.err().map(|reason| Fault::App {
            app: app.name.clone(),
            reason,
        }));
    };
    let working_dir = app.overrides.working_dir.as_ref().or(config.working_dir.as_ref());
    let working_dir = path::clean(working_dir.map_or(Path::new("/"), PathBuf::as_path));
    note(path_fault(&working_dir).map_or(Ok(()), |fault| {
        Err(format!("cannot start in `{}`: {fault}", shown(&working_dir)))
    }));
    let identity = identity(app, facts, config, view);
    let identity = identity.map_err(|e| note(Err(e))).unwrap_or_default();
    let appc_name = appc_name(app, config);
    let given = given(&appc_name, &pod.hostname, &identity);
    let env = environment(app, facts, config, given, notices);
    let env = env.map_err(|e| note(Err(e))).unwrap_or_default();
    let capabilities = capabilities(app, config)
        .map_err(|e| note(Err(e)))
        .unwrap_or_default();
    let signal = app.overrides.stop_signal.as_ref().or(config.stop_signal.as_ref());
    let stop_signal = stop_signal(signal.map(String::as_str))
        .map_err(|e| note(Err(e)))
        .unwrap_or_default();
    let limits = limits::limits(app, config, pod, &capabilities, facts.seccomp_profile.as_ref())
        .map_err(|found| found.into_iter().for_each(|fault| note(Err(fault))))
        .unwrap_or_default();
    notices.extend(limits::raised(app, config));
    if app.overrides.must_not_be_root && identity.uid == 0 {
        note(Err(
            "it must not run as root, and its user is root; name another user".into(),
        ));
    }
    if app.overrides.init == Some(false) && pod.pid_mode != PidMode::Private {
        note(Err(
            "its program cannot be process 1 (`--init=false`) among processes that are not its own (`--pid`); leave one of \
             the two out"
                .into(),
        ));
    }
    let argv = argv(app, config).map_err(|e| note(Err(e))).unwrap_or_default();
    let executable = match argv.first() {
        Some(program) => match executable(&app.name, program, &env, &working_dir, view) {
            Ok(path) => path,
            Err(fault) => {
                faults.push(fault);
                PathBuf::new()
            }
        },
        None => PathBuf::new(),
    };
    let mut handler = |argv: &Option<Vec<String>>| {
        let argv = argv.clone()?;
        if argv.iter().any(|arg| arg.contains('\0')) {
            let (app, reason) = (app.name.clone(), NUL_IN_ARGUMENT.to_owned());
            faults.push(Fault::App { app, reason });
        }
        let found = self::executable(&app.name, argv.first()?, &env, &working_dir, view);
        found.map_err(|fault| faults.push(fault)).ok()?;
        Some(argv)
    };
    let pre_start = handler(&config.event_handlers.pre_start);
    let post_stop = handler(&config.event_handlers.post_stop);
    if faults.is_empty() {
        Ok(Process {
            executable,
            secret_args: secret_args(app, argv.len()),
            processes: processes(pod.pid_mode, app.overrides.init, argv.first().map(String::as_str)),
            argv,
            env,
            identity,
            working_dir,
            capabilities,
            devices: app.overrides.devices.clone(),
            privileged: app.overrides.privileged,
            kernel_paths: app.overrides.kernel_paths.clone(),
            tty: app.overrides.tty,
            stop_signal,
            limits,
            pre_start,
            post_stop,
            // Nothing of what must not be root is.
            handlers_as_root: !app.overrides.must_not_be_root,
        })
    } else {
        Err(faults)
    }
}

/// Programs that are the first process themselves, by the end of their path: of images that begin services (s6-overlay's
/// `/init`), and those that reap for one program.
const INITS: [&str; 8] = [
    "catatonit",
    "docker-init",
    "dumb-init",
    "init",
    "runit-init",
    "s6-svscan",
    "systemd",
    "tini",
];

/// Which processes an app sees whose program is called by that name.
fn processes(mode: PidMode, init: Option<bool>, program: Option<&str>) -> PidNamespace {
    let name = program.and_then(|program| Path::new(program).file_name());
    let is_init = || name.is_some_and(|name| INITS.iter().any(|init| name == *init));
    match (mode, init) {
        (PidMode::Vm, _) => PidNamespace::Vm,
        (PidMode::Pod, _) => PidNamespace::Pod,
        (PidMode::Private, Some(true)) => PidNamespace::Own,
        (PidMode::Private, Some(false)) => PidNamespace::OwnFirst,
        (PidMode::Private, None) if is_init() => PidNamespace::OwnFirst,
        (PidMode::Private, None) => PidNamespace::Own,
    }
}

/// The capabilities with which an app can have the kernel load modules: for interfaces and firewalls, for file systems, and
/// for any.
const LOADING: [&str; 3] = ["CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SYS_MODULE"];

/// Which of an app's `count` words hold a secret: the user's arguments are the last of them.
fn secret_args(app: &App, count: usize) -> BTreeSet<usize> {
    let args = app.overrides.args.as_ref().map_or(0, Vec::len);
    let first = count.saturating_sub(args);
    app.overrides
        .secret_args
        .iter()
        .map(|index| first + index)
        .collect()
}

impl Process {
    /// Whether the kernel modules that only some pods get may be asked for by it.
    #[must_use]
    pub(crate) fn may_load(&self) -> bool {
        !self.devices.is_empty() || LOADING.iter().any(|name| self.capabilities.contains(*name))
    }

    /// The arguments for people and records: one that holds a secret is not shown.
    #[must_use]
    pub fn shown_argv(&self) -> Vec<String> {
        let word = |(index, word): (usize, &String)| match self.secret_args.contains(&index) {
            true => isopod_spec::secrets::HIDDEN.to_owned(),
            false => word.clone(),
        };
        self.argv.iter().enumerate().map(word).collect()
    }
}

fn identity(app: &App, facts: &AppFacts, config: &RunConfig, view: &View<'_>) -> Result<Identity, String> {
    let overrides = &app.overrides;
    // docker: a user of the caller's takes the image's `USER:GROUP` away as a whole. appc: user and group are two things.
    let goes_with_user = overrides.user.is_some() && !config.group_for_any_user;
    let group = config.group.as_deref().filter(|_| !goes_with_user);
    let (passwd, group_file) = facts
        .root
        .as_ref()
        .map_or(("", ""), |root| (root.passwd.as_str(), root.group.as_str()));
    let database = UserDatabase {
        passwd,
        group: group_file,
        files: view,
    };
    let added = overrides.group_add.iter().map(|group| database.group_id(group));
    let added = added.collect::<Result<Vec<u32>, String>>()?;
    database.identity(
        overrides.user.as_deref().or(config.user.as_deref()),
        overrides.group.as_deref().or(group),
        overrides.image_groups,
        &[config.supplementary_gids.as_slice(), &added].concat(),
    )
}

const NUL_IN_ARGUMENT: &str = "an argument holds a NUL byte";

/// What keeps a path from being passed to the guest's kernel.
fn path_fault(path: &Path) -> Option<&'static str> {
    match path.to_str() {
        None => Some("it is not UTF-8"),
        Some(text) if text.contains('\0') => Some("it holds a NUL byte"),
        Some(text) if text.len() > unit::PATH_MAX => Some("a path has at most 4095 bytes"),
        Some(_) => None,
    }
}

/// The arguments: docker's rules, by which `--entrypoint` takes the image's command away too, and an empty one leaves what follows the image.
fn argv(app: &App, config: &RunConfig) -> Result<Vec<String>, String> {
    let args = app.overrides.args.as_deref();
    let argv: Vec<String> = match &app.overrides.exec {
        Some(exec) if exec.is_empty() => args.unwrap_or_default().to_vec(),
        Some(exec) => std::iter::once(exec.clone())
            .chain(args.unwrap_or_default().to_vec())
            .collect(),
        None => config
            .entrypoint
            .iter()
            .chain(args.unwrap_or(&config.cmd))
            .cloned()
            .collect(),
    };
    match argv.first() {
        None => Err(match app.root {
            AppRoot::Image(_) => {
                "its image names no program to run; write one after the image, or give it with `--entrypoint`"
            }
            AppRoot::Directory(_) => {
                "a directory names no program to run; write one after it, or give it with `--entrypoint`"
            }
        }
        .into()),
        Some(program) if program.is_empty() => Err("the program to run has an empty name".into()),
        Some(_) if argv.iter().any(|a| a.contains('\0')) => Err(NUL_IN_ARGUMENT.into()),
        Some(_) => Ok(argv),
    }
}

/// The app's name as appc has it: an app that nobody named is named after its image, as the image's own manifest calls it
/// and not the file that it came in.
fn appc_name(app: &App, config: &RunConfig) -> String {
    let unnamed = match app.image() {
        Some(ImageSource::Reference(reference)) => reference.default_app_name().as_ref() == Some(&app.name),
        _ => false,
    };
    let name = config.image_name.as_deref().filter(|_| unnamed);
    let name = name.and_then(|name| AppName::nearest(name.rsplit('/').next()?));
    name.unwrap_or_else(|| app.name.clone()).to_string()
}

/// What an app's terminal is called where neither its image nor the user say (docker's, containerd's).
const DEFAULT_TERM: &str = "xterm";

/// The variables that every app has where neither its image nor the user say otherwise.
pub(crate) fn given<'a>(
    appc_name: &'a str,
    hostname: &'a str,
    identity: &'a Identity,
) -> [(&'static str, &'a str); 4] {
    [
        ("AC_APP_NAME", appc_name),
        ("HOME", &identity.home),
        // As docker, podman, containerd and CRI-O have it.
        ("HOSTNAME", hostname),
        ("PATH", DEFAULT_PATH),
    ]
}

fn environment(
    app: &App,
    facts: &AppFacts,
    config: &RunConfig,
    given: [(&str, &str); 4],
    notices: &mut Vec<String>,
) -> Result<BTreeMap<String, String>, String> {
    let mut env: BTreeMap<String, String> = given
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    for (name, value) in &config.env {
        if is_name(name) && !value.contains('\0') {
            env.insert(name.clone(), value.clone());
        } else {
            notices.push(format!(
                "app `{}`: its image's variable `{}` is left out: a program can have no such variable",
                app.name,
                name.escape_debug()
            ));
        }
    }
    for var in &app.overrides.env {
        if !is_name(&var.name) {
            return Err(format!(
                "cannot set the variable `{}`: a name has no `=` and no NUL byte, and is not empty",
                var.name.escape_debug()
            ));
        }
        match var.value.as_ref().or_else(|| facts.caller_env.get(&var.name)) {
            Some(value) if value.contains('\0') => {
                return Err(format!("the variable `{}` holds a NUL byte", var.name));
            }
            Some(value) => drop(env.insert(var.name.clone(), value.clone())),
            None => {}
        }
    }
    if app.overrides.tty {
        env.entry("TERM".to_owned())
            .or_insert_with(|| DEFAULT_TERM.to_owned());
    }
    Ok(env)
}

/// What is at a path, as far as a program is concerned.
enum Candidate {
    Program,
    /// It is on a volume, where another app, or the host, may put it before this one starts.
    Later,
    Missing,
}

fn candidate(app: &AppName, path: &Path, view: &View<'_>) -> Result<Candidate, Fault> {
    let Ok(found) = path::resolve(view, path) else {
        return Ok(Candidate::Missing);
    };
    let on_volume = view.mount_at(&found.path).is_some();
    let what = match found.node.map(|node| (node.kind, node.mode)) {
        None if on_volume => return Ok(Candidate::Later),
        None => return Ok(Candidate::Missing),
        Some((NodeKind::Directory, _)) => "a directory",
        Some((NodeKind::File, mode)) if mode & 0o111 == 0 && !on_volume => "not executable",
        Some(_) => return Ok(Candidate::Program),
    };
    Err(Fault::CommandNotExecutable {
        app: app.clone(),
        path: path.to_owned(),
        what,
    })
}

/// Where the program is. The agent looks for it once more when the app starts, in the root with all volumes, as runc does:
/// only what cannot be there then is a fault.
fn executable(
    app: &AppName,
    program: &str,
    env: &BTreeMap<String, String>,
    working_dir: &Path,
    view: &View<'_>,
) -> Result<PathBuf, Fault> {
    if view.roots.image.is_none() {
        return Ok(working_dir.join(program));
    }
    let not_found = |reason| Fault::CommandNotFound {
        app: app.clone(),
        program: program.to_owned(),
        reason,
    };
    if program.contains('/') {
        let path = path::clean(&working_dir.join(program));
        return match candidate(app, &path, view)? {
            Candidate::Program | Candidate::Later => Ok(path),
            Candidate::Missing => Err(not_found(format!("its image has no `{}`", path.display()))),
        };
    }
    let search = env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
    let (mut refused, mut later) = (None, false);
    for dir in search.split(':').filter(|dir| !dir.is_empty()) {
        let path = path::clean(&working_dir.join(dir).join(program));
        match candidate(app, &path, view) {
            Ok(Candidate::Program) => return Ok(path),
            Ok(Candidate::Later) => later = true,
            Ok(Candidate::Missing) => {}
            Err(fault) => refused = refused.or(Some(fault)),
        }
    }
    if later {
        return Ok(program.into());
    }
    Err(refused.unwrap_or_else(|| {
        not_found(format!(
            "its image has no program `{program}` in its PATH, `{search}`"
        ))
    }))
}

/// The capabilities of these names as the kernel has them: a bit for each.
pub(crate) fn capability_bits(names: &BTreeSet<String>) -> u64 {
    let numbered = (0..).zip(CAPABILITIES);
    let held = numbered.filter(|(_, name)| names.contains(*name));
    held.fold(0, |bits, (number, _): (u32, _)| bits | 1 << number)
}

fn capabilities(app: &App, config: &RunConfig) -> Result<BTreeSet<String>, String> {
    if app.overrides.privileged {
        // As with docker and the kubelet, whatever is dropped beside it.
        return named(&["ALL".to_owned()]);
    }
    let default = || {
        DEFAULT_CAPABILITIES
            .iter()
            .map(|c| (*c).to_owned())
            .collect::<BTreeSet<_>>()
    };
    let mut set = match &config.capabilities {
        None => default(),
        Some(Capabilities::Retain(names)) => named(names)?,
        Some(Capabilities::Remove(names)) => &default() - &named(names)?,
    };
    set.extend(named(&app.overrides.cap_add)?);
    let dropped = named(&app.overrides.cap_drop)?;
    // As with docker, `--cap-drop ALL --cap-add X` leaves X.
    if app
        .overrides
        .cap_drop
        .iter()
        .any(|name| name.eq_ignore_ascii_case("all"))
    {
        return named(&app.overrides.cap_add);
    }
    Ok(&set - &dropped)
}

/// Capability names as docker takes them: any case, `CAP_` or not, `ALL`.
fn named(names: &[String]) -> Result<BTreeSet<String>, String> {
    let mut set = BTreeSet::new();
    for name in names {
        if name.eq_ignore_ascii_case("all") {
            set.extend(CAPABILITIES.map(str::to_owned));
            continue;
        }
        let known = capability::read(name)
            .ok_or_else(|| format!("`{name}` is not a capability; capabilities(7) lists them"))?;
        set.insert(known.to_owned());
    }
    Ok(set)
}

/// The stop signal as systemd names it: OCI allows `SIGTERM`, `TERM`, `15` and `RTMIN+3`.
fn stop_signal(signal: Option<&str>) -> Result<String, String> {
    let Some(signal) = signal.filter(|s| !s.is_empty()) else {
        return Ok("SIGTERM".into());
    };
    let valid = |s: &str| {
        s.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'-')
    };
    if !valid(signal) {
        return Err(format!("`{}` is not a signal", signal.escape_debug()));
    }
    if signal.parse::<u8>().is_ok_and(|n| (1..=64).contains(&n)) {
        return Ok(signal.to_owned());
    }
    let upper = signal.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let real_time = |prefix| {
        bare.strip_prefix(prefix)
            .is_some_and(|n| n.parse::<u8>().is_ok_and(|n| n <= 30))
    };
    if NAMES.contains(&bare)
        || bare == "RTMIN"
        || bare == "RTMAX"
        || real_time("RTMIN+")
        || real_time("RTMAX-")
    {
        return Ok(format!("SIG{bare}"));
    }
    Err(format!("`{signal}` is not a signal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_1_is_an_init_ours_or_the_images() {
        let of = |init, program| processes(PidMode::Private, init, Some(program));
        for program in [
            "/sbin/init",
            "/init",
            "tini",
            "/usr/bin/dumb-init",
            "/lib/systemd/systemd",
        ] {
            assert_eq!(of(None, program), PidNamespace::OwnFirst, "{program}");
            assert_eq!(of(Some(true), program), PidNamespace::Own, "{program}");
        }
        for program in ["/init/run", "sh", "/sbin/initctl"] {
            assert_eq!(of(None, program), PidNamespace::Own, "{program}");
            assert_eq!(of(Some(false), program), PidNamespace::OwnFirst, "{program}");
        }
        for (mode, is) in [(PidMode::Pod, PidNamespace::Pod), (PidMode::Vm, PidNamespace::Vm)] {
            assert_eq!(processes(mode, None, Some("/sbin/init")), is);
        }
    }
}
