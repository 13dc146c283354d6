//! A command line of `isopod run` or `isopod plan`, built flag by flag.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Bench;
use crate::leftovers::MARK;
use crate::running::{Output, Running};
use crate::terminal::{OWN_SESSION, Typist};

/// How long a command may take: some ten boots on a busy host.
const DEADLINE: Duration = Duration::from_secs(120);

/// A pod, as words.
#[derive(Clone)]
pub struct Pod<'a> {
    bench: &'a Bench,
    accel: &'static str,
    flags: Vec<OsString>,
    apps: Vec<App>,
    env: Vec<(OsString, OsString)>,
    stdin: Option<Vec<u8>>,
    deadline: Duration,
    /// A shell script that the command runs behind, in a mount namespace of its own.
    before: Option<String>,
    /// Words before the command.
    within: Vec<String>,
    state: PathBuf,
    subcommand: &'static str,
}

#[derive(Clone)]
struct App {
    flags: Vec<OsString>,
    image: OsString,
    command: Vec<OsString>,
}

/// Commands of a bench.
impl Bench {
    /// A pod to describe and to run.
    #[must_use]
    pub fn pod(&self) -> Pod<'_> {
        Pod::new(self)
    }

    /// Runs another subcommand of `isopod` to its end.
    #[must_use]
    pub fn isopod_command<I: IntoIterator<Item: Into<OsString>>>(&self, words: I) -> Output {
        self.pod().other(words.into_iter().map(Into::into).collect())
    }

    /// What an app of the pod `p` has written, once it ends with `last`, or after 30 s.
    #[must_use]
    pub fn written(&self, app: &str, last: &str) -> String {
        let mut text = String::new();
        for _ in 0..60 {
            text = self.isopod_command(["logs", "--app", app, "p"]).text().to_owned();
            if text.ends_with(last) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
        text
    }

    /// Runs another subcommand of `isopod` on the state in `state`.
    #[must_use]
    pub fn isopod_on<I: IntoIterator<Item: Into<OsString>>>(&self, state: &Path, words: I) -> Output {
        let words = words.into_iter().map(Into::into).collect();
        self.pod().state(state).other(words)
    }

    /// Runs another subcommand of `isopod` with that standard input.
    #[must_use]
    pub fn isopod_with_input<I: IntoIterator<Item: Into<OsString>>>(
        &self,
        words: I,
        input: Vec<u8>,
    ) -> Output {
        self.isopod_start_with_input(words, input).wait()
    }

    /// Starts another subcommand of `isopod` with that standard input.
    #[must_use]
    pub fn isopod_start_with_input<I: IntoIterator<Item: Into<OsString>>>(
        &self,
        words: I,
        input: Vec<u8>,
    ) -> Running {
        let pod = self.pod().stdin(input);
        pod.start_other(words.into_iter().map(Into::into).collect())
    }

    /// Starts another subcommand of `isopod`.
    #[must_use]
    pub fn isopod_start<I: IntoIterator<Item: Into<OsString>>>(&self, words: I) -> Running {
        self.pod()
            .start_other(words.into_iter().map(Into::into).collect())
    }

    /// Starts another subcommand of `isopod` on a terminal.
    #[must_use]
    pub fn isopod_on_terminal<I: IntoIterator<Item: Into<OsString>>>(&self, words: I) -> Typist {
        self.pod()
            .other_on_terminal(words.into_iter().map(Into::into).collect())
    }
}

impl<'a> Pod<'a> {
    pub(crate) fn new(bench: &'a Bench) -> Self {
        let (flags, env) = (Vec::new(), Vec::new());
        Self {
            bench,
            accel: "tcg",
            flags,
            apps: Vec::new(),
            env,
            stdin: None,
            deadline: DEADLINE,
            before: None,
            within: Vec::new(),
            state: bench.state(),
            subcommand: "run",
        }
    }

    /// With another accelerator than emulation.
    #[must_use]
    pub fn accel(mut self, accel: &'static str) -> Self {
        self.accel = accel;
        self
    }

    /// With flags of the pod.
    #[must_use]
    pub fn flags<I: IntoIterator<Item: Into<OsString>>>(mut self, flags: I) -> Self {
        self.flags.extend(flags.into_iter().map(Into::into));
        self
    }

    /// With a host volume; `more` are further keys, such as `readOnly=true`.
    #[must_use]
    pub fn host(self, name: &str, source: impl AsRef<Path>, more: &str) -> Self {
        let source = quoted("source", source.as_ref().as_os_str());
        self.volume(name, "kind=host", Some(&source), more)
    }

    /// With an empty volume.
    #[must_use]
    pub fn empty(self, name: &str, more: &str) -> Self {
        self.volume(name, "kind=empty", None, more)
    }

    fn volume(self, name: &str, kind: &str, source: Option<&OsStr>, more: &str) -> Self {
        let mut value = OsString::from(format!("{name},{kind}"));
        for field in source
            .into_iter()
            .chain(Some(OsStr::new(more)).filter(|more| !more.is_empty()))
        {
            value.push(",");
            value.push(field);
        }
        self.flags([OsString::from("--volume"), value])
    }

    /// With an app of that image; what follows is this app's.
    #[must_use]
    pub fn app(mut self, image: &str) -> Self {
        self.apps.push(App {
            flags: Vec::new(),
            image: image.into(),
            command: Vec::new(),
        });
        self
    }

    /// With flags of the app.
    #[must_use]
    pub fn with<I: IntoIterator<Item: Into<OsString>>>(mut self, flags: I) -> Self {
        self.last().flags.extend(flags.into_iter().map(Into::into));
        self
    }

    /// With a mount of the app; `more` are further keys, such as `readOnly`.
    #[must_use]
    pub fn mount(self, volume: &str, target: impl AsRef<OsStr>, more: &str) -> Self {
        let mut value = OsString::from(format!("volume={volume},"));
        value.push(quoted("target", target.as_ref()));
        if !more.is_empty() {
            value.push(",");
            value.push(more);
        }
        self.with([OsString::from("--mount"), value])
    }

    /// With the app's command, in place of its image's.
    #[must_use]
    pub fn args<I: IntoIterator<Item: Into<OsString>>>(mut self, args: I) -> Self {
        self.last().command.extend(args.into_iter().map(Into::into));
        self
    }

    /// With a shell script as the app's program.
    #[must_use]
    pub fn sh(self, script: &str) -> Self {
        self.args(["/bin/sh", "-c", script])
    }

    fn last(&mut self) -> &mut App {
        self.apps.last_mut().expect("an app")
    }

    /// With a variable in the command's own environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// With a standard input, which its app reads (`--interactive`); there is none otherwise.
    #[must_use]
    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(input.into());
        self
    }

    /// Behind a shell script of the host, in a mount namespace that the command shares with it. Root only.
    #[must_use]
    pub fn behind(mut self, script: &str) -> Self {
        self.before = Some(format!("set -e\n{script}\nexec \"$@\""));
        self
    }

    /// Behind other words, which run it elsewhere.
    #[must_use]
    pub fn within(mut self, prefix: Vec<String>) -> Self {
        self.within = prefix;
        self
    }

    /// With another subcommand than `run` that takes a pod.
    #[must_use]
    pub fn subcommand(mut self, subcommand: &'static str) -> Self {
        self.subcommand = subcommand;
        self
    }

    /// With its state there, in place of the bench's own directory.
    #[must_use]
    pub fn state(mut self, dir: &Path) -> Self {
        self.state = dir.to_owned();
        self
    }

    /// Runs the pod to its end, and fails the test where it leaves anything behind.
    ///
    /// # Panics
    /// When it does not end in time, or leaves something.
    #[must_use]
    pub fn run(self) -> Output {
        let (bench, state) = (self.bench, self.state.clone());
        let out = self.start().wait();
        bench.assert_nothing_left_in(&state);
        out
    }

    /// Starts the pod.
    ///
    /// # Panics
    /// When the command cannot be started.
    #[must_use]
    pub fn start(self) -> Running {
        let mut command = self.command(self.subcommand, &[]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::new(&mut command, self.stdin, self.deadline)
    }

    /// Starts the pod on a terminal.
    #[must_use]
    pub fn start_on_terminal(self) -> Typist {
        let pod = self.within(OWN_SESSION.map(str::to_owned).into());
        Typist::new(&mut pod.command(pod.subcommand, &[]), pod.deadline)
    }

    /// Starts another subcommand in the pod's state and environment on a terminal.
    #[must_use]
    pub fn other_on_terminal(self, words: Vec<OsString>) -> Typist {
        let pod = self.within(OWN_SESSION.map(str::to_owned).into());
        Typist::new(&mut pod.process(words), pod.deadline)
    }

    /// Starts the pod with streams that nobody reads until they are asked for.
    #[must_use]
    pub fn start_unread(self) -> std::process::Child {
        let mut command = self.command("run", &[]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().expect("the command starts")
    }

    /// Plans the pod.
    #[must_use]
    pub fn plan(&self, flags: &[&str]) -> Output {
        let mut command = self.command("plan", flags);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::new(&mut command, None, self.deadline).wait()
    }

    /// Runs another subcommand in the pod's state and environment to its end.
    #[must_use]
    pub fn other(&self, words: Vec<OsString>) -> Output {
        self.start_other(words).wait()
    }

    /// Starts another subcommand in the pod's state and environment.
    #[must_use]
    pub fn start_other(&self, words: Vec<OsString>) -> Running {
        let mut command = self.process(words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::new(&mut command, self.stdin.clone(), self.deadline)
    }

    fn command(&self, subcommand: &str, flags: &[&str]) -> Command {
        let mut words: Vec<OsString> = vec![subcommand.into()];
        words.extend(flags.iter().map(OsString::from));
        words.extend(["--accel".into(), self.accel.into()]);
        let reads = self.stdin.is_some() && !self.apps.is_empty();
        words.extend(reads.then(|| "--interactive".into()));
        words.extend(self.flags.iter().cloned());
        for (i, app) in self.apps.iter().enumerate() {
            words.extend((i > 0).then(|| "---".into()));
            words.extend(app.flags.iter().cloned());
            words.push(app.image.clone());
            words.extend(app.command.iter().cloned());
        }
        self.process(words)
    }

    /// The process of `isopod` with these words.
    fn process(&self, arguments: Vec<OsString>) -> Command {
        let bench = self.bench;
        let mut words: Vec<OsString> = self.within.iter().map(OsString::from).collect();
        if let Some(script) = &self.before {
            words.extend(["unshare", "--mount", "sh", "-c"].map(OsString::from));
            words.extend([script.into(), "sh".into()]);
        }
        words.extend(bench.prefix());
        words.push(bench.isopod().into());
        words.extend(["--dir".into(), self.state.clone().into()]);
        let of_its_own = self.state != bench.state() || arguments.iter().any(|word| says_size(word));
        let start = if of_its_own { "cold" } else { bench.start() };
        words.extend(arguments);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear().current_dir(bench.dir());
        command
            .env("PATH", &bench.path)
            .env("HOME", bench.home())
            // As most pods of a user's start. With `auto` a pod's first start would have a template made beside it, which is still
            // going on when the test has ended.
            .env("ISOPOD_START", start)
            .env(MARK, bench.dir());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Whether a word is a flag that makes a VM another one than most tests have: a template would be made for it alone.
fn says_size(word: &OsStr) -> bool {
    let word = word.as_bytes();
    [&b"--vm-"[..], b"--memory", b"--cpus", b"--kernel", b"--modules"]
        .iter()
        .any(|flag| word.starts_with(flag))
}

/// A field of a CSV record in quotes, whatever is in it.
fn quoted(key: &str, value: &OsStr) -> OsString {
    let mut field = format!("\"{key}=").into_bytes();
    for byte in value.as_bytes() {
        field.extend(std::iter::repeat_n(*byte, if *byte == b'"' { 2 } else { 1 }));
    }
    field.push(b'"');
    OsString::from_vec(field)
}
