//! Commands on pods that are there, and flags of docker and podman.

use super::*;

#[test]
fn commands_on_pods_that_are_there() {
    assert_eq!(
        parse_line("--dir /d images -q").unwrap().command,
        parse_line("image list -q").unwrap().command
    );
    assert_eq!(
        parse_line("pull alpine").unwrap(),
        parse_line("image fetch alpine").unwrap()
    );
    for (line, words) in [
        ("kill -s NONE web", "no such signal"),
        ("exec web", "required"),
        ("exec -e =A web -- true", "it has no name"),
        ("ps --filter a=b", "the keys are"),
        ("stop --force --time 3 web", "cannot be used with"),
        ("rm", "required"),
    ] {
        assert!(usage(line).contains(words), "{line}: {}", usage(line));
    }
    let text = help("--help");
    assert!(text.starts_with("Runs pods of container images"), "{text}");
    assert!(!text.contains("internal"), "{text}");
}

/// An entry point with arguments, volumes of an earlier app, and podman's flags.
#[test]
fn flags_of_docker_and_podman() {
    let overrides = |line: &str| pod(line).apps[0].overrides.clone();
    let words = parse_words(["run", "--entrypoint", r#"["sh", "-c"]"#, "oci:a", "echo hi"]);
    let app = &pod_of(words.unwrap()).apps[0].overrides;
    assert_eq!(app.exec.as_deref(), Some("sh"));
    assert_eq!(
        app.args.as_deref(),
        Some(&["-c".to_owned(), "echo hi".to_owned()][..])
    );
    assert_eq!(overrides(r#"run --entrypoint ["sh"] oci:a"#).args, None);
    assert_eq!(
        overrides("run --entrypoint [] oci:a ls").exec.as_deref(),
        Some("")
    );
    assert!(faults("run --entrypoint [sh oci:a")[0].contains("it begins like a JSON list"));

    let pod = pod("run -v data:/d -v ./x:/x oci:a --- --volumes-from a:ro -v ./y:/x oci:b");
    assert_eq!(targets(&pod, 1), [("v2", "/x"), ("data", "/d")]);
    assert_eq!(pod.apps[1].mounts[1].read_only, Some(true));

    let pod =
        self::pod("run --rootfs -v ./x:/x ./root:O sh -c x --- --rootfs --read-only /srv/web/rootfs true");
    let directory = |i: usize| pod.apps[i].directory().unwrap();
    assert_eq!(
        (
            directory(0).path.as_path(),
            directory(0).writes,
            pod.apps[0].name.as_str()
        ),
        ("./root".as_ref(), RootWrites::Layer, "root")
    );
    assert_eq!(
        (
            directory(1).writes,
            pod.apps[1].name.as_str(),
            pod.apps[1].writes_through()
        ),
        (RootWrites::Through, "web", false)
    );
    assert_eq!(
        pod.apps[0].overrides.args,
        Some(vec!["sh".into(), "-c".into(), "x".into()])
    );

    let cli = parse_line("run -d --timeout 60 --pidfile ./pid --arch amd64 --os linux -p 8000-8010:80 oci:a");
    let Command::Run(run) = &cli.as_ref().unwrap().command else {
        panic!()
    };
    assert_eq!(run.pidfile, Some("./pid".into()));
    let pod = pod_of(cli.unwrap());
    assert_eq!(pod.deadline, Some(Duration::from_secs(60)));
    let Network::User { ports, .. } = &pod.network else {
        panic!()
    };
    assert_eq!(ports[0].to_string(), "8000-8010:80/tcp");
    assert_eq!(pod.vm.architecture, Some(Architecture::Amd64));
    assert!(faults("run --os plan9 oci:a")[0].contains("`--os=plan9` is not supported"));
    assert!(faults("run -p 8000-8010:80-81 oci:a")[0].contains("different lengths"));
    assert!(faults("run --pod x oci:a")[0].contains("apps of one pod come in one command line"));
}
