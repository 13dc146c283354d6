//! `compose run`, decided: a service with what the command's flags say on top, as one more app of the project's pod or as a
//! pod of its own.

use crate::compose::Project;
use crate::{App, AppName, PodName, PodSpec, PortForward, RestartPolicy, Vm, VolumeName};

/// What is asked for beside the service.
#[derive(Clone, Copy, Debug)]
pub struct OneOffOptions<'a> {
    /// The app's name, where the caller gives it one.
    pub name: Option<&'a str>,
    /// What makes a name that nobody gave differ from others.
    pub suffix: &'a str,
    /// A pod of one app, as the flags of `isopod run` are read: its image is not looked at.
    pub flags: &'a PodSpec,
    /// The command and its arguments; empty: the service's.
    pub command: &'a [String],
    pub tty: bool,
    pub stdin: bool,
    /// Whether the service's own ports are published.
    pub service_ports: bool,
}

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneOff {
    /// The app alone, with its volumes.
    pub spec: PodSpec,
    /// The ports that are published.
    pub ports: Vec<PortForward>,
}

/// Why there is nothing to run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OneOffError {
    #[error("there is no such service")]
    NoService,
    /// The flags are those of no app, or of several.
    #[error("the flags are not those of one app")]
    NotOneApp,
    /// The name that the caller gave.
    #[error("`{0}` cannot be its name")]
    Name(String),
    #[error("the service has no network, so no port can lead to it")]
    NoNetwork,
}

impl OneOffError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoService | Self::NotOneApp => None,
            Self::Name(_) => Some("write lower-case letters, digits and dashes".into()),
            Self::NoNetwork => Some("leave `--publish` out, or `network_mode` in the file".into()),
        }
    }
}

impl Project {
    /// The services on which that of an app depends.
    #[must_use]
    pub fn needed_by(&self, service: &AppName) -> Vec<String> {
        let app = self.pod.apps.iter().find(|app| app.name == *service);
        let needs = app.into_iter().flat_map(|app| &app.depends_on);
        let name = |app: &AppName| {
            let found = self.services.iter().find(|(_, known)| known == app);
            found.map(|(name, _)| name.clone())
        };
        needs.filter_map(|needed| name(&needed.app)).collect()
    }

    /// A service's app with what is asked for on top; `others` is the project of the services that it depends on, where those
    /// are started with their own ports.
    ///
    /// # Errors
    /// [`OneOffError`].
    pub fn one_off(
        &self,
        service: &AppName,
        others: Option<&Self>,
        options: &OneOffOptions<'_>,
    ) -> Result<OneOff, OneOffError> {
        let [own] = &options.flags.apps[..] else {
            return Err(OneOffError::NotOneApp);
        };
        let found = self.pod.apps.iter().find(|app| app.name == *service);
        let mut app = found.cloned().ok_or(OneOffError::NoService)?;
        app.name = self.one_off_name(service, options)?;
        app.restart = RestartPolicy::No;
        app.overrides.tty = options.tty;
        app.overrides.stdin = options.stdin;
        override_process(&mut app, own, options.command);
        let mut volumes = self.pod.volumes.clone();
        for mount in &own.mounts {
            app.mounts.retain(|known| known.target != mount.target);
            let (mut mount, mut volume) = (
                mount.clone(),
                options
                    .flags
                    .volumes
                    .iter()
                    .find(|v| v.name == mount.volume)
                    .cloned(),
            );
            // The project may have a volume of that name.
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
        let mut ports = options.flags.network.ports().to_vec();
        if options.service_ports {
            let of_others = others.map(|others| others.pod.network.ports());
            let of_others = of_others.unwrap_or_default();
            let own = self.pod.network.ports().iter();
            ports.extend(own.filter(|port| !of_others.contains(port)).cloned());
        }
        let vm = Vm::holding(std::slice::from_ref(&app));
        let spec = PodSpec {
            volumes,
            vm,
            ..PodSpec::new(vec![app])
        };
        Ok(OneOff { spec, ports })
    }

    fn one_off_name(&self, service: &AppName, options: &OneOffOptions<'_>) -> Result<AppName, OneOffError> {
        let made_up = || format!("{}-{service}-run-{}", self.name.as_str(), options.suffix);
        let name = options.name.map_or_else(made_up, ToOwned::to_owned);
        AppName::nearest(&name)
            .filter(|nearest| options.name.is_none() || nearest.as_str() == name)
            .ok_or(OneOffError::Name(name))
    }

    /// A pod for it alone, of the project's kind, in which the app has the service's name.
    ///
    /// # Errors
    /// [`OneOffError`].
    pub fn of_one_off(&self, service: &str, one_off: OneOff) -> Result<PodSpec, OneOffError> {
        let OneOff { mut spec, ports } = one_off;
        for app in &mut spec.apps {
            let name = app.name.as_str();
            spec.name = Some(PodName::new(name).map_err(|_| OneOffError::Name(name.to_owned()))?);
            if let Some(own) = AppName::nearest(service) {
                app.name = own;
            }
            app.depends_on.clear();
            app.overrides.stdin = false;
        }
        let mut pod = PodSpec {
            apps: spec.apps,
            volumes: spec.volumes,
            vm: spec.vm,
            name: spec.name,
            ..self.pod.clone()
        };
        if let Some(of_service) = pod.network.ports_mut() {
            of_service.clear();
        }
        publish(&mut pod, ports)?;
        Ok(pod)
    }
}

/// Publishes further ports of a pod.
///
/// # Errors
/// [`OneOffError::NoNetwork`].
pub fn publish(pod: &mut PodSpec, ports: Vec<PortForward>) -> Result<(), OneOffError> {
    match pod.network.ports_mut() {
        Some(published) => published.extend(ports),
        None if ports.is_empty() => {}
        None => return Err(OneOffError::NoNetwork),
    }
    Ok(())
}

/// What the flags say of the process, in place of or beside what the service says.
fn override_process(app: &mut App, own: &App, command: &[String]) {
    let (service, flags) = (&mut app.overrides, &own.overrides);
    service.env.extend(flags.env.iter().cloned());
    service.cap_add.extend(flags.cap_add.iter().cloned());
    service.cap_drop.extend(flags.cap_drop.iter().cloned());
    if flags.user.is_some() {
        service.user.clone_from(&flags.user);
        service.group.clone_from(&flags.group);
    }
    if flags.working_dir.is_some() {
        service.working_dir.clone_from(&flags.working_dir);
    }
    if flags.exec.is_some() {
        service.exec.clone_from(&flags.exec);
        service.args.clone_from(&flags.args);
    }
    if !command.is_empty() {
        // An entrypoint of several words has its arguments before the command.
        let first = flags.args.iter().flatten();
        service.args = Some(first.chain(command).cloned().collect());
        service.secret_args.clear();
    }
}
