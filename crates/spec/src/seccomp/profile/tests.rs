use super::*;

fn profile(default: &str, rules: &str) -> Result<SeccompProfile, InvalidProfile> {
    read_profile(&format!(
        r#"{{"defaultAction": "SCMP_ACT_{default}", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [{rules}]}}"#
    ))
}

fn rules(profile: &SeccompProfile, capabilities: &[&str], kernel: &str) -> Vec<SyscallRule> {
    let capabilities = capabilities.iter().map(|&name| name.to_owned()).collect();
    let around = ProfiledProcess {
        architecture: Architecture::Amd64,
        capabilities: &capabilities,
        kernel,
    };
    profile.rules(&around).rules
}

fn names(profile: &SeccompProfile, capabilities: &[&str], kernel: &str) -> Vec<String> {
    let rules = rules(profile, capabilities, kernel);
    rules.into_iter().flat_map(|rule| rule.names).collect()
}

#[test]
fn every_answer_and_comparison_is_read() {
    for (action, expected) in [
        ("ALLOW", Answer::Allow),
        ("LOG", Answer::Log),
        ("TRACE", Answer::Trace(1)),
        ("ERRNO", Answer::Errno(1)),
        ("TRAP", Answer::Trap),
        ("KILL", Answer::KillThread),
        ("KILL_THREAD", Answer::KillThread),
        ("KILL_PROCESS", Answer::KillProcess),
    ] {
        let read = profile(action, "").unwrap();
        assert_eq!(read.default, expected, "{action}");
        let rule = format!(r#"{{"names": ["read", "_llseek", "arm_sync"], "action": "SCMP_ACT_{action}"}}"#);
        let found = rules(&profile("ERRNO", &rule).unwrap(), &[], "6.1");
        assert_eq!((found[0].answer, found[0].names.len()), (expected, 2), "{action}");
    }
    for (op, operator, value) in [
        ("NE", Operator::NotEqual, 6),
        ("LT", Operator::Less, 6),
        ("LE", Operator::LessOrEqual, 6),
        ("EQ", Operator::Equal, 6),
        ("GE", Operator::GreaterOrEqual, 6),
        ("GT", Operator::Greater, 6),
        ("MASKED_EQ", Operator::MaskedEqual(6), 2),
    ] {
        let rule = format!(
            r#"{{"name": "read", "action": "SCMP_ACT_ALLOW",
                     "args": [{{"index": 5, "value": 6, "valueTwo": 3, "op": "SCMP_CMP_{op}"}}]}}"#
        );
        let found = rules(&profile("ERRNO", &rule).unwrap(), &[], "6.1");
        let expected = Comparison {
            argument: 5,
            operator,
            value,
        };
        assert_eq!(found[0].arguments, [expected], "{op}");
    }
}

#[test]
fn errors_are_numbers_or_names() {
    for (fields, expected) in [
        (r#""errnoRet": 38"#, 38),
        (r#""errnoRet": 0"#, 0),
        (r#""errnoRet": 1, "errno": "ENOSYS""#, 38),
        (r#""errno": "38""#, 38),
        (r#""comment": "none""#, 1),
    ] {
        let rule = format!(r#"{{"names": ["mount"], "action": "SCMP_ACT_ERRNO", {fields}}}"#);
        let found = rules(&profile("ALLOW", &rule).unwrap(), &[], "6.1");
        assert_eq!(found[0].answer, Answer::Errno(expected), "{fields}");
    }
}

#[test]
fn conditions_are_those_of_docker() {
    let of = |conditions: &str| {
        let rule = format!(r#"{{"names": ["mount"], "action": "SCMP_ACT_ALLOW", {conditions}}}"#);
        profile("ERRNO", &rule).unwrap()
    };
    let two = r#"{"caps": ["CAP_A", "CAP_B"]}"#;
    for (conditions, capabilities, kernel, counts) in [
        (
            r#""includes": {}, "excludes": null"#.to_owned(),
            &[][..],
            "6.1",
            true,
        ),
        (format!(r#""includes": {two}"#), &["CAP_A"], "6.1", false),
        (
            format!(r#""includes": {two}"#),
            &["CAP_A", "CAP_B", "CAP_C"],
            "6.1",
            true,
        ),
        (format!(r#""excludes": {two}"#), &["CAP_A"], "6.1", false),
        (format!(r#""excludes": {two}"#), &["CAP_C"], "6.1", true),
        (
            r#""includes": {"arches": ["x32", "amd64"]}"#.into(),
            &[],
            "6.1",
            true,
        ),
        (r#""includes": {"arches": ["s390x"]}"#.into(), &[], "6.1", false),
        (r#""excludes": {"arches": ["s390x"]}"#.into(), &[], "6.1", true),
        (r#""excludes": {"arches": ["amd64"]}"#.into(), &[], "6.1", false),
        (
            r#""includes": {"minKernel": "4.8"}"#.into(),
            &[],
            "4.8.0-1-amd64",
            true,
        ),
        (r#""includes": {"minKernel": "4.8"}"#.into(), &[], "4.7.9", false),
        (r#""includes": {"minKernel": "4.8"}"#.into(), &[], "4.10.1", true),
        (
            r#""excludes": {"minKernel": "4.8"}"#.into(),
            &[],
            "6.12+deb13-amd64",
            false,
        ),
    ] {
        let found = names(&of(&conditions), capabilities, kernel);
        assert_eq!(
            !found.is_empty(),
            counts,
            "{conditions} {capabilities:?} {kernel}"
        );
    }
}

/// runc: "If two or more arguments have the same condition, revert to old behavior".
#[test]
fn an_argument_that_is_compared_twice_is_two_rules() {
    let args = |second: u8| {
        let rule = format!(
            r#"{{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [
                    {{"index": 0, "value": 1, "op": "SCMP_CMP_GE"}}, {{"index": {second}, "value": 3, "op": "SCMP_CMP_LE"}}]}}"#
        );
        rules(&profile("ERRNO", &rule).unwrap(), &[], "6.1").len()
    };
    assert_eq!((args(0), args(1)), (2, 1));
}

#[test]
fn programs_of_32_bits_go_by_it_where_it_says_so() {
    for (architectures, expected) in [
        (r#""architectures": null"#, &[][..]),
        (r#""architectures": ["SCMP_ARCH_X86"]"#, &[Architecture::Amd64]),
        (
            r#""architectures": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]"#,
            &[Architecture::Arm64],
        ),
        (
            r#""archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}]"#,
            &[Architecture::Amd64],
        ),
        (
            r#""archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": null}]"#,
            &[],
        ),
        (
            r#""archMap": [{"architecture": "SCMP_ARCH_S390X", "subArchitectures": ["SCMP_ARCH_X86"]}]"#,
            &[],
        ),
    ] {
        let text = format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", {architectures}}}"#);
        assert_eq!(read_profile(&text).unwrap().compat, expected, "{architectures}");
    }
}

#[test]
fn what_is_invalid_or_cannot_be_had_is_said() {
    for (text, reason) in [
        ("[]", "it is not a seccomp profile"),
        ("{}", "it is not a seccomp profile"),
        (
            r#"{"defaultAction": "SCMP_ACT_NO"}"#,
            "`SCMP_ACT_NO` is not an action",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#,
            "`SCMP_ACT_NOTIFY` is not supported",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"}"#,
            "a listener is not supported",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"]}"#,
            "`SECCOMP_FILTER_FLAG_LOG` is not supported",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["a"], "archMap": [{"architecture": "b"}]}"#,
            "`architectures` and `archMap`",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5000}"#,
            "5000 is above 4095",
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrno": "EVIL"}"#,
            "`EVIL` is not an error",
        ),
    ] {
        let error = read_profile(text).unwrap_err();
        assert!(error.to_string().contains(reason), "{text}: {error}");
        assert!(!error.hint().is_empty());
    }
    for (rule, reason) in [
        (
            r#"{"name": "a", "names": ["b"], "action": "SCMP_ACT_ALLOW"}"#,
            "`name` and `names`",
        ),
        (
            r#"{"name": "read", "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "op": "SCMP_CMP_EQ"}]}"#,
            "argument 6",
        ),
        (
            r#"{"name": "read", "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "=="}]}"#,
            "`==` is not a comparison",
        ),
        (
            r#"{"name": "read", "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "new"}}"#,
            "`minKernel` `new`",
        ),
    ] {
        let error = profile("ERRNO", rule).unwrap_err();
        assert!(error.to_string().contains(reason), "{rule}: {error}");
    }
}

#[test]
fn dockers_own_profile_goes_by_the_capabilities() {
    let default = SeccompProfile::runtime_default().unwrap();
    assert_eq!(default.compat, Architecture::ALL);
    let clone = |rules: &[SyscallRule]| -> Vec<(Answer, usize)> {
        let of = rules
            .iter()
            .filter(|rule| rule.names.iter().any(|name| name == "clone"));
        of.map(|rule| (rule.answer, rule.arguments.len())).collect()
    };
    let plain = rules(&default, &["CAP_CHOWN"], "6.1.0-1-amd64");
    assert_eq!(clone(&plain), [(Answer::Allow, 1)]);
    let admin = rules(&default, &["CAP_SYS_ADMIN"], "6.1.0-1-amd64");
    assert_eq!(clone(&admin), [(Answer::Allow, 0)]);
    let has = |rules: &[SyscallRule], call: &str| {
        rules
            .iter()
            .any(|rule| rule.names.iter().any(|name| name == call))
    };
    for (call, plainly) in [
        ("read", true),
        ("ptrace", true),
        ("mount", false),
        ("unshare", false),
        ("bpf", false),
    ] {
        assert_eq!((has(&plain, call), has(&admin, call)), (plainly, true), "{call}");
    }
}
