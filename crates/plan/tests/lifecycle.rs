//! How an app's life reaches its unit and the agent.

use std::path::Path;

use crate::fixture::{app, facts, host, launch, mount};
use isopod_contract::config::EarlyMount;
use isopod_plan::explain;
use isopod_plan::layout::{ARRIVAL, UNIT_DIR};
use isopod_plan::output::document::Document;
use isopod_plan::{PodPlan, plan};
use isopod_spec::{
    AppName, Dependency, DependencyCondition, EnvVar, EventHandlers, FailurePolicy, Handler, HealthCheck,
    HealthTest, PodSpec, Probe, ProbeAction, Readiness, RestartPolicy, RootOnRestart, RootfsAccess,
};

/// `first` says that it is ready, `second` comes after it and is restarted.
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
    let target = unit(&plan, "arrival-0.target");
    assert!(
        target.ends_with("\nWants=first.service\nAfter=second.service\n"),
        "{target}"
    );
    assert!(unit(&plan, "second.service").contains("\nAfter=first.service\n"));
    let config: serde_json::Value = serde_json::from_str(&text(&plan, ARRIVAL)).unwrap();
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
    let env = launch(&plan, "first").env;
    assert_eq!(env["NOTIFY_SOCKET"], "/run/systemd/notify");
    let place = Path::new("/isopod/apps/first/seed/run/systemd/notify");
    assert!(plan.guest.entries.contains_key(place));
    assert!(!first.contains("StartLimit"));
    assert!(unit(&plan, "second.service").contains("\nStartLimitIntervalSec=0\n"));
}

/// A terminal is one file for all three, which the agent links to; the session and `TERM` are the launch's.
#[test]
fn a_terminal_is_all_three_streams() {
    let mut pod = two();
    pod.apps[0].overrides.tty = true;
    let plan = planned(&pod);
    let first = unit(&plan, "first.service");
    for stream in ["StandardInput", "StandardOutput", "StandardError"] {
        let line = format!("\n{stream}=file:/isopod/apps/first/terminal\n");
        assert!(first.contains(&line), "{first}");
    }
    assert!(unit(&plan, "second.service").contains("\nStandardOutput=file:/isopod/apps/second/stdout\n"));
    let made = |path: &str| plan.guest.entries.contains_key(Path::new(path));
    assert!(!made("/isopod/apps/first/stdout") && made("/isopod/apps/second/stdout"));
    let config: serde_json::Value = serde_json::from_str(&text(&plan, ARRIVAL)).unwrap();
    assert_eq!(config["apps"][0]["terminal"], "/isopod/apps/first/terminal");
    assert_eq!(config["apps"][1].get("terminal"), None);
    let (with, without) = (launch(&plan, "first"), launch(&plan, "second"));
    assert!(with.terminal && !without.terminal);
    assert_eq!((&*with.env["TERM"], without.env.get("TERM")), ("xterm", None));
    pod.apps[0].overrides.env = vec![EnvVar {
        name: "TERM".into(),
        value: Some("dumb".into()),
        secret: false,
    }];
    assert_eq!(launch(&planned(&pod), "first").env["TERM"], "dumb");
    let shown = explain(&Document::from(&plan));
    assert!(shown.contains(", with a terminal\n"), "{shown}");
}

/// What the pod has in a root of which each life has a fresh one is a layer below what the app writes.
#[test]
fn a_fresh_root_has_its_seed_in_a_layer_of_its_own() {
    let roots = |pod: &PodSpec, mkfs: bool| {
        let mut known = facts(pod, &[]);
        known.host.mkfs = known.host.mkfs.filter(|_| mkfs);
        let plan = plan(pod, &known).unwrap();
        let of_second = |mount: &&EarlyMount| mount.mount_point == "/opt/stage2/second/rootfs";
        let options = plan
            .early_mounts
            .iter()
            .find(of_second)
            .map(|mount| mount.options.clone());
        let config: serde_json::Value = serde_json::from_str(&text(&plan, ARRIVAL)).unwrap();
        let hosts = ["seed", "upper"].map(|layer| {
            let path = format!("/isopod/apps/second/{layer}/etc/hosts");
            plan.guest.entries.contains_key(Path::new(&path))
        });
        (options.unwrap(), config["apps"][1]["freshRoot"].clone(), hosts)
    };
    let mut pod = two();
    let kept =
        "lowerdir=/isopod/images/0,upperdir=/isopod/apps/second/upper,workdir=/isopod/apps/second/work";
    assert_eq!(
        roots(&pod, false),
        (kept.to_owned(), serde_json::Value::Null, [false, true])
    );
    pod.apps[1].root_on_restart = RootOnRestart::Fresh;
    let fresh = |layers: &str| {
        serde_json::json!({
            "mountPoint": "/opt/stage2/second/rootfs", "seed": "/isopod/apps/second/seed",
            "upper": format!("{layers}/second/upper"), "work": format!("{layers}/second/work")
        })
    };
    let seeded = kept.replace("lowerdir=", "lowerdir=/isopod/apps/second/seed:");
    assert_eq!(
        roots(&pod, false),
        (seeded.clone(), fresh("/isopod/apps"), [true, false])
    );
    let on_disk = |options: &str| {
        let layers = ["upperdir=", "workdir="];
        layers.iter().fold(options.to_owned(), |options, layer| {
            options.replace(
                &format!("{layer}/isopod/apps"),
                &format!("{layer}/isopod/writable/apps"),
            )
        })
    };
    let roots = |pod: &PodSpec| roots(pod, true);
    let writable = fresh("/isopod/writable/apps");
    assert_eq!(roots(&pod), (on_disk(&seeded), writable, [true, false]));
    // Without another life, or without writes, there is nothing to make again.
    pod.apps[1].rootfs = RootfsAccess::ReadOnly;
    assert_eq!(roots(&pod).1, serde_json::Value::Null);
    pod.apps[1].rootfs = RootfsAccess::Writable;
    pod.apps[1].restart = RestartPolicy::No;
    assert_eq!(roots(&pod).1, serde_json::Value::Null);
}

#[test]
fn a_plan_shows_it() {
    let shown = explain(&Document::from(&planned(&two())));
    for words in [
        "\n         stops when an app has failed\n",
        "\n  ready  when it reports it\n",
        "\n  after  first=started\n",
        "\n  policy restart on-failure:3\n",
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

/// `first` has a liveness probe, a health check of its image and handlers; `second` has nothing.
fn looked_after() -> (PodSpec, isopod_plan::facts::Facts) {
    let mut pod = PodSpec::new(vec![app("first"), app("second")]);
    pod.apps[0].probes.liveness = Some(Probe::new(ProbeAction::Tcp { host: None, port: 80 }));
    pod.apps[0].lifecycle.pre_stop = Some(Handler::Exec(vec!["/bin/drain".into(), "-a b".into()]));
    let mut facts = facts(&pod, &["/bin/fetch", "/bin/clean"]);
    let image = facts.apps[0].root.as_mut().expect("an image");
    image.config.health_check = HealthCheck {
        test: Some(HealthTest::Command(vec!["/check".into()])),
        ..HealthCheck::default()
    };
    image.config.event_handlers = EventHandlers {
        pre_start: Some(vec!["/bin/fetch".into(), "50%".into()]),
        post_stop: Some(vec!["/bin/clean".into()]),
    };
    (pod, facts)
}

/// As with rkt (`PermissionsStartOnly=`): whoever the app is, they can prepare a volume for it. What must not be root never
/// is, though.
#[test]
fn handlers_of_an_image_are_roots_unless_nothing_may_be() {
    let (mut pod, facts) = looked_after();
    pod.apps[0].overrides.user = Some("1000".into());
    pod.apps[0].overrides.group_add = vec!["7".into()];
    let handlers = |pod: &PodSpec| {
        let plan = plan(pod, &facts).unwrap_or_else(|error| panic!("{error}"));
        let launch = launch(&plan, "first");
        assert_eq!(launch.process.identity.uid, 1000);
        (launch.handlers.uid, launch.handlers.gid, launch.handlers.groups)
    };
    assert_eq!(handlers(&pod), (0, 0, vec![]));
    pod.apps[0].overrides.must_not_be_root = true;
    assert_eq!(handlers(&pod), (1000, 0, vec![7]));
}

#[test]
fn handlers_are_systemds_and_probes_the_agents() {
    let (pod, facts) = looked_after();
    let plan = plan(&pod, &facts).unwrap_or_else(|error| panic!("{error}"));
    let first = unit(&plan, "first.service");
    for line in [
        "\nExecStartPre=@/dev/.isopod/agent isopod-agent become pre-start\n",
        "\nTimeoutStartSec=infinity\n",
        "\nExecStopPost=@/dev/.isopod/agent isopod-agent become post-stop\n",
    ] {
        assert!(first.contains(line), "{line}: {first}");
    }
    let launched = launch(&plan, "first");
    assert_eq!(
        (launched.pre_start, launched.post_stop),
        (vec!["/bin/fetch".into(), "50%".into()], vec!["/bin/clean".into()])
    );
    let second = unit(&plan, "second.service");
    assert!(!second.contains("StartPre") && !second.contains("StopPost") && !second.contains("TimeoutStart"));
    let config: serde_json::Value = serde_json::from_str(&text(&plan, ARRIVAL)).unwrap();
    let (first, second) = (&config["apps"][0], &config["apps"][1]);
    assert_eq!(
        (&first["preStart"], &first["postStopMs"]),
        (&true.into(), &10_000.into())
    );
    let names: Vec<_> = first["probes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|probe| &probe["name"])
        .collect();
    assert_eq!(names, ["liveness probe", "health check"]);
    assert_eq!(
        first["probes"][0]["onFailure"],
        serde_json::json!({"graceMs": 10_000, "restarts": true})
    );
    assert_eq!(first["preStop"]["check"]["exec"]["argv"][1], "-a b");
    for field in ["probes", "preStop", "postStart", "preStart", "postStopMs"] {
        assert_eq!(second.get(field), None, "{field}");
    }
    let shown = explain(&Document::from(&plan));
    assert!(
        shown.contains("\n  pre-start handler  runs /bin/fetch 50%\n"),
        "{shown}"
    );
    assert!(
        shown.contains("\n  health check  runs /check, every 30 s"),
        "{shown}"
    );
}

#[test]
fn a_handler_that_is_not_there_and_a_wait_for_health_that_nobody_finds_are_refused() {
    let (mut pod, facts) = looked_after();
    let healthy = |name: &str| Dependency {
        app: AppName::new(name).expect("a name"),
        condition: DependencyCondition::Healthy,
    };
    pod.apps[1].depends_on = vec![healthy("first")];
    assert!(plan(&pod, &facts).is_ok());
    pod.apps[1].depends_on = Vec::new();
    pod.apps[0].depends_on = vec![healthy("second")];
    let refused = plan(&pod, &facts).unwrap_err().to_string();
    assert!(
        refused.contains("it waits until app `second` is healthy, which has neither"),
        "{refused}"
    );
    let (pod, mut facts) = looked_after();
    let image = facts.apps[0].root.as_mut().expect("an image");
    image.config.event_handlers.pre_start = Some(vec!["/bin/nothing".into()]);
    let refused = plan(&pod, &facts).unwrap_err().to_string();
    assert!(refused.contains("its image has no `/bin/nothing`"), "{refused}");
}
