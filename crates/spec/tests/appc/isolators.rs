//! Isolators of apps and pods.

use isopod_spec::{Capabilities, Refusal, Resources, Seccomp, SyscallFilter};

use crate::{manifest, messages, read};

#[test]
fn isolators_of_capabilities() {
    let app = |isolators: &str| {
        manifest(
            &format!(r#", "app": {{"exec": ["/a"], "user": "0", "group": "0", "isolators": [{isolators}]}}"#),
            "",
        )
    };
    let isolator =
        |name: &str, set: &str| format!(r#"{{"name": "os/linux/{name}", "value": {{"set": [{set}]}}}}"#);
    let remove = isolator("capabilities-remove-set", r#""CAP_KILL", "CAP_CHOWN""#);
    let pod = read(&app(&remove));
    let expected = Capabilities::Remove(vec!["CAP_KILL".into(), "CAP_CHOWN".into()]);
    assert_eq!(
        pod.apps[0].run_config.as_ref().unwrap().capabilities,
        Some(expected)
    );
    for (isolators, fault) in [
        (
            format!(
                "{remove}, {}",
                isolator("capabilities-retain-set", r#""CAP_KILL""#)
            ),
            "must be the only capability isolator of the app",
        ),
        (
            isolator("capabilities-retain-set", r#""CAP_KIL""#),
            "`CAP_KIL` must be a capability of capabilities(7)",
        ),
        (
            isolator("capabilities-retain-set", ""),
            "`[]` must be a list of at least one name",
        ),
        (
            r#"{"name": "os/linux/capabilities-retain-set"}"#.to_owned(),
            "isolators[0].value`: the field is missing",
        ),
    ] {
        let found = messages(&app(&isolators));
        assert!(found.len() == 1 && found[0].contains(fault), "{fault}: {found:?}");
    }
}

/// The `app` of a manifest with these isolators.
fn isolated(isolators: &str) -> String {
    manifest(
        &format!(r#", "app": {{"exec": ["/a"], "user": "0", "group": "0", "isolators": [{isolators}]}}"#),
        "",
    )
}

#[test]
fn isolators_of_resources_and_privileges() {
    let read = |isolators: &str| read(&isolated(isolators)).apps[0].run_config.clone().unwrap();
    let config = read(
        r#"{"name": "resource/memory", "value": {"request": "1M", "limit": "2Mi"}},
           {"name": "resource/cpu", "value": {"limit": "250m"}},
           {"name": "os/linux/oom-score-adj", "value": -5},
           {"name": "os/linux/no-new-privileges", "value": true}"#,
    );
    let expected = Resources {
        memory_request_bytes: Some(1_000_000),
        memory_limit_bytes: Some(2 << 20),
        // A request that is not there is as large as the limit.
        cpu_request_millis: Some(250),
        cpu_limit_millis: Some(250),
        oom_score_adj: Some(-5),
        pids_limit: None,
    };
    assert_eq!((config.resources, config.no_new_privileges), (expected, true));
    let config = read(r#"{"name": "os/linux/cpu-shares", "value": 512}"#);
    assert_eq!(config.resources.cpu_request_millis, Some(500));
    for (isolator, fault) in [
        (
            r#"{"name": "resource/memory", "value": {"limit": "much"}}"#,
            "value.limit`: `much` must be an amount of bytes, such as `64Mi`",
        ),
        (
            r#"{"name": "resource/cpu", "value": {}}"#,
            "value.limit`: the field is missing",
        ),
        (
            r#"{"name": "resource/cpu", "value": {"limit": 1, "default": true}}"#,
            "value.default`: there is no such field",
        ),
        (
            r#"{"name": "os/linux/no-new-privileges", "value": "true"}"#,
            "expected `true` or `false`, found a string",
        ),
        (
            r#"{"name": "os/linux/oom-score-adj", "value": 1001}"#,
            "`1001` must be a whole number from -1000 to 1000",
        ),
        (
            r#"{"name": "resource/block-iops", "value": {"default": true, "limit": "1000"}}"#,
            "isolator `resource/block-iops` is not supported",
        ),
        (
            r#"{"name": "x/y", "value": 1}"#,
            "isolator `x/y` is not supported",
        ),
    ] {
        let found = messages(&isolated(isolator));
        assert!(found.len() == 1 && found[0].contains(fault), "{fault}: {found:?}");
    }
    let both = r#"{"name": "os/linux/capabilities-remove-set", "value": {"set": ["CAP_KILL"]}},
                  {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_KILL"]}}"#;
    assert!(messages(&isolated(both))[0].contains("must be the only capability isolator of the app"));
}

#[test]
fn of_several_isolators_of_one_name_the_last_counts() {
    let config = |isolators: &str| read(&isolated(isolators)).apps[0].run_config.clone().unwrap();
    let twice = config(
        r#"{"name": "resource/cpu", "value": {"limit": "1"}}, {"name": "resource/memory", "value": {"limit": "1Gi"}},
           {"name": "resource/cpu", "value": {"request": "2"}},
           {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_KILL"]}},
           {"name": "os/linux/capabilities-retain-set", "value": {"set": ["CAP_CHOWN"]}},
           {"name": "os/linux/seccomp-remove-set", "value": {"set": ["mount"], "errno": "EPERM"}},
           {"name": "os/linux/seccomp-remove-set", "value": {"set": ["reboot"]}}"#,
    );
    assert_eq!(
        (
            twice.resources.cpu_limit_millis,
            twice.resources.cpu_request_millis
        ),
        (None, Some(2000))
    );
    assert_eq!(twice.resources.memory_limit_bytes, Some(1 << 30));
    assert_eq!(
        twice.capabilities,
        Some(Capabilities::Retain(vec!["CAP_CHOWN".into()]))
    );
    let names = vec!["reboot".to_owned()];
    let refusal = Refusal::Kill;
    assert_eq!(
        twice.seccomp,
        Some(Seccomp::Remove(SyscallFilter { names, refusal }))
    );
    let pod = r#", "isolators": [{"name": "resource/memory", "value": {"limit": "1Gi"}},
                                 {"name": "resource/memory", "value": {"limit": "512Mi"}}]"#;
    assert_eq!(read(&manifest("", pod)).vm.memory_mib, 512);
}

#[test]
fn isolators_of_system_calls() {
    let isolator = |name: &str, value: &str| {
        isolated(&format!(
            r#"{{"name": "os/linux/seccomp-{name}", "value": {{{value}}}}}"#
        ))
    };
    let read = |name: &str, value: &str| {
        read(&isolator(name, value)).apps[0]
            .run_config
            .clone()
            .unwrap()
            .seccomp
            .unwrap()
    };
    let filter = |names: &[&str], refusal| SyscallFilter {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        refusal,
    };
    assert_eq!(
        read("remove-set", r#""set": ["mount", "reboot"], "errno": "ENOTSUP""#),
        Seccomp::Remove(filter(&["mount", "reboot"], Refusal::Errno("ENOTSUP".into())))
    );
    assert_eq!(
        read("retain-set", r#""set": ["read"], "errno": """#),
        Seccomp::Retain(filter(&["read"], Refusal::Kill))
    );
    assert_eq!(
        read("retain-set", r#""set": ["read", "@appc.io/all"]"#),
        Seccomp::Unconfined
    );
    assert_eq!(
        read("remove-set", r#""set": ["@appc.io/empty"]"#),
        Seccomp::Unconfined
    );
    for (operation, set, with, without) in [
        ("retain-set", "@docker/default-whitelist", "clone3", "unshare"),
        ("retain-set", "@rkt/default-whitelist", "mmap2", "reboot"),
        ("remove-set", "@docker/default-blacklist", "umount2", "mkdir"),
        ("remove-set", "@rkt/default-blacklist", "stime", "clone"),
    ] {
        let value = format!(r#""set": ["{set}", "vhangup", "read"], "errno": "ENOSYS""#);
        let filter = match read(operation, &value) {
            Seccomp::Retain(filter) | Seccomp::Remove(filter) => filter,
            other => panic!("{set}: {other:?}"),
        };
        let has = |name: &str| filter.names.iter().filter(|known| *known == name).count();
        assert_eq!((has(with), has(without), has("vhangup")), (1, 0, 1), "{set}");
        assert_eq!(filter.refusal, Refusal::Errno("ENOSYS".into()));
    }
    for (name, value, fault) in [
        (
            "remove-set",
            r#""set": []"#,
            "`[]` must be a list of at least one name",
        ),
        (
            "remove-set",
            r#""errno": "EPERM""#,
            "value.set`: the field is missing",
        ),
        ("remove-set", r#""set": ["mnt"]"#, "`mnt` is not a system call"),
        (
            "remove-set",
            r#""set": ["read"], "errno": "eperm""#,
            "`eperm` must be an error of errno(3), such as `EPERM`",
        ),
        (
            "remove-set",
            r#""set": ["@appc.io/all"]"#,
            "an app without system calls (`@appc.io/all`) is not supported",
        ),
        (
            "retain-set",
            r#""set": ["read", "@appc.io/empty"]"#,
            "an app without system calls (`@appc.io/empty`) is not supported",
        ),
        (
            "retain-set",
            r#""set": ["@systemd/mount"]"#,
            "the set of system calls `@systemd/mount` is not supported",
        ),
    ] {
        let found = messages(&isolator(name, value));
        assert!(found.len() == 1 && found[0].contains(fault), "{fault}: {found:?}");
    }
    let both = r#"{"name": "os/linux/seccomp-remove-set", "value": {"set": ["mount"]}},
                  {"name": "os/linux/seccomp-retain-set", "value": {"set": ["read"]}}"#;
    assert!(messages(&isolated(both))[0].contains("must be the only seccomp isolator of the app"));
}

#[test]
fn isolators_of_the_pod_size_its_vm() {
    let pod = |isolators: &str| manifest("", &format!(r#", "isolators": [{isolators}]"#));
    let read = |isolators: &str| read(&pod(isolators));
    let all = read(
        r#"{"name": "resource/memory", "value": {"request": "64Mi", "limit": "1Gi"}},
           {"name": "resource/cpu", "value": {"limit": "1500m"}},
           {"name": "os/unix/sysctl", "value": {"net.core.somaxconn": "9", "kernel.pid_max": "1000"}}"#,
    );
    assert_eq!((all.vm.memory_mib, all.vm.cpus), (1024, 2));
    let sysctls: Vec<(&str, &str)> = all
        .sysctls
        .iter()
        .map(|s| (s.name.as_str(), s.value.as_str()))
        .collect();
    assert_eq!(sysctls, [("net.core.somaxconn", "9"), ("kernel.pid_max", "1000")]);
    for (isolator, fault) in [
        (
            r#"{"name": "resource/memory", "value": {"limit": "64Mi"}}"#,
            "must be an amount that a VM can have",
        ),
        (
            r#"{"name": "resource/cpu", "value": {"limit": "256"}}"#,
            "must be an amount that a VM can have",
        ),
        (
            r#"{"name": "os/unix/sysctl", "value": {"a.b": 1}}"#,
            "expected a string, found a number",
        ),
        (
            r#"{"name": "os/linux/no-new-privileges", "value": true}"#,
            "is not supported",
        ),
    ] {
        let found = messages(&pod(isolator));
        assert!(found.len() == 1 && found[0].contains(fault), "{fault}: {found:?}");
    }
}
