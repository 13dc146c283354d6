//! Command lines and what is made of them.

use isopod_spec::{
    Accel, EnvVar, ImplicitVolumes, Network, Resources, RootfsAccess, Seccomp, ShareTransport, VolumeKind,
};

use super::*;

fn parse_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Cli, ArgsError> {
    parse(std::iter::once("isopod").chain(words).map(OsString::from))
}

/// Parses a line whose words have no blanks.
fn parse_line(line: &str) -> Result<Cli, ArgsError> {
    parse_words(line.split_whitespace())
}

fn pod_of(cli: Cli) -> PodSpec {
    *match cli.command {
        Command::Run(RunArgs {
            source: PodSource::Apps(pod),
            ..
        }) => pod,
        Command::Plan(PlanArgs {
            run: RunArgs {
                source: PodSource::Apps(pod),
                ..
            },
            ..
        }) => pod,
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
    let line = "run --volume d,kind=empty --memory 1g --cpus 2 --accel tcg --transport 9p --no-implicit-volumes \
                --stop-timeout 3 oci:/images/a:1 --name web --exec /bin/sh --user 1:2 -w /srv -e A=b --env C \
                --mount volume=d,target=/d -v ./x:/x:ro --readonly-rootfs --cap-add net_admin --cap-drop ALL -- -c env";
    let cli = parse_line(line).unwrap();
    let Command::Run(run) = &cli.command else { panic!() };
    assert_eq!(run.stop_timeout, Some(Duration::from_secs(3)));
    let pod = pod_of(cli);
    let machine = Machine {
        memory_mib: 1024,
        cpus: 2,
        accel: Accel::Tcg,
        transport: ShareTransport::NineP,
    };
    assert_eq!(
        (&pod.machine, pod.implicit_volumes),
        (&machine, ImplicitVolumes::Refuse)
    );
    let app = &pod.apps[0];
    assert_eq!(app.name.as_str(), "web");
    assert_eq!(app.rootfs, RootfsAccess::ReadOnly);
    let overrides = &app.overrides;
    assert_eq!(overrides.exec.as_deref(), Some("/bin/sh"));
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
        (&pod.machine, pod.implicit_volumes),
        (&Machine::default(), ImplicitVolumes::Create)
    );
    assert_eq!(pod.apps[0].name.as_str(), "alpine");
    assert_eq!(pod.apps[0].overrides.args, None);
}

#[test]
fn groups_of_apps() {
    let pod = pod("run oci:a --env A=1 -- x --env B=2 -- y --- oci:b -- --- oci:c --name last");
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
    let pod = pod_of(parse_words(["run", "oci:a", "-e", "A=b c --- d", "--", "", "x y"]).unwrap());
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
        "run --memory 1g --dir /d --log-level debug oci:a",
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
    let expected =
        "`--dir` belongs to the whole pod and stands after an image (write it before the first image)";
    assert_eq!(faults("run oci:a --dir /d"), [expected]);
}

#[test]
fn a_directory_named_run_is_no_command() {
    let cli = parse_line("--dir run image list").unwrap();
    assert_eq!(cli.global.dir, Some("run".into()));
    assert_eq!(
        cli.command,
        Command::Image(ImageCommand::List {
            quiet: false,
            format: Format::Text
        })
    );
}

#[test]
fn mounts_for_every_app_and_for_one() {
    let pod = pod(
        "run --volume a,kind=empty --volume b,kind=empty --mount volume=a,target=/a --mount volume=a,target=/x \
         oci:one -v /src:/y --mount volume=b,target=/x/. --- oci:two -v /src:/y",
    );
    assert_eq!(targets(&pod, 0), [("a", "/a"), ("v1", "/y"), ("b", "/x/.")]);
    assert_eq!(targets(&pod, 1), [("a", "/a"), ("a", "/x"), ("v1", "/y")]);
    let names: Vec<_> = pod.volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "v1"]);
    // Of two at one target, however it is written, the later one wins.
    let again = "run --volume a,kind=empty --volume b,kind=empty --mount volume=a,target=/all --mount volume=b,target=/all/ \
                 oci:one --mount volume=a,target=/g -v /x:/h --mount volume=b,target=/../g/. -v /y:/h/";
    assert_eq!(
        targets(&self::pod(again), 0),
        [("b", "/all/"), ("b", "/../g/."), ("v2", "/h/")]
    );
    assert!(matches!(&pod.volumes[2].kind, VolumeKind::Host(host) if host.source.as_os_str() == "/src"));
}

#[test]
fn flags_on_the_wrong_side_of_the_image() {
    for (line, fault) in [
        (
            "run --user web oci:a",
            "`--user` belongs to an app and stands before its image (write it after the image that it is for)",
        ),
        (
            "run --memory 1g --env=A=b oci:a",
            "`--env` belongs to an app and stands before its image (write it after the image that it is for)",
        ),
        (
            "run -v /a:/b oci:a",
            "`-v` belongs to an app and stands before its image (write `-v` after the image; for every app, write \
             `--volume` and `--mount` before the first image)",
        ),
        (
            "run oci:a --volume d,kind=empty",
            "`--volume` belongs to the whole pod and stands after an image (write it before the first image)",
        ),
        (
            "run oci:a --- --accel tcg oci:b",
            "`--accel` belongs to the whole pod and stands after an image (write it before the first image)",
        ),
        (
            "run oci:a --- --memory 1g oci:b",
            "`--memory` belongs to an app and stands before its image (write it after the image that it is for)",
        ),
        (
            "run --memry 1g oci:a",
            "unknown flag `--memry` (did you mean `--memory`?)",
        ),
        (
            "run oci:a --mont x",
            "unknown flag `--mont` (did you mean `--mount`?)",
        ),
        ("run -x oci:a", "unknown flag `-x`"),
        (
            "run oci:a echo",
            "unexpected argument `echo` after image `oci:a` (an app's arguments follow `--`, the next image follows `---`)",
        ),
    ] {
        assert_eq!(faults(line), [fault], "{line}");
    }
}

#[test]
fn limits_before_the_first_image_are_the_machines_and_after_it_the_apps() {
    let pod = pod(
        "run --memory 1g --cpus 2 --sysctl kernel.pid_max=99999 oci:a --memory 64m --memory-reservation 32m --cpus 0.5 \
         --cpu-shares 512 --pids-limit 9 --oom-score-adj -7 --ulimit nofile=1:2 --group-add audio --group-add 7 \
         --security-opt no-new-privileges --security-opt seccomp=builtin --- oci:b --pids-limit -1",
    );
    assert_eq!((pod.machine.memory_mib, pod.machine.cpus), (1024, 2));
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
        let text = usage(&format!("run --on-silent={word} oci:a"));
        assert!(text.contains("kill:SECONDS"), "{word}: {text}");
    }
}

#[test]
fn missing_images() {
    for (line, place) in [
        ("run", "to run"),
        ("run --memory 1g", "to run"),
        ("run -- echo", "to run"),
        ("run --- oci:a", "to run"),
        ("run oci:a ---", "after `---`"),
        ("run oci:a --- -- x", "after `---`"),
    ] {
        assert!(
            faults(line)[0].starts_with(&format!("there is no image {place}")),
            "{line}"
        );
    }
}

#[test]
fn all_faults_at_once() {
    let line = "run --memory 5 --cpus 1.5 --volume D,kind=empty --mount type=bind,target=/a ./alpine --env =x \
                --- oci:b --cap-add FOO -v data:/d --user a:b --group c --- oci:c --mount volume=gone,target=/g --- oci:c";
    let expected = [
        "invalid value `5` of `--memory`: it is less than 128 MiB, with which no guest starts (a number without a unit \
         is bytes; write `512m` for 512 MiB)",
        "invalid value `1.5` of `--cpus`: it is a fraction (a virtual CPU is whole: the guest has it or has it not)",
        "invalid value `D,kind=empty` of `--volume`: invalid name `D`: only lower-case letters, digits and `-` are \
         allowed (`d` would be valid)",
        "invalid value `type=bind,target=/a` of `--mount`: `type` is not supported (declare the source with `--volume \
         NAME,kind=host,source=PATH` and mount it with `volume=NAME`)",
        "invalid image reference `./alpine`: it names no transport (`oci:./alpine` reads that directory)",
        "invalid value `=x` of `--env`: the variable has no name",
        "image `oci:b` has a group both in `--user` and in `--group` (give it once)",
        "invalid value `FOO` of `--cap-add`: unknown capability `FOO` (capabilities(7) lists them)",
        "invalid value `data:/d` of `-v`: `data` is not supported (there are no named volumes; a source begins with \
         `/`, or with `./` where it is relative)",
        "two apps are named `c` (name one of them differently with `--name NAME`)",
    ];
    assert_eq!(faults(line), expected);
}

#[test]
fn rules_between_the_parts() {
    for (line, fault) in [
        (
            "run oci:a --mount volume=gone,target=/g",
            "app `a` mounts volume `gone` at `/g`, but the pod has no volume of that name (declare it before the \
             first image: `--volume gone,kind=...`)",
        ),
        (
            "run --volume data,kind=empty oci:a --mount volume=dta,target=/g",
            "app `a` mounts volume `dta` at `/g`, but the pod has no volume of that name (did you mean `data`?)",
        ),
        (
            "run --volume d,kind=empty --volume d,kind=empty oci:a",
            "two volumes are named `d`",
        ),
        (
            "run oci:.",
            "no app name can be made of image `oci:.` (name the app with `--name NAME`)",
        ),
    ] {
        assert_eq!(faults(line), [fault], "{line}");
    }
    assert_eq!(pod("run oci:. --name a").apps[0].name.as_str(), "a");
}

#[test]
fn app_flags_that_clap_refuses() {
    assert_eq!(
        faults("run oci:a --name x --name y"),
        ["app flags of image `oci:a`: the argument `--name <NAME>` cannot be used multiple times"]
    );
    assert_eq!(
        faults("run oci:a --name"),
        ["app flags of image `oci:a`: a value is required for `--name <NAME>` but none was supplied"]
    );
    assert!(usage("run --accel hvf oci:a").contains("[possible values: auto, kvm, tcg]"));
    assert!(usage("run --stop-timeout -1 oci:a").contains("--stop-timeout"));
    assert!(usage("rum oci:a").contains("run"));
}

#[test]
fn pod_manifests() {
    let cli = parse_line("run --memory 1g --pod-manifest pod.json --stop-timeout 0").unwrap();
    let machine = MachineFlags {
        memory_mib: Some(1024),
        ..MachineFlags::default()
    };
    let source = PodSource::Manifest {
        path: "pod.json".into(),
        machine,
        implicit_volumes: ImplicitVolumes::Create,
        on_failure: FailurePolicy::Continue,
        net: Net::User,
        hostname: None,
    };
    assert_eq!(
        cli.command,
        Command::Run(RunArgs {
            source,
            pull: None,
            name: None,
            ground: Ground::Fore,
            stdin: Stdin::Empty,
            remove: false,
            replace: false,
            stop_timeout: Some(Duration::ZERO),
            boot_timeout: Duration::from_secs(120),
            silent_kill: None,
        })
    );
    for (line, word) in [
        ("run --pod-manifest pod.json oci:a", "oci:a"),
        ("run --pod-manifest pod.json -- x", "--"),
        ("run --pod-manifest pod.json --- oci:a", "---"),
    ] {
        let expected = format!("`{word}` stands beside `--pod-manifest`, which describes the whole pod");
        assert!(faults(line)[0].starts_with(&expected), "{line}");
    }
    for flag in ["--volume d,kind=empty", "--mount volume=d,target=/d"] {
        let text = usage(&format!("run --pod-manifest pod.json {flag}"));
        assert!(text.contains("cannot be used with"), "{text}");
    }
}

#[test]
fn plans() {
    let line = "plan --profile rkt --hypervisor lkvm --format svg --write out --verify --cpus 2 oci:a -- x";
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
    assert_eq!(
        faults("plan oci:a --format json"),
        ["`--format` belongs to the whole pod and stands after an image (write it before the first image)"]
    );
}

#[test]
fn images() {
    let command = |line: &str| match parse_line(line).unwrap().command {
        Command::Image(command) => command,
        other => panic!("{other:?}"),
    };
    let ImageCommand::Import { reference, name } = command("image import oci:/a:1 --name web") else {
        panic!()
    };
    assert_eq!(
        (reference.to_string(), name.as_deref()),
        ("oci:/a:1".to_owned(), Some("web"))
    );
    let ImageCommand::Import { name: None, .. } = command("image import -- oci:a") else {
        panic!()
    };
    let ImageCommand::Fetch { references, pull } = command("image pull alpine docker://quay.io/x:1") else {
        panic!()
    };
    let references: Vec<String> = references.iter().map(ToString::to_string).collect();
    assert_eq!(
        (references, pull.into()),
        (vec!["alpine".into(), "quay.io/x:1".into()], PullPolicy::Always)
    );
    assert_eq!(
        command("image list --format json"),
        ImageCommand::List {
            quiet: false,
            format: Format::Json
        }
    );
    assert!(usage("image import ./a").contains("it names no transport (`oci:./a` reads that directory)"));
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
        os(b"oci:/i\xff"),
        os(b"--name"),
        os(b"a"),
        os(b"-v"),
        os(b"/b\xff:/t\xff"),
    ];
    let cli = parse(argv).unwrap();
    assert_eq!(cli.global.dir, Some(os(b"/d\xff").into()));
    let pod = pod_of(cli);
    let sources: Vec<_> = pod.volumes.iter().map(|volume| &volume.kind).collect();
    assert!(matches!(sources[0], VolumeKind::Host(host) if host.source.as_os_str() == os(b"/s\xff,")));
    assert!(matches!(sources[1], VolumeKind::Host(host) if host.source.as_os_str() == os(b"/b\xff")));
    assert_eq!(pod.apps[0].mounts[0].target.as_os_str(), os(b"/t\xff"));
}

#[test]
fn help_shows_pod_flags_app_flags_and_examples() {
    let run = help("run --help");
    for text in [
        "Usage: isopod run [POD FLAGS] IMAGE [APP FLAGS] [-- ARG...]",
        "Pod flags (before the first image):",
        "--no-implicit-volumes",
        "App flags (each after the image that it is for):",
        "--cap-drop <CAPABILITY>",
        "Global flags:",
        "Images:",
        "Examples:",
    ] {
        assert!(run.contains(text), "{text}:\n{run}");
    }
    assert_eq!(run.matches("--mount <volume=NAME,target=PATH>").count(), 2);
    for line in [
        "run -h",
        "run oci:a --help",
        "run oci:a -- x --- oci:b -h",
        "run --memory 1g --help",
    ] {
        assert_eq!(help(line), run, "{line}");
    }
    let plan = help("plan oci:a --help");
    let mut lines = run.lines().chain(plan.lines());
    assert!(lines.all(|line| line.chars().count() <= 100), "{run}{plan}");
    assert!(
        plan.contains("Plan flags (before the first image):") && plan.contains("isopod plan --profile rkt")
    );
    assert!(help("--help").contains("run"));
    assert!(help("--version").starts_with("isopod "));
    assert!(usage("").contains("Usage: isopod"));
}

#[test]
fn the_tables_of_flags_are_sound() {
    commands::root().debug_assert();
    commands::app().debug_assert();
}

/// The examples of the help are read as they stand there.
#[test]
fn the_examples_of_the_help_are_right() {
    let mut examples = 0;
    for help in [help("run --help"), help("plan --help")] {
        let joined = help.replace("\\\n", " ");
        for line in joined
            .lines()
            .filter_map(|line| line.trim().strip_prefix("isopod "))
        {
            if line.contains('[') && line.contains("FLAGS") {
                continue;
            }
            let words: Vec<String> = line
                .replace('\'', "")
                .split_whitespace()
                .map(str::to_owned)
                .collect();
            parse_words(words.iter().map(String::as_str)).unwrap_or_else(|error| panic!("{line}: {error:?}"));
            examples += 1;
        }
    }
    assert_eq!(examples, 10);
}

#[test]
fn a_network_and_its_ports() {
    let network = |line: &str| pod(line).network;
    assert_eq!(network("run oci:a"), Network::User { ports: Vec::new() });
    assert_eq!(network("run --net none oci:a"), Network::None);
    let Network::User { ports } =
        network("run --net user -p 8080:80 --publish 127.0.0.1:53:53/udp -p 1-2:3-4 oci:a")
    else {
        panic!("no network")
    };
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    assert_eq!(
        ports,
        ["8080:80/tcp", "127.0.0.1:53:53/udp", "1:3/tcp", "2:4/tcp"]
    );
    let named = pod("plan --hostname web.example oci:a");
    assert_eq!(named.hostname.as_deref(), Some("web.example"));
    let cli = parse_line("run --pod-manifest pod.json --net none --hostname h").unwrap();
    let Command::Run(RunArgs {
        source: PodSource::Manifest { net, hostname, .. },
        ..
    }) = cli.command
    else {
        panic!("{cli:?}")
    };
    assert_eq!((net, hostname.as_deref()), (Net::None, Some("h")));
}

#[test]
fn a_network_that_cannot_be() {
    for (line, expected) in [
        (
            "run --net none -p 80:80 oci:a",
            "`--publish` needs a network, and `--net none` leaves the pod without (leave one of them out)",
        ),
        (
            "run -p 80 oci:a",
            "invalid value `80` of `--publish`: it names no port of the host's, and none is chosen for you \
             (write both ports, such as `8080:80`)",
        ),
        (
            "run -p 80:80 -p 127.0.0.1:80:81 oci:a",
            "ports `80:80/tcp` and `127.0.0.1:80:81/tcp` are one port of the host's \
             (give one of them another port of the host's)",
        ),
        (
            "run oci:a -p 80:80",
            "`-p` belongs to the whole pod and stands after an image (write it before the first image)",
        ),
        (
            "run --hostname a_b oci:a",
            "invalid value `a_b` of `--hostname`: \
             it may have letters, digits, dashes and dots only (RFC 1123)",
        ),
    ] {
        assert_eq!(faults(line), [expected], "{line}");
    }
    assert!(usage("run --net bridge oci:a").contains("bridge"));
    assert!(usage("run --pod-manifest pod.json -p 80:80").contains("--publish"));
}

#[test]
fn commands_on_pods_that_are_there() {
    let life = |line: &str| match parse_line(line)
        .unwrap_or_else(|error| panic!("{line}: {error:?}"))
        .command
    {
        Command::Life(command) => command,
        other => panic!("{line}: {other:?}"),
    };
    let LifeCommand::Exec {
        pod,
        app,
        tty,
        env,
        command,
        ..
    } = life("exec -it -e A=b=c -e B web a -- sh -c true")
    else {
        panic!()
    };
    assert_eq!((&*pod, app.unwrap().as_str(), tty), ("web", "a", true));
    let expected = [("A".to_owned(), Some("b=c".to_owned())), ("B".to_owned(), None)];
    assert_eq!(env, expected);
    assert_eq!(command, ["sh", "-c", "true"]);
    assert!(matches!(
        life("kill -s usr1 web"),
        LifeCommand::Kill { signal: 10, .. }
    ));
    assert!(matches!(
        life("gc --grace 2h"),
        LifeCommand::Gc { grace } if grace == Duration::from_secs(7200)
    ));
    assert_eq!(life("ps -q"), life("list -q"));
    for (line, words) in [
        ("kill -s NONE web", "no such signal"),
        ("exec web", "required"),
        ("exec -e =A web -- true", "it has no name"),
        ("stop --force --time 3 web", "cannot be used with"),
        ("rm", "required"),
    ] {
        assert!(usage(line).contains(words), "{line}: {}", usage(line));
    }
    let text = help("--help");
    assert!(text.starts_with("Runs pods of container images"), "{text}");
    assert!(!text.contains("internal"), "{text}");
}
