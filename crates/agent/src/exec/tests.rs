//! Commands in the world of a made-up app: a process with a mount namespace and root of its own. It takes root, and the
//! agent's own program.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio as StdStdio;
use std::time::Instant;

use isopod_contract::config::GuestRlimit;
use isopod_contract::copy::Frame;
use isopod_contract::exec::{STATUS_NOT_EXECUTABLE, STATUS_NOT_FOUND};
use isopod_contract::launch::{GuestIdentity, GuestProcess, SyscallProgram};
use isopod_protocol::copy;
use isopod_protocol::exec::{self, Answer, Answers, Client};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio::time::sleep;

use super::*;
use crate::exec::enter::{Action, Execute};

/// A running app.
struct AppStandIn {
    process: std::process::Child,
    root: tempfile::TempDir,
}

impl Drop for AppStandIn {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The agent's program, which cargo builds for the package's integration tests.
fn agent() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.ancestors().nth(2).unwrap().join("isopod-agent")
}

/// Starts an app, or nothing where this user may not.
fn app() -> Option<AppStandIn> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let root = tempfile::tempdir().unwrap();
    for dir in ["usr", "proc", "dev", "etc", "tmp"] {
        std::fs::create_dir(root.path().join(dir)).unwrap();
    }
    for dir in ["bin", "lib", "lib64", "sbin"] {
        std::os::unix::fs::symlink(format!("usr/{dir}"), root.path().join(dir)).unwrap();
    }
    let mode = std::os::unix::fs::PermissionsExt::from_mode;
    std::fs::set_permissions(root.path(), mode(0o755)).unwrap();
    std::fs::set_permissions(root.path().join("tmp"), mode(0o1777)).unwrap();
    std::fs::write(root.path().join("etc/passwd"), "web:x:33:34::/srv/web:\n").unwrap();
    std::fs::write(root.path().join("etc/group"), "adm:x:4:web\n").unwrap();
    std::fs::write(root.path().join("etc/notes"), "").unwrap();
    let script = "cd \"$1\" && mount --bind /usr usr && mount -t proc proc proc && mount --rbind /dev dev \
                  && echo up && exec chroot . sleep 600";
    let mut process = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(root.path())
        .stdout(StdStdio::piped())
        .spawn()
        .unwrap();
    let mut up = [0; 3];
    std::io::Read::read_exact(process.stdout.as_mut().unwrap(), &mut up).unwrap();
    let app = AppStandIn { process, root };
    // Not before it has changed its root.
    let exe = format!("/proc/{}/comm", app.process.id());
    while std::fs::read_to_string(&exe).unwrap() != "sleep\n" {
        std::thread::sleep(Duration::from_millis(1));
    }
    Some(app)
}

impl AppStandIn {
    fn job(&self, argv: &[&str], change: impl FnOnce(&mut Execute)) -> Job {
        let env = BTreeMap::from([("PATH", "/usr/sbin:/usr/bin"), ("HOME", "/root"), ("A", "b")]);
        let mut execute = Execute {
            argv: argv.iter().map(|&arg| arg.to_owned()).collect(),
            env: env
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            process: GuestProcess {
                working_dir: "/".to_owned(),
                capabilities: 0b1,
                ..GuestProcess::default()
            },
            user: None,
            exactly: false,
            own_home: false,
            terminal: false,
        };
        change(&mut execute);
        let pid = self.process.id().cast_signed();
        let cgroup = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let cgroup = cgroup.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
        Job {
            pid,
            cgroup: cgroup.to_owned(),
            oom_score_adj: 0,
            root: None,
            action: Action::Execute(execute),
        }
    }
}

type Conversation = (
    Client<WriteHalf<DuplexStream>>,
    Answers<ReadHalf<DuplexStream>>,
    tokio::task::JoinHandle<()>,
);

fn begin(job: Job, wanted: WantedStreams) -> Conversation {
    let (host, guest) = tokio::io::duplex(64 * 1024);
    let serving = tokio::spawn(async move { run(guest, &agent(), &job, wanted).await });
    let (client, answers) = exec::client(host);
    (client, answers, serving)
}

const PIPES: WantedStreams = WantedStreams::Pipes { stdin: true };

fn terminal(size: WindowSize) -> WantedStreams {
    let ptmx = "/dev/ptmx".into();
    WantedStreams::Terminal { size, ptmx }
}

/// What came out, what came out as an error, and how it ended.
async fn whole(mut answers: Answers<ReadHalf<DuplexStream>>) -> (String, String, Answer) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match answers.next().await.unwrap() {
            Answer::Started => {}
            Answer::Stdout(bytes) => stdout.extend(bytes),
            Answer::Stderr(bytes) => stderr.extend(bytes),
            last => {
                let text = |bytes| String::from_utf8(bytes).unwrap();
                return (text(stdout), text(stderr), last);
            }
        }
    }
}

async fn output(job: Job, wanted: WantedStreams) -> (String, String, Answer) {
    let (client, answers, _serving) = begin(job, wanted);
    client.end_stdin().await.unwrap();
    whole(answers).await
}

fn on_stage(test: impl AsyncFnOnce(AppStandIn)) {
    let Some(app) = app() else { return };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime
        .block_on(async { timeout(Duration::from_secs(60), test(app)).await })
        .unwrap();
}

fn exited(code: i32) -> Answer {
    Answer::Exited(ExitStatus::Code(code))
}

#[test]
fn a_command_sees_the_apps_world_and_its_end_is_reported() {
    on_stage(async |app| {
        std::fs::write(app.root.path().join("tmp/mark"), "here").unwrap();
        let script = "cat /tmp/mark; echo $A >&2; pwd; exit 7";
        let job = app.job(&["sh", "-c", script], |execute| {
            execute.process.working_dir = "/etc".to_owned();
        });
        assert_eq!(
            output(job, PIPES).await,
            ("here/etc\n".into(), "b\n".into(), exited(7))
        );

        let job = app.job(&["sh", "-c", "kill -TERM $$"], |_| {});
        let killed = ExitStatus::Signal {
            signal: 15,
            core: false,
        };
        assert_eq!(output(job, PIPES).await.2, Answer::Exited(killed));
    });
}

#[test]
fn what_cannot_be_executed_is_reported_as_docker_does() {
    on_stage(async |app| {
        for (argv, dir, status) in [
            (&["nowhere"][..], "/", STATUS_NOT_FOUND),
            (&["/nowhere"], "/", STATUS_NOT_FOUND),
            (&["/etc/notes"], "/", STATUS_NOT_EXECUTABLE),
            (&["true"], "/nowhere", STATUS_NOT_EXECUTABLE),
            (&[], "/", STATUS_FAILED),
        ] {
            let job = app.job(argv, |execute| execute.process.working_dir = dir.to_owned());
            match output(job, PIPES).await.2 {
                Answer::Failed {
                    status: reported,
                    text,
                } => {
                    assert_eq!(reported, status, "{argv:?}: {text}");
                    assert!(
                        text.starts_with("cannot ") || text.starts_with("there is"),
                        "{text}"
                    );
                }
                other => panic!("{argv:?}: {other:?}"),
            }
        }
        let mut job = app.job(&["true"], |_| {});
        job.cgroup = "/elsewhere".to_owned();
        let text = "the app is not running".to_owned();
        assert_eq!(
            output(job, PIPES).await.2,
            Answer::Failed {
                status: STATUS_FAILED,
                text
            }
        );
    });
}

#[test]
fn the_user_is_the_apps_or_whom_the_app_knows() {
    on_stage(async |app| {
        let script = "id -u; id -g; id -G; echo $HOME; grep -E 'CapBnd|CapEff' /proc/self/status; umask";
        let job = app.job(&["sh", "-c", script], |_| {});
        let all = "CapEff:\t0000000000000001\nCapBnd:\t0000000000000001\n0022\n";
        assert_eq!(output(job, PIPES).await.0, format!("0\n0\n0\n/root\n{all}"));

        let job = app.job(&["sh", "-c", script], |execute| {
            execute.user = Some("web".to_owned());
        });
        let none = "CapEff:\t0000000000000000\nCapBnd:\t0000000000000001\n0022\n";
        assert_eq!(
            output(job, PIPES).await.0,
            format!("33\n34\n34 4\n/srv/web\n{none}")
        );

        let job = app.job(&["sh", "-c", "echo again >/dev/stdout; id -u"], |execute| {
            execute.process.identity.uid = 77;
        });
        assert_eq!(output(job, PIPES).await.0, "again\n77\n");

        let job = app.job(&["true"], |execute| execute.user = Some("nobody".to_owned()));
        let text = "the app's /etc/passwd has no user `nobody`".to_owned();
        assert_eq!(
            output(job, PIPES).await.2,
            Answer::Failed {
                status: STATUS_NOT_EXECUTABLE,
                text
            }
        );
    });
}

/// `linux/seccomp.h`.
const KILL: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;
const ALLOW: u32 = 0x7fff_0000;

/// A filter of system calls by their numbers.
fn filter(numbers: &[u32], named: u32, others: u32) -> SyscallProgram {
    let mut program = vec![(0x20, 0, 0, 0)];
    for number in numbers {
        program.extend([(0x15, 0, 1, *number), (0x06, 0, 0, named)]);
    }
    program.push((0x06, 0, 0, others));
    SyscallProgram(program)
}

/// A filter alone takes no privileges away: what is set-user-ID gains them, unless that is forgone.
#[test]
fn a_filter_lets_programs_gain_privileges() {
    on_stage(async |app| {
        let command = "grep NoNewPrivs /proc/self/status; ls -d /tmp/new 2>/dev/null; mkdir /tmp/new";
        let mut outputs = Vec::new();
        for (uid, no_new_privileges) in [(0, false), (77, false), (77, true)] {
            let job = app.job(&["sh", "-c", command], |execute| {
                execute.process.identity.uid = uid;
                execute.process.no_new_privileges = no_new_privileges;
                execute.process.syscalls = Some(filter(&[83, 258], ERRNO | 1, ALLOW));
            });
            let (stdout, _, last) = output(job, PIPES).await;
            outputs.push((stdout, last));
        }
        let with = |bit| (format!("NoNewPrivs:\t{bit}\n"), exited(1));
        assert_eq!(outputs, [with(0), with(0), with(1)]);
    });
}

/// The kernel takes the last number for "no change", which would leave a command root.
#[test]
fn a_number_that_is_no_user_is_refused_and_65535_is_one() {
    on_stage(async |app| {
        let ids = |uid, gid, group| {
            app.job(&["sh", "-c", "id -u; id -g; id -G"], |execute| {
                execute.process.identity = GuestIdentity {
                    uid,
                    gid,
                    groups: vec![group],
                };
            })
        };
        assert_eq!(
            output(ids(65535, 65535, 65535), PIPES).await.0,
            "65535\n65535\n65535\n"
        );
        for job in [ids(u32::MAX, 0, 0), ids(0, u32::MAX, 0), ids(0, 0, u32::MAX)] {
            let refused = matches!(output(job, PIPES).await.2, Answer::Failed { .. });
            assert!(refused);
        }
    });
}

/// A directory that the user may not enter is entered before the user is one, as with runc.
#[test]
fn a_working_directory_need_not_be_the_users() {
    on_stage(async |app| {
        std::fs::create_dir(app.root.path().join("tmp/private")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(app.root.path().join("tmp/private"), mode).unwrap();
        let job = app.job(&["sh", "-c", "pwd; id -u"], |execute| {
            execute.process.identity.uid = 77;
            execute.process.working_dir = "/tmp/private".to_owned();
        });
        assert_eq!(output(job, PIPES).await.0, "/tmp/private\n77\n");
    });
}

#[test]
fn a_command_has_the_apps_limits() {
    on_stage(async |app| {
        let job = app.job(&["sh", "-c", "ulimit -Sn; ulimit -Hn"], |execute| {
            execute.process.rlimits = vec![GuestRlimit {
                name: "nofile".to_owned(),
                soft: Some(64),
                hard: Some(128),
            }];
        });
        assert_eq!(output(job, PIPES).await.0, "64\n128\n");

        // mkdir(2) and mkdirat(2): one fails as was said, the other kills.
        let refuse = |errno: Option<u32>| {
            let refused = errno.map_or(KILL, |errno| ERRNO | errno);
            Some(filter(&[83, 258], refused, ALLOW))
        };
        let make = ["mkdir", "/tmp/new"];
        let job = app.job(&make, |execute| execute.process.syscalls = refuse(Some(28)));
        let (_, stderr, last) = output(job, PIPES).await;
        assert!(
            stderr.contains("No space left on device") && last == exited(1),
            "{stderr}"
        );
        let job = app.job(&make, |execute| execute.process.syscalls = refuse(None));
        let killed = |answer| match answer {
            Answer::Exited(ExitStatus::Signal { signal, .. }) => signal == 31,
            _ => false,
        };
        assert!(killed(output(job, PIPES).await.2));

        // One that is not in a list that allows: execution itself is.
        let job = app.job(&["true"], |execute| {
            execute.process.syscalls = Some(filter(&[1, 13, 14, 59], ALLOW, KILL));
        });
        assert!(killed(output(job, PIPES).await.2));
    });
}

#[test]
fn input_goes_through_whole_and_none_is_none() {
    on_stage(async |app| {
        let bytes: Vec<u8> = (0..1 << 20).map(|n: u32| b'a' + (n % 26) as u8).collect();
        let (client, answers, serving) = begin(app.job(&["cat"], |_| {}), PIPES);
        let input = bytes.clone();
        let feeding = tokio::spawn(async move {
            client.stdin(&input).await.unwrap();
            client.end_stdin().await.unwrap();
        });
        let (stdout, _, last) = whole(answers).await;
        assert!(stdout.as_bytes() == bytes, "{} bytes", stdout.len());
        assert_eq!(last, exited(0));
        feeding.await.unwrap();
        serving.await.unwrap();

        let (_client, answers, _serving) =
            begin(app.job(&["cat"], |_| {}), WantedStreams::Pipes { stdin: false });
        assert_eq!(whole(answers).await.2, exited(0));
    });
}

#[test]
fn a_signal_passes_input_that_nobody_reads() {
    on_stage(async |app| {
        let script = "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done";
        let (client, mut answers, _serving) = begin(app.job(&["sh", "-c", script], |_| {}), PIPES);
        assert_eq!(answers.next().await.unwrap(), Answer::Started);
        assert_eq!(answers.next().await.unwrap(), Answer::Stdout(b"ready\n".to_vec()));
        let speaker = client.clone();
        let stuck = tokio::spawn(async move { speaker.stdin(&vec![0; 1 << 20]).await });
        sleep(Duration::from_millis(100)).await;
        assert!(!stuck.is_finished());
        client.signal(2).await.unwrap();
        let (stdout, _, last) = whole(answers).await;
        assert_eq!((&*stdout, last), ("caught\n", exited(3)));
        stuck.await.unwrap().unwrap();
    });
}

#[test]
fn a_terminal_has_a_size_and_keys() {
    on_stage(async |app| {
        let wanted = terminal(WindowSize { rows: 33, cols: 99 });
        let script = "stty size; tty; read line; stty size; echo \"<$line>\"; sleep 600";
        let job = app.job(&["sh", "-c", script], |execute| execute.terminal = true);
        let (client, mut answers, _serving) = begin(job, wanted.clone());
        let mut seen = String::new();
        let mut until = async |word: &str| {
            while !seen.contains(word) {
                match answers.next().await.unwrap() {
                    Answer::Started => {}
                    Answer::Stdout(bytes) => seen.push_str(&String::from_utf8(bytes).unwrap()),
                    other => panic!("{other:?} after {seen}"),
                }
            }
        };
        until("/dev/pts/").await;
        client.resize(WindowSize { rows: 44, cols: 111 }).await.unwrap();
        client.stdin(b"typed\n").await.unwrap();
        until("<typed>").await;
        // A shell that is just about to fork misses one.
        let typing = tokio::spawn(async move {
            while client.stdin(b"\x03").await.is_ok() {
                sleep(Duration::from_millis(50)).await;
            }
        });
        let interrupted = ExitStatus::Signal {
            signal: 2,
            core: false,
        };
        assert_eq!(whole(answers).await.2, Answer::Exited(interrupted));
        typing.abort();
        assert!(
            seen.starts_with("33 99\r\n") && seen.contains("44 111\r\n"),
            "{seen}"
        );

        // All that it wrote last is there.
        let job = app.job(&["seq", "5000"], |execute| execute.terminal = true);
        let (stdout, _, last) = output(job, wanted).await;
        assert_eq!((stdout.lines().last(), last), (Some("5000"), exited(0)));
    });
}

#[test]
fn a_client_that_is_gone_takes_its_command_along() {
    on_stage(async |app| {
        for with_terminal in [false, true] {
            let script = "sleep 601 & echo $$ $!; wait";
            let job = app.job(&["sh", "-c", script], |execute| execute.terminal = with_terminal);
            let wanted = if with_terminal {
                terminal(WindowSize { rows: 24, cols: 80 })
            } else {
                PIPES
            };
            let (client, mut answers, serving) = begin(job, wanted);
            assert_eq!(answers.next().await.unwrap(), Answer::Started);
            let Answer::Stdout(pids) = answers.next().await.unwrap() else {
                panic!("no PIDs")
            };
            let began = Instant::now();
            drop((client, answers));
            serving.await.unwrap();
            assert!(began.elapsed() < HANGUP_GRACE);
            for pid in String::from_utf8(pids).unwrap().split_whitespace() {
                let stat = format!("/proc/{pid}/stat");
                while std::fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z ")) {
                    sleep(Duration::from_millis(5)).await;
                }
            }
        }
    });
}

#[test]
fn a_command_that_leaves_a_process_behind_has_ended() {
    on_stage(async |app| {
        let job = app.job(&["sh", "-c", "sleep 3 & echo done"], |_| {});
        let began = Instant::now();
        assert_eq!(
            output(job, PIPES).await,
            ("done\n".into(), String::new(), exited(0))
        );
        assert!(began.elapsed() < Duration::from_secs(3));
    });
}

/// Runs a copy's two sides over a stream.
async fn copy_out(job: Job) -> (Result<Option<String>, copy::CopyError>, Vec<u8>) {
    let (mut host, guest) = tokio::io::duplex(10_000);
    tokio::spawn(async move { crate::exec::copy::out(guest, &agent(), &job).await });
    let mut archive = Vec::new();
    (copy::receive(&mut host, &mut archive).await, archive)
}

async fn copy_in(job: Job, archive: &[u8]) -> Result<Option<String>, copy::CopyError> {
    let (host, guest) = tokio::io::duplex(10_000);
    tokio::spawn(async move { crate::exec::copy::bring(guest, &agent(), &job).await });
    let (mut reader, mut writer) = tokio::io::split(host);
    let sending = async {
        // It may fail when the other side has found something wrong.
        if copy::send(&mut &archive[..], &mut writer).await.is_ok() {
            let _ = write_message(&mut writer, &Frame::End).await;
        }
    };
    let mut nothing = Vec::new();
    let (outcome, ()) = tokio::join!(copy::receive(&mut reader, &mut nothing), sending);
    outcome
}

#[test]
fn files_go_out_and_come_in_within_the_apps_root() {
    on_stage(async |app| {
        let at = |path: &str| app.root.path().join(path);
        let copies = |action: Action| Job {
            action,
            ..app.job(&[], |_| {})
        };
        let pack = |path: &str| {
            copies(Action::Pack {
                path: path.to_owned(),
                follow_link: false,
            })
        };
        let unpack = |path: &str| {
            copies(Action::Unpack {
                path: path.to_owned(),
            })
        };
        std::fs::create_dir(at("tmp/dir")).unwrap();
        std::fs::write(at("tmp/dir/file"), vec![5; 300_000]).unwrap();
        std::os::unix::fs::chown(at("tmp/dir/file"), Some(33), Some(34)).unwrap();
        let (outcome, archive) = copy_out(pack("/tmp/dir")).await;
        outcome.unwrap();
        // A link of the app's leads to what the app sees.
        std::os::unix::fs::symlink("/tmp/new", at("tmp/link")).unwrap();
        std::fs::create_dir(at("tmp/new")).unwrap();
        copy_in(unpack("tmp/link"), &archive).await.unwrap();
        let copied = at("tmp/new/dir/file");
        assert_eq!(std::fs::read(&copied).unwrap(), vec![5; 300_000]);
        let owner = std::os::unix::fs::MetadataExt::uid;
        assert_eq!(owner(&std::fs::metadata(&copied).unwrap()), 33);

        let (outcome, _) = copy_out(pack("/nowhere")).await;
        let text = "cannot read `/nowhere`: No such file or directory (os error 2)";
        assert_eq!(outcome.unwrap_err().to_string(), text);
        let text = "cannot copy to `/nowhere/x`: No such file or directory (os error 2)";
        let outcome = copy_in(unpack("/nowhere/x"), &archive).await;
        assert_eq!(outcome.unwrap_err().to_string(), text);
    });
}

#[test]
fn what_a_whole_archive_does_not_have_is_reported_behind_it() {
    on_stage(async |app| {
        let at = |path: &str| app.root.path().join(path);
        let pack = || Job {
            action: Action::Pack {
                path: "/tmp/dir".to_owned(),
                follow_link: false,
            },
            ..app.job(&[], |_| {})
        };
        std::fs::create_dir(at("tmp/dir")).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(at("tmp/dir/socket")).unwrap();
        let warning = copy_out(pack()).await.0.unwrap();
        let text = "`/tmp/dir/socket` is a socket, which is not copied";
        assert_eq!(warning.as_deref(), Some(text));

        // More than what pipes and buffers take before the first piece is read.
        let length = 4 << 20;
        std::fs::write(at("tmp/dir/big"), vec![5; length]).unwrap();
        let (mut host, guest) = tokio::io::duplex(10_000);
        let job = pack();
        tokio::spawn(async move { crate::exec::copy::out(guest, &agent(), &job).await });
        let Ok(Some(Frame::Data(mut archive))) = read_message(&mut host).await else {
            panic!("nothing came");
        };
        std::fs::File::create(at("tmp/dir/big")).unwrap();
        let outcome = copy::receive(&mut host, &mut archive).await;
        let text = "`/tmp/dir/big` became shorter while it was copied";
        assert_eq!(outcome.unwrap_err().to_string(), text);
        assert!(archive.len() >= length, "{} bytes came", archive.len());
    });
}
