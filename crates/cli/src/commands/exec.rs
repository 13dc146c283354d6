//! `isopod exec`: a command in an app that runs, with this command's standard streams and its exit status.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use isopod_contract::exec::Request;
use isopod_contract::message::{ExitStatus, HostStream};
use isopod_protocol::codec::WriteMessageError;
use isopod_protocol::exec::{self, Answer, Client};
use isopod_runtime::Settings;
use isopod_runtime::control;
use isopod_runtime::pods::PodEntry;
use isopod_spec::AppName;
use isopod_spec::words::shown;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::args::app_name;
use crate::detach_keys::{DetachKeys, Passed, Typed};
use crate::env_files;
use crate::failure::Failure;
use crate::output::{NOT_READ, Report};
use crate::patience::Patience;
use crate::pods::{check_live, find, meant_app, pods};
use crate::terminal::{Raw, window_size};

/// What is read of standard input at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// Execute a command in a running app
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct Exec {
    /// The pod
    #[arg(value_name = "POD")]
    pub(super) pod: String,
    /// The app; the pod's only one needs no name
    #[arg(long, value_name = "APP", value_parser = app_name)]
    pub(super) app: Option<AppName>,
    /// Give it this command's standard input
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// Give it a terminal
    #[arg(short, long)]
    pub(super) tty: bool,
    /// Leave it running, without its output
    #[arg(short, long, conflicts_with = "interactive")]
    pub(super) detach: bool,
    /// The keys that end this command and leave the other running, where that has a terminal and input
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q", value_parser = DetachKeys::parse)]
    pub(super) detach_keys: DetachKeys,
    /// Set an environment variable; without a value, to this command's own
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = variable)]
    pub(super) env: Vec<(String, Option<String>)>,
    /// Set the environment variables in FILE; `--env` takes precedence; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(super) env_file: Vec<PathBuf>,
    /// Run it as this user [default: the app's]
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(super) user: Option<String>,
    /// Give it every capability, over the guest's kernel
    #[arg(long)]
    pub(super) privileged: bool,
    /// Start it there [default: where the app starts]
    #[arg(short, long, value_name = "PATH")]
    pub(super) workdir: Option<String>,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    pub(super) command: Vec<String>,
}

impl Exec {
    /// Executes it; the exit status is the command's.
    ///
    /// # Errors
    /// A [`Failure`] when it could not be executed, or was lost.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        let pod = find(&pods(settings)?, &self.pod)?;
        check_live(&pod)?;
        let stdin = std::io::stdin();
        if self.tty && self.interactive && !stdin.is_terminal() {
            return Err(Report::text("standard input is not a terminal")
                .hint(Some("leave `--tty` out".into()))
                .into());
        }
        let request = Request {
            app: meant_app(&pod, self.app.as_ref(), "name one after the pod")?,
            argv: self.command.to_vec(),
            env: self.variables(settings)?,
            user: self.user.clone(),
            working_dir: self.workdir.clone(),
            terminal: self.tty.then(window_size),
            stdin: self.interactive,
            exactly: None,
            privileged: self.privileged,
        };
        let raw = match self.tty && self.interactive {
            true => Some(Raw::enter()?),
            false => None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let result = runtime.block_on(converse(&pod, request, self));
        // A read of standard input cannot be cancelled, and must not be waited for.
        runtime.shutdown_background();
        drop(raw);
        result
    }
}

impl Exec {
    /// The variables of files, and on top of them those of flags.
    fn variables(&self, settings: &Settings) -> Result<Vec<(String, String)>, Failure> {
        let mut wanted = Vec::new();
        for file in &self.env_file {
            let of_file = env_files::read(file, settings)?;
            wanted.extend(
                of_file
                    .into_iter()
                    .map(|variable| (variable.name, variable.value)),
            );
        }
        wanted.extend(self.env.iter().cloned());
        Ok(variables(&wanted, &settings.env))
    }
}

/// A variable of a flag.
///
/// # Errors
/// What is wrong with it.
pub(super) fn variable(text: &str) -> Result<(String, Option<String>), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    match name.is_empty() {
        true => Err("it has no name".to_owned()),
        false => Ok((name.to_owned(), value)),
    }
}

/// The variables with their values; without those that the caller does not have either (docker's rule).
fn variables(wanted: &[(String, Option<String>)], own: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let value = |(name, value): &(String, Option<String>)| {
        let value = value.as_ref().or_else(|| own.get(name));
        Some((name.clone(), value?.clone()))
    };
    wanted.iter().filter_map(value).collect()
}

async fn converse(pod: &PodEntry, request: Request, exec: &Exec) -> Result<ExitCode, Failure> {
    let stream = control::open(&pod.path, HostStream::Exec(request)).await?;
    let (client, mut answers) = exec::client(stream);
    let detach = client.clone();
    let (detached, mut detaching) = oneshot::channel();
    let mut may_detach = exec.interactive && exec.tty;
    if may_detach {
        tokio::spawn(type_to(client.clone(), exec.detach_keys.clone(), detached));
    } else if exec.interactive {
        tokio::spawn(feed(client.clone()));
    }
    let mut given_up = tokio::spawn(forward_signals(client, exec.tty));
    let mut heeds = true;
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    loop {
        let answer = tokio::select! {
            answer = answers.next() => answer,
            left = &mut detaching, if may_detach => match left {
                Ok(()) => {
                    // The agent ends the stream when it knows; before that, nobody may have read what was said.
                    let end = async { while answers.next().await.is_ok() {} };
                    let _ = tokio::time::timeout(Patience::AFTER_TERM, end).await;
                    return Ok(ExitCode::SUCCESS);
                }
                Err(_) => {
                    may_detach = false;
                    continue;
                }
            },
            signal = &mut given_up, if heeds => {
                heeds = false;
                let Ok(Some(signal)) = signal else { continue };
                let report = Report::text("given up waiting for the command, which is killed with this one");
                return Err(report.exit_status(128 + signal).into());
            }
        };
        let written = match answer? {
            Answer::Started => {
                if exec.detach {
                    let left = detach.detach().await;
                    left.map_err(|error| Report::new(&error))?;
                    let end = async { while answers.next().await.is_ok() {} };
                    let _ = tokio::time::timeout(Patience::AFTER_TERM, end).await;
                    return Ok(ExitCode::SUCCESS);
                }
                continue;
            }
            Answer::Stdout(bytes) => write(&mut stdout, &bytes).await,
            Answer::Stderr(bytes) => write(&mut stderr, &bytes).await,
            Answer::Exited(ExitStatus::Code(code)) => {
                return Ok(ExitCode::from(u8::try_from(code & 0xff).unwrap_or(125)));
            }
            Answer::Exited(ExitStatus::Signal { signal, .. }) => {
                return Ok(ExitCode::from(u8::try_from((signal + 128) & 0xff).unwrap_or(125)));
            }
            Answer::Failed { status, text } => {
                return Err(Report::text(shown(text)).exit_status(status).into());
            }
        };
        match written {
            Ok(()) => {}
            // Who reads no more ends the command with this process.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::from(NOT_READ)),
            Err(error) => {
                return Err(Report::text(format!("cannot write the command's output: {error}")).into());
            }
        }
    }
}

/// Writes what the command wrote.
async fn write(out: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    out.write_all(bytes).await?;
    out.flush().await
}

/// Types on the command's terminal, until the keys to detach with: then the command is left to itself, and `detached` is
/// reported when the agent knows.
async fn type_to<W: AsyncWrite + Unpin>(
    client: Client<W>,
    keys: DetachKeys,
    detached: oneshot::Sender<()>,
) -> Result<(), WriteMessageError> {
    let (mut stdin, mut search) = (tokio::io::stdin(), Typed::new(keys));
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let bytes = match stdin.read(&mut buffer).await {
            Ok(0) | Err(_) => return client.end_stdin().await,
            Ok(n) => search.push(&buffer[..n]),
        };
        match bytes {
            Passed::On(bytes) => client.stdin(&bytes).await?,
            Passed::Detach(bytes) => {
                client.stdin(&bytes).await?;
                client.detach().await?;
                let _ = detached.send(());
                return Ok(());
            }
        }
    }
}

async fn feed<W: AsyncWrite + Unpin>(client: Client<W>) -> Result<(), WriteMessageError> {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        match stdin.read(&mut buffer).await {
            Ok(0) | Err(_) => return client.end_stdin().await,
            Ok(n) => client.stdin(&buffer[..n]).await?,
        }
    }
}

/// The signals that a user sends to this command are the command's, and so is the terminal's new size. This command ends with
/// the third Ctrl-C, and soon after any other that asks for its end: the guest may not answer at all.
async fn forward_signals<W: AsyncWrite + Unpin>(client: Client<W>, tty: bool) -> Option<u8> {
    let mut interrupt = signal(SignalKind::interrupt()).ok()?;
    let mut terminate = signal(SignalKind::terminate()).ok()?;
    let mut hangup = signal(SignalKind::hangup()).ok()?;
    let mut window = signal(SignalKind::window_change()).ok()?;
    let mut patience = Patience::default();
    loop {
        let last = patience.last();
        let number = tokio::select! {
            _ = interrupt.recv() => 2,
            _ = terminate.recv() => 15,
            _ = hangup.recv() => 1,
            number = last => return Some(number),
            _ = window.recv(), if tty => {
                send(client.resize(window_size())).await?;
                continue;
            }
        };
        patience.asked(number, Instant::now());
        if !patience.is_over() {
            send(client.signal(number)).await?;
        }
    }
}

/// Says something to the command, for which a guest that reads nothing has no room.
async fn send(sent: impl Future<Output = Result<(), WriteMessageError>>) -> Option<()> {
    match tokio::time::timeout(Patience::AFTER_TERM, sent).await {
        Ok(sent) => sent.ok(),
        // What is half said is not said at all.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::tests::command;
    use crate::commands::OtherCommand;

    #[test]
    fn the_command_begins_behind_the_pod() {
        let OtherCommand::Exec(exec) = command("exec -it -e A=b=c -e B --app a web sh -c true") else {
            panic!()
        };
        let app = exec.app.as_ref().map(AppName::as_str);
        assert_eq!((&*exec.pod, app, exec.tty), ("web", Some("a"), true));
        let expected = [("A".to_owned(), Some("b=c".to_owned())), ("B".to_owned(), None)];
        assert_eq!(exec.env, expected);
        assert_eq!(exec.command, ["sh", "-c", "true"]);
        let OtherCommand::Exec(exec) = command("exec web -- sh --version") else {
            panic!()
        };
        assert_eq!(exec.app, None);
        assert_eq!(exec.command, ["sh", "--version"]);
    }
}
