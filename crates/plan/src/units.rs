//! The units: what systemd in the guest is told, from mounts that are already decided.
//!
//! ```text
//! default.target ── wants ──> isopod-agent.service
//!        └───────── wants ──> APP.service ── requires ──> bind mounts ──> /mnt (or /mnt/VOLUME), tmpfs and disk volumes
//! ```
//!
//! The apps' roots are no units: they are mounted before systemd begins.
//!
//! Every unit says `DefaultDependencies=no`: there is no sysinit in this guest to wait for.

use std::path::{Path, PathBuf};

use isopod_spec::{AppName, MountFlags, RestartPolicy, RootfsAccess, VolumeName};

use crate::guest_tree::{EntryKind, GuestTree};
use crate::life::Life;
use crate::profile::{Nesting, Profile, Propagation, ReadOnlyStrategy, Requirements};
use crate::unit::{self, UnitFile, Unwritable};
use crate::volumes::VolumeMount;
use crate::{layout, unit_name};

/// The agent's unit.
const AGENT_UNIT: &str = "isopod-agent.service";

/// A mount in the guest, as systemd will make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountUnit {
    /// The unit's name.
    pub name: String,
    /// What is mounted: a tag, a device, a directory.
    pub what: PathBuf,
    /// Where.
    pub place: PathBuf,
    /// File system type.
    pub fs_type: String,
    /// Options, none empty.
    pub options: Vec<String>,
    /// The mounts that must be there before it.
    pub after: Vec<String>,
    /// The services that must not start without it.
    pub required_by: Vec<String>,
    /// The volume that it brings; `None` for a part of an app's root.
    pub volume: Option<VolumeName>,
    /// Whether it is read-only.
    pub read_only: bool,
}

impl MountUnit {
    /// A mount of `what` at `place`.
    #[must_use]
    pub fn new(what: impl Into<PathBuf>, place: impl Into<PathBuf>, fs_type: &str) -> Self {
        let place = place.into();
        Self {
            name: unit_name::for_path(&place, ".mount"),
            what: what.into(),
            place,
            fs_type: fs_type.to_owned(),
            options: Vec::new(),
            after: Vec::new(),
            required_by: Vec::new(),
            volume: None,
            read_only: false,
        }
    }

    /// The bind mount of `what`, a volume or a part of one, that `mount` asks for in the app of `service`.
    #[must_use]
    pub fn bind(
        what: PathBuf,
        place: PathBuf,
        mount: &VolumeMount,
        profile: &Profile,
        service: &str,
    ) -> Self {
        let mut unit = Self::new(what, place, profile.bind_type);
        unit.options = bind_options(profile, mount.read_only, mount.flags);
        unit.read_only = mount.read_only;
        unit.volume = Some(mount.volume.clone());
        unit.required_by = vec![service.to_owned()];
        unit
    }

    /// The unit file.
    ///
    /// # Errors
    /// [`Unwritable`] where a path cannot be told to systemd; mounts that passed `volumes` have none.
    pub fn file(&self, profile: &Profile) -> Result<UnitFile, Unwritable> {
        let place = unit::path_value(&self.place)?;
        let description = unit::description(&format!("Mount unit for {}", self.place.display()));
        let no = if profile.requirements == Requirements::Links {
            "no"
        } else {
            "false"
        };
        let mut section = vec![
            ("Description", description),
            ("DefaultDependencies", no.to_owned()),
        ];
        if !self.required_by.is_empty() {
            section.push(("Before", self.required_by.join(" ")));
        }
        if profile.nesting == Nesting::Stated && !self.after.is_empty() {
            section.push(("Requires", self.after.join(" ")));
            section.push(("After", self.after.join(" ")));
        }
        let mut mount = vec![
            ("What", unit::path_value(&self.what)?),
            ("Where", place),
            ("Type", self.fs_type.clone()),
        ];
        if !self.options.is_empty() {
            mount.push(("Options", unit::specifiers(&self.options.join(","))));
        }
        if profile.requirements == Requirements::Links {
            // There is no journal, without which all that systemd would do with these words is to drop them.
            mount.push(("StandardOutput", "null".into()));
            mount.push(("StandardError", format!("file:{}/%n", layout::ERROR_DIR)));
        }
        let file = UnitFile::default()
            .section("Unit", section)
            .section("Mount", mount);
        Ok(match profile.requirements {
            Requirements::Links => file,
            Requirements::InstallSection => {
                file.section("Install", vec![("RequiredBy", self.required_by.join(" "))])
            }
        })
    }

    /// Writes the unit, its links, and under rkt's strategy the service that makes it read-only.
    ///
    /// # Errors
    /// [`Unwritable`], as [`MountUnit::file`].
    pub fn write(&self, profile: &Profile, tree: &mut GuestTree) -> Result<(), Unwritable> {
        let dir = Path::new(layout::UNIT_DIR);
        tree.file(&dir.join(&self.name), self.file(profile)?.text(), 0o644);
        if profile.requirements == Requirements::Links {
            for service in &self.required_by {
                require(tree, service, &self.name);
            }
        }
        if self.read_only && profile.read_only == ReadOnlyStrategy::RemountService {
            let (name, file) = self.remount_service()?;
            tree.file(&dir.join(name), file.text(), 0o644);
        }
        Ok(())
    }

    /// rkt's way to a read-only mount: a service that remounts it. Where rkt wrote the path as it was, this quotes it
    /// when it holds anything that systemd would take apart.
    fn remount_service(&self) -> Result<(String, UnitFile), Unwritable> {
        let text = unit::path_text(&self.place)?;
        let special = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '\\' | '%');
        let expanded = text.contains("${") || text.contains("$$");
        let word = if expanded || text.contains(special) {
            unit::exec_word(text)
        } else {
            text.to_owned()
        };
        let mut remounted = self.place.as_os_str().to_owned();
        remounted.push("-remount");
        let name = unit_name::for_path(Path::new(&remounted), ".service");
        let description = unit::description(&format!("Remount read-only unit for {}", self.place.display()));
        let file = UnitFile::default()
            .section(
                "Unit",
                vec![
                    ("Description", description),
                    ("DefaultDependencies", "false".into()),
                    ("After", self.name.clone()),
                    ("Wants", self.name.clone()),
                ],
            )
            .section(
                "Service",
                vec![("ExecStart", format!("/usr/bin/mount -o remount,ro {word}"))],
            )
            .section("Install", vec![("RequiredBy", self.name.clone())]);
        Ok((name, file))
    }
}

/// Links `unit` so that `service` does not start without it: what `systemctl enable` makes of `RequiredBy=`.
fn require(tree: &mut GuestTree, service: &str, unit: &str) {
    let link = Path::new(layout::UNIT_DIR)
        .join(format!("{service}.requires"))
        .join(unit);
    tree.symlink(&link, format!("../{unit}"));
}

/// The options of a bind mount.
fn bind_options(profile: &Profile, read_only: bool, flags: MountFlags) -> Vec<String> {
    let mut options = vec!["bind".to_owned()];
    if profile.propagation == Propagation::Private {
        options.push("private".to_owned());
    }
    if read_only && profile.read_only == ReadOnlyStrategy::HostAndMount {
        options.push("ro".to_owned());
    }
    for (set, option) in [
        (flags.nosuid, "nosuid"),
        (flags.nodev, "nodev"),
        (flags.noexec, "noexec"),
    ] {
        if set {
            options.push(option.to_owned());
        }
    }
    options
}

/// What the app's service needs to know besides its process.
pub struct AppUnit<'a> {
    /// The app's name.
    pub name: &'a isopod_spec::AppName,
    /// What it executes.
    pub process: &'a crate::process::Process,
    /// Whether its standard input comes from the caller.
    pub stdin: bool,
    /// How it lives.
    pub life: &'a Life,
    /// Whether it may write to its root.
    pub rootfs: RootfsAccess,
    /// The mounts that it needs.
    pub mounts: Vec<&'a MountUnit>,
}

impl AppUnit<'_> {
    /// The service's name.
    #[must_use]
    pub fn unit(&self) -> String {
        app_unit(self.name)
    }

    /// The unit file.
    ///
    /// # Errors
    /// [`Unwritable`] where a path cannot be told to systemd.
    pub fn file(&self) -> Result<UnitFile, Unwritable> {
        let mounts = self
            .mounts
            .iter()
            .map(|m| m.name.as_str())
            .collect::<Vec<_>>()
            .join(" ");
        let unit = vec![
            ("Description", format!("App {}", self.name)),
            ("DefaultDependencies", "no".to_owned()),
            ("Requires", mounts.clone()),
            // The agent is ready when it holds the pipes open.
            ("After", format!("{AGENT_UNIT} {mounts}")),
        ];
        // The agent starts it when they have come so far; systemd stops them only when it has stopped.
        let others = self.life.depends_on.iter();
        let others = others.map(|dependency| ("After", app_unit(&dependency.app)));
        // The agent starts it anew, with delays of its own: systemd must not find that too often.
        let limit =
            (self.life.restart != RestartPolicy::No).then(|| ("StartLimitIntervalSec", "0".to_owned()));
        let unit = unit
            .into_iter()
            .chain(others)
            .chain(limit)
            .chain(self.assertions()?)
            .collect();
        Ok(UnitFile::default()
            .section("Unit", unit)
            .section("Service", self.service()?))
    }

    /// systemd looks, just before it starts the app, whether each mount is there and read-only where it must be. The
    /// agent looks once more, at the file system type too, before the app counts as started.
    fn assertions(&self) -> Result<Vec<(&'static str, String)>, Unwritable> {
        let mut assertions = Vec::new();
        for mount in &self.mounts {
            let place = unit::path_value(&mount.place)?;
            if mount.read_only {
                assertions.push(("AssertPathIsReadWrite", format!("!{place}")));
            }
            assertions.push(("AssertPathIsMountPoint", place));
        }
        Ok(assertions)
    }

    fn service(&self) -> Result<Vec<(&'static str, String)>, Unwritable> {
        let root = layout::app_root(self.name);
        let own = layout::app_dir(self.name);
        let pipe = |name: &str| format!("file:{}", own.join(name).display());
        let process = self.process;
        let stdin = if self.stdin {
            pipe("stdin")
        } else {
            "null".to_owned()
        };
        let mut service: Vec<(&'static str, String)> = vec![
            ("Type", "exec".into()),
            ("RootDirectory", unit::path_value(&root)?),
            // The guest's own file systems, bound in the app's namespace without a mount(8) each. MountAPIVFS= would
            // hide the image's /run.
            ("MountAPIVFS", "no".into()),
            ("BindReadOnlyPaths", format!("{}:/dev /sys", layout::APP_DEV)),
            ("BindPaths", "/dev/pts /dev/shm /proc".into()),
            // What a container's root may not write either: the guest's kernel is the pod's, not one app's.
            ("ReadOnlyPaths", "+/proc/sys +/proc/sysrq-trigger".into()),
            ("InaccessiblePaths", "-+/proc/kcore".into()),
            ("ExecStart", exec_line(process)),
            ("WorkingDirectory", unit::path_value(&process.working_dir)?),
            ("EnvironmentFile", own.join("env").display().to_string()),
            ("StandardInput", stdin),
            ("StandardOutput", pipe("stdout")),
            ("StandardError", pipe("stderr")),
            (
                "CapabilityBoundingSet",
                process
                    .capabilities
                    .iter()
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(" "),
            ),
            ("KillSignal", process.stop_signal.clone()),
            // The agent counts the grace: it may be longer than systemd's default.
            ("TimeoutStopSec", "infinity".into()),
            // TERM to the program, KILL to whatever it leaves: what container runtimes do.
            ("KillMode", "mixed".into()),
            ("IgnoreSIGPIPE", "no".into()),
            ("UMask", "0022".into()),
            ("OOMPolicy", "continue".into()),
        ];
        let own_variables = [
            "USER",
            "LOGNAME",
            "SHELL",
            "INVOCATION_ID",
            "SYSTEMD_EXEC_PID",
            "LANG",
        ];
        let foreign: Vec<&str> = own_variables
            .into_iter()
            .filter(|name| !process.env.contains_key(*name))
            .collect();
        service.push(("UnsetEnvironment", foreign.join(" ")));
        let identity = &process.identity;
        if (identity.uid, identity.gid) != (0, 0) || !identity.supplementary_gids.is_empty() {
            service.push(("User", identity.uid.to_string()));
            service.push(("Group", identity.gid.to_string()));
            let groups: Vec<String> = identity.supplementary_gids.iter().map(u32::to_string).collect();
            service.push(("SupplementaryGroups", groups.join(" ")));
        }
        Ok(service)
    }

    /// Writes the service, its environment and its pipes.
    ///
    /// # Errors
    /// [`Unwritable`], as [`AppUnit::file`].
    pub fn write(&self, tree: &mut GuestTree) -> Result<(), Unwritable> {
        let unit = self.unit();
        tree.file(
            &Path::new(layout::UNIT_DIR).join(&unit),
            self.file()?.text(),
            0o644,
        );
        if self.life.depends_on.is_empty() {
            want_at_boot(tree, &unit);
        }
        for mount in &self.mounts {
            require(tree, &unit, &mount.name);
        }
        let own = layout::app_dir(self.name);
        // Only root opens the pipes by their names; the app, whoever it is, may open them again as /dev/stdout.
        tree.directory(&own, 0o700);
        let env = self
            .process
            .env
            .iter()
            .map(|(name, value)| unit::environment_line(name, value));
        tree.file(&own.join("env"), env.collect::<String>(), 0o600);
        // Standard input is the agent's to make: a named pipe has no end for whoever opens it once more.
        for name in ["stdout", "stderr"] {
            tree.add(&own.join(name), EntryKind::Fifo, 0o666);
        }
        Ok(())
    }
}

/// The unit that runs an app.
pub(crate) fn app_unit(app: &AppName) -> String {
    format!("{app}.service")
}

/// `ExecStart=`: no variable is expanded (`:`), and the program keeps the name it was called by (`@`).
fn exec_line(process: &crate::process::Process) -> String {
    let path = process.executable.to_string_lossy();
    let words = process.argv.iter().map(|arg| format!(" {}", unit::word(arg)));
    format!(":@{}{}", unit::word(&path), words.collect::<String>())
}

/// Links `unit` so that the guest starts it when it boots.
pub fn want_at_boot(tree: &mut GuestTree, unit: &str) {
    let link = Path::new(layout::UNIT_DIR)
        .join("default.target.wants")
        .join(unit);
    tree.symlink(&link, format!("../{unit}"));
}

/// Writes the units that every pod has: the target and the agent. `held` are the apps' units that the agent starts.
pub fn write_common<'a>(tree: &mut GuestTree, held: impl Iterator<Item = &'a str>) {
    let dir = Path::new(layout::UNIT_DIR);
    let mut target = vec![
        ("Description", "The pod".into()),
        ("DefaultDependencies", "no".into()),
        // systemd isolates its default target, and tries a second way when it may not.
        ("AllowIsolate", "yes".into()),
    ];
    // It waits for none of them; systemd forgets how a unit ended that no other names.
    target.extend(held.map(|unit| ("After", unit.to_owned())));
    let target = UnitFile::default().section("Unit", target);
    tree.file(&dir.join("default.target"), target.text(), 0o644);
    let agent = UnitFile::default()
        .section(
            "Unit",
            vec![
                ("Description", "Isopod agent".into()),
                ("DefaultDependencies", "no".into()),
                // A guest without its agent is lost to the host, which sees the machine end (QEMU's -no-reboot).
                ("FailureAction", "reboot-immediate".into()),
                ("SuccessAction", "reboot-immediate".into()),
            ],
        )
        .section(
            "Service",
            vec![
                ("Type", "notify".into()),
                ("ExecStart", format!("{} serve", layout::AGENT)),
                ("StandardInput", "null".into()),
                ("StandardOutput", "null".into()),
                ("StandardError", "null".into()),
                ("OOMScoreAdjust", "-1000".into()),
            ],
        );
    tree.file(&dir.join(AGENT_UNIT), agent.text(), 0o644);
    want_at_boot(tree, AGENT_UNIT);
}
