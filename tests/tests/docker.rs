//! What users of docker type, in a VM: volumes with names, limits and names of hosts.

use isopod_tests::{Bench, Image, Scenarios};
use serde_json::json;

/// One pod writes to a named volume, which begins as its image has the directory, and another finds it.
#[test]
fn flags_have_dockers_meaning() {
    let bench = Bench::new();
    let image = Image::busybox()
        .file("srv/data/seed", 0o640, "of the image\n")
        .file("srv/data/sub/deep", 0o644, "deep\n")
        .file("own/seed", 0o644, "of the image\n")
        .symlink("srv/data/link", "seed")
        .config("ExposedPorts", json!({ "8080/tcp": {} }));
    let image = bench.image(&image);
    let dir = bench.source(
        "flags",
        &[
            ("env", "# a comment\nA=of the file\nB=of the file\n"),
            ("labels", "x=y\n"),
        ],
    );
    let file = |name: &str| dir.join(name).display().to_string();
    let script = "echo $A, $B; cat /srv/data/link /srv/data/sub/deep /own/seed; echo more >/srv/data/more; echo >/own/x; \
                  stat -f -c %T /run; df -m /dev/shm | tail -n 1 | awk '{print $2}'; grep -w db /etc/hosts; ulimit -n; pwd";
    let pod = bench.pod().flags([
        "--name",
        "first",
        "--cidfile",
        &file("cid"),
        "--label-file",
        &file("labels"),
    ]);
    let pod = pod.flags([
        "-l",
        "a=b",
        "-P",
        "--shm-size",
        "8m",
        "--add-host",
        "db:192.0.2.7",
        "--init",
    ]);
    // The state is that of other tests too.
    let name = format!("data-{}", std::process::id());
    let volume = format!("{name}:/srv/data");
    let pod = pod
        .app(&image)
        .with(["-v", &volume, "-v/own", "--tmpfs", "/run:size=1m,mode=0700"]);
    let pod = pod.with([
        "--env-file",
        &file("env"),
        "-eB=of the flag",
        "--ulimit",
        "nofile=77",
        "-w/srv/data",
    ]);
    // A log of several files, which keep all of it.
    let pod = pod.with([
        "--log-driver",
        "json-file",
        "--log-opt",
        "max-size=200",
        "--log-opt",
        "max-file=20",
    ]);
    let out = pod.sh(script).start().wait().expect(0);
    let expected = "of the file, of the flag\nof the image\ndeep\nof the image\ntmpfs\n8\n192.0.2.7\tdb\n77\n/srv/data\n";
    assert_eq!(out.text(), expected);
    let uuid = std::fs::read_to_string(file("cid")).expect("a file with the UUID");
    assert_eq!(uuid.len(), 36, "{uuid}");

    let mut scenarios = Scenarios::default();
    scenarios.run("what has a name is kept when it has exited", || {
        let isopod = |words: &str| bench.isopod_command(words.split(' ')).expect(0);
        assert_eq!(isopod("logs first").text(), expected);
        assert_eq!(
            isopod("inspect -f {{.State.Status}}-{{.State.ExitCode}} first").text(),
            "exited-0\n"
        );
        let template = "{{json .HostConfig.LogConfig.Config}}";
        let options = bench
            .isopod_command(["inspect", "-f", template, "first"])
            .expect(0);
        assert_eq!(options.text(), "{\"max-file\":\"20\",\"max-size\":\"200\"}\n");
        let states = std::fs::read_dir(bench.state().join("pods")).expect("the pods");
        let logs = states
            .filter_map(|state| std::fs::read_dir(state.ok()?.path().join(&uuid).join("logs")).ok())
            .flatten()
            .filter_map(|file| Some(file.ok()?.metadata().ok()?.len()));
        let sizes: Vec<u64> = logs.collect();
        assert!(
            sizes.len() > 1 && sizes.iter().all(|size| *size <= 200),
            "{sizes:?}"
        );
        let again = bench
            .pod()
            .flags(["--name", "first"])
            .app(&image)
            .sh("true")
            .start()
            .wait();
        assert!(
            again.status == 125 && again.stderr.contains("`first`"),
            "{}",
            again.stderr
        );
        let _ = isopod("rm first");
        assert_eq!(isopod("ps -aq").text(), "");
    });
    scenarios.run("a second pod has the volume", || {
        let again = bench
            .pod()
            .app(&image)
            .with(["--mount", &format!("source={name},target=/other,readonly")]);
        let again = again.sh("cat /other/more /other/seed; touch /other/x").run();
        assert_eq!((again.status, again.text()), (1, "more\nof the image\n"));
    });
    let kept = bench.state().join("volumes").join(&name);
    assert!(kept.join("sub/deep").is_file());
    scenarios.run("a volume that a pod has is kept", || {
        // A volume that a pod has is kept; one that no pod has goes.
        let prepared =
            bench.isopod_command(["prepare", "-v", &volume, image.as_str(), "true"].map(str::to_owned));
        let uuid = prepared.expect(0).text().trim().to_owned();
        let refused = bench.isopod_command(["volume", "rm", &name]);
        assert_eq!(refused.status, 125);
        let why = format!(
            "error: cannot remove volume `{name}`\n  caused by: pod `{}` uses it\n",
            &uuid[..8]
        );
        assert!(refused.stderr.starts_with(&why), "{}", refused.stderr);
        assert!(kept.join("sub/deep").is_file());
        let _ = bench.isopod_command(["rm", &uuid]).expect(0);
    });
    scenarios.run("a volume that no pod has is removed", || {
        let listed = bench.isopod_command(["volume", "ls", "-q"]).expect(0);
        assert!(
            listed.text().lines().any(|line| line == name),
            "{}",
            listed.text()
        );
        let _ = bench.isopod_command(["volume", "rm", &name]).expect(0);
        assert!(!kept.exists());
        assert_eq!(bench.isopod_command(["volume", "inspect", &name]).status, 125);
    });
    let refused = bench
        .pod()
        .flags(["--cidfile", &file("cid")])
        .app(&image)
        .sh("true")
        .run();
    assert!(refused.stderr.contains("already exists"), "{}", refused.stderr);
}

/// What a pod in the background is asked with docker's commands.
#[test]
fn commands_are_dockers() {
    let bench = Bench::new();
    let image = Image::busybox().config("ExposedPorts", json!({ "8080/tcp": {}, "9/sctp": {} }));
    let image = bench.image(&image);
    let isopod = |words: &str| bench.isopod_command(words.split(' '));
    let pod = bench.pod().flags([
        "-d",
        "--name",
        "docked",
        "-P",
        "-p",
        "127.0.0.1::81",
        "-l",
        "tier=front",
    ]);
    let pod = pod.app(&image).args(["httpd", "-f", "-p", "8080", "-h", "/bin"]);
    let uuid = pod.start().wait().expect(0).text().trim().to_owned();

    let published = isopod("port docked 8080").expect(0).text().trim().to_owned();
    let host = published.replace("0.0.0.0", "127.0.0.1");
    assert!(std::net::TcpStream::connect(&host).is_ok(), "{published}");
    let mut scenarios = Scenarios::default();
    scenarios.run("ports", || {
        let all = isopod("port docked").expect(0);
        assert!(
            all.text().contains("81/tcp -> 127.0.0.1:")
                && all.text().contains(&format!("8080/tcp -> {published}"))
        );
        assert_eq!(isopod("port docked 53/udp").status, 125);
    });
    scenarios.run("ps with filters", || {
        for (words, found) in [
            ("ps -q --filter label=tier=front", true),
            ("ps -q -f label=tier -f name=ock", true),
            ("ps -q -f status=exited -f name=docked", false),
            ("ps -q -f label=tier=back", false),
            ("ps -q -f name=^docked$", true),
            ("ps -q -f name=^/dock", true),
            ("ps -q -f name=^ocked$", false),
            ("ps -q -f network=bridge -f label=tier", true),
            ("ps -aq -f exited=0 -f name=docked", false),
            ("ps -q -f health=healthy", false),
        ] {
            let out = isopod(words).expect(0);
            assert_eq!(out.text().contains(&uuid), found, "{words}: {}", out.text());
        }
    });
    assert_eq!(isopod("exec docked echo -n hi").expect(0).text(), "hi");
    scenarios.run("ls with a template", || {
        let ours = "-f name=docked --format {{.Names}}:{{.State}}:{{.Labels}}";
        let listed = isopod(&format!("container ls {ours}")).expect(0);
        assert_eq!(listed.text(), "docked:running:tier=front\n");
    });
    scenarios.run("inspect with a template", || {
        for (template, printed) in [
            ("{{.State.Running}}{{.State.ExitCode}}", "true0\n"),
            (
                "{{(index (index .NetworkSettings.Ports \"8080/tcp\") 0).HostPort}}",
                published.split(':').next_back().unwrap_or(""),
            ),
            ("{{.Config.Labels.tier}}", "front\n"),
            (
                "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
                "10.0.2.15",
            ),
            (
                "{{range .Config.Cmd}}{{.}}{{\"\\n\"}}{{end}}",
                "httpd\n-f\n-p\n8080\n-h\n/bin",
            ),
            ("{{json .Config.ExposedPorts}}", "{\"8080/tcp\":{},\"9/sctp\":{}}"),
        ] {
            let out = bench
                .isopod_command(["inspect", "-f", template, "docked"])
                .expect(0);
            assert_eq!(out.text().trim_end(), printed.trim_end(), "{template}");
        }
        assert_eq!(isopod("inspect -f {{.Nope}} docked").status, 125);
    });
    scenarios.run(
        "inspect without one is docker's array, of those that there are",
        || {
            let some = isopod("inspect docked nobody docked");
            let documents: serde_json::Value = serde_json::from_str(some.text()).expect("JSON");
            assert_eq!((some.status, documents.as_array().map(Vec::len)), (125, Some(2)));
            assert_eq!(documents[0]["State"]["Status"], "running");
            assert_eq!(documents[0]["Isopod"]["record"]["uuid"], uuid.as_str());
            assert!(some.stderr.contains("nobody"), "{}", some.stderr);
        },
    );
    scenarios.run("rename", || {
        let _ = isopod("rename docked other").expect(0);
        assert_eq!(isopod("inspect -f {{.Name}} other").expect(0).text(), "/other\n");
        assert_eq!(isopod("exec other echo -n hi").expect(0).text(), "hi");
        let _ = isopod("rename other docked").expect(0);
    });
    scenarios.run("flags of commands", || flags_of_commands(&bench, &image, &uuid));
    scenarios.run("wait, stop, and what is listed then", || {
        let waiting = bench.isopod_start(["wait", "docked"]);
        let _ = isopod("stop docked").expect(0);
        assert_eq!(waiting.wait().expect(0).text(), "143\n");
        assert!(!isopod("ps -q").expect(0).text().contains(&uuid));
        assert!(isopod("ps -aq").expect(0).text().contains(&uuid));
        assert!(isopod("images -q").expect(0).text().starts_with("sha256:"));
    });
    drop(scenarios);
    let _ = isopod("rm docked").expect(0);
    bench.assert_nothing_left();
}

/// Flags that commands other than `run` have with docker and podman.
fn flags_of_commands(bench: &Bench, image: &str, uuid: &str) {
    let isopod = |words: &str| bench.isopod_command(words.split(' '));
    let used = bench.isopod_command([
        "stats",
        "--no-stream",
        "--format",
        "{{.Name}} {{.PIDs}}",
        "docked",
    ]);
    assert_eq!(used.expect(0).text(), "docked 1\n");
    let template = ["--format", "{{json .}}"];
    let events = [
        "events",
        "--stream=false",
        "-f",
        "container=docked",
        "-f",
        "event=start",
    ];
    let begun = bench.isopod_command(events.into_iter().chain(template)).expect(0);
    let begun: serde_json::Value = serde_json::from_str(begun.text()).expect("JSON");
    let fields: Vec<&String> = begun.as_object().expect("an object").keys().collect();
    let dockers = [
        "Action", "Actor", "Type", "id", "scope", "status", "time", "timeNano",
    ];
    assert_eq!(fields, dockers);
    let killed = isopod("kill --filter name=docked -s WINCH").expect(0);
    assert_eq!(killed.text().trim(), uuid);
    assert_eq!(isopod("stop --ignore nobody").expect(0).text(), "");
    let refused = isopod("ps --watch 2");
    assert!(
        refused.status == 125 && refused.stderr.contains("watch(1)"),
        "{refused:?}"
    );
    // Others have pods and images in the same state.
    for words in ["network prune -f", "image prune -f", "container prune -f"] {
        let words = format!("{words} --filter label=none");
        assert_eq!(isopod(&words).expect(0).text(), "", "{words}");
    }
    let _ = bench
        .isopod_command(["create", "--rm", "--name", "once", image, "echo", "hi"])
        .expect(0);
    assert_eq!(
        isopod("ps -aq -f name=once -f status=created")
            .expect(0)
            .text()
            .lines()
            .count(),
        1
    );
    let _ = isopod("gc").expect(0);
    assert_eq!(isopod("start -a once").expect(0).text(), "hi\n");
    assert_eq!(isopod("inspect once").status, 125);
}
