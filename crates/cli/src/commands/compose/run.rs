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
use isopod_spec::{App, AppName, PodName, PodSpec, PortForward, RestartPolicy, Vm, VolumeName};

use super::up::{check_volumes, pull};
use super::{app_of, awaited};
use crate::args::{PodSource, RunArgs, RunMode};
use crate::command_line::read_run;
use crate::compose_file::{Extent, ProjectArgs};
use crate::detach_keys::DetachKeys;
use crate::failure::Failure;
use crate::manifest::{self, Asked};
use crate::output::{self, Report};
use crate::pod_files::Purpose;
use crate::pods::{self, app_number, ask};
use crate::{arrival, background, commands, preparation};

const NOTES: &str = "\
What the service depends on is started before, and stays. The command is one more app of the project's pod, or a pod of its own \
where the project is not up and the service depends on nothing.

Examples:
  isopod compose run --rm web python manage.py migrate
  isopod compose run -T db pg_dump -U app app > dump.sql
";

/// Run a command in a container of a service's own
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = NOTES)]
pub(super) struct Run {
    /// Leave it running, and print its name
    #[arg(short, long)]
    detach: bool,
    /// Give it no terminal; without this flag it has one where this command has
    #[arg(short = 'T', long = "no-TTY", visible_alias = "no-tty")]
    no_tty: bool,
    /// Give it this command's standard input, as without this flag; `--interactive=false` gives it none
    #[arg(
        short,
        long,
        value_name = "BOOL",
        default_value_t = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set
    )]
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
    /// Set a variable; without a value, to the caller's own; may be repeated
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

/// What is run, and where.
struct OneOff {
    app: App,
    /// With the volumes of the app.
    spec: PodSpec,
    /// The ports that are published.
    ports: Vec<PortForward>,
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
        let needed = self.needed(&project, &service);
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
                    "project `{}` is there already, and the ports of a pod are chosen when it is made",
                    pod.label()
                );
                let hint =
                    "`isopod compose down` ends it before; or leave `--publish` and `--service-ports` out";
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
        let needs = match self.no_deps {
            true => &[][..],
            false => &one_off.app.depends_on,
        };
        awaited(&pods, &pod, needs)?;
        self.in_pod(&pods, &pod, one_off, settings)
    }

    /// The services that it depends on.
    fn needed(&self, project: &Project, service: &AppName) -> Vec<String> {
        let app = project.pod.apps.iter().find(|app| app.name == *service);
        let needs = app.filter(|_| !self.no_deps).map(|app| &app.depends_on);
        let needs = needs.into_iter().flatten().map(|needed| &needed.app);
        let name = |app: &AppName| {
            let found = project.services.iter().find(|(_, known)| known == app);
            found.map(|(name, _)| name.clone())
        };
        needs.filter_map(name).collect()
    }

    /// The service with what the flags say.
    fn one_off(
        &self,
        project: &Project,
        others: Option<&Project>,
        service: &AppName,
        settings: &Settings,
    ) -> Result<OneOff, Failure> {
        let flags = self.flags(settings)?;
        let found = project.pod.apps.iter().find(|app| app.name == *service);
        let mut app = found
            .cloned()
            .ok_or_else(|| Report::text("there is no such service"))?;
        let [own] = &flags.apps[..] else {
            return Err(Report::text("the command is no app").into());
        };
        let suffix: String = new_uuid().chars().filter(|c| *c != '-').take(12).collect();
        let name = self
            .name
            .clone()
            .unwrap_or_else(|| format!("{}-{service}-run-{suffix}", project.name.as_str()));
        app.name = AppName::nearest(&name)
            .filter(|nearest| self.name.is_none() || nearest.as_str() == name)
            .ok_or_else(|| {
                Report::text(format!("`{name}` cannot be its name"))
                    .hint(Some("write lower-case letters, digits and dashes".into()))
            })?;
        app.restart = RestartPolicy::No;
        app.overrides.tty = self.has_terminal();
        app.overrides.stdin = self.interactive && !self.detach;
        app.overrides.env.extend(own.overrides.env.iter().cloned());
        app.overrides
            .cap_add
            .extend(own.overrides.cap_add.iter().cloned());
        app.overrides
            .cap_drop
            .extend(own.overrides.cap_drop.iter().cloned());
        if own.overrides.user.is_some() {
            app.overrides.user.clone_from(&own.overrides.user);
            app.overrides.group.clone_from(&own.overrides.group);
        }
        if own.overrides.working_dir.is_some() {
            app.overrides.working_dir.clone_from(&own.overrides.working_dir);
        }
        if own.overrides.exec.is_some() {
            app.overrides.exec.clone_from(&own.overrides.exec);
            app.overrides.args.clone_from(&own.overrides.args);
        }
        if !self.command.is_empty() {
            let first = own.overrides.args.iter().flatten();
            app.overrides.args = Some(first.chain(&self.command).cloned().collect());
            app.overrides.secret_args.clear();
        }
        let mut volumes = project.pod.volumes.clone();
        for mount in &own.mounts {
            app.mounts.retain(|known| known.target != mount.target);
            let (mut mount, mut volume) = (
                mount.clone(),
                flags.volumes.iter().find(|v| v.name == mount.volume).cloned(),
            );
            let renamed = VolumeName::nearest(&format!("run-{}", mount.volume));
            if let (Some(volume), Some(renamed)) = (&mut volume, renamed) {
                volume.name = renamed.clone();
                mount.volume = renamed;
            }
            volumes.extend(volume);
            app.mounts.push(mount);
        }
        app.anonymous.extend(own.anonymous.iter().cloned());
        volumes.retain(|volume| app.mounts.iter().any(|mount| mount.volume == volume.name));
        let mut ports = flags.network.ports().to_vec();
        if self.service_ports {
            let of_others = others
                .map(|others| others.pod.network.ports())
                .unwrap_or_default();
            let own = project.pod.network.ports().iter();
            ports.extend(own.filter(|port| !of_others.contains(port)).cloned());
        }
        let spec = PodSpec {
            volumes,
            vm: Vm::holding(std::slice::from_ref(&app)),
            ..PodSpec::new(vec![app.clone()])
        };
        Ok(OneOff { app, spec, ports })
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
        let read = manifest::pods(&read_run(words)?, &Purpose::Preparation, settings)?;
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
        let name = one_off.app.name.clone();
        let mut spec = one_off.spec;
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
        let OneOff { mut app, spec, ports } = one_off;
        let name = PodName::new(app.name.as_str()).map_err(|error| Report::new(&error))?;
        if let Some(own) = AppName::nearest(&self.service) {
            app.name = own;
        }
        app.depends_on.clear();
        app.overrides.stdin = false;
        let mut pod = PodSpec {
            apps: vec![app],
            volumes: spec.volumes,
            vm: spec.vm,
            name: Some(name.clone()),
            ..project.pod.clone()
        };
        if let Some(of_service) = pod.network.ports_mut() {
            of_service.clear();
        }
        publish(&mut pod, ports)?;
        let source = PodSource::Apps {
            spec: Box::new(pod),
            env_files: Vec::new(),
            volumes_from: Vec::new(),
            label_files: Vec::new(),
        };
        let run = RunArgs {
            name: Some(name),
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

/// Publishes these ports of a pod that had none of its own.
fn publish(pod: &mut PodSpec, ports: Vec<PortForward>) -> Result<(), Report> {
    match pod.network.ports_mut() {
        Some(published) => published.extend(ports),
        None if ports.is_empty() => {}
        None => {
            let hint = "leave `--publish` out, or `network_mode` in the file";
            return Err(
                Report::text("the service has no network, through which a port could lead to it")
                    .hint(Some(hint.into())),
            );
        }
    }
    Ok(())
}

/// Starts what a service depends on, as the project's pod, which goes on when that ends.
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
