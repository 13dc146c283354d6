//! What apps may take and do: what reaches their units and the agent, and what is refused.

use std::path::Path;

use crate::fixture::{app, facts, launch};
use isopod_contract::launch::PidNamespace;
use isopod_plan::explain;
use isopod_plan::facts::Facts;
use isopod_plan::layout::{self, UNIT_DIR};
use isopod_plan::output::document::Document;
use isopod_plan::{PlanError, PodPlan, plan};
use isopod_spec::{
    ImageGroups, OomKill, PidMode, PodLimits, PodSpec, Refusal, Resources, Rlimit, RlimitKind, RunConfig,
    Seccomp, SizedBy, SyscallFilter, Sysctl, Vm,
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
fn limits_of_the_pod_are_settings_of_a_slice_that_all_its_apps_are_in() {
    let mut pod = PodSpec::new(vec![app("web"), app("log")]);
    let slice = Path::new(UNIT_DIR).join("pod.slice");
    assert_eq!(planned(&pod).guest.text(&slice), None);
    pod.apps[0].overrides.resources.memory_request_bytes = Some(32 << 20);
    pod.limits = PodLimits {
        memory_bytes: Some(200 << 20),
        cpu_millis: Some(5),
    };
    let plan = planned(&pod);
    let text = unit(&plan, "pod.slice");
    for setting in ["MemoryMax=209715200", "CPUQuota=1%", "MemoryLow=33554432"] {
        assert!(text.contains(setting), "{setting}: {text}");
    }
    for app in ["web", "log"] {
        let within = unit(&plan, &format!("{app}.service.d/slice.conf"));
        assert!(within.contains("Slice=pod.slice"), "{within}");
    }
    let document = Document::from(&plan);
    assert_eq!(document.limits, ["MemoryMax=209715200", "CPUQuota=1%"]);
    assert!(explain(&document).contains("all apps together: MemoryMax=209715200"));
}

#[test]
fn less_than_the_kernel_limits_processor_time_to_is_raised_with_a_notice() {
    let mut pod = PodSpec::new(vec![app("web")]);
    pod.apps[0].overrides.resources.cpu_limit_millis = Some(5);
    pod.apps[0].overrides.resources.cpu_request_millis = Some(5);
    let plan = planned(&pod);
    assert!(unit(&plan, "web.service").contains("CPUQuota=1%"));
    assert!(
        plan.notices
            .iter()
            .any(|notice| notice.contains("10 thousandths of a CPU instead of 5"))
    );
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
            "MemoryMax=67108864",
            "MemoryLow=33554432",
            "CPUQuota=125.5%",
            "CPUWeight=25",
            "TasksMax=9",
            "OOMScoreAdjust=-5",
        ]
    );
    let plan = planned(&pod);
    assert!(launch(&plan, "web").process.no_new_privileges);
    assert_eq!(unit(&plan, "pod.slice"), "[Slice]\nMemoryLow=33554432\n");
    assert_eq!(plan.notices.len(), 1, "{:?}", plan.notices);
    assert!(plan.notices[0].contains("more processor time than its VM has"));
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
    // The two processes around the program do not take from what it may have.
    assert_eq!(own_settings(&pod), ["MemoryMax=67108864", "TasksMax=11"]);
}

/// A filter is the agent's to install, for the app and for commands in it: the unit's would take new privileges away, too.
#[test]
fn a_filter_is_not_the_units_and_takes_no_privileges_away() {
    let mut pod = PodSpec::new(vec![app("web")]);
    let errno = Refusal::Errno("ENOTSUP".into());
    let calls = ["umount2", "mount", "mount"];
    for (seccomp, shown) in [
        (
            Seccomp::Remove(filter(&calls, errno)),
            "SystemCallFilter=~mount umount2, SystemCallErrorNumber=ENOTSUP",
        ),
        (
            Seccomp::Retain(filter(&["mkdir"], Refusal::Kill)),
            "SystemCallFilter=mkdir, SystemCallErrorNumber=kill",
        ),
        (
            Seccomp::RuntimeDefault,
            "SystemCallFilter=_llseek _newselect accept accept4",
        ),
    ] {
        pod.apps[0].overrides.seccomp = Some(seccomp);
        for user in ["0", "1000"] {
            pod.apps[0].overrides.user = Some(user.into());
            assert!(own_settings(&pod).is_empty());
            let plan = planned(&pod);
            let process = launch(&plan, "web").process;
            assert!(!process.no_new_privileges && process.syscalls.is_some());
            let explained = explain(&Document::from(&plan));
            assert!(explained.contains(shown), "{explained}");
        }
    }
    // One that nobody asked for is docker's, which every container has, and not worth a word.
    let built_in = launch(&planned(&pod), "web").process.syscalls;
    pod.apps[0].overrides.seccomp = None;
    let plan = planned(&pod);
    assert_eq!(launch(&plan, "web").process.syscalls, built_in);
    assert!(!explain(&Document::from(&plan)).contains("SystemCall"));
    pod.apps[0].overrides.seccomp = Some(Seccomp::Unconfined);
    assert_eq!(launch(&planned(&pod), "web").process.syscalls, None);
    pod.apps[0].overrides.seccomp = None;
    pod.apps[0].overrides.privileged = true;
    assert_eq!(launch(&planned(&pod), "web").process.syscalls, None);
}

/// An app has processes of its own, and process 1 is an init: ours, or the image's.
#[test]
fn an_app_has_the_processes_that_were_asked_for() {
    let of = |pod: &PodSpec| {
        let launch = launch(&planned(pod), "web");
        (launch.processes, launch.cgroups)
    };
    let mut pod = PodSpec::new(vec![app("web")]);
    assert_eq!(of(&pod), (PidNamespace::Own, true));
    pod.apps[0].overrides.init = Some(false);
    assert_eq!(of(&pod).0, PidNamespace::OwnFirst);
    pod.pid_mode = PidMode::Pod;
    let refused = plan(&pod, &facts(&pod, &[])).unwrap_err();
    assert!(refused.to_string().contains("`--init=false`"), "{refused}");
    pod.apps[0].overrides.init = None;
    assert_eq!(of(&pod), (PidNamespace::Pod, true));
    let place = layout::app_launch(&"web".parse().unwrap()).join(layout::LAUNCH_PIDS);
    assert!(planned(&pod).guest.entries.contains_key(&place));
    pod.pid_mode = PidMode::Vm;
    assert_eq!(of(&pod), (PidNamespace::Vm, false));
}

/// Whether a program for system calls (bpf(4)) answers to one of x86-64 without arguments that it is allowed.
fn is_let_through(program: &[(u16, u8, u8, u32)], number: u32) -> bool {
    let (mut at, mut loaded) = (0, 0);
    loop {
        let (code, yes, no, value) = program[at];
        let jump = |holds: bool| usize::from(if holds { yes } else { no });
        at += 1;
        match code {
            0x20 => {
                loaded = [number, 0xc000_003e]
                    .get(value as usize / 4)
                    .copied()
                    .unwrap_or(0)
            }
            0x54 => loaded &= value,
            0x05 => at += value as usize,
            0x15 => at += jump(loaded == value),
            0x25 => at += jump(loaded > value),
            0x35 => at += jump(loaded >= value),
            0x06 => return value == 0x7fff_0000,
            other => panic!("{other:x}"),
        }
    }
}

#[test]
fn a_capability_opens_the_calls_of_the_default_filter_that_need_it() {
    let mut pod = PodSpec::new(vec![app("web")]);
    pod.apps[0].overrides.seccomp = Some(Seccomp::RuntimeDefault);
    // mount, keyctl, clock_settime: their numbers (asm/unistd_64.h).
    let allowed = |pod: &PodSpec| {
        let program = launch(&planned(pod), "web").process.syscalls.unwrap().0;
        [165, 250, 227].map(|number| is_let_through(&program, number))
    };
    assert_eq!(allowed(&pod), [false, false, false]);
    pod.apps[0].overrides.cap_add = vec!["SYS_TIME".into()];
    assert_eq!(allowed(&pod), [false, false, true]);
}

/// A profile that a file holds, of which the app names the path only.
#[test]
fn a_profile_from_a_file_goes_by_capabilities_and_the_guests_kernel() {
    let mut pod = PodSpec::new(vec![app("web")]);
    pod.apps[0].overrides.seccomp = Some(Seccomp::Profile("/p.json".into()));
    let rule = |conditions: &str| {
        format!(
            r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
                {{"names": ["reboot"], "action": "SCMP_ACT_ALLOW", "includes": {{{conditions}}}}},
                {{"names": ["read"], "action": "SCMP_ACT_LOG", "args": [{{"index": 0, "op": "SCMP_CMP_EQ"}}]}}]}}"#
        )
    };
    // reboot (asm/unistd_64.h).
    let is_allowed = |pod: &PodSpec, conditions: &str| {
        let mut known = facts(pod, &[]);
        known.host.guest.release = "6.1.0-1-amd64".into();
        known.apps[0].seccomp_profile = Some(isopod_spec::seccomp::read_profile(&rule(conditions)).unwrap());
        let plan = plan(pod, &known).unwrap();
        let explained = explain(&Document::from(&plan));
        assert!(explained.contains("read:arguments"), "{explained}");
        let program = launch(&plan, "web").process.syscalls.unwrap().0;
        is_let_through(&program, 169)
    };
    assert!(is_allowed(&pod, r#""minKernel": "6.1""#));
    assert!(!is_allowed(&pod, r#""minKernel": "6.2""#));
    let caps = r#""caps": ["CAP_SYS_BOOT"]"#;
    assert!(!is_allowed(&pod, caps));
    pod.apps[0].overrides.cap_add = vec!["SYS_BOOT".into()];
    assert!(is_allowed(&pod, caps));
    let text = refused(&pod);
    assert!(
        text.contains("its profile of system calls, `/p.json`, was not read"),
        "{text}"
    );
}

#[test]
fn a_limit_below_what_a_program_starts_with_is_raised_with_a_notice() {
    let mut pod = PodSpec::new(vec![app("web")]);
    pod.apps[0].overrides.resources.memory_limit_bytes = Some(1 << 20);
    assert_eq!(own_settings(&pod), ["MemoryMax=6291456"]);
    let notices = planned(&pod).notices;
    let notice =
        "app `web` is limited to 6 MiB of memory instead of 1048576 bytes: no program starts with less";
    assert_eq!(notices, [notice]);
    // What it asks for at least is more than that.
    pod.apps[0].overrides.resources.memory_request_bytes = Some(8 << 20);
    assert!(refused(&pod).contains("its reservation of memory of 8388608 bytes is more than its limit"));
}

#[test]
fn what_no_vm_could_keep_is_refused() {
    let mut pod = PodSpec::new(vec![app("web")]);
    pod.apps[0].overrides.resources = Resources {
        memory_limit_bytes: Some(8 << 20),
        cpu_limit_millis: Some(100),
        cpu_request_millis: Some(200),
        pids_limit: Some(0),
        oom_score_adj: Some(1001),
        memory_request_bytes: Some(9 << 20),
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
        "its reservation of memory of 9437184 bytes is more than its limit, 8388608",
        "its request for CPU time is more than its limit",
        "its limit of processes is 0",
        "1001 is not between",
        "its soft limit `core` is above the hard one",
        "`mkdri` is not a system call; did you mean `mkdir`?",
        "`ENO` is not an error name",
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
    assert!(refused(&pod).contains("above 1048576"));
    pod.sysctls = vec![Sysctl {
        name: "fs.nr_open".into(),
        value: "2097152".into(),
    }];
    assert_eq!(rlimit(&pod, "nofile"), Some((Some(10), Some(2 << 20))));
    pod.sysctls[0].value = "1024".into();
    pod.apps[0].overrides.rlimits.clear();
    assert_eq!(rlimit(&pod, "nofile"), Some((Some(1024), Some(1024))));
}

fn rlimit(pod: &PodSpec, name: &str) -> Option<(Option<u64>, Option<u64>)> {
    let rlimits = launch(&planned(pod), "web").process.rlimits;
    let found = rlimits.iter().find(|rlimit| rlimit.name == name)?;
    Some((found.soft, found.hard))
}

/// The kernel's own are for a VM with the guest's memory, and systemd's for services.
#[test]
fn an_app_has_dockers_limits_where_it_asks_for_none() {
    let mut pod = PodSpec::new(vec![app("web")]);
    let million = Some(1 << 20);
    for (name, expected) in [
        ("nofile", Some((million, million))),
        ("nproc", Some((None, None))),
        ("core", Some((None, None))),
        ("stack", None),
    ] {
        assert_eq!(rlimit(&pod, name), expected, "{name}");
    }
    assert!(!explain(&Document::from(&planned(&pod))).contains("within"));
    pod.apps[0].overrides.rlimits = [(RlimitKind::Nproc, 7), (RlimitKind::Stack, 8)]
        .map(|(kind, limit)| Rlimit {
            kind,
            soft: Some(limit),
            hard: Some(limit),
        })
        .into();
    let rlimits = launch(&planned(&pod), "web").process.rlimits;
    let names: Vec<&str> = rlimits.iter().map(|rlimit| rlimit.name.as_str()).collect();
    assert_eq!(names, ["nproc", "stack", "core", "nofile"]);
    assert_eq!(rlimit(&pod, "nproc"), Some((Some(7), Some(7))));
    assert!(explain(&Document::from(&planned(&pod))).contains("within LimitNPROC=7:7, LimitSTACK=8:8"));
}

/// docker and podman let the kernel kill one process of a container, Kubernetes has it kill all.
#[test]
fn whom_the_kernel_kills_for_memory_is_as_where_the_app_comes_from() {
    let mut pod = PodSpec::new(vec![app("web")]);
    for (limit, oom_kill, policy) in [
        (None, OomKill::Process, "continue"),
        (None, OomKill::App, "continue"),
        (Some(64 << 20), OomKill::Process, "continue"),
        (Some(64 << 20), OomKill::App, "kill"),
    ] {
        pod.apps[0].overrides.resources.memory_limit_bytes = limit;
        pod.apps[0].overrides.oom_kill = oom_kill;
        let unit = unit(&planned(&pod), "web.service");
        assert!(unit.contains(&format!("\nOOMPolicy={policy}\n")), "{unit}");
    }
}

/// Who an app is, from all that the image, a manifest and the user can say of it. docker: a user of the caller's takes the
/// image's `USER:GROUP` away as a whole. appc: user and group are two things, each replaced for itself.
#[test]
fn the_user_and_the_group_are_as_docker_and_appc_have_them() {
    const OCI: bool = false;
    const APPC: bool = true;
    let passwd = "root:x:0:0::/root:\nweb:x:33:34::/srv:\n";
    let group = "root:x:0:\nweb:x:34:\nadm:x:4:web\n";
    for (kind, of_image, of_user, expected) in [
        (OCI, (None, None), (None, None), (0, 0, vec![])),
        (OCI, (None, None), (Some("web"), None), (33, 34, vec![4])),
        (OCI, (None, None), (None, Some("5")), (0, 5, vec![])),
        (OCI, (None, None), (Some("7"), Some("5")), (7, 5, vec![])),
        (OCI, (Some("web"), None), (None, None), (33, 34, vec![4])),
        (OCI, (Some("web"), None), (Some("7"), None), (7, 0, vec![])),
        (OCI, (Some("web"), None), (None, Some("5")), (33, 5, vec![])),
        (OCI, (Some("web"), None), (Some("7"), Some("adm")), (7, 4, vec![])),
        (OCI, (Some("web"), Some("9")), (None, None), (33, 9, vec![])),
        (OCI, (Some("web"), Some("9")), (Some("7"), None), (7, 0, vec![])),
        (
            OCI,
            (Some("7"), Some("9")),
            (Some("web"), None),
            (33, 34, vec![4]),
        ),
        (OCI, (Some("web"), Some("9")), (None, Some("5")), (33, 5, vec![])),
        (
            OCI,
            (Some("web"), Some("9")),
            (Some("7"), Some("5")),
            (7, 5, vec![]),
        ),
        (APPC, (Some("web"), Some("9")), (None, None), (33, 9, vec![])),
        (APPC, (Some("web"), Some("9")), (Some("7"), None), (7, 9, vec![])),
        (APPC, (Some("web"), Some("9")), (None, Some("5")), (33, 5, vec![])),
        (
            APPC,
            (Some("web"), Some("9")),
            (Some("7"), Some("root")),
            (7, 0, vec![]),
        ),
        (APPC, (Some("0"), Some("0")), (Some("web"), None), (33, 0, vec![])),
    ] {
        let text = |word: Option<&str>| word.map(str::to_owned);
        let config = RunConfig {
            entrypoint: vec!["/bin/app".into()],
            user: text(of_image.0),
            group: text(of_image.1),
            group_for_any_user: kind,
            ..RunConfig::default()
        };
        // The first and the last app of a pod, of an image or of a manifest's `app` section.
        for (by_manifest, position) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
            let mut pod = PodSpec::new(vec![app("a"), app("b")]);
            let asked = &mut pod.apps[position];
            asked.overrides.user = text(of_user.0);
            asked.overrides.group = text(of_user.1);
            asked.run_config = by_manifest.then(|| config.clone());
            let mut known = facts(&pod, &[]);
            let image = known.apps[position].root.as_mut().unwrap();
            (image.passwd, image.group) = (passwd.into(), group.into());
            if !by_manifest {
                image.config = config.clone();
            }
            let planned = plan(&pod, &known).unwrap_or_else(|error| panic!("{error}"));
            let identity = |index: usize| {
                let identity = planned.apps[index].process.identity.clone();
                (identity.uid, identity.gid, identity.supplementary_gids)
            };
            assert_eq!(identity(position), expected, "{of_image:?} {of_user:?}");
            assert_eq!(identity(1 - position), (0, 0, vec![]));
        }
    }
}

#[test]
fn groups_are_added_by_the_images_names() {
    let mut pod = PodSpec::new(vec![app("web")]);
    pod.apps[0].overrides.group_add = vec!["video".into(), "7".into()];
    let mut known = facts(&pod, &[]);
    known.apps[0].root.as_mut().unwrap().group = "video:x:44:\n".into();
    let planned = plan(&pod, &known).unwrap();
    assert_eq!(planned.apps[0].process.identity.supplementary_gids, [7, 44]);
    assert!(refused(&pod).contains("no group `video`"));

    // Those in which the image has its user: docker's rule, and Kubernetes'.
    let image = known.apps[0].root.as_mut().unwrap();
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

/// What images say of limits (appc's isolators) sizes the VM as flags do, where nobody says how large it is; a flag's limit
/// goes before an image's.
#[test]
fn limits_of_images_size_the_vm() {
    let mut pod = PodSpec::new(vec![app("db"), app("web")]);
    pod.vm = Vm::holding(&pod.apps);
    let mut known = facts(&pod, &[]);
    let size = |pod: &PodSpec, known: &Facts| {
        let qemu = plan(pod, known).unwrap_or_else(|error| panic!("{error}")).qemu;
        (qemu.memory_mib, qemu.smp)
    };
    assert_eq!(size(&pod, &known), (2048, 1));
    for (facts, mib) in known.apps.iter_mut().zip([3000, 1000]) {
        facts.root.as_mut().unwrap().config.resources = Resources {
            memory_limit_bytes: Some(mib << 20),
            cpu_request_millis: Some(1500),
            ..Resources::default()
        };
    }
    assert_eq!(size(&pod, &known), (4128, 3));
    let limited = &mut pod.apps[0].overrides.resources;
    (limited.memory_limit_bytes, limited.cpu_limit_millis) = (Some(200 << 20), Some(200));
    assert_eq!(size(&pod, &known), (1328, 2));
    // A pod file's size, a flag's and an appc pod's is the pod's own word.
    (pod.vm.memory_by, pod.vm.memory_mib) = (SizedBy::Pod, 700);
    assert_eq!(size(&pod, &known), (700, 2));
}
