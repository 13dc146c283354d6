//! Command lines and what is made of them.

use std::time::Duration;

use isopod_runtime::pods::files::Stdin;
use isopod_spec::{
    Accel, Architecture, EnvVar, GuestKernel, ImplicitVolumes, KernelChoice, Network, PodName, PodSpec,
    PortProtocol, Resources, RootWrites, RootfsAccess, Seccomp, ShareTransport, SizedBy, StartMode, Vm,
    VolumeKind,
};

use super::*;
use crate::args::*;
use crate::detach_keys::DetachKeys;
use crate::output::LogLevel;
use crate::settings::Global;

mod help;
mod networks;
mod others;
mod refused;

fn parse_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Cli, ArgsError> {
    parse(std::iter::once("isopod").chain(words).map(OsString::from))
}

/// The command of a line that makes no pod.
pub(crate) fn command(line: &str) -> commands::OtherCommand {
    match parse_line(line).map(|cli| cli.command) {
        Ok(Command::Other(command)) => command,
        other => panic!("{line}: {other:?}"),
    }
}

/// Parses a line whose words have no blanks.
fn parse_line(line: &str) -> Result<Cli, ArgsError> {
    parse_words(line.split_whitespace())
}

fn pod_of(cli: Cli) -> PodSpec {
    *match cli.command {
        Command::Run(RunArgs {
            source: PodSource::Apps { spec, .. },
            ..
        }) => spec,
        Command::Plan(PlanArgs {
            run:
                RunArgs {
                    source: PodSource::Apps { spec, .. },
                    ..
                },
            ..
        }) => spec,
        other => panic!("no pod: {other:?}"),
    }
}

fn pod(line: &str) -> PodSpec {
    pod_of(parse_line(line).unwrap_or_else(|error| panic!("{line}: {error:?}")))
}

/// The faults of a line, each with its causes and its hint.
fn faults(line: &str) -> Vec<String> {
    let Err(ArgsError::Faults(faults)) = parse_line(line) else {
        panic!("{line}: no faults")
    };
    let show = |fault: &ArgFault| {
        let mut text = fault.to_string();
        let mut cause = std::error::Error::source(fault);
        while let Some(error) = cause {
            text += &format!(": {error}");
            cause = error.source();
        }
        fault
            .hint()
            .map_or(text.clone(), |hint| format!("{text} ({hint})"))
    };
    faults.iter().map(show).collect()
}

fn usage(line: &str) -> String {
    match parse_line(line) {
        Err(ArgsError::Usage(text)) => text.to_string(),
        other => panic!("{line}: {other:?}"),
    }
}

fn help(line: &str) -> String {
    match parse_line(line) {
        Err(ArgsError::Asked(text)) => text.to_string(),
        other => panic!("{line}: {other:?}"),
    }
}

fn targets(pod: &PodSpec, app: usize) -> Vec<(&str, &str)> {
    pod.apps[app]
        .mounts
        .iter()
        .map(|mount| (mount.volume.as_str(), mount.target.to_str().unwrap()))
        .collect()
}

#[test]
fn one_app_with_everything() {
    let line = "run --volume d,kind=empty --vm-memory 1g --vm-cpus 2 --accel tcg --kernel ./vmlinuz --modules /m --guest-root /r \
                --platform linux/arm64/v8 --start warm --transport 9p --no-implicit-volumes \
                --stop-timeout 3 --app-name web --entrypoint /bin/sh --user 1:2 -w /srv -e A=b --env C \
                --mount volume=d,target=/d -v ./x:/x:ro --read-only --cap-add net_admin --cap-drop ALL --stop-signal quit \
                oci:/images/a:1 -c env";
    let cli = parse_line(line).unwrap();
    let Command::Run(run) = &cli.command else { panic!() };
    assert_eq!(run.stop_timeout, Some(Duration::from_secs(3)));
    let pod = pod_of(cli);
    let vm = Vm {
        memory_mib: 1024,
        cpus: 2,
        memory_by: SizedBy::Pod,
        cpus_by: SizedBy::Pod,
        accel: Accel::Tcg,
        start: StartMode::Warm,
        transport: ShareTransport::NineP,
        kernel: GuestKernel {
            kernel: Some(KernelChoice::File("./vmlinuz".into())),
            modules: Some("/m".into()),
            root: Some("/r".into()),
        },
        architecture: Some(Architecture::Arm64),
    };
    assert_eq!((&pod.vm, pod.implicit_volumes), (&vm, ImplicitVolumes::Refuse));
    let app = &pod.apps[0];
    assert_eq!(app.name.as_str(), "web");
    assert_eq!(app.rootfs, RootfsAccess::ReadOnly);
    let overrides = &app.overrides;
    assert_eq!(overrides.exec.as_deref(), Some("/bin/sh"));
    assert_eq!(overrides.stop_signal.as_deref(), Some("QUIT"));
    assert_eq!(
        overrides.args.as_deref(),
        Some(&["-c".to_owned(), "env".to_owned()][..])
    );
    assert_eq!(
        (overrides.user.as_deref(), overrides.group.as_deref()),
        (Some("1"), Some("2"))
    );
    assert_eq!(
        overrides.working_dir.as_deref(),
        Some(std::path::Path::new("/srv"))
    );
    let env = |name: &str, value: Option<&str>| EnvVar {
        name: name.into(),
        value: value.map(str::to_owned),
        secret: false,
    };
    assert_eq!(overrides.env, [env("A", Some("b")), env("C", None)]);
    assert_eq!(
        (&overrides.cap_add[..], &overrides.cap_drop[..]),
        (&["CAP_NET_ADMIN".into()][..], &["ALL".into()][..])
    );
    assert_eq!(targets(&pod, 0), [("d", "/d"), ("v1", "/x")]);
    assert_eq!(app.mounts[1].read_only, Some(true));
}

#[test]
fn defaults() {
    let cli = parse_line("run oci:/images/alpine:3.20").unwrap();
    assert_eq!(
        cli.global,
        Global {
            dir: None,
            log_level: LogLevel::Warn
        }
    );
    let Command::Run(run) = &cli.command else { panic!() };
    assert_eq!(run.stop_timeout, None);
    let pod = pod_of(cli);
    assert_eq!(
        (&pod.vm, pod.implicit_volumes),
        (&Vm::holding(&pod.apps), ImplicitVolumes::Create)
    );
    assert_eq!(pod.apps[0].name.as_str(), "alpine");
    assert_eq!(pod.apps[0].overrides.args, None);
}

#[test]
fn groups_of_apps() {
    let pod = pod("run --env A=1 oci:a -- x --env B=2 -- y --- oci:b -- --- --app-name last oci:c");
    let names: Vec<_> = pod.apps.iter().map(|app| app.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "last"]);
    assert_eq!(
        pod.apps[0].overrides.args.as_ref().unwrap().join(" "),
        "x --env B=2 -- y"
    );
    assert_eq!(pod.apps[0].overrides.env.len(), 1);
    assert_eq!(pod.apps[1].overrides.args, Some(vec![]));
    assert_eq!(pod.apps[2].overrides.args, None);
}

/// docker's grammar, and one `--` that may end the flags.
#[test]
fn what_follows_an_image_is_its_command() {
    let args = |line: &str| {
        pod(line).apps[0]
            .overrides
            .args
            .clone()
            .unwrap_or_default()
            .join(" ")
    };
    for (line, command) in [
        ("run oci:a echo hi", "echo hi"),
        ("run oci:a -- echo hi", "echo hi"),
        ("run oci:a -- -- x", "-- x"),
        ("run oci:a sh -c -- x", "sh -c -- x"),
        ("run -- oci:a echo", "echo"),
        ("run -- oci:a -- echo", "echo"),
        ("run oci:a --name x --help -v /a:/b", "--name x --help -v /a:/b"),
        ("run oci:a -it", "-it"),
        ("run oci:a", ""),
    ] {
        assert_eq!(args(line), command, "{line}");
    }
}

/// Every form that docker's parser takes.
#[test]
fn flags_in_every_form() {
    for line in [
        "run -i -p 80:80 --name x -e A=b -w /x oci:a",
        "run -ip80:80 --name=x -eA=b -w=/x oci:a",
        "run --interactive=true -p=80:80 --name y --name x --env=A=b --workdir /x oci:a",
        "run --interactive=1 --rm=false --publish 80:80 --name x -e=A=b -iw/x oci:a",
    ] {
        let cli = parse_line(line).unwrap_or_else(|error| panic!("{line}: {error:?}"));
        let Command::Run(run) = &cli.command else { panic!() };
        assert_eq!(run.name.as_ref().map(PodName::as_str), Some("x"), "{line}");
        assert_eq!((run.stdin, run.remove), (Stdin::Attached, false), "{line}");
        let pod = pod_of(cli);
        assert_eq!(pod.apps[0].overrides.env[0].value.as_deref(), Some("b"), "{line}");
        assert_eq!(pod.apps[0].overrides.working_dir, Some("/x".into()), "{line}");
        assert!(
            matches!(&pod.network, Network::User { ports, .. } if ports.len() == 1),
            "{line}"
        );
    }
    assert_eq!(
        faults("run --rm=yes oci:a"),
        ["`yes` is not a valid value of `--rm`: it must be `true` or `false`"]
    );
}

#[test]
fn an_apps_arguments_are_its_own() {
    for word in [
        "--help",
        "-h",
        "--version",
        "--dir",
        "--volume",
        "--name=x",
        "-",
        "run",
    ] {
        let pod = pod_of(parse_words(["run", "oci:a", "--", word]).unwrap());
        assert_eq!(pod.apps[0].overrides.args, Some(vec![word.to_owned()]), "{word}");
    }
    let pod = pod_of(parse_words(["run", "-e", "A=b c --- d", "oci:a", "", "x y"]).unwrap());
    assert_eq!(
        pod.apps[0].overrides.args,
        Some(vec![String::new(), "x y".to_owned()])
    );
}

#[test]
fn global_flags_stand_anywhere_before_the_image() {
    for line in [
        "--dir /d --log-level debug run oci:a",
        "--dir=/d run --log-level=debug oci:a",
        "run --vm-memory 1g --dir /d --log-level debug oci:a",
        "plan --dir /d --format json --log-level debug oci:a",
        "image --dir /d list --log-level debug",
        "image import --log-level debug oci:a --dir /d",
    ] {
        let global = parse_line(line)
            .unwrap_or_else(|error| panic!("{line}: {error:?}"))
            .global;
        assert_eq!(
            global,
            Global {
                dir: Some("/d".into()),
                log_level: LogLevel::Debug
            },
            "{line}"
        );
    }
}

#[test]
fn a_directory_named_run_is_no_command() {
    let cli = parse_line("--dir run image list").unwrap();
    assert_eq!(cli.global.dir, Some("run".into()));
    assert_eq!(cli.command, Command::Other(command("image list")));
}

#[test]
fn mounts_of_apps() {
    let pod = pod(
        "run --volume a,kind=empty --volume b,kind=empty --mount volume=a,target=/a -v /src:/y \
         --mount volume=b,target=/x/. oci:one --- -v /src:/y oci:two",
    );
    assert_eq!(targets(&pod, 0), [("a", "/a"), ("v1", "/y"), ("b", "/x/.")]);
    assert_eq!(targets(&pod, 1), [("v1", "/y")]);
    let names: Vec<_> = pod.volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "v1"]);
    // Of two at one target, however it is written, the later one wins.
    let again = "run --volume a,kind=empty --volume b,kind=empty --mount volume=a,target=/all --mount volume=b,target=/all/ \
                 --mount volume=a,target=/g -v /x:/h --mount volume=b,target=/../g/. -v /y:/h/ oci:one";
    assert_eq!(
        targets(&self::pod(again), 0),
        [("b", "/all/"), ("b", "/../g/."), ("v2", "/h/")]
    );
    assert!(matches!(&pod.volumes[2].kind, VolumeKind::Host(host) if host.source.as_os_str() == "/src"));
}

#[test]
fn volumes_in_dockers_words() {
    let pod = pod(
        "run -v data:/data -v /own --mount type=volume,target=/more --tmpfs /run:size=1m -v /own --mount \
         type=bind,source=/src,target=/more oci:a --- -v data:/data:ro oci:b",
    );
    assert_eq!(
        targets(&pod, 0),
        [("data", "/data"), ("v1", "/run"), ("v2", "/more")]
    );
    assert_eq!(pod.apps[0].anonymous, [std::path::PathBuf::from("/own")]);
    assert_eq!(targets(&pod, 1), [("data", "/data")]);
    let VolumeKind::Host(data) = &pod.volumes[0].kind else {
        panic!()
    };
    assert_eq!(data.must_be, isopod_spec::SourceRule::Named { copies: true });
}

#[test]
fn labels_ports_and_what_is_published() {
    let cli = parse_line(
        "run -l a=b -l a=c --label d --annotation e=f -P --expose 80-81 -p 90 --shm-size 1m oci:a",
    )
    .unwrap();
    let Command::Run(run) = &cli.command else { panic!() };
    assert!(run.publish.all);
    assert_eq!(
        run.publish.exposed,
        [80, 81].map(|port| (port, PortProtocol::Tcp))
    );
    let pod = pod_of(cli);
    let labels: Vec<(&str, &str)> = pod
        .labels
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    assert_eq!(labels, [("a", "c"), ("d", "")]);
    assert_eq!((pod.annotations.len(), pod.shm_bytes), (1, Some(1 << 20)));
    assert!(matches!(&pod.network, Network::User { ports, .. } if ports[0].host_port == 0));
    assert!(
        faults("run --platform linux/s390x oci:a")[0].contains("`--platform=linux/s390x` is not supported")
    );
}

#[test]
fn limits_are_an_apps_and_its_vm_is_large_enough() {
    let pod = pod(
        "run --vm-memory 1g --vm-cpus 2 --sysctl kernel.pid_max=99999 --memory 64m --memory-reservation 32m --cpus 0.5 \
         --cpu-shares 512 --pids-limit 9 --oom-score-adj -7 --ulimit nofile=1:2 --group-add audio --group-add 7 \
         --security-opt no-new-privileges --security-opt seccomp=builtin oci:a --- --pids-limit -1 oci:b",
    );
    assert_eq!((pod.vm.memory_mib, pod.vm.cpus), (1024, 2));
    assert_eq!(pod.sysctls[0].name, "kernel.pid_max");
    let own = &pod.apps[0].overrides;
    let resources = Resources {
        memory_limit_bytes: Some(64 << 20),
        memory_request_bytes: Some(32 << 20),
        cpu_limit_millis: Some(500),
        cpu_request_millis: Some(500),
        pids_limit: Some(9),
        oom_score_adj: Some(-7),
    };
    assert_eq!(own.resources, resources);
    assert_eq!((own.rlimits.len(), own.rlimits[0].hard), (1, Some(2)));
    assert_eq!(own.group_add, ["audio", "7"]);
    assert_eq!(
        (own.no_new_privileges, &own.seccomp),
        (Some(true), &Some(Seccomp::RuntimeDefault))
    );
    assert_eq!(pod.apps[1].overrides.resources, Resources::default());
    for (line, memory_mib, cpus) in [
        ("run oci:a", 2048, 1),
        ("run -m 64m --cpus 0.5 oci:a", 512, 1),
        ("run -m 1g --cpus 1.5 oci:a --- --cpus 2 -m 1g oci:b", 2176, 4),
        ("run -m 1g --cpus 2 --vm-memory 256m oci:a", 256, 2),
    ] {
        let vm = self::pod(line).vm;
        assert_eq!((vm.memory_mib, vm.cpus), (memory_mib, cpus), "{line}");
    }
}

#[test]
fn what_becomes_of_a_silent_guest() {
    let silent_kill = |words: &str| match parse_line(&format!("run {words} oci:a")) {
        Ok(Cli {
            command: Command::Run(args),
            ..
        }) => args.silent_kill.map(|time| time.as_secs()),
        other => panic!("{other:?}"),
    };
    for (words, seconds) in [
        ("", None),
        ("--on-silent report", None),
        ("--on-silent kill", Some(60)),
        ("--on-silent kill:10", Some(10)),
    ] {
        assert_eq!(silent_kill(words), seconds, "{words}");
    }
    for word in ["kill:9", "kill:", "kill:-1", "report:20", "restart", ""] {
        let found = faults(&format!("run --on-silent={word} oci:a"));
        assert!(found[0].contains("kill:SECONDS"), "{word}: {found:?}");
    }
}

#[test]
fn pod_manifests() {
    let cli = parse_line("run --vm-memory 1g --pod-manifest pod.json --stop-timeout 0").unwrap();
    let vm = VmFlags {
        memory_mib: Some(1024),
        ..VmFlags::default()
    };
    let source = PodSource::Manifest {
        path: "pod.json".into(),
        flags: PodFlags {
            vm,
            ..PodFlags::default()
        },
    };
    assert_eq!(
        cli.command,
        Command::Run(RunArgs {
            source,
            pull: None,
            name: None,
            mode: RunMode::Foreground,
            stdin: Stdin::Empty,
            outputs: Outputs::default(),
            sig_proxy: true,
            detach_keys: DetachKeys::default(),
            remove: false,
            replace: false,
            cidfile: None,
            pidfile: None,
            publish: Publish::default(),
            quiet: false,
            stop_timeout: Some(Duration::ZERO),
            boot_timeout: Duration::from_secs(120),
            silent_kill: None,
        })
    );
    for (line, word) in [
        ("run --pod-manifest pod.json oci:a", "oci:a"),
        ("run --pod-manifest pod.json -- x", "x"),
        ("run --pod-manifest pod.json --- oci:a", "---"),
        ("run --pod-manifest pod.json --volume d,kind=empty", "--volume"),
        ("run --pod-manifest pod.json -e A=b", "--env"),
        ("run --pod-manifest pod.json --sysctl a=b", "--sysctl"),
        ("run --pod-manifest pod.json -p 80:80", "--publish"),
    ] {
        let expected =
            format!("`{word}` cannot be used with `--pod-manifest`, which describes the whole pod");
        assert!(faults(line)[0].starts_with(&expected), "{line}");
    }
    assert!(
        faults("run -f pod.yaml --mount volume=a,target=/a")[0]
            .starts_with("`--mount` cannot be used with `-f`")
    );
    assert!(
        faults("run -f pod.yaml --pod-manifest a")[0]
            .starts_with("`--pod-manifest` cannot be used with `-f`")
    );
}

#[test]
fn plans() {
    let line =
        "plan --profile rkt --hypervisor lkvm --format svg --write out --verify --cpus 2 -d --rm oci:a x";
    let Command::Plan(plan) = parse_line(line).unwrap().command else {
        panic!()
    };
    assert_eq!(
        (plan.profile, plan.hypervisor, plan.format),
        (Profile::Rkt, Hypervisor::Lkvm, PlanFormat::Svg)
    );
    assert_eq!((plan.write, plan.verify), (Some("out".into()), true));
    let Command::Plan(plan) = parse_line("plan --pod-manifest p").unwrap().command else {
        panic!()
    };
    assert_eq!(
        (plan.profile, plan.hypervisor, plan.format),
        (Profile::Default, Hypervisor::Qemu, PlanFormat::Text)
    );
    assert_eq!((plan.write, plan.verify), (None, false));
    assert!(usage("run --format json oci:a").contains("--format"));
}

#[test]
fn references_of_images_are_explained() {
    assert!(usage("image import ostree:a").contains("the transport `ostree:` cannot be read"));
    assert!(usage("image import").contains("REFERENCE"));
}

#[test]
fn paths_keep_their_bytes() {
    use std::os::unix::ffi::OsStringExt;
    let os = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let argv = [
        os(b"isopod"),
        os(b"--dir"),
        os(b"/d\xff"),
        os(b"run"),
        os(b"--volume"),
        os(b"d,kind=host,\"source=/s\xff,\""),
        os(b"--app-name"),
        os(b"a"),
        os(b"-v"),
        os(b"/b\xff:/t\xff"),
        os(b"oci:/i\xff"),
    ];
    let cli = parse(argv).unwrap();
    assert_eq!(cli.global.dir, Some(os(b"/d\xff").into()));
    let pod = pod_of(cli);
    let sources: Vec<_> = pod.volumes.iter().map(|volume| &volume.kind).collect();
    assert!(matches!(sources[0], VolumeKind::Host(host) if host.source.as_os_str() == os(b"/s\xff,")));
    assert!(matches!(sources[1], VolumeKind::Host(host) if host.source.as_os_str() == os(b"/b\xff")));
    assert_eq!(pod.apps[0].mounts[0].target.as_os_str(), os(b"/t\xff"));
}
