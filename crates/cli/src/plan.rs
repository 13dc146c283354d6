//! `isopod plan`: shows what `isopod run` would do, from the very value that it would do.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use isopod_plan::document::RktHypervisor;
use isopod_plan::guest_tree::GuestTree;
use isopod_plan::{Document, dot, explain, layout, plan_rkt, svg};
use isopod_runtime::Settings;
use isopod_runtime::write_tree::write_tree;
use isopod_spec::RunConfig;
use isopod_spec::words::for_terminal;

use crate::args::{Hypervisor, PlanArgs, PlanFormat, Profile};
use crate::manifest::Asked;
use crate::output::{self, Report};
use crate::{manifest, run};

/// Prints the plan, and writes and verifies it where that was asked.
///
/// # Errors
/// A [`Report`] with the reason.
pub(crate) fn plan(args: &PlanArgs, settings: &Settings) -> Result<ExitCode, Report> {
    let pod = match manifest::pod(&args.run, &manifest::Purpose::Show, settings) {
        Ok(pod) => pod,
        Err(status) => return Ok(status),
    };
    let planned = match args.profile {
        Profile::Default => {
            if args.hypervisor == Hypervisor::Lkvm {
                return Err(Report::text("the default profile has no plan for lkvm")
                    .hint(Some("`--profile rkt` has".into())));
            }
            run::gather_and_plan(&pod, settings).map(|(_, plan)| (Document::from(&plan), plan.guest))
        }
        Profile::Rkt => as_rkt(&pod, args.hypervisor, settings)?,
    };
    let (document, tree) = match planned {
        Ok(planned) => planned,
        Err(status) => return Ok(status),
    };
    if let Some(dir) = &args.write {
        write_tree(&tree, &settings.working_dir.join(dir)).map_err(|e| Report::new(&e).hint(e.hint()))?;
    }
    if args.verify {
        verify(&document, &tree)?;
    }
    output::document(&render(&document, args.format)?);
    Ok(ExitCode::SUCCESS)
}

fn render(document: &Document, format: PlanFormat) -> Result<String, Report> {
    Ok(match format {
        PlanFormat::Text => for_terminal(&explain(document)),
        PlanFormat::Json => {
            let mut text = serde_json::to_string_pretty(document).map_err(|e| Report::new(&e))?;
            text.push('\n');
            output::json_text(&text)
        }
        PlanFormat::Dot => dot(document),
        PlanFormat::Svg => svg(document),
    })
}

type Planned = Result<(Document, GuestTree), ExitCode>;

/// Plans as rkt did. Images are looked at only where an app's manifest does not say how to run it.
fn as_rkt(pod: &Asked, hypervisor: Hypervisor, settings: &Settings) -> Result<Planned, Report> {
    let known: Option<Vec<RunConfig>> = pod.spec.apps.iter().map(|app| app.run_config.clone()).collect();
    let configs = match known {
        Some(configs) => configs,
        None => match isopod_runtime::gather::run_configs(&pod.spec, settings) {
            Ok(configs) => configs,
            Err(error) => return Ok(Err(run::report_faults(pod, &error))),
        },
    };
    let hypervisor = match hypervisor {
        Hypervisor::Lkvm => RktHypervisor::Lkvm,
        Hypervisor::Qemu => RktHypervisor::Qemu,
    };
    Ok(match plan_rkt(&pod.spec, &configs) {
        Ok(plan) => Ok((Document::of_rkt(&plan, &pod.spec, hypervisor), plan.guest)),
        Err(error) => Err(run::refuse(pod, &error)),
    })
}

/// Lets systemd's own verifier read the units.
fn verify(document: &Document, tree: &GuestTree) -> Result<(), Report> {
    let dir = Temporary::new()?;
    write_tree(tree, &dir.0).map_err(|e| Report::new(&e))?;
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
            Report::new(&e).hint(Some("`--verify` needs systemd-analyze, a part of systemd".into()))
        })?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    // The programs are in the guest and in the images, where this verifier does not look.
    let elsewhere = |line: &&str| line.contains(": Command ") && line.contains(" is not executable");
    let findings: Vec<&str> = text
        .lines()
        .filter(|line| !line.is_empty() && !elsewhere(line))
        .collect();
    if findings.is_empty() {
        output::note(&format!(
            "systemd's verifier has nothing against the {} units",
            names.len()
        ));
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
        std::fs::create_dir(&path).map_err(|e| Report::new(&e))?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
