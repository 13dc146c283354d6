//! What a pod's volumes mean, rule by rule (docs/volumes.md has the rules for users).

mod hosts;
mod names;
mod own_volumes;
mod places;
mod processes;
mod read_only;

use std::path::Path;

use crate::fixture::{app, empty, facts, mount, pod, volume_name};
use isopod_plan::facts::Facts;
use isopod_plan::{PodPlan, plan};
use isopod_spec::{MountPoint, PodSpec};

fn planned(pod: &PodSpec, image: &[&str]) -> PodPlan {
    plan(pod, &facts(pod, image)).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(pod: &PodSpec, facts: &Facts) -> String {
    plan(pod, facts).expect_err("must be refused").to_string()
}

fn unit(plan: &PodPlan, name: &str) -> String {
    let path = Path::new(isopod_plan::layout::UNIT_DIR).join(name);
    plan.guest
        .text(&path)
        .unwrap_or_else(|| panic!("no unit `{name}`"))
}

fn point(name: &str, path: &str, read_only: bool) -> MountPoint {
    MountPoint {
        name: volume_name(name),
        path: path.into(),
        read_only,
    }
}

#[test]
fn all_faults_come_at_once() {
    let mut pod = pod();
    pod.apps.push(app("web"));
    pod.volumes = vec![empty("a"), empty("a")];
    pod.apps[0].mounts = vec![mount("nope", "/x"), mount("a", "/proc/x"), mount("a", "/y\n")];
    let words = refused(&pod, &facts(&pod, &[]));
    for part in [
        "two apps",
        "two volumes",
        "no such volume",
        "`/proc/x`",
        "line break",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
}
