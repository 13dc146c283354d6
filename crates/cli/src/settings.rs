//! What the environment says: where state is kept, where programs are.

use std::env;
use std::path::{Path, PathBuf};

use isopod_runtime::{Settings, state_dir};
use isopod_spec::{Architecture, GuestKernel, KernelChoice, StartMode};

use crate::output::{LogLevel, Report};
use crate::registries;

/// What applies to every command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Global {
    /// `--dir`: where images and pods are kept; `None`: the default place.
    pub(crate) dir: Option<PathBuf>,
    /// `--log-level`.
    pub(crate) log_level: LogLevel,
}

/// Reads the environment.
///
/// # Errors
/// A [`Report`] where it does not say what is needed.
pub(crate) fn from_environment(global: &Global) -> Result<Settings, Report> {
    let working_dir = env::current_dir().map_err(|e| {
        Report::of(&e).hint(Some(
            "the working directory no longer exists: change to another".into(),
        ))
    })?;
    let isopod = env::current_exe()?;
    let state_dir = match &global.dir {
        Some(dir) => working_dir.join(dir),
        None => default_dir()?,
    };
    state_dir::check(&state_dir)?;
    let path = env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let search_path: Vec<PathBuf> = env::split_paths(&path).filter(|dir| dir.is_absolute()).collect();
    Ok(Settings {
        agent: find_agent(&isopod, &working_dir),
        state_dir,
        isopod,
        registries: registries::from_environment(&search_path),
        search_path,
        guest_roots: guest_roots(&working_dir),
        working_dir,
        start: start_mode()?,
        kernel: guest_kernel(),
        env: env::vars_os()
            .filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)))
            .collect(),
        aside: Vec::new(),
    })
}

/// `/var/lib/isopod` for root, otherwise below the user's data directory (XDG Base Directory Specification).
pub(crate) fn default_dir() -> Result<PathBuf, Report> {
    let effective_root =
        std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    if effective_root {
        return Ok("/var/lib/isopod".into());
    }
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_DATA_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".local/share")))
        .map(|data| data.join("isopod"))
        .ok_or_else(|| {
            Report::text(
                "no directory to keep images and pods in is known: neither XDG_DATA_HOME nor HOME is set",
            )
            .hint(Some("name a directory: `--dir DIR`".into()))
        })
}

/// `ISOPOD_START`: how pods start that do not say `--start`.
fn start_mode() -> Result<StartMode, Report> {
    let Some(text) = env::var_os("ISOPOD_START") else {
        return Ok(StartMode::Auto);
    };
    if text.is_empty() {
        return Ok(StartMode::Auto);
    }
    text.to_str().and_then(StartMode::read).ok_or_else(|| {
        Report::text(format!(
            "`ISOPOD_START` is `{}`, which is not auto, warm or cold",
            text.display().to_string().escape_debug()
        ))
    })
}

/// `ISOPOD_KERNEL` and `ISOPOD_MODULES`: the kernel of guests whose pods do not name one.
fn guest_kernel() -> GuestKernel {
    let modules = env::var_os("ISOPOD_MODULES").filter(|modules| !modules.is_empty());
    GuestKernel {
        kernel: env::var_os("ISOPOD_KERNEL").and_then(|kernel| KernelChoice::read(&kernel)),
        modules: modules.map(PathBuf::from),
        root: None,
    }
}

/// `ISOPOD_GUEST_ROOT`: directories with distributions that guests can be made of, with colons between them.
fn guest_roots(working_dir: &Path) -> Vec<PathBuf> {
    let roots = env::var_os("ISOPOD_GUEST_ROOT").unwrap_or_default();
    let roots = env::split_paths(&roots).filter(|root| !root.as_os_str().is_empty());
    roots.map(|root| working_dir.join(root)).collect()
}

/// The guest agent: named by `ISOPOD_AGENT`, or beside the command. None leaves it to be looked for where packages put it, by what
/// needs it: a command without a guest does not.
fn find_agent(isopod: &Path, working_dir: &Path) -> Option<PathBuf> {
    if let Some(agent) = env::var_os("ISOPOD_AGENT") {
        return Some(working_dir.join(agent));
    }
    isopod_runtime::agent_of(isopod, Architecture::HOST)
}
