//! Apps with a terminal, connected with the caller's.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::fs;
use std::time::Duration;

use isopod_tests::faults::eventually;
use isopod_tests::{Bench, Typist};

const INTERRUPT: &str = "\x03";
const SUSPEND: &str = "\x1a";
const DETACH: &str = "\x10\x11";

/// A pod of one container with a terminal.
fn pod_file(bench: &Bench, name: &str, restart: &str, command: &str) -> String {
    let file = bench.dir().join(format!("{name}.yaml"));
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: {restart}\n  \
         terminationGracePeriodSeconds: 1\n  containers:\n  - {{name: a, image: \"{}\", tty: true, command: {command}}}\n",
        bench.busybox()
    );
    fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

/// Types a command, and waits for what it prints, in which the command's own words are not.
fn ask(terminal: &mut Typist, command: &str, answer: &str) {
    terminal.type_keys(command);
    terminal.type_keys("\r");
    terminal.wait_for(answer);
    terminal.wait_for("# ");
}

/// Types a command, and presses a key when it runs, which it shows by `words`.
fn press(terminal: &mut Typist, command: &str, words: &str, key: &str) {
    terminal.type_keys(command);
    terminal.type_keys("\r");
    terminal.wait_for(words);
    // The shell has to make it the foreground first.
    std::thread::sleep(Duration::from_millis(500));
    terminal.type_keys(key);
}

/// One boot for all of it: the terminal, its size, job control, detaching and attaching, a restart.
#[test]
fn a_shell_has_the_callers_terminal() {
    let bench = Bench::new();
    let file = pod_file(&bench, "p", "OnFailure", "[sh]");
    let mut run = bench.pod().flags(["-f", &file]).start_on_terminal();
    run.wait_for("# ");
    ask(&mut run, "echo \"<$(tty) $TERM>\"", "</dev/pts/0 xterm>");
    ask(&mut run, "echo \"<$(stty size)>\"", "<30 100>");
    run.resize(41, 120);
    ask(&mut run, "sleep 0.3; echo \"<$(stty size)>\"", "<41 120>");
    let all = "for fd in 0 1 2; do [ -t $fd ] && echo fd$((fd + 4)); done; echo y >/dev/console";
    ask(&mut run, all, "fd4\r\nfd5\r\nfd6\r\ny\r\n");

    press(&mut run, "sh -c 'echo r1; exec sleep 1000'", "r1\r\n", INTERRUPT);
    run.wait_for("# ");
    ask(&mut run, "echo \"int $?\"", "int 130");
    press(&mut run, "sh -c 'echo r2; exec sleep 1000'", "r2\r\n", SUSPEND);
    run.wait_for("Stopped");
    run.wait_for("# ");
    ask(&mut run, "jobs", "Stopped");
    press(&mut run, "fg", "sleep 1000", INTERRUPT);
    run.wait_for("# ");
    ask(&mut run, "echo \"fg $? <$(jobs)>\"", "fg 130 <>");

    // The pod continues without this command, and is found again.
    ask(&mut run, "x=remembered; echo $x.", "remembered.");
    run.type_keys(DETACH);
    assert_eq!(run.wait(), 0, "{}", run.shown());
    assert!(run.is_as_before(), "{}", run.shown());
    let mut attached = bench.isopod_on_terminal(["attach", "p"]);
    attached.resize(20, 70);
    attached.type_keys("\r");
    attached.wait_for("# ");
    ask(
        &mut attached,
        "sleep 0.3; echo \"<$x $(stty size)>\"",
        "<remembered 20 70>",
    );

    // A command that is left to itself runs on.
    let mut exec = bench.isopod_on_terminal(["exec", "-it", "p", "--", "sh"]);
    exec.wait_for("# ");
    exec.type_keys("trap '' HUP; sleep 4321; echo late >/tmp/late\r");
    exec.wait_for("late\r\n");
    exec.type_keys(DETACH);
    assert_eq!(exec.wait(), 0, "{}", exec.shown());
    assert!(exec.is_as_before());
    let processes = bench.isopod_command(["exec", "p", "--", "ps"]).expect(0);
    assert!(processes.text().contains("sleep 4321"), "{processes:?}");

    // The next life has the same terminal; what was typed and set in the last one is forgotten.
    attached.type_keys("stty -echo; exit 7\r");
    attached.wait_for("exit 7\r\n");
    attached.wait_for("# ");
    ask(&mut attached, "echo \"<$x $(tty)>\"", "< /dev/pts/0>");
    attached.type_keys("exit\r");
    assert_eq!(attached.wait(), 0, "{}", attached.shown());
    assert!(attached.is_as_before());
    eventually("its supervisor has ended", || bench.processes().is_empty());
    bench.assert_nothing_left();
}

/// How the command ends and is ended.
#[test]
fn the_terminal_is_given_back() {
    let bench = Bench::new();
    let lines = "[sh, -c, \"i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 3\"]";
    let file = pod_file(&bench, "p", "Never", lines);
    // It is printed to its end, however fast it comes, and the pod's exit status is the command's.
    let mut run = bench.pod().flags(["-f", &file]).start_on_terminal();
    assert_eq!(run.wait(), 3, "{}", run.shown());
    run.wait_for("line 19999\r\n");
    assert_eq!(run.shown().matches("line ").count(), 20_000);
    assert!(run.is_as_before());
    eventually("its supervisor has ended", || bench.processes().is_empty());

    // Who asks this command to end ends the pod, as without a terminal. An interactive shell does not mind SIGTERM.
    let file = pod_file(&bench, "q", "Never", "[sh]");
    let mut run = bench.pod().flags(["-f", &file]).start_on_terminal();
    run.wait_for("# ");
    run.signal(rustix::process::Signal::TERM);
    assert_eq!(run.wait(), 128 + 9, "{}", run.shown());
    assert!(run.is_as_before());
    eventually("its supervisor has ended", || bench.processes().is_empty());

    // By flags, docker's: `-i` connects, and keys of one's own detach.
    let pod = || {
        bench
            .pod()
            .flags(["-i", "--rm", "--name", "f", "--detach-keys", "ctrl-a,d"])
    };
    let pod = || pod().app(&bench.busybox()).with(["-t"]).args(["sh"]);
    let out = pod().stdin("").run();
    let words = "error: standard input is not a terminal\nhint: leave `--tty` out, or `--interactive`";
    out.assert_refused(125, words);
    let mut run = pod().start_on_terminal();
    ask(&mut run, "echo \"<$(stty size)>\"", "<30 100>");
    run.type_keys("\x01d");
    assert_eq!(run.wait(), 0, "{}", run.shown());
    let _ = bench.isopod_command(["stop", "-t", "0", "f"]).expect(0);
    eventually("its supervisor has ended", || bench.processes().is_empty());

    // Without a terminal there is none to connect: what is written is as the app's terminal has it.
    let file = pod_file(
        &bench,
        "r",
        "Never",
        "[sh, -c, \"stty size; echo err >&2; exit 4\"]",
    );
    let out = bench.pod().flags(["-f", &file]).run().expect(4);
    assert_eq!((out.text(), &*out.stderr), ("24 80\r\nerr\r\n", ""));
    bench.assert_nothing_left();
}
