//! `isopod plan`: shows what `isopod run` would do, from the very value that it would do.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use isopod_plan::RktHypervisor;
use isopod_plan::explain;
use isopod_plan::guest::tree::GuestTree;
use isopod_plan::{Document, dot, layout, plan_rkt, svg};
use isopod_runtime::Settings;
use isopod_runtime::networks::Addresses;
use isopod_runtime::write_tree::write_tree;
use isopod_spec::RunConfig;
use isopod_spec::words::for_terminal;

use crate::args::{Hypervisor, PlanArgs, PlanFormat, Profile};
use crate::failure::Failure;
use crate::manifest::Asked;
use crate::output::{self, Report};
use crate::{manifest, pod_files, preparation};

/// Prints the plan, and writes and verifies it where that was asked.
///
/// # Errors
/// A [`Failure`] with the reason.
pub(crate) fn plan(args: &PlanArgs, settings: &Settings) -> Result<ExitCode, Failure> {
    let mut pods = manifest::pods(&args.run, &pod_files::Purpose::Show, settings)?;
    if let Some(what) = of_one_pod(args).filter(|_| pods.len() > 1) {
        return Err(Report::text(format!(
            "`{what}` is for one pod, and the files have {}",
            pods.len()
        ))
        .hint(Some("put the one that is meant into a file of its own".into()))
        .into());
    }
    let mut texts = Vec::new();
    let count = pods.len();
    let mut addresses = Addresses::default();
    for pod in &mut pods {
        let text = plan_one(pod, args, &mut addresses, settings)?;
        texts.push(heading(pod, count, args.format) + &text);
    }
    let between = match args.format {
        PlanFormat::Text => "\n",
        PlanFormat::Json | PlanFormat::Dot | PlanFormat::Svg => "",
    };
    output::document(&texts.join(between));
    Ok(ExitCode::SUCCESS)
}

/// What is written above the plan of one of several pods.
fn heading(pod: &Asked, count: usize, format: PlanFormat) -> String {
    match (&pod.spec.name, format) {
        (Some(name), PlanFormat::Text) if count > 1 => format!("pod      {name}\n"),
        _ => String::new(),
    }
}

/// The flag that makes one thing of one pod.
fn of_one_pod(args: &PlanArgs) -> Option<&'static str> {
    match args.format {
        PlanFormat::Svg => Some("--format svg"),
        _ => args.write.as_ref().map(|_| "--write"),
    }
}

/// A pod's plan in the form that is asked for, written and verified where that was asked.
fn plan_one(
    pod: &mut Asked,
    args: &PlanArgs,
    addresses: &mut Addresses,
    settings: &Settings,
) -> Result<String, Failure> {
    let (document, tree) = match args.profile {
        Profile::Default => {
            if args.hypervisor == Hypervisor::Lkvm {
                let report = Report::text("the default profile has no plan for lkvm");
                return Err(report.hint(Some("`--profile rkt` has".into())).into());
            }
            let (gathered, plan) = preparation::gather_and_plan(pod, &args.run, addresses, settings)?;
            preparation::note_what_is_made(&gathered.missing);
            (Document::from(&plan), plan.guest)
        }
        Profile::Rkt => as_rkt(pod, args.hypervisor, settings)?,
    };
    if let Some(dir) = &args.write {
        write_tree(&tree, &settings.working_dir.join(dir))?;
    }
    if args.verify {
        verify(&document, &tree)?;
    }
    Ok(render(&document, args.format)?)
}

fn render(document: &Document, format: PlanFormat) -> Result<String, Report> {
    Ok(match format {
        PlanFormat::Text => for_terminal(&explain(document)),
        PlanFormat::Json => {
            let mut text = serde_json::to_string_pretty(document)?;
            text.push('\n');
            output::json_text(&text)
        }
        PlanFormat::Dot => dot(document),
        PlanFormat::Svg => svg(document),
    })
}

/// Plans as rkt did. Images are looked at only where an app's manifest does not say how to run it.
fn as_rkt(
    pod: &Asked,
    hypervisor: Hypervisor,
    settings: &Settings,
) -> Result<(Document, GuestTree), Failure> {
    let known: Option<Vec<RunConfig>> = pod.spec.apps.iter().map(|app| app.run_config.clone()).collect();
    let configs = match known {
        Some(configs) => configs,
        None => isopod_runtime::gather::run_configs(&pod.spec, settings)
            .map_err(|error| pod.not_gathered(&error))?,
    };
    let hypervisor = match hypervisor {
        Hypervisor::Lkvm => RktHypervisor::Lkvm,
        Hypervisor::Qemu => RktHypervisor::Qemu,
    };
    let plan = plan_rkt(&pod.spec, &configs).map_err(|error| pod.not_planned(&error))?;
    Ok((plan.document(&pod.spec, hypervisor), plan.guest))
}

/// Lets systemd's own verifier read the units.
fn verify(document: &Document, tree: &GuestTree) -> Result<(), Report> {
    let dir = Temporary::new()?;
    write_tree(tree, &dir.0)?;
    let units = dir.0.join(layout::UNIT_DIR.trim_start_matches('/'));
    let exists = |unit: &&String| units.join(unit).exists();
    let names: Vec<&String> = document
        .mounts
        .iter()
        .map(|mount| &mount.unit)
        .chain(document.apps.iter().map(|app| &app.unit))
        .filter(exists)
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&names)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("SYSTEMD_UNIT_PATH", &units)
        .env("SYSTEMD_COLORS", "0")
        .output()
        .map_err(|e| {
            Report::of(&e).hint(Some("`--verify` needs systemd-analyze, a part of systemd".into()))
        })?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    // The programs are in the guest and in the images, where this verifier does not look.
    let elsewhere = |line: &&str| line.contains(": Command ") && line.contains(" is not executable");
    let findings: Vec<&str> = text
        .lines()
        .filter(|line| !line.is_empty() && !elsewhere(line))
        .collect();
    if findings.is_empty() {
        output::note(&format!("systemd's verifier accepts the {} units", names.len()));
        return Ok(());
    }
    let mut what = String::from("systemd's verifier does not accept the units:");
    for finding in findings {
        let _ = write!(what, "\n    {finding}");
    }
    Err(Report::text(what))
}

/// A directory that goes with its value.
struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Result<Self, Report> {
        let name = format!("isopod-verify-{}", std::process::id());
        let dir: &Path = &std::env::temp_dir();
        let path = dir.join(name);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
