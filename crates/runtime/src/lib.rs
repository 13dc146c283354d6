//! A pod's life: facts are gathered, a plan is prepared as a directory, started as processes, supervised and removed.
//!
//! ```text
//! PodSpec -> gather -> Facts -> (isopod-plan) -> PodPlan -> prepare -> PodDir -> run -> Outcome
//! ```
//!
//! What happens is decided in `isopod-plan`; this crate looks, writes, starts and waits. It prints nothing and reads
//! neither the environment nor the terminal: [`Settings`] says what it needs of them.

pub mod app;
mod arrival_files;
pub mod bounded_log;
mod capture;
mod clock;
pub mod control;
mod disk;
pub mod doctor;
pub mod events;
pub mod gather;
pub mod hotplug;
pub mod identify;
pub mod joining;
mod json_file;
pub mod logs;
pub mod named_volume;
pub mod networks;
pub mod pods;
pub mod ports;
pub mod prepare;
mod private;
pub mod process;
mod programs;
mod record;
pub mod resolver;
mod routes;
pub mod run;
pub mod signals;
mod socket;
mod sparse;
pub mod state_dir;
mod subordinates;
mod tail;
pub mod template_maker;
pub mod templates;
pub mod writable;
pub mod write_tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

use isopod_image::registry::Registries;
use isopod_spec::{Architecture, GuestKernel, StartMode};
use isopod_vm::launch;

/// What this crate needs to know of its caller.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory of all state: images, guest images, pods.
    pub state_dir: PathBuf,
    /// The program `isopod` itself, which every process of a VM begins as ([`isopod_vm::launcher`]).
    pub isopod: PathBuf,
    /// The guest agent's binary, where it is not the one that packages install.
    pub agent: Option<PathBuf>,
    /// The kernel of guests whose pods do not name one, where they are made of what the host has.
    pub kernel: GuestKernel,
    /// Directories with distributions that guests can be made of: for a pod of another architecture than the host's, the first one of it.
    pub guest_roots: Vec<PathBuf>,
    /// The directories of the search path.
    pub search_path: Vec<PathBuf>,
    /// What relative sources of volumes are relative to.
    pub working_dir: PathBuf,
    /// The registries that images are fetched from.
    pub registries: Registries,
    /// How pods start that do not say it.
    pub start: StartMode,
    /// The caller's environment, for `-e NAME`.
    pub env: BTreeMap<String, String>,
    /// Files of cgroups (`cgroup.procs`) that take what works for pods to come, and not for the one that this process supervises: the maker of a
    /// template. Empty: it stays where this process is.
    pub aside: Vec<PathBuf>,
}

impl Settings {
    /// `isopod` itself, to be run with a command of its own that finds the same programs, agent and state as this process, and has
    /// nothing else of its environment.
    ///
    /// # Errors
    /// A directory of the search path has a colon in its name.
    pub fn own_command(&self) -> io::Result<Command> {
        let mut command = launch::command(&self.isopod);
        let path = env::join_paths(&self.search_path).map_err(io::Error::other)?;
        command
            .arg("--dir")
            .arg(&self.state_dir)
            .env("PATH", path)
            .current_dir("/");
        if let Some(agent) = &self.agent {
            command.env("ISOPOD_AGENT", agent);
        }
        Ok(command)
    }
}

/// The guest agent of the command `isopod` for that architecture, where it is installed with it: in the same directory, or in
/// `libexec/isopod` beside that. `None` leaves it to be looked for where packages put it, by what needs it: a command without a guest
/// does not.
#[must_use]
pub fn agent_of(isopod: &Path, architecture: Architecture) -> Option<PathBuf> {
    let bin = isopod.parent()?;
    let name = isopod_guest::agent_name(architecture);
    let libexec = bin
        .parent()
        .map(|prefix| prefix.join("libexec/isopod").join(&name));
    std::iter::once(bin.join(&name))
        .chain(libexec)
        .find(|place| place.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_isopod_finds_the_same_programs_agent_and_state() {
        let settings = Settings {
            state_dir: "/state".into(),
            isopod: "/opt/isopod".into(),
            agent: Some("/opt/agent".into()),
            kernel: GuestKernel::default(),
            guest_roots: Vec::new(),
            search_path: vec!["/run/current-system/sw/bin".into(), "/bin".into()],
            working_dir: "/home".into(),
            registries: Registries::default(),
            start: StartMode::Auto,
            env: BTreeMap::new(),
            aside: Vec::new(),
        };
        let command = settings.own_command().unwrap();
        let args: Vec<_> = command.get_args().collect();
        assert_eq!(args, ["--dir", "/state"]);
        let env: BTreeMap<_, _> = command.get_envs().collect();
        let value = |name: &str| env[std::ffi::OsStr::new(name)].unwrap();
        assert_eq!(value("PATH"), "/run/current-system/sw/bin:/bin");
        assert_eq!(value("ISOPOD_AGENT"), "/opt/agent");
        assert_eq!(env.len(), 2);
    }
}
