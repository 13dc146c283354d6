//! What a pod's apps execute as a manifest says it: all of it, where the image's own word was changed.

use isopod_spec::appc::needs_run_config;
use isopod_spec::{App, Capabilities, Overrides, PodSpec, RunConfig};

use crate::facts::Facts;
use crate::plan::PodPlan;
use crate::process::{DEFAULT_CAPABILITIES, DEFAULT_PATH, Process};

/// `spec` without anything that changes an image's word: each app that a manifest says only so has a [`RunConfig`] of what `plan`
/// lets it execute. What that has no room for stays with the overrides.
#[must_use]
pub fn with_run_configs(spec: &PodSpec, facts: &Facts, plan: &PodPlan) -> PodSpec {
    let mut written = spec.clone();
    let all = written.apps.iter_mut().zip(&facts.apps).zip(&plan.apps);
    for ((app, facts), planned) in all.filter(|((app, _), _)| needs_run_config(spec, app)) {
        let image = facts.image.as_ref().map(|image| &image.config);
        let config = app.run_config.as_ref().or(image).cloned().unwrap_or_default();
        app.run_config = Some(run_config(app, config, &planned.process));
        app.overrides = Overrides {
            rlimits: std::mem::take(&mut app.overrides.rlimits),
            ..Overrides::default()
        };
    }
    written
}

/// What `process` says, and of `config` what is not a process's.
fn run_config(app: &App, config: RunConfig, process: &Process) -> RunConfig {
    let overrides = &app.overrides;
    let program = process.executable.to_string_lossy().into_owned();
    let args = process.argv.iter().skip(1).cloned();
    let own = !overrides.cap_add.is_empty() || !overrides.cap_drop.is_empty();
    let identity = &process.identity;
    // What every app gets goes without saying.
    let given = [
        ("AC_APP_NAME", app.name.as_str()),
        ("HOME", identity.home.as_str()),
        ("PATH", DEFAULT_PATH),
    ];
    let env = process.env.iter();
    let env = env.filter(|(name, value)| !given.contains(&(name.as_str(), value.as_str())));
    RunConfig {
        entrypoint: std::iter::once(program).chain(args).collect(),
        cmd: Vec::new(),
        env: env.map(|(name, value)| (name.clone(), value.clone())).collect(),
        user: Some(identity.uid.to_string()),
        group: Some(identity.gid.to_string()),
        supplementary_gids: identity.supplementary_gids.clone(),
        working_dir: Some(process.working_dir.clone()).filter(|dir| dir.as_os_str() != "/"),
        stop_signal: overrides.stop_signal.clone().or(config.stop_signal),
        capabilities: match own {
            true => Some(capabilities(process)),
            false => config.capabilities,
        },
        resources: overrides.resources.or(config.resources),
        no_new_privileges: overrides.no_new_privileges.unwrap_or(config.no_new_privileges),
        seccomp: overrides.seccomp.clone().or(config.seccomp),
        health_check: overrides.health_check.over(&config.health_check),
        ..config
    }
}

/// None at all is the default set without itself: a set that is retained is never empty.
fn capabilities(process: &Process) -> Capabilities {
    match process.capabilities.is_empty() {
        true => Capabilities::Remove(DEFAULT_CAPABILITIES.map(str::to_owned).into()),
        false => Capabilities::Retain(process.capabilities.iter().cloned().collect()),
    }
}
