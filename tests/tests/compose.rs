//! `isopod compose`, as its users type it: a project of two services in one VM.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use isopod_tests::faults::eventually;
use isopod_tests::{Bench, Image, Scenarios};
use rustix::process::Signal;

#[test]
fn a_project_is_one_pod() {
    let bench = Bench::new();
    let image = bench.image(&Image::busybox().file("srv/index.html", 0o644, "of the image\n"));
    let name = format!("shop{}", std::process::id());
    let compose = format!(
        "name: {name}
services:
  front_end:
    image: {image}
    command: httpd -f -p ${{PORT:-8080}} -h /srv
    ports: [\"127.0.0.1::8080\"]
    volumes: [\"pages:/srv\"]
    healthcheck: {{test: wget -qO /dev/null http://localhost:8080/index.html, interval: 1s}}
    stop_grace_period: 1s
  job:
    image: {image}
    command: sh -c 'wget -qO- http://front_end:8080/index.html; echo $$GREETING $$A; sleep 600'
    stop_signal: KILL
    environment: {{GREETING: \"${{WORDS}}\"}}
    env_file: ./job.env
    depends_on:
      front_end: {{condition: service_healthy}}
  debug:
    image: {image}
    profiles: [debug]
volumes: {{pages: }}
"
    );
    let dir = bench.source(
        "project",
        &[
            ("compose.yaml", &compose),
            (".env", "WORDS='of the .env'\n"),
            ("job.env", "A=\"of the file\" # x\n"),
        ],
    );
    let file = dir.join("compose.yaml").display().to_string();
    let isopod = |words: &[&str]| {
        let head = ["compose", "-f", &file];
        bench.isopod_command(head.iter().chain(words).copied())
    };
    let mut scenarios = Scenarios::default();
    scenarios.run("the project as it is read, and one that is not up", || {
        assert_eq!(
            isopod(&["config", "--services"]).expect(0).text(),
            "front_end\njob\n"
        );
        assert!(
            isopod(&["config"])
                .expect(0)
                .text()
                .contains("GREETING: of the .env")
        );
        let missing = isopod(&["exec", "job", "true"]);
        assert!(missing.stderr.contains("is not up"), "{}", missing.stderr);
    });

    let uuid = isopod(&["up", "-d", "--wait"]).expect(0).text().trim().to_owned();
    let exec = |words: &[&str]| isopod(&[&["exec", "-T"], words].concat());
    scenarios.run("services have names, variables and files", || {
        let names = exec(&["job", "sh", "-c", "grep front_end /etc/hosts; ls /srv; hostname"]).expect(0);
        assert!(
            names.text().starts_with("127.0.0.1\tfront_end job\n"),
            "{}",
            names.text()
        );
        let logged = || isopod(&["logs", "job"]).expect(0).text().to_owned();
        eventually("it has written both", || {
            logged() == "of the image\nof the .env of the file\n"
        });
    });
    scenarios.run("ps", || {
        assert_eq!(isopod(&["ps", "--services"]).expect(0).text(), "front_end\njob\n");
        assert!(
            isopod(&["ps"])
                .expect(0)
                .text()
                .contains("front-end  running (healthy)")
        );
    });
    scenarios.run("a port that the host chose", || {
        let port = bench
            .isopod_command(["port", &name, "8080"])
            .expect(0)
            .text()
            .trim()
            .to_owned();
        let mut stream = TcpStream::connect(&port).expect("a forwarded port");
        stream
            .write_all(b"GET /index.html HTTP/1.0\r\n\r\n")
            .expect("a server");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.ends_with("of the image\n"), "{answer}");
    });
    scenarios.run(
        "up again: what is as it is described stays, what is not is made anew with its volumes",
        || {
            // What is as it is described stays, what is not is recreated with its volumes.
            let again = isopod(&["up", "-d"]).expect(0);
            assert_eq!(again.text().trim(), uuid);
            let _ = exec(&["front_end", "sh", "-c", "echo changed >/srv/index.html"]).expect(0);
            std::fs::write(dir.join("job.env"), "A=again\n").expect("a file of variables");
            let other = isopod(&["up", "-d", "--wait"]).expect(0).text().trim().to_owned();
            assert_ne!(other, uuid);
            let logged = || isopod(&["logs", "job"]).expect(0).text().to_owned();
            eventually("it has written both", || {
                logged() == "changed\nof the .env again\n"
            });
        },
    );
    scenarios.run("down takes the volumes that are asked for", || {
        let down = isopod(&["down", "-v"]).expect(0);
        assert_eq!(down.text(), format!("{name}\n{name}_pages\n"));
        assert!(isopod(&["down"]).expect(0).stderr.contains("is not up"));
        assert!(
            !bench
                .state()
                .join("volumes")
                .join(format!("{name}_pages"))
                .exists()
        );
    });
}

/// Two files as one project, which fails before it is ready, and then is followed until Ctrl-C.
#[test]
fn a_project_is_waited_for_and_followed() {
    let bench = Bench::new();
    let image = bench.busybox();
    let name = format!("followed{}", std::process::id());
    let compose = format!(
        "name: {name}
services:
  web:
    image: {image}
    command: sh -c 'echo begun; exit 3'
    healthcheck: {{test: \"false\", interval: 300ms}}
    stop_grace_period: 1s
"
    );
    let script = "trap 'echo asked; exit 5' TERM; while ! test -e /begun; do sleep 0.1; done; \
                  df -m / | awk 'NR > 1 { print ($$2 > 950 && $$2 <= 1024) }'; echo begun again; while :; do sleep 0.1; done";
    let over = format!(
        "services:
  web:
    command: [sh, -c, \"{script}\"]
    environment: {{A: b}}
    scale: 1
    ipc: shareable
    cgroup: private
    userns_mode: host
    cpu_quota: -1
    storage_opt: {{size: 1g}}
    label_file: labels
    volumes: [\"./out:/out\"]
    post_start: [{{command: touch /begun}}]
    pre_stop: [{{command: [sh, -c, \"touch /out/stopping\"]}}]
"
    );
    let files = [
        ("compose.yaml", &*compose),
        ("over.yaml", &*over),
        ("labels", "tier=front\n"),
        ("out/.keep", ""),
    ];
    let dir = bench.source("followed", &files);
    let file = |name: &str| dir.join(name).display().to_string();
    let first = file("compose.yaml");
    let mut scenarios = Scenarios::default();
    scenarios.run("a service that ends before all are ready", || {
        let failed = bench.isopod_command(["compose", "-f", &first, "up", "-d", "--wait"]);
        assert_eq!(failed.status, 125, "{failed:?}");
        let words = [
            format!("error: project `{name}` ended before its services were ready"),
            format!("error: project `{name}`: service `web` ended with status 3 before all were ready"),
        ];
        assert!(
            words.iter().any(|words| failed.stderr.contains(words)),
            "{failed:?}"
        );
        assert!(failed.stderr.contains("isopod compose logs"), "{failed:?}");
    });
    scenarios.run("two files, followed until Ctrl-C", || {
        let mut followed = bench.isopod_start(["compose", "-f", &first, "-f", &file("over.yaml"), "up"]);
        followed.wait_for("begun again\n");
        let labels = ["inspect", "-f", "{{.Config.Labels.tier}}", &name];
        assert_eq!(bench.isopod_command(labels).expect(0).text(), "front\n");
        followed.signal(Signal::INT);
        let out = followed.wait().expect(5);
        assert!(out.text().ends_with("1\nbegun again\nasked\n"), "{}", out.text());
        assert!(dir.join("out/stopping").exists());
    });
    let down = bench.isopod_command(["compose", "-f", &first, "down"]).expect(0);
    assert_eq!(down.text(), format!("{name}\n"));
    drop(scenarios);
    bench.assert_nothing_left();
}

/// `compose run`: with what a service depends on, in the pod that is then there, and in a pod of its own.
#[test]
fn a_command_runs_in_a_service_of_its_own() {
    let bench = Bench::new();
    let image = bench.image(&Image::busybox().file("srv/index.html", 0o644, "of the image\n"));
    let name = format!("once{}", std::process::id());
    let compose = format!(
        "name: {name}
services:
  web:
    image: {image}
    command: httpd -f -p 8080 -h /srv
    healthcheck: {{test: wget -qO /dev/null http://localhost:8080/index.html, interval: 300ms}}
    stop_grace_period: 1s
  job:
    image: {image}
    command: sh -c 'echo its own command'
    environment: {{A: of the file, B: b}}
    volumes: [\"data:/srv\"]
    depends_on: {{web: {{condition: service_healthy}}}}
    restart: always
  solo:
    image: {image}
    command: sleep 600
    ports: [\"8080:80\"]
volumes: {{data: }}
"
    );
    let dir = bench.source("once", &[("compose.yaml", &compose)]);
    let file = dir.join("compose.yaml").display().to_string();
    let line = |words: &[&str]| -> Vec<String> {
        let head = ["compose", "-f", &file];
        head.iter().chain(words).map(|word| (*word).to_owned()).collect()
    };
    let run = |words: &[&str], input: &str| {
        bench.isopod_with_input(line(&[&["run", "-T"], words].concat()), input.as_bytes().to_vec())
    };

    let mut scenarios = Scenarios::default();
    scenarios.run("in a pod of its own, whose ports nobody has", || {
        let alone = run(&["--rm", "solo", "sh", "-c", "cat; exit 4"], "typed\n");
        assert_eq!((alone.status, alone.text()), (4, "typed\n"), "{alone:?}");
        let missing = bench.isopod_command(line(&["ps"]));
        assert!(missing.stderr.contains("is not up"), "{missing:?}");
    });
    scenarios.run("what it depends on comes first", || {
        // What it depends on comes first. The volume is new, and begins as the image has the directory.
        let script =
            "echo $A $B; cat; wget -qO- http://web:8080/index.html; cat /srv/index.html; echo err >&2; exit 3";
        let first = run(
            &["--rm", "-e", "A=of the flag", "job", "sh", "-c", script],
            "typed\n",
        );
        assert_eq!(first.status, 3, "{first:?}");
        assert_eq!(
            first.text(),
            "of the flag b\ntyped\nof the image\nof the image\n",
            "{first:?}"
        );
        assert!(first.stderr.ends_with("err\n"), "{first:?}");
        assert_eq!(
            bench.isopod_command(line(&["ps", "--services"])).expect(0).text(),
            "web\n"
        );
    });
    scenarios.run("more than a log holds, and its own command", || {
        let large = run(
            &["--rm", "--no-deps", "job", "head", "-c", "30000000", "/dev/zero"],
            "",
        );
        assert_eq!((large.status, large.stdout.len()), (0, 30_000_000));
        assert_eq!(run(&["job"], "").text(), "its own command\n");
    });
    scenarios.run("flags of one command", || {
        let words = [
            "-u",
            "1000",
            "-w",
            "/tmp",
            "-v",
            "/etc:/host:ro",
            "--entrypoint",
            "sh",
        ];
        let other = run(
            &[&words[..], &["job", "-c", "id -u; pwd; ls /host/passwd"]].concat(),
            "",
        );
        assert_eq!(other.text(), "1000\n/tmp\n/host/passwd\n", "{other:?}");
        assert_eq!(run(&["job", "nothing-such"], "").status, 127);
    });
    scenarios.run("ports of a pod that is there", || {
        run(&["-p", "80", "job", "true"], "").assert_refused(
            125,
            &format!(
                "error: project `{name}` already exists, and the ports of a pod are chosen when it is made\nhint: \
                 end it first: `isopod compose down`; or leave `--publish` and `--service-ports` out"
            ),
        );
    });
    scenarios.run("one in the background", || {
        let left = bench.isopod_command(line(&["run", "-d", "--name", "left", "job", "sleep", "600"]));
        assert_eq!(left.expect(0).text(), "left\n");
        let _ = bench
            .isopod_command(["exec", "--app", "left", &name, "true"])
            .expect(0);
    });
    scenarios.run("Ctrl-C is the command's", || {
        let stopped = "trap 'echo asked; exit 6' INT; echo begun; while :; do sleep 0.1; done";
        let mut stopped = bench.isopod_start(line(&["run", "-T", "job", "sh", "-c", stopped]));
        stopped.wait_for("begun\n");
        stopped.signal(Signal::INT);
        assert!(stopped.wait().expect(6).text().ends_with("asked\n"));
    });
    let _ = bench.isopod_command(line(&["down", "-v"])).expect(0);
    drop(scenarios);
    bench.assert_nothing_left();
}
