//! How an app's life reaches its unit and the agent.

mod fixture;

use std::path::Path;

use fixture::{app, facts, host, mount};
use isopod_plan::document::Document;
use isopod_plan::layout::{POD_CONFIG, UNIT_DIR};
use isopod_plan::{PodPlan, explain, plan};
use isopod_spec::{
    AppName, Dependency, DependencyCondition, FailurePolicy, PodSpec, Readiness, RestartPolicy,
};

/// `first` says that it is ready, `second` comes after it and is started anew.
fn two() -> PodSpec {
    let mut apps = vec![app("first"), app("second")];
    apps[0].readiness = Readiness::Notify;
    apps[1].restart = RestartPolicy::OnFailure { max_retries: Some(3) };
    apps[1].depends_on = vec![Dependency {
        app: AppName::new("first").expect("a name"),
        condition: DependencyCondition::Started,
    }];
    PodSpec {
        on_failure: FailurePolicy::Stop,
        ..PodSpec::new(apps)
    }
}

fn planned(pod: &PodSpec) -> PodPlan {
    plan(pod, &facts(pod, &[])).unwrap_or_else(|error| panic!("{error}"))
}

fn text(plan: &PodPlan, path: &str) -> String {
    plan.guest.text(Path::new(path)).expect("a file").to_owned()
}

fn unit(plan: &PodPlan, name: &str) -> String {
    text(plan, &format!("{UNIT_DIR}/{name}"))
}

#[test]
fn the_agent_starts_what_waits_and_systemd_the_rest() {
    let plan = planned(&two());
    let wanted = |name: &str| {
        let link = Path::new(UNIT_DIR).join("default.target.wants").join(name);
        plan.guest.entries.contains_key(&link)
    };
    assert!(wanted("first.service") && !wanted("second.service"));
    assert!(unit(&plan, "second.service").contains("\nAfter=first.service\n"));
    assert!(unit(&plan, "default.target").contains("\nAfter=second.service\n"));
    let config: serde_json::Value = serde_json::from_str(&text(&plan, POD_CONFIG)).unwrap();
    let apps = &config["apps"];
    assert_eq!(apps[0]["notify"], "/isopod/apps/first/notify");
    assert_eq!(
        apps[1]["dependsOn"],
        serde_json::json!([{"app": 0, "condition": "started"}])
    );
    let restart = serde_json::json!({
        "after": "failure", "maxRestarts": 3,
        "firstDelayMs": 100, "maxDelayMs": 300_000, "resetAfterMs": 10_000
    });
    assert_eq!(apps[1]["restart"], restart);
    assert_eq!(apps[0].get("restart"), None);
}

#[test]
fn units_and_roots_are_made_for_it() {
    let plan = planned(&two());
    let first = unit(&plan, "first.service");
    let bind = "\nBindReadOnlyPaths=/isopod/apps/first/notify:/run/systemd/notify\n";
    assert!(first.contains(bind), "{first}");
    let env = text(&plan, "/isopod/apps/first/env");
    assert!(env.contains("NOTIFY_SOCKET=\"/run/systemd/notify\""), "{env}");
    let place = Path::new("/isopod/apps/first/upper/run/systemd/notify");
    assert!(plan.guest.entries.contains_key(place));
    assert!(!first.contains("StartLimit"));
    assert!(unit(&plan, "second.service").contains("\nStartLimitIntervalSec=0\n"));
}

#[test]
fn a_plan_shows_it() {
    let shown = explain(&Document::from(&planned(&two())));
    for words in [
        "\n         stops when an app has failed\n",
        "\n  ready  when it says so\n",
        "\n  after  first=started\n",
        "\n  lives  restart on-failure:3\n",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
}

#[test]
fn a_host_volume_must_not_hide_the_notification_socket() {
    let mut pod = two();
    pod.volumes = vec![host("run", "/srv/run")];
    pod.apps[0].mounts = vec![mount("run", "/run")];
    let refused = plan(&pod, &facts(&pod, &[])).unwrap_err().to_string();
    assert!(refused.contains("volume `run` at `/run` hides it"), "{refused}");
    pod.apps[0].readiness = Readiness::Started;
    planned(&pod);
}
