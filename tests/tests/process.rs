//! What an app executes and as whom, its streams and its exit status.

use std::io::Read;
use std::time::Duration;

use isopod_tests::{Bench, Image};
use serde_json::json;

/// Prints its arguments, each with a NUL byte behind it.
const PRINT_ARGS: &str = r#"for word; do printf '%s\0' "$word"; done"#;

/// Words that a shell, systemd or a unit file would take for something else.
const HOSTILE_WORDS: [&str; 27] = [
    "plain",
    "",
    " ",
    "two words",
    "$HOME",
    "${HOME}",
    "$$",
    "%n",
    "100%",
    "%%",
    "\"double\"",
    "'single'",
    "back\\slash",
    "ends in \\",
    "\\n",
    "new\nline",
    "tab\tand\rreturn",
    "semi;colon",
    ";",
    "|",
    "#comment",
    "*",
    "~",
    "--",
    "-e",
    "\u{1}\u{1f}\u{7f}",
    "ünïcödé 日本 🦀",
];

fn words(bytes: &[u8]) -> Vec<&str> {
    let text = std::str::from_utf8(bytes).expect("UTF-8");
    text.strip_suffix('\0').unwrap_or(text).split('\0').collect()
}

#[test]
fn the_exit_status_is_the_apps() {
    let bench = Bench::new();
    let out = bench
        .pod()
        .app(&bench.busybox())
        .sh("echo hello; echo bye >&2; exit 255")
        .run()
        .expect(255);
    assert_eq!((out.text(), &*out.stderr), ("hello\n", "bye\n"));
}

#[test]
fn a_signal_gives_128_and_its_number() {
    let bench = Bench::new();
    let out = bench
        .pod()
        .app(&bench.busybox())
        .sh("kill -USR1 $$; sleep 10")
        .run()
        .expect(128 + 10);
    assert_eq!((out.text(), &*out.stderr), ("", ""));
}

/// The second app of the command line fails first.
#[test]
fn the_first_failure_of_several_apps_counts() {
    let bench = Bench::new();
    let image = bench.busybox();
    let pod = bench.pod().empty("flag", "mode=0777");
    let pod = pod
        .app(&image)
        .with(["--app-name", "late"])
        .mount("flag", "/flag", "");
    let pod = pod.sh("until test -e /flag/failed; do sleep 0.1; done; sleep 0.5; echo late; exit 3");
    let pod = pod
        .app(&image)
        .with(["--app-name", "soon"])
        .mount("flag", "/flag", "");
    let pod = pod.sh("echo soon; touch /flag/failed; exit 4");
    let pod = pod.app(&image).with(["--app-name", "never"]).sh("exit 0");
    assert_eq!(pod.run().expect(4).text(), "soon\nlate\n");
}

#[test]
fn a_program_that_is_not_there_is_127_and_one_that_cannot_run_126() {
    let bench = Bench::new();
    let image = bench.image(&Image::busybox().file("etc/noexec", 0o644, "#!/bin/sh\n"));
    let refused = |args: &[&str], status, words: &str| {
        bench
            .pod()
            .app(&image)
            .with(["--app-name", "app"])
            .args(args)
            .run()
            .assert_refused(status, words);
    };
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let hint = "hint: name the program with `--entrypoint`, or correct the image";
    let missing =
        format!("error: app `app`: its image has no program `nowhere` in its PATH, `{path}`\n{hint}");
    refused(&["nowhere"], 127, &missing);
    refused(
        &["/bin/nowhere"],
        127,
        &format!("error: app `app`: its image has no `/bin/nowhere`\n{hint}"),
    );
    refused(
        &["/etc/noexec"],
        126,
        "error: app `app`: `/etc/noexec` in its image is not executable",
    );
    refused(
        &["/etc"],
        126,
        "error: app `app`: `/etc` in its image is a directory",
    );
    // The kernel alone knows what it does not take.
    let scripts =
        Image::busybox()
            .file("bin/plain", 0o755, "echo x\n")
            .file("bin/script", 0o755, "#!/bin/none\n");
    let scripts = bench.image(&scripts);
    for (program, words) in [
        ("/bin/script", "its interpreter `/bin/none` does not exist"),
        (
            "/bin/plain",
            "it is neither a program for this architecture nor a script",
        ),
    ] {
        let pod = bench.pod().app(&scripts).with(["--app-name", "app"]);
        let out = pod.args([program]).run().expect(126);
        let words = format!("app `app` cannot execute `{program}`: {words}");
        assert!(out.stderr.contains(&words), "{}", out.stderr);
    }
}

/// What is on a volume is not known before the guest runs.
#[test]
fn a_program_on_a_volume_is_looked_for_when_it_runs() {
    let bench = Bench::new();
    let source = bench.source("programs", &[("noexec", "#!/bin/sh\n")]);
    let image = bench.busybox();
    for (program, status) in [("/programs/nowhere", 127), ("/programs/noexec", 126)] {
        let pod = bench
            .pod()
            .host("programs", &source, "")
            .app(&image)
            .mount("programs", "/programs", "");
        let out = pod.args([program]).run().expect(status);
        assert_eq!(out.text(), "");
        assert!(out.stderr.contains(program), "{}", out.stderr);
    }
}

#[test]
fn the_image_says_how_it_is_run() {
    let bench = Bench::new();
    let image = Image::busybox()
        .directory("work dir", 0o755, (33, 33))
        .config(
            "Entrypoint",
            json!([
                "/bin/sh",
                "-c",
                "pwd; id -u; id -g; id -G; env | sort; echo \"$0 $1\""
            ]),
        )
        .config("Cmd", json!(["zero", "one"]))
        .config("Env", json!(["COLOUR=red", "PATH=/bin:/usr/bin", "EMPTY="]))
        .config("User", json!("www"))
        .config("WorkingDir", json!("/work dir"));
    let out = bench
        .pod()
        .app(&bench.image(&image))
        .with(["--app-name", "web"])
        .run()
        .expect(0);
    let expected = "/work dir\n33\n33\n33 4 29\n\
        AC_APP_NAME=web\nCOLOUR=red\nEMPTY=\nHOME=/srv/www\nHOSTNAME=web\nPATH=/bin:/usr/bin\nPWD=/work dir\nSHLVL=1\nzero one\n";
    assert_eq!((out.text(), &*out.stderr), (expected, ""));
}

#[test]
fn flags_change_what_the_image_says() {
    let bench = Bench::new();
    let image = Image::busybox()
        .config("Entrypoint", json!(["/bin/false"]))
        .config("Cmd", json!(["never"]))
        .config("Env", json!(["COLOUR=red"]))
        .config("User", json!("www"));
    let image = bench.image(&image);
    let pod = bench.pod().env("CALLER", "of the caller").env("SECRET", "kept");
    let pod = pod.app(&image).with([
        "--app-name",
        "web",
        "--entrypoint",
        "sh",
        "--user",
        "4242",
        "--group",
        "audio",
    ]);
    let pod = pod.with([
        "--workdir",
        "/tmp",
        "-e",
        "COLOUR=blue",
        "-e",
        "CALLER",
        "--env",
        "A=b=c",
    ]);
    let out = pod
        .args(["-c", "pwd; id -u; id -g; id -G; env | sort"])
        .run()
        .expect(0);
    let expected = "/tmp\n4242\n29\n29\nA=b=c\nAC_APP_NAME=web\nCALLER=of the caller\nCOLOUR=blue\nHOME=/\nHOSTNAME=web\n\
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nPWD=/tmp\nSHLVL=1\n";
    assert_eq!((out.text(), &*out.stderr), (expected, ""));
}

#[test]
fn arguments_and_variables_arrive_unchanged() {
    let bench = Bench::new();
    let mut pod = bench.pod().app(&bench.busybox());
    for (i, word) in HOSTILE_WORDS.iter().enumerate() {
        pod = pod.with(["-e".to_owned(), format!("V{i:02}={word}")]);
    }
    let long = "long ".repeat(2000);
    let script = format!("{PRINT_ARGS}; cat /proc/self/environ");
    let pod = pod
        .args(["/bin/sh", "-c", &script, "sh"])
        .args(HOSTILE_WORDS)
        .args([&long]);
    let out = pod.run().expect(0);
    let all = words(&out.stdout);
    let (args, env) = all.split_at(HOSTILE_WORDS.len() + 1);
    assert_eq!(args[..HOSTILE_WORDS.len()], HOSTILE_WORDS);
    assert_eq!(args[HOSTILE_WORDS.len()], long);
    for (i, word) in HOSTILE_WORDS.iter().enumerate() {
        let name = format!("V{i:02}=");
        let value = env.iter().find_map(|line| line.strip_prefix(&*name));
        assert_eq!(value, Some(*word), "{name}");
    }
}

#[test]
fn an_image_of_one_static_program_runs() {
    let bench = Bench::new();
    let image = Image::scratch()
        .program("echo")
        .config("Entrypoint", json!(["/echo", "from", "scratch"]));
    let out = bench.pod().app(&bench.image(&image)).run().expect(0);
    assert_eq!((out.text(), &*out.stderr), ("from scratch\n", ""));
}

/// Bytes that are no text and no round number, all 256 of them among them.
fn bytes(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..length).map(next).collect()
}

#[test]
fn streams_carry_every_byte_and_stay_apart() {
    let bench = Bench::new();
    let input = bytes((5 << 20) + 3);
    let script = "echo begin >&2; cat; echo end >&2";
    let out = bench
        .pod()
        .app(&bench.busybox())
        .sh(script)
        .stdin(input.clone())
        .run()
        .expect(0);
    assert_eq!(out.stderr, "begin\nend\n");
    // Not assert_eq: five megabytes make no good message.
    assert!(
        out.stdout == input,
        "{} bytes of {} came back",
        out.stdout.len(),
        input.len()
    );
}

#[test]
fn an_app_that_does_not_read_its_input_ends_all_the_same() {
    let bench = Bench::new();
    let out = bench
        .pod()
        .app(&bench.busybox())
        .sh("echo done")
        .stdin(bytes(3 << 20))
        .run()
        .expect(0);
    assert_eq!(out.text(), "done\n");
}

/// A stream that nobody reads must not hold up the other.
#[test]
fn standard_output_flows_while_standard_error_is_stuck() {
    let bench = Bench::new();
    let script = "head -c 3000000 /dev/zero >&2 & head -c 5000000 /dev/zero; wait";
    let mut child = bench.pod().app(&bench.busybox()).sh(script).start_unread();
    let mut stdout = child.stdout.take().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes: Vec<u8> = Vec::new();
        while bytes.len() < 5_000_000 {
            let mut buffer = vec![0; 1 << 16];
            match stdout.read(&mut buffer) {
                Ok(n @ 1..) => bytes.extend(&buffer[..n]),
                _ => break,
            }
        }
        sender.send(bytes.len())
    });
    let flowed = receiver.recv_timeout(Duration::from_secs(60));
    let mut said = Vec::new();
    if flowed.is_ok() {
        child.stderr.take().unwrap().read_to_end(&mut said).unwrap();
    } else {
        child.kill().unwrap();
    }
    assert_eq!(
        (flowed, child.wait().unwrap().code(), said.len()),
        (Ok(5_000_000), Some(0), 3_000_000)
    );
    bench.assert_nothing_left();
}

/// The end of the reader stops the pod, as in a shell's pipe.
#[test]
fn an_app_whose_output_nobody_reads_any_more_ends() {
    let bench = Bench::new();
    let mut child = bench.pod().app(&bench.busybox()).sh("yes").start_unread();
    let mut stdout = child.stdout.take().unwrap();
    let mut some = [0; 4096];
    stdout.read_exact(&mut some).unwrap();
    drop(stdout);
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status.code(),
            None if std::time::Instant::now() > deadline => break None,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(status, Some(128 + 15));
    bench.assert_nothing_left();
}

/// What a program may rely on, whoever it runs as.
const SURROUNDINGS: &str = r#"
    echo uid $(id -u) gid $(id -g) groups $(id -G)
    echo to stdout > /dev/stdout
    echo to stderr > /dev/stderr
    echo to null > /dev/null && echo null
    echo shared > /dev/shm/file && cat /dev/shm/file
    head -c 4 /dev/zero | wc -c
    head -c 8 /dev/urandom | wc -c
    test -c /dev/full && test -c /dev/random && test -c /dev/tty && echo devices
    test -d /dev/pts && test -e /dev/ptmx && echo terminals
    ls /dev/fd/0 /proc/self/fd/0 > /dev/null && echo descriptors
    test -d /sys/kernel && test -d /proc/1 && echo kernel
    touch /tmp/new && stat -c %a /tmp/new
    umask
    grep -E '^(SigIgn|SigBlk|CapBnd|CapEff|CapAmb|NoNewPrivs)' /proc/self/status
    hostname
    cat /proc/self/cgroup > /dev/null && echo cgroup
    echo why > /dev/termination-log && cat /dev/termination-log
    { mkdir /dev/net && mknod /dev/net/zero c 1 5 && touch /dev/log; } 2> /dev/null && head -c 4 /dev/net/zero | wc -c
    touch /sys/new 2> /dev/null || echo sys is read-only
    echo changed 2> /dev/null > /proc/sys/kernel/hostname || echo proc/sys is read-only
"#;

fn surroundings(user: &str, ids: &str, effective: &str) {
    let bench = Bench::new();
    let pod = bench
        .pod()
        .app(&bench.busybox())
        .with(["--app-name", "web", "--user", user]);
    let out = pod.sh(SURROUNDINGS).run().expect(0);
    // `/dev` is the app's own, and root's as in docker.
    let made = if user == "root" { "4\n" } else { "" };
    let expected = format!(
        "{ids}\nto stdout\nnull\nshared\n4\n8\ndevices\nterminals\ndescriptors\nkernel\n644\n0022\n\
         SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nCapEff:\t{effective}\nCapBnd:\t00000000a80425fb\n\
         CapAmb:\t0000000000000000\nNoNewPrivs:\t0\n\
         web\ncgroup\nwhy\n{made}sys is read-only\nproc/sys is read-only\n"
    );
    assert_eq!((out.text(), &*out.stderr), (&*expected, "to stderr\n"));
}

/// The capabilities are docker's (`00000000a80425fb`).
#[test]
fn root_finds_what_programs_rely_on() {
    surroundings("root", "uid 0 gid 0 groups 0 29", "00000000a80425fb");
}

#[test]
fn an_ordinary_user_finds_what_programs_rely_on() {
    surroundings("www", "uid 33 gid 33 groups 33 4 29", "0000000000000000");
}

#[test]
fn a_number_without_an_entry_is_a_user_too() {
    surroundings("4242:4343", "uid 4242 gid 4343 groups 4343", "0000000000000000");
}

#[test]
fn capabilities_are_added_and_dropped() {
    let bench = Bench::new();
    let image = bench.busybox();
    let show = "grep CapBnd /proc/self/status";
    let pod = bench
        .pod()
        .app(&image)
        .with(["--app-name", "none", "--cap-drop", "ALL"])
        .sh(show);
    let pod = pod
        .app(&image)
        .with(["--app-name", "one", "--cap-drop", "all", "--cap-add", "net_admin"])
        .sh(show);
    let pod = pod
        .app(&image)
        .with(["--app-name", "every", "--cap-add", "ALL"])
        .sh(show);
    let out = pod.run().expect(0);
    let mut lines: Vec<&str> = out.text().lines().collect();
    lines.sort_unstable();
    let set = |bits: u64| format!("CapBnd:\t{bits:016x}");
    assert_eq!(lines, [set(0), set(1 << 12), set((1 << 41) - 1)]);
}
