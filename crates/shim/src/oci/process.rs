//! Who a container's process, or a command in it, is and what it may do.

use std::path::Path;

use isopod_contract::exec::{Exactly, Request, WindowSize};
use isopod_spec::capability::{self, CAPABILITIES};
use isopod_spec::{
    App, Capabilities, Device, ImageGroups, KernelPaths, PidMode, Rlimit, RlimitKind, RunConfig,
};

use super::Refused;
use super::spec::{Process, Spec};

/// What a terminal measures of which nobody says it.
const WINDOW: WindowSize = WindowSize { rows: 24, cols: 80 };

/// The limit that stands for none (`RLIM_INFINITY`).
const INFINITY: u64 = u64::MAX;

/// The size of a process's terminal.
fn window(process: &Process) -> WindowSize {
    let size = process.console_size;
    match (size.height, size.width) {
        (0, _) | (_, 0) => WINDOW,
        (rows, cols) => WindowSize { rows, cols },
    }
}

/// The capabilities that a process may ever have.
fn capabilities(process: &Process) -> Result<Vec<String>, Refused> {
    let given = &process.capabilities;
    if !given.ambient.is_empty() && process.user.uid != 0 {
        let what = format!("ambient capabilities ({})", given.ambient.join(", "));
        return Err(Refused::new(what, "are not given to a user other than root"));
    }
    // A capability that this kernel does not know is one that nobody has.
    let known = given
        .permitted
        .iter()
        .filter(|name| given.bounding.contains(name));
    Ok(known
        .filter_map(|name| capability::read(name))
        .map(str::to_owned)
        .collect())
}

/// The variables; a line without `=` is none.
fn variables(env: &[String]) -> Vec<(String, String)> {
    let split = |line: &String| {
        let (name, value) = line.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    env.iter().filter_map(split).collect()
}

fn rlimits(process: &Process) -> Result<Vec<Rlimit>, Refused> {
    let limit = |number: u64| (number != INFINITY).then_some(number);
    let read = |given: &super::spec::Rlimit| {
        let name = given
            .kind
            .strip_prefix("RLIMIT_")
            .unwrap_or(&given.kind)
            .to_ascii_lowercase();
        let kind = RlimitKind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = kind.ok_or_else(|| {
            Refused::new(
                format!("limit `{}`", given.kind.escape_debug()),
                "is not a limit of setrlimit(2)",
            )
        })?;
        Ok(Rlimit {
            kind,
            soft: limit(given.soft),
            hard: limit(given.hard),
        })
    };
    process.rlimits.iter().map(read).collect()
}

/// Whether the container is to have the guest's own devices, `/proc` and `/sys`: engines say so by hiding nothing of them.
fn is_privileged(spec: &Spec) -> bool {
    let sys = spec
        .mounts
        .iter()
        .find(|mount| mount.destination.as_os_str() == "/sys");
    spec.linux.masked_paths.is_empty()
        && sys.is_some_and(|sys| !sys.options.iter().any(|option| option == "ro"))
}

/// Which processes the container sees: of a host there are the guest's. `processes_of`: those of the container whose namespace that
/// is; `None`: it is the sandbox's.
pub(super) fn sees(spec: &Spec, processes_of: &dyn Fn(&Path) -> Option<PidMode>) -> Result<PidMode, Refused> {
    let Some(namespace) = spec.namespace("pid") else {
        return Ok(PidMode::Vm);
    };
    if namespace.path.as_os_str().is_empty() {
        return Ok(PidMode::Private);
    }
    match processes_of(&namespace.path) {
        None => Ok(PidMode::Pod),
        Some(PidMode::Private) => Err(Refused::new(
            "another container's processes (`kubectl debug --target`)",
            "cannot be joined, unless the pod's containers share theirs (`shareProcessNamespace: true`): leave the target out",
        )),
        Some(shared) => Ok(shared),
    }
}

/// Fills in how the app of `spec` is run.
pub(super) fn fill(app: &mut App, spec: &Spec, processes: PidMode) -> Result<(), Refused> {
    let process = &spec.process;
    if process.args.is_empty() {
        return Err(Refused::new("a container without `args`", "runs nothing"));
    }
    for stage in ["createContainer", "startContainer"] {
        let hooks = spec.hooks.get(stage).and_then(serde_json::Value::as_array);
        if hooks.is_some_and(|hooks| !hooks.is_empty()) {
            return Err(Refused::new(
                format!("hooks of stage `{stage}`"),
                "run in the container's namespaces, which are a VM's here",
            ));
        }
    }
    app.run_config = Some(RunConfig {
        entrypoint: process.args.clone(),
        env: variables(&process.env),
        user: Some(process.user.uid.to_string()),
        group: Some(process.user.gid.to_string()),
        supplementary_gids: process.user.additional_gids.clone(),
        working_dir: Some(process.cwd.clone().into()).filter(|_| !process.cwd.is_empty()),
        capabilities: Some(Capabilities::Retain(capabilities(process)?)),
        no_new_privileges: process.no_new_privileges,
        ..RunConfig::default()
    });
    let overrides = &mut app.overrides;
    overrides.image_groups = ImageGroups::Never;
    overrides.rlimits = rlimits(process)?;
    overrides.privileged = is_privileged(spec);
    overrides.kernel_paths = Some(KernelPaths {
        masked: spec.linux.masked_paths.clone(),
        read_only: spec.linux.readonly_paths.clone(),
    });
    // The program is process 1 of its own, as an engine's users know it; among shared ones it cannot be.
    overrides.init = (processes == PidMode::Private).then_some(false);
    if !overrides.privileged {
        let wanted = |device: &Device| {
            let mut paths = spec.linux.devices.iter().map(|device| &device.path);
            paths.any(|path| path.as_os_str() == device.path())
        };
        overrides.devices = Device::ALL.into_iter().filter(wanted).collect();
        if let Some(other) = spec.linux.devices.iter().find(|device| !is_known(&device.path)) {
            let what = format!("device `{}` of the host", other.path.display());
            return Err(Refused::new(what, "is not available in a VM"));
        }
    }
    Ok(())
}

/// Whether every container has such a device, or may have it here.
fn is_known(path: &Path) -> bool {
    const ALWAYS: [&str; 7] = ["null", "zero", "full", "random", "urandom", "tty", "console"];
    let always = path.strip_prefix("/dev").ok().and_then(|name| name.to_str());
    always.is_some_and(|name| ALWAYS.contains(&name))
        || Device::ALL.iter().any(|device| path.as_os_str() == device.path())
}

/// What is asked of the guest's agent for a command in app number `app`.
///
/// # Errors
/// [`Refused`].
pub(crate) fn command(process: &Process, app: u16, stdin: bool, terminal: bool) -> Result<Request, Refused> {
    let bit = |name: &String| CAPABILITIES.iter().position(|known| known == name);
    let bits = capabilities(process)?
        .iter()
        .filter_map(bit)
        .fold(0, |bits, at| bits | 1 << at);
    Ok(Request {
        app,
        argv: process.args.clone(),
        env: variables(&process.env),
        user: None,
        working_dir: Some(process.cwd.clone()).filter(|cwd| !cwd.is_empty()),
        terminal: terminal.then(|| window(process)),
        stdin,
        exactly: Some(Exactly {
            uid: process.user.uid,
            gid: process.user.gid,
            groups: process.user.additional_gids.clone(),
            capabilities: bits,
            no_new_privileges: process.no_new_privileges,
        }),
        privileged: false,
    })
}
