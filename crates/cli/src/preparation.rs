//! From the arguments of `isopod run` to pods that are prepared. A pod file may have several; each has a VM of its own.

use std::io::IsTerminal as _;
use std::path::{Component, Path, PathBuf};

use isopod_plan::PodPlan;
use isopod_runtime::Settings;
use isopod_runtime::gather::sources::MissingSource;
use isopod_runtime::gather::{self, Gathered};
use isopod_runtime::networks::Addresses;
use isopod_runtime::pods::files::{Keep, Stdin};
use isopod_runtime::pods::{Claim, Pods};
use isopod_runtime::prepare::{self, PrepareOptions};

use crate::args::{PodSource, RunArgs, RunMode};
use crate::failure::Failure;
use crate::manifest::{self, Asked};
use crate::output::{self, Report};
use crate::{ending, id_files, pod_files, publish};

/// Prepares the pods that the arguments describe. All of them are planned before the first is prepared, and where one cannot
/// be none is left.
///
/// # Errors
/// All that stands against it.
pub(crate) fn pods(args: &RunArgs, keep: Keep, settings: &Settings) -> Result<Vec<Claim>, Failure> {
    if let Some(file) = &args.cidfile {
        id_files::check(file, settings)?;
    }
    let mut asked = manifest::pods(args, &pod_files::Purpose::Preparation, settings)?;
    if let (Some(name), [pod]) = (&args.name, &mut asked[..]) {
        pod.spec.name = Some(name.clone());
    }
    if args.pidfile.is_some() && asked.len() != 1 {
        let what = format!("`--pidfile` is for one pod, and the files have {}", asked.len());
        let hint = "leave it out: `isopod inspect` has the numbers";
        return Err(Report::text(what).hint(Some(hint.into())).into());
    }
    // Held until all are prepared: what one is planned with no other has.
    let mut addresses = Addresses::default();
    let mut planned = Vec::new();
    for mut pod in asked {
        let (gathered, plan) = gather_and_plan(&mut pod, args, &mut addresses, settings)?;
        if args.stdin == Stdin::Attached && plan.apps.len() != 1 {
            let what = "`--interactive` is for a pod of one app: several would read the same input";
            let hint = "leave it out, or run that app in a pod of its own";
            return Err(Report::text(what).hint(Some(hint.into())).into());
        }
        refuse_without_terminal(args, &plan)?;
        if args.replace && pod.spec.name.is_none() {
            let report = Report::text("`--replace` is for a pod with a name");
            return Err(report.hint(Some("give it `--name`".into())).into());
        }
        note_what_is_made(&gathered.missing);
        plan.notices.iter().for_each(|notice| output::note(notice));
        planned.push((pod, gathered, plan));
    }
    let pods = Pods::open(&settings.state_dir)?;
    let mut claims: Vec<Claim> = Vec::new();
    for (pod, gathered, plan) in planned {
        let prepared = replaced(&pod, args.replace, &pods).and_then(|()| {
            let options = PrepareOptions {
                uuid: pod.uuid.clone(),
                name: pod.spec.name.clone(),
                keep,
                stdin: stdin_of(args, &plan),
                boot_timeout: args.boot_timeout,
                silent_kill: args.silent_kill,
            };
            // It is read from elsewhere, later.
            let mut asked = pod.spec.clone();
            asked.map_host_paths(|path| absolute(path, settings));
            Ok(prepare::prepare(&pods, &asked, &plan, &gathered, &options)?)
        });
        match prepared {
            Ok(claim) => claims.push(claim),
            Err(report) => {
                // Nothing is left of a start that was none.
                claims.into_iter().for_each(|claim| drop(claim.remove()));
                return Err(report.into());
            }
        }
    }
    if let Some(file) = &args.cidfile
        && let Err(report) = id_files::write(file, &claims, settings)
    {
        claims.into_iter().for_each(|claim| drop(claim.remove()));
        return Err(report.into());
    }
    Ok(claims)
}

/// Gathers the facts and plans.
///
/// # Errors
/// All that stands against it.
pub(crate) fn gather_and_plan(
    pod: &mut Asked,
    args: &RunArgs,
    addresses: &mut Addresses,
    settings: &Settings,
) -> Result<(Gathered, PodPlan), Failure> {
    let mut quiet = settings.clone();
    let settings = match args.quiet {
        true => {
            quiet.registries = quiet.registries.without_progress();
            &quiet
        }
        false => settings,
    };
    let mut gathered = gather::gather(&pod.spec, settings).map_err(|error| pod.not_gathered(&error))?;
    publish::complete(&mut pod.spec, &args.publish, &gathered)?;
    addresses.add_to(&mut gathered.facts, &pod.spec.network, settings)?;
    let plan = isopod_plan::plan(&pod.spec, &gathered.facts).map_err(|error| pod.not_planned(&error))?;
    addresses.take(&plan);
    Ok((gathered, plan))
}

/// Says which sources of volumes are not there and are made when the pod is prepared.
pub(crate) fn note_what_is_made(missing: &[MissingSource]) {
    for missing in missing.iter().filter(|missing| !missing.is_kept()) {
        output::note(&format!(
            "`{}` does not exist and is made: an empty {}",
            missing.path().display(),
            missing.kind_word()
        ));
    }
}

/// What the app reads. A pod file says whether an app has a terminal, and not whether this command's is connected to
/// it: it is.
fn stdin_of(args: &RunArgs, plan: &PodPlan) -> Stdin {
    match (&args.source, args.mode, &plan.apps[..]) {
        (PodSource::Files(_), RunMode::Foreground, [app])
            if app.process.tty && std::io::stdin().is_terminal() =>
        {
            Stdin::Attached
        }
        _ => args.stdin,
    }
}

/// docker's rule: where both are asked for, the one terminal needs the other. Whoever is connected with one is not the
/// supervisor.
fn refuse_without_terminal(args: &RunArgs, plan: &PodPlan) -> Result<(), Report> {
    let fore = args.mode == RunMode::Foreground;
    let has_terminal = plan.apps.iter().any(|app| app.process.tty);
    let asked = fore && args.stdin == Stdin::Attached && has_terminal;
    if !asked && (args.sig_proxy || !fore) {
        return Ok(());
    }
    if args.pidfile.is_some() {
        let what = "`--pidfile` cannot be used here: a pod with a terminal, or with `--sig-proxy=false`, has a \
             supervisor of its own";
        return Err(Report::text(what).hint(Some("add `-d`, then `isopod attach`".into())));
    }
    match !asked || std::io::stdin().is_terminal() {
        true => Ok(()),
        false => Err(Report::text("standard input is not a terminal")
            .hint(Some("leave `--tty` out, or `--interactive`".into()))),
    }
}

/// Stops and removes the pod that has the name of `pod`, where that is wished.
fn replaced(pod: &Asked, replace: bool, pods: &Pods) -> Result<(), Report> {
    let name = pod.spec.name.as_ref().filter(|_| replace);
    let other = name.map(|name| crate::pods::named(pods, name)).transpose()?;
    match other.flatten() {
        Some(other) => ending::stop_and_remove(pods, other, None),
        None => Ok(()),
    }
}

/// A path that is the same from anywhere: without `..`, which only the file system can resolve.
fn absolute(path: &Path, settings: &Settings) -> PathBuf {
    let path = settings.working_dir.join(path);
    let up = path.components().any(|part| part == Component::ParentDir);
    let real = up.then(|| path.canonicalize().ok()).flatten();
    real.unwrap_or_else(|| path.components().collect())
}
