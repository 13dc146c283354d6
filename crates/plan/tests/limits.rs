//! What apps may take and do: what reaches their units and the agent, and what is refused.

mod fixture;

use std::path::Path;

use fixture::{app, facts};
use isopod_plan::document::Document;
use isopod_plan::layout::{POD_CONFIG, UNIT_DIR};
use isopod_plan::{PlanError, PodPlan, explain, plan};
use isopod_spec::{
    ImageGroups, PodSpec, Refusal, Resources, Rlimit, RlimitKind, RunConfig, Seccomp, SyscallFilter, Sysctl,
};

fn planned(pod: &PodSpec) -> PodPlan {
    plan(pod, &facts(pod, &[])).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(pod: &PodSpec) -> String {
    let error: PlanError = plan(pod, &facts(pod, &[])).expect_err("it was planned");
    error.to_string()
}

fn unit(plan: &PodPlan, name: &str) -> String {
    plan.guest.text(&Path::new(UNIT_DIR).join(name)).expect("a file")
}

fn filter(names: &[&str], refusal: Refusal) -> SyscallFilter {
    SyscallFilter {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        refusal,
    }
}

/// The settings of a unit that are not those of one without limits.
fn own_settings(pod: &PodSpec) -> Vec<String> {
    let plain = planned(&PodSpec::new(vec![app("web")]));
    let plain = unit(&plain, "web.service");
    let plan = planned(pod);
    let text = unit(&plan, "web.service");
    text.lines()
        .filter(|line| !plain.lines().any(|other| other == *line))
        .map(str::to_owned)
        .collect()
}

#[test]
fn resources_are_settings_of_the_service() {
    let mut pod = PodSpec::new(vec![app("web")]);
    assert!(own_settings(&pod).is_empty());
    pod.apps[0].overrides.resources = Resources {
        memory_limit_bytes: Some(64 << 20),
        memory_request_bytes: Some(32 << 20),
        cpu_limit_millis: Some(1255),
        cpu_request_millis: Some(250),
        pids_limit: Some(7),
        oom_score_adj: Some(-5),
    };
    pod.apps[0].overrides.rlimits = [(Some(1), Some(1)), (Some(64), None)]
        .map(|(soft, hard)| Rlimit {
            kind: RlimitKind::Stack,
            soft,
            hard,
        })
        .into();
    pod.apps[0].overrides.no_new_privileges = Some(true);
    assert_eq!(
        own_settings(&pod),
        [
            "OOMPolicy=kill",
            "MemoryMax=67108864",
            "MemoryLow=33554432",
            "CPUQuota=125.5%",
            "CPUWeight=25",
            "TasksMax=7",
            "OOMScoreAdjust=-5",
            "LimitSTACK=64:infinity",
            "NoNewPrivileges=yes",
        ]
    );
    let plan = planned(&pod);
    assert_eq!(
        unit(&plan, "system.slice.d/memory.conf"),
        "[Slice]\nMemoryLow=33554432\n"
    );
    assert_eq!(plan.notices.len(), 1, "{:?}", plan.notices);
    assert!(plan.notices[0].contains("more processor time than its machine has"));
    let shown = explain(&Document::from(&plan));
    assert!(
        shown.contains("\n  within MemoryMax=67108864, MemoryLow="),
        "{shown}"
    );
}

#[test]
fn what_the_image_says_gives_way_each_for_itself() {
    let mut pod = PodSpec::new(vec![app("web")]);
    pod.apps[0].run_config = Some(RunConfig {
        entrypoint: vec!["/bin/app".into()],
        no_new_privileges: true,
        seccomp: Some(Seccomp::Remove(filter(&["mount"], Refusal::Kill))),
        resources: Resources {
            memory_limit_bytes: Some(64 << 20),
            pids_limit: Some(7),
            ..Resources::default()
        },
        ..RunConfig::default()
    });
    pod.apps[0].overrides.resources.pids_limit = Some(9);
    pod.apps[0].overrides.no_new_privileges = Some(false);
    pod.apps[0].overrides.seccomp = Some(Seccomp::Unconfined);
    assert_eq!(
        own_settings(&pod),
        ["OOMPolicy=kill", "MemoryMax=67108864", "TasksMax=9"]
    );
}

#[test]
fn filters_are_the_units_and_the_agents() {
    let mut pod = PodSpec::new(vec![app("web")]);
    let errno = Refusal::Errno("ENOTSUP".into());
    pod.apps[0].overrides.seccomp = Some(Seccomp::Remove(filter(&["umount2", "mount", "mount"], errno)));
    assert_eq!(
        own_settings(&pod),
        ["SystemCallFilter=~mount umount2", "SystemCallErrorNumber=95"]
    );
    let config = |pod: &PodSpec| {
        let text = planned(pod).guest.text(Path::new(POD_CONFIG)).unwrap();
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        config["apps"][0]["syscalls"].clone()
    };
    assert_eq!(
        config(&pod),
        serde_json::json!({"allowed": false, "numbers": [165, 166], "errno": 95})
    );
    pod.apps[0].overrides.seccomp = Some(Seccomp::Retain(filter(&["mkdir"], Refusal::Kill)));
    assert_eq!(
        own_settings(&pod),
        ["SystemCallFilter=mkdir write", "SystemCallErrorNumber=kill"]
    );
    // What systemd allows anyway: the agent must too.
    let told = config(&pod);
    let numbers: Vec<u64> = told["numbers"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|n| n.as_u64())
        .collect();
    assert!(
        [83, 1, 59, 231].iter().all(|number| numbers.contains(number)),
        "{told}"
    );
    assert!(!numbers.contains(&165) && told["allowed"] == true);

    pod.apps[0].overrides.seccomp = Some(Seccomp::RuntimeDefault);
    pod.apps[0].overrides.cap_add = vec!["SYS_TIME".into()];
    let settings = own_settings(&pod);
    let list = settings
        .iter()
        .find(|line| line.starts_with("SystemCallFilter=~"))
        .unwrap();
    let has = |name: &str| list.split(['~', ' ']).any(|word| word == name);
    assert!(has("mount") && has("keyctl") && !has("clock_settime"), "{list}");
    assert!(settings.contains(&"SystemCallErrorNumber=1".to_owned()));
    let shown = explain(&Document::from(&planned(&pod)));
    assert!(
        shown.contains("SystemCallFilter=~acct add_key bpf clock_adjtime") || shown.contains(" more,"),
        "{shown}"
    );
}

#[test]
fn what_no_machine_could_keep_is_refused() {
    let mut pod = PodSpec::new(vec![app("web")]);
    pod.apps[0].overrides.resources = Resources {
        memory_limit_bytes: Some(1 << 20),
        cpu_limit_millis: Some(100),
        cpu_request_millis: Some(200),
        pids_limit: Some(0),
        oom_score_adj: Some(1001),
        memory_request_bytes: None,
    };
    pod.apps[0].overrides.rlimits = vec![Rlimit {
        kind: RlimitKind::Core,
        soft: None,
        hard: Some(1),
    }];
    pod.apps[0].overrides.seccomp = Some(Seccomp::Retain(filter(&["mkdri"], Refusal::Errno("ENO".into()))));
    pod.apps[0].overrides.must_not_be_root = true;
    let text = refused(&pod);
    for fault in [
        "its limit of memory of 1048576 bytes is too small",
        "it asks for more processor time than it may have",
        "its limit of processes is 0",
        "1001 is not between",
        "its soft limit `core` is above the hard one",
        "`mkdri` is no system call; did you mean `mkdir`?",
        "`ENO` is no error",
        "its user is root",
    ] {
        assert!(text.contains(fault), "{fault}: {text}");
    }
    assert_eq!(text.lines().count(), 8, "{text}");
}

#[test]
fn open_files_have_the_kernels_own_limit() {
    let mut pod = PodSpec::new(vec![app("web")]);
    pod.apps[0].overrides.rlimits = vec![Rlimit {
        kind: RlimitKind::Nofile,
        soft: Some(10),
        hard: Some(2 << 20),
    }];
    assert!(refused(&pod).contains("`fs.nr_open`"));
    pod.sysctls = vec![Sysctl {
        name: "fs.nr_open".into(),
        value: "2097152".into(),
    }];
    let settings = own_settings(&pod);
    assert_eq!(
        settings,
        [
            "AssertPathExists=!/isopod/errors/sysctls",
            "LimitNOFILE=10:2097152"
        ]
    );
}

#[test]
fn groups_are_added_by_the_images_names() {
    let mut pod = PodSpec::new(vec![app("web")]);
    pod.apps[0].overrides.group_add = vec!["video".into(), "7".into()];
    let mut known = facts(&pod, &[]);
    known.apps[0].image.as_mut().unwrap().group = "video:x:44:\n".into();
    let planned = plan(&pod, &known).unwrap();
    assert_eq!(planned.apps[0].process.identity.supplementary_gids, [7, 44]);
    assert!(refused(&pod).contains("no group `video`"));

    // Those in which the image has its user: docker's rule, and Kubernetes'.
    let image = known.apps[0].image.as_mut().unwrap();
    image.passwd = "root:x:0:0::/root:/bin/sh\n".into();
    image.group = "video:x:44:\nadm:x:4:root\n".into();
    let mut groups = |group: Option<&str>, image_groups| {
        pod.apps[0].overrides.group = group.map(str::to_owned);
        pod.apps[0].overrides.image_groups = image_groups;
        let planned = plan(&pod, &known).unwrap();
        planned.apps[0].process.identity.supplementary_gids.clone()
    };
    assert_eq!(groups(None, ImageGroups::WithoutGroup), [4, 7, 44]);
    assert_eq!(groups(Some("3"), ImageGroups::WithoutGroup), [7, 44]);
    assert_eq!(groups(Some("3"), ImageGroups::Always), [4, 7, 44]);
    assert_eq!(groups(None, ImageGroups::Never), [7, 44]);
}
