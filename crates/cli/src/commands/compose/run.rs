//! `isopod compose run`: a command in a service's container of its own.
//!
//! ```text
//! the project is up ── what it depends on comes, where it is missing ──┐
//! it is not, and the service needs others ── they start, held ─────────┴─> one more app of the project's pod
//! it is not, and it needs none ───────────────────────────────────────────> a pod of its own
//! ```
//!
//! As with compose, its ports are not published unless that is asked for, and what it depends on stays.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use isopod_runtime::Settings;
use isopod_runtime::pods::files::{Keep, Stdin};
use isopod_runtime::pods::{PodEntry, Pods, new_uuid};
use isopod_spec::compose::Project;
use isopod_spec::compose::one_off::{OneOff, OneOffOptions, publish};
use isopod_spec::{App, AppName, PodSpec, PortForward, Vm};

use super::up::{check_volumes, pull};
use super::{app_of, awaited};
use crate::args::{PodSource, RunArgs, RunMode, read_words, switch};
use crate::compose_file::{Extent, ProjectArgs};
use crate::detach_keys::DetachKeys;
use crate::failure::Failure;
use crate::manifest::{self, Asked};
use crate::output::{self, Report};
use crate::pod_files::Purpose;
use crate::pods::{self, app_number, ask};
use crate::{arrival, background, commands, preparation};

const NOTES: &str = "\
The services that it depends on are started before, and keep running. The command runs as one more app of the project's \
pod, or in a pod of its own if the project is not up and the service depends on nothing.

Examples:
  isopod compose run --rm web python manage.py migrate
  isopod compose run -T db pg_dump -U app app > dump.sql
";

/// Run a command in a new container of a service
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = NOTES)]
#[command(mut_arg("interactive", switch::on))]
pub(super) struct Run {
    /// Leave it running, and print its name
    #[arg(short, long)]
    detach: bool,
    /// Give it no terminal; without this flag it has one if this command has one
    #[arg(short = 'T', long = "no-TTY", visible_alias = "no-tty")]
    no_tty: bool,
    /// Give it this command's standard input, as without this flag; `--interactive=false` gives it none
    #[arg(short, long)]
    interactive: bool,
    /// Remove it when it has ended
    #[arg(long)]
    rm: bool,
    /// Its name [default: PROJECT-SERVICE-run-, and 12 digits]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Start nothing that the service depends on
    #[arg(long)]
    no_deps: bool,
    /// Set an environment variable; without a value, to this command's own; may be repeated
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<OsString>,
    /// Run it as this user [default: the service's]
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<OsString>,
    /// Start it there [default: where the service starts]
    #[arg(short, long, value_name = "PATH")]
    workdir: Option<OsString>,
    /// Execute this in place of the service's entrypoint
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<OsString>,
    /// Mount a directory or a volume, as for `isopod run`; may be repeated
    #[arg(short, long = "volume", value_name = "SOURCE:TARGET")]
    volumes: Vec<OsString>,
    /// Publish a port, as for `isopod run`; may be repeated
    #[arg(short, long = "publish", value_name = "PORT")]
    publish: Vec<OsString>,
    /// Publish the service's own ports
    #[arg(short = 'P', long)]
    service_ports: bool,
    /// Give it a capability; may be repeated
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<OsString>,
    /// Take a capability from it; may be repeated
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<OsString>,
    /// Ask registries for images: always, missing or never
    #[arg(long, value_name = "POLICY", value_parser = pull)]
    pull: Option<isopod_spec::PullPolicy>,
    /// The service
    #[arg(value_name = "SERVICE")]
    service: String,
    /// The command and its arguments [default: the service's]
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Run {
    /// Runs it; the exit status is the command's, unless it is left running.
    ///
    /// # Errors
    /// A [`Failure`] when it could not be run to its end.
    pub(super) fn execute(&self, args: &ProjectArgs, settings: &Settings) -> Result<ExitCode, Failure> {
        let asked = std::slice::from_ref(&self.service);
        let mut project = args.read(Extent::ToStart(asked), settings)?;
        if let Some(pull) = self.pull {
            project.pod.set_pull(pull);
        }
        check_volumes(&project, settings)?;
        let service = app_of(&project, &self.service)?;
        let needed = match self.no_deps {
            true => Vec::new(),
            false => project.needed_by(&service),
        };
        let others = match needed.is_empty() {
            true => None,
            false => Some(args.read(Extent::Silent(&needed), settings)?),
        };
        let one_off = self.one_off(&project, others.as_ref(), &service, settings)?;
        let pods = pods::pods(settings)?;
        let there = pods::named(&pods, &project.name)?;
        let there = there.filter(|pod| pod.state.is_live() || others.is_some());
        let pod = match (there, others) {
            (Some(pod), _) if !one_off.ports.is_empty() => {
                let what = format!(
                    "project `{}` already exists, and the ports of a pod are chosen when it is made",
                    pod.label()
                );
                let hint =
                    "end it first: `isopod compose down`; or leave `--publish` and `--service-ports` out";
                return Err(Report::text(what).hint(Some(hint.into())).into());
            }
            (Some(pod), None) => pod,
            (Some(pod), Some(others)) => {
                if !pod.state.is_live() {
                    background::restart(&pods, &pod, settings)?;
                }
                complete(&pods, arrival::live(&pods, &pod.uuid)?, &others, settings)?
            }
            (None, Some(others)) => start(&pods, &project, others, one_off.ports.clone(), settings)?,
            (None, None) => return self.alone(&project, one_off, settings),
        };
        if !self.no_deps {
            for app in &one_off.spec.apps {
                awaited(&pods, &pod, &app.depends_on)?;
            }
        }
        self.in_pod(&pods, &pod, one_off, settings)
    }

    /// The service with what the flags say.
    fn one_off(
        &self,
        project: &Project,
        others: Option<&Project>,
        service: &AppName,
        settings: &Settings,
    ) -> Result<OneOff, Failure> {
        let suffix: String = new_uuid().chars().filter(|c| *c != '-').take(12).collect();
        let options = OneOffOptions {
            name: self.name.as_deref(),
            suffix: &suffix,
            flags: &self.flags(settings)?,
            command: &self.command,
            tty: self.has_terminal(),
            stdin: self.interactive && !self.detach,
            service_ports: self.service_ports,
        };
        Ok(project.one_off(service, others, &options)?)
    }

    /// What the flags say, read as those of `isopod run` are.
    fn flags(&self, settings: &Settings) -> Result<PodSpec, Failure> {
        let mut words: Vec<OsString> = Vec::new();
        let mut say = |flag: &str, values: &[OsString]| {
            for value in values {
                words.extend([OsString::from(flag), value.clone()]);
            }
        };
        say("--env", &self.env);
        say("--user", self.user.as_slice());
        say("--workdir", self.workdir.as_slice());
        say("--entrypoint", self.entrypoint.as_slice());
        say("--volume", &self.volumes);
        say("--publish", &self.publish);
        say("--cap-add", &self.cap_add);
        say("--cap-drop", &self.cap_drop);
        // The image is the service's.
        words.push("oci:service".into());
        let read = manifest::pods(&read_words(words)?, &Purpose::Preparation, settings)?;
        let spec = read.into_iter().next().map(|asked| asked.spec);
        Ok(spec.ok_or_else(|| Report::text("the flags are those of no app"))?)
    }

    fn has_terminal(&self) -> bool {
        !self.no_tty && !self.detach && std::io::stdin().is_terminal()
    }

    /// One more app of a pod that runs.
    fn in_pod(
        &self,
        pods: &Pods,
        pod: &PodEntry,
        one_off: OneOff,
        settings: &Settings,
    ) -> Result<ExitCode, Failure> {
        let mut spec = one_off.spec;
        let name = spec.apps[0].name.clone();
        // What it depends on is there, and was waited for.
        spec.apps.iter_mut().for_each(|app| app.depends_on.clear());
        let asked = Asked::plain(spec);
        let pod = arrival::add(pods, &pod.uuid, &asked, !self.detach, settings)?;
        if self.detach {
            output::data(&format!("{name}\n"));
            return Ok(ExitCode::SUCCESS);
        }
        let result = arrival::run(pods, &pod, &name, &DetachKeys::default());
        let ended = pods.entry(&pod.uuid).filter(|pod| pod.state.is_live());
        if let Some(pod) = ended.filter(|_| self.rm) {
            let app = app_number(&pod, &name)?;
            // One that was left running goes with the project.
            let _ = ask(&pod, &isopod_runtime::control::Request::RemoveApp { app });
        }
        result
    }

    /// A pod of its own.
    fn alone(&self, project: &Project, one_off: OneOff, settings: &Settings) -> Result<ExitCode, Failure> {
        let pod = project.of_one_off(&self.service, one_off)?;
        let name = pod.name.clone();
        let source = PodSource::Apps {
            spec: Box::new(pod),
            env_files: Vec::new(),
            volumes_from: Vec::new(),
            label_files: Vec::new(),
        };
        let run = RunArgs {
            name,
            mode: match self.detach {
                true => RunMode::Detached,
                false => RunMode::Foreground,
            },
            stdin: match self.interactive && !self.detach {
                true => Stdin::Attached,
                false => Stdin::Empty,
            },
            remove: self.rm,
            ..RunArgs::of(source)
        };
        commands::run::run(&run, settings)
    }
}

/// Starts what a service depends on, as the project's pod, which continues when that ends.
fn start(
    pods: &Pods,
    project: &Project,
    mut others: Project,
    ports: Vec<PortForward>,
    settings: &Settings,
) -> Result<PodEntry, Failure> {
    others.pod.held = true;
    // There is to be room for the service, too.
    others.pod.vm = project.pod.vm.clone();
    publish(&mut others.pod, ports)?;
    let source = PodSource::Apps {
        spec: Box::new(others.pod),
        env_files: Vec::new(),
        volumes_from: Vec::new(),
        label_files: Vec::new(),
    };
    for claim in preparation::pods(&RunArgs::of(source), Keep::UntilRemoved, settings)? {
        if let Some(failures) = background::start(claim, settings)? {
            output::notice(&failures);
        }
    }
    let found = pods::named(pods, &project.name)?;
    Ok(found.ok_or_else(|| Report::text("the project ended before its services ran"))?)
}

/// Adds to a project that is up what a service depends on and what is not there.
fn complete(
    pods: &Pods,
    mut pod: PodEntry,
    others: &Project,
    settings: &Settings,
) -> Result<PodEntry, Failure> {
    let present = |pod: &PodEntry, name: &AppName| {
        let record = pod.record.as_ref();
        record.is_some_and(|record| record.present().any(|(_, app)| app.name == *name))
    };
    let mut missing: Vec<&App> = others.pod.apps.iter().collect();
    missing.retain(|app| !present(&pod, &app.name));
    while !missing.is_empty() {
        let ready = |app: &&App| app.depends_on.iter().all(|needed| present(&pod, &needed.app));
        // The file was refused where they depend on each other in a circle.
        let next = missing.iter().position(ready).unwrap_or_default();
        let mut app = missing.remove(next).clone();
        pod = awaited(pods, &pod, &app.depends_on)?;
        app.depends_on.clear();
        let mut volumes = others.pod.volumes.clone();
        volumes.retain(|volume| app.mounts.iter().any(|mount| mount.volume == volume.name));
        let spec = PodSpec {
            volumes,
            vm: Vm::holding(std::slice::from_ref(&app)),
            ..PodSpec::new(vec![app])
        };
        pod = arrival::add(pods, &pod.uuid, &Asked::plain(spec), false, settings)?;
    }
    Ok(pod)
}
