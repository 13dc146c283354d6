//! The units: what systemd in the guest reads, from mounts that are already decided.
//!
//! ```text
//! default.target ───── wants ──> isopod-agent.service                    (of the guest image)
//! arrival-N.target ─── wants ──> APP.service ── requires ──> bind mounts ──> /mnt (or /mnt/VOLUME), tmpfs and disk volumes
//! ```
//!
//! The apps' roots are no units: they are mounted before systemd reads any of these.
//!
//! Every unit says `DefaultDependencies=no`: there is no sysinit in this guest to wait for.

pub(crate) mod mount;
mod world;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use isopod_contract::launch::{Part, PidNamespace};
use isopod_spec::{AppName, Readiness, RestartPolicy};

pub use mount::{Binds, MountUnit, Mounts, Work};
pub(crate) use mount::{Selected, flag_options, words};
pub(crate) use world::{Sys, World};

use crate::apps::AppPlan;
use crate::apps::lifecycle::AppLifecycle;
use crate::apps::process::Process;
use crate::apps::{last_words, launch};
use crate::guest::entry::{EntryKind, WriteText};
use crate::guest::tree::GuestTree;
use crate::layout::{self, LAUNCH_AGENT, LAUNCH_DIR, LAUNCH_FAILURE, LAUNCH_FILE, LAUNCH_PIDS};
use crate::systemd::unit::{self, UnitFile, Unwritable};

/// What the app's service needs to know besides its process.
pub(crate) struct AppUnit {
    pub name: AppName,
    pub process: Process,
    /// Whether its standard input comes from the caller.
    pub stdin: bool,
    pub lifecycle: AppLifecycle,
    /// Where its file for last words is bound.
    pub last_words: Option<PathBuf>,
    /// Whether the pod sets parameters of the kernel.
    pub sysctls: bool,
    /// What it sees of the kernel.
    pub world: World,
    /// The mounts that it needs.
    pub mounts: Selected,
}

impl AppUnit {
    /// The service's name.
    #[must_use]
    pub(crate) fn unit(&self) -> String {
        app_unit(&self.name)
    }

    /// The unit file.
    ///
    /// # Errors
    /// [`Unwritable`] where systemd cannot express a path.
    pub(crate) fn file(&self) -> Result<UnitFile, Unwritable> {
        let mounts = self
            .mounts
            .iter()
            .map(MountUnit::name)
            .collect::<Vec<_>>()
            .join(" ");
        let unit = vec![
            ("Description", format!("App {}", self.name)),
            ("DefaultDependencies", "no".to_owned()),
            ("Requires", mounts.clone()),
            ("After", mounts),
        ];
        // The agent starts it when they have come so far; systemd stops them only when it has stopped.
        let others = self.lifecycle.depends_on.iter();
        let others = others.map(|dependency| ("After", app_unit(&dependency.app)));
        // The agent restarts it, with delays of its own: systemd must not find that too often.
        let limit =
            (self.lifecycle.restart != RestartPolicy::No).then(|| ("StartLimitIntervalSec", "0".to_owned()));
        // What the pod sets of the kernel's parameters is as much asked for as its volumes are.
        let sysctls = self
            .sysctls
            .then(|| ("AssertPathExists", format!("!{}", layout::SYSCTL_ERRORS)));
        let unit = unit
            .into_iter()
            .chain(others)
            .chain(limit)
            .chain(sysctls)
            .chain(self.assertions()?)
            .collect();
        Ok(UnitFile::default()
            .section("Unit", unit)
            .section("Service", self.service()?))
    }

    fn assertions(&self) -> Result<Vec<(&'static str, String)>, Unwritable> {
        assertions(self.mounts.iter())
    }

    fn service(&self) -> Result<Vec<(&'static str, String)>, Unwritable> {
        let root = layout::app_root(&self.name);
        let own = layout::app_dir(&self.name);
        let pipe = |name: &str| format!("file:{}", own.join(name).display());
        let process = &self.process;
        let [stdin, stdout, stderr] = match (process.tty, self.stdin) {
            // Opened once for reading and writing, since it is the same file (systemd.exec(5), `StandardOutput=`).
            (true, _) => ["terminal"; 3].map(pipe),
            (false, true) => ["stdin", "stdout", "stderr"].map(pipe),
            (false, false) => ["null".to_owned(), pipe("stdout"), pipe("stderr")],
        };
        let mut service: Vec<(&'static str, String)> = vec![
            ("Type", "exec".into()),
            ("RootDirectory", unit::path_value(&root)?),
            // The agent's program, which becomes the app's; it has no use for a directory of its own within `/dev`.
            (
                "BindReadOnlyPaths",
                format!(
                    "{}:{LAUNCH_DIR} {}:{LAUNCH_DIR}/{LAUNCH_AGENT}",
                    layout::app_launch(&self.name).display(),
                    layout::AGENT
                ),
            ),
            (
                "BindPaths",
                format!(
                    "{}:{LAUNCH_DIR}/{LAUNCH_FAILURE}",
                    layout::app_failure(&self.name).display()
                ),
            ),
            ("ExecStart", exec_line(Part::Main)),
            ("StandardInput", stdin),
            ("StandardOutput", stdout),
            ("StandardError", stderr),
            ("KillSignal", process.stop_signal.clone()),
            // The agent counts the grace: it may be longer than systemd's default.
            ("TimeoutStopSec", "infinity".into()),
            // TERM to the program, KILL to whatever it leaves: what container runtimes do.
            ("KillMode", "mixed".into()),
            ("IgnoreSIGPIPE", "no".into()),
            ("UMask", "0022".into()),
            ("OOMPolicy", process.limits.oom_policy().into()),
            // What the statistics show; processor time is counted anyway.
            ("MemoryAccounting", "yes".into()),
            ("IOAccounting", "yes".into()),
            ("TasksAccounting", "yes".into()),
        ];
        // As rkt did with the same handlers. Each lives in the app's world, and neither has a deadline of its own.
        if process.pre_start.is_some() {
            service.push(("ExecStartPre", exec_line(Part::PreStart)));
            service.push(("TimeoutStartSec", "infinity".into()));
        }
        if process.post_stop.is_some() {
            service.push(("ExecStopPost", exec_line(Part::PostStop)));
        }
        if let Some(path) = &self.last_words {
            let file = last_words::file(&self.name, &self.lifecycle.last_words);
            let [file, path] = [unit::path_text(&file)?, unit::path_text(path)?].map(unit::word);
            service.push(("BindPaths", format!("{file}:{path}")));
        }
        if self.lifecycle.readiness == Readiness::Notify {
            // The agent receives it, not systemd: the unit is active as soon as the program executes.
            let socket = layout::app_notify_socket(&self.name);
            service.push((
                "BindReadOnlyPaths",
                format!("{}:{}", socket.display(), layout::NOTIFY_SOCKET),
            ));
        }
        service.extend(self.world.settings(&self.name));
        service.extend(process.limits.settings(process.processes.helpers()));
        Ok(service)
    }

    /// Adds the service, what it executes and its pipes.
    ///
    /// # Errors
    /// [`Unwritable`], as [`AppUnit::file`].
    pub(crate) fn add(self, tree: &mut GuestTree) -> Result<(), Unwritable> {
        self.service()?;
        let unit = self.unit();
        let own = layout::app_dir(&self.name);
        // Only root opens the pipes by their names; the app, whoever it is, may open them again as /dev/stdout.
        tree.directory(&own, 0o700);
        let dev = layout::app_dev(&self.name);
        tree.directory(&dev, 0o755);
        tree.file(
            &last_words::file(&self.name, &self.lifecycle.last_words),
            "",
            0o666,
        );
        let launch = layout::app_launch(&self.name);
        let text = serde_json::to_string(&launch::launch(
            &self.process,
            &self.lifecycle,
            self.world.sys == Sys::Pod,
        ));
        tree.file(&launch.join(LAUNCH_FILE), text.unwrap_or_default(), 0o600);
        // What is mounted on them.
        let pids = (self.process.processes == PidNamespace::Pod).then_some(LAUNCH_PIDS);
        for name in [LAUNCH_AGENT, LAUNCH_FAILURE].into_iter().chain(pids) {
            tree.file(&launch.join(name), "", 0o600);
        }
        tree.file(&layout::app_failure(&self.name), "", 0o600);
        // Standard input is the agent's to make: a named pipe has no end for whoever opens it once more. So is a terminal.
        for name in ["stdout", "stderr"].into_iter().filter(|_| !self.process.tty) {
            tree.add(&own.join(name), EntryKind::Fifo, 0o666);
        }
        tree.deferred(&Path::new(layout::UNIT_DIR).join(&unit), self, 0o644);
        Ok(())
    }
}

impl WriteText for AppUnit {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let file = self
            .file()
            .map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))?;
        out.write_all(file.text().as_bytes())
    }
}

/// systemd looks, just before it starts the app, whether each mount is there and read-only where it must be. The
/// agent looks once more, at the file system type too, before the app counts as started.
pub(crate) fn assertions<'a>(
    mounts: impl Iterator<Item = &'a MountUnit>,
) -> Result<Vec<(&'static str, String)>, Unwritable> {
    let mut assertions = Vec::new();
    for mount in mounts {
        let place = unit::path_value(&mount.place)?;
        if mount.read_only {
            assertions.push(("AssertPathIsReadWrite", format!("!{place}")));
        }
        assertions.push(("AssertPathIsMountPoint", place));
    }
    Ok(assertions)
}

/// The unit that runs an app.
pub(crate) fn app_unit(app: &AppName) -> String {
    format!("{app}.service")
}

/// `ExecStart=` and its kin. What is executed is not a word of theirs: systemd would refuse some paths.
fn exec_line(part: Part) -> String {
    format!(
        "@{LAUNCH_DIR}/{LAUNCH_AGENT} isopod-agent become {}",
        part.as_str()
    )
}

/// The slice of a pod's apps whose limits bind them together.
pub(crate) const POD_SLICE: &str = "pod.slice";

/// Puts the services `apps` into a slice of their own with `settings`, where there are any, or where they keep
/// `memory_low` of what they ask for: a unit keeps no more than its slice does (systemd.resource-control(5),
/// `MemoryLow=`).
pub(crate) fn write_slice<'a>(
    tree: &mut GuestTree,
    mut settings: Vec<(&'static str, String)>,
    memory_low: Option<u64>,
    apps: impl Iterator<Item = &'a str>,
) {
    settings.extend(memory_low.map(|bytes| ("MemoryLow", bytes.to_string())));
    if settings.is_empty() {
        return;
    }
    let dir = Path::new(layout::UNIT_DIR);
    let text = UnitFile::default().section("Slice", settings).text();
    tree.file(&dir.join(POD_SLICE), text, 0o644);
    apps.for_each(|app| join(tree, app));
}

/// Puts services that come later into the slice of the pod's apps, where `there` says that those are in one, or where they
/// bring one; whether they are in one.
pub(crate) fn join_slice<'a>(tree: &mut GuestTree, there: bool, apps: impl Iterator<Item = &'a str>) -> bool {
    let dir = Path::new(layout::UNIT_DIR);
    if !there {
        return tree.entries.contains_key(&dir.join(POD_SLICE));
    }
    // That of the pod binds those that come, too.
    tree.entries.remove(&dir.join(POD_SLICE));
    apps.for_each(|app| join(tree, app));
    true
}

fn join(tree: &mut GuestTree, app: &str) {
    let within = vec![("Slice", POD_SLICE.to_owned())];
    let text = UnitFile::default().section("Service", within).text();
    tree.file(
        &Path::new(layout::UNIT_DIR).join(format!("{app}.d/slice.conf")),
        text,
        0o644,
    );
}

/// Writes the target of an arrival: it starts the apps that wait for nothing, and names the others, since systemd forgets how
/// a unit ended that no other names.
pub(crate) fn write_target(tree: &mut GuestTree, unit: &str, apps: &[AppPlan], waits: bool) {
    let starts = |app: &&AppPlan| app.lifecycle.depends_on.is_empty() && !waits;
    let names = |apps: &mut dyn Iterator<Item = &AppPlan>| {
        let units = apps.map(|app| app.unit.as_str());
        units.collect::<Vec<_>>().join(" ")
    };
    let mut settings = vec![
        ("Description", "What has come".to_owned()),
        ("DefaultDependencies", "no".to_owned()),
        ("Wants", names(&mut apps.iter().filter(starts))),
    ];
    let held = names(&mut apps.iter().filter(|app| !starts(app)));
    // It waits for none of them: it does not start them.
    settings.extend((!held.is_empty()).then_some(("After", held)));
    let text = UnitFile::default().section("Unit", settings).text();
    tree.file(&Path::new(layout::UNIT_DIR).join(unit), text, 0o644);
}
