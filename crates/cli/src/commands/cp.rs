//! `isopod cp`: files into and out of an app, whether it runs or not, as one archive over a stream of the agent.
//!
//! ```text
//! out: agent ──frames──> here ──pipe──> unpack (a thread) ──> the target       in: the same, the other way
//! ```
//!
//! Nothing that the guest sends is trusted: the archive's tree is named as what was asked for, and nothing is written
//! outside of it ([`isopod_archive`]). What was written before a copy failed stays.

use std::ffi::OsStr;
use std::io::{self, BufReader, BufWriter, IsTerminal as _, PipeReader, PipeWriter, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::thread;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use isopod_archive::{Keep, LastLink, PackError, Packed, UnpackError, pack, tree_name, unpack};
use isopod_contract::copy::Frame;
use isopod_contract::message::{AppIndex, HostStream};
use isopod_protocol::codec::{WriteMessageError, write_message};
use isopod_protocol::copy::{self, CopyError};
use isopod_runtime::Settings;
use isopod_spec::words::shown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::unix::pipe::{Receiver, Sender};

use crate::args::CopyPlace;
use crate::failure::Failure;
use crate::output::{self, NOT_READ, Report};
use crate::pods::{find, meant_app, pods};
use crate::reach::{Conversation, Reach, ReachError, with_agent};

/// What goes between an archive and its pipe in one piece.
const PIECE_BYTES: usize = 64 * 1024;

/// Why nothing, or not all, was copied.
#[derive(Debug, thiserror::Error)]
#[error("cannot copy {what}")]
struct CopyFailed {
    what: String,
    source: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Reach(#[from] ReachError),
    #[error(transparent)]
    Stream(#[from] CopyError),
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    #[error("cannot send the archive's end")]
    End(#[source] WriteMessageError),
    #[error("cannot make a pipe")]
    Pipe(#[source] io::Error),
    /// The agent's own words.
    #[error("{0}")]
    Reported(String),
    #[error("{0}")]
    Incomplete(String),
    #[error("the thread that packs the archive is gone")]
    Thread,
}

/// Which way, and the side that is this host's.
enum Way<'a> {
    Out(&'a CopyPlace),
    In(&'a CopyPlace),
}

const CP_NOTES: &str = "\
A path with a colon is one of the host if it begins with / or a dot. If the target is a directory, the source is copied \
into it, under its own name; otherwise the source becomes the target, whose parent must exist. DIR/. means the contents \
of a directory. Files belong to root in the app and to the caller on the host, but with --archive; an archive on \
standard input keeps its owners. If the pod does not run, its VM is started for the copy, without its apps and without a network.

Examples:
  isopod cp web:/etc/nginx/nginx.conf .
  isopod cp ./site/. web:nginx:/usr/share/nginx/html
  isopod cp web:/var/log - | tar tv
";

/// Copy files into or out of an app
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = CP_NOTES)]
pub(crate) struct Cp {
    /// What is copied: PATH, POD:[APP:]PATH, or - for a tar archive on standard input
    #[arg(value_name = "SOURCE", value_parser = OsStringValueParser::new().try_map(|text| CopyPlace::parse(&text)))]
    source: CopyPlace,
    /// Where it goes: PATH, POD:[APP:]PATH, or - for a tar archive on standard output
    #[arg(value_name = "TARGET", value_parser = OsStringValueParser::new().try_map(|text| CopyPlace::parse(&text)))]
    target: CopyPlace,
    /// Keep the owners' numbers, set-ID bits and devices, which takes root's rights
    #[arg(short, long)]
    archive: bool,
    /// Copy what SOURCE leads to where it is a symbolic link
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// No effect: nothing is printed
    #[arg(short, long)]
    quiet: bool,
}

impl Cp {
    /// Copies.
    ///
    /// # Errors
    /// A [`Failure`] with the reason.
    pub(crate) fn execute(&self, settings: &Settings) -> Result<ExitCode, Failure> {
        use CopyPlace as P;
        let (way, pod, app, path) = match (&self.source, &self.target) {
            (P::App { .. }, P::App { .. }) => {
                let hint = "from app to app: `isopod cp POD:PATH - | isopod cp - POD:PATH`";
                return Err(Report::text("one side of a copy must be on this host")
                    .hint(Some(hint.into()))
                    .into());
            }
            (P::App { pod, app, path }, here) => (Way::Out(here), pod, app, path),
            (here, P::App { pod, app, path }) => (Way::In(here), pod, app, path),
            _ => {
                let hint = "write it as POD:PATH, or as POD:APP:PATH where the pod has several apps";
                return Err(Report::text("one side of a copy must be in a pod")
                    .hint(Some(hint.into()))
                    .into());
            }
        };
        if self.target == P::Stream && io::stdout().is_terminal() {
            let hint = "give it to tar, `| tar x`, or to a file, `> FILE`";
            return Err(
                Report::text("standard output is a terminal, and an archive is not text")
                    .hint(Some(hint.into()))
                    .into(),
            );
        }
        let pods = pods(settings)?;
        let pod = find(&pods, pod)?;
        let app = meant_app(&pod, app.as_ref(), "name one between pod and path, POD:APP:PATH")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let how = How::of(self);
        let work = async |reach: Reach<'_>| copy(&reach, app, path, &way, how).await;
        let copied = runtime.block_on(with_agent(settings, &pods, &pod, app, work));
        // A read of standard input cannot be cancelled, and must not be waited for.
        runtime.shutdown_background();
        let copied = copied?;
        if let Err(Cause::Stream(CopyError::Local(error))) = &copied
            && (self.target == P::Stream && error.kind() == io::ErrorKind::BrokenPipe)
        {
            return Ok(ExitCode::from(NOT_READ));
        }
        let failed = |cause| CopyFailed {
            what: format!("`{}` to `{}`", self.source, self.target),
            source: cause,
        };
        copied.map_err(|cause| {
            let hint = match &cause {
                Cause::Reach(error) => error.hint(),
                _ => None,
            };
            Report::new(&failed(cause)).hint(hint)
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What a copy keeps.
#[derive(Clone, Copy)]
struct How {
    /// Of the files on this host: in the app everything is kept.
    keep: Keep,
    last_link: LastLink,
}

impl How {
    fn of(command: &Cp) -> Self {
        Self {
            keep: match command.archive {
                true => Keep::Everything,
                false => Keep::Plain,
            },
            last_link: match command.follow_link {
                true => LastLink::Followed,
                false => LastLink::Kept,
            },
        }
    }
}

async fn copy(reach: &Reach<'_>, app: AppIndex, path: &str, way: &Way<'_>, how: How) -> Result<(), Cause> {
    let at = path.to_owned();
    match way {
        Way::Out(target) => {
            let stream = reach
                .open(HostStream::CopyOut {
                    app,
                    path: at,
                    follow_link: how.last_link == LastLink::Followed,
                })
                .await?;
            match target {
                CopyPlace::Host(target) => {
                    bring_out(stream, tree_name(Path::new(path)), target, how.keep).await
                }
                _ => receive(stream, &mut tokio::io::stdout()).await,
            }
        }
        Way::In(source) => {
            let stream = reach.open(HostStream::CopyIn { app, path: at }).await?;
            match source {
                CopyPlace::Host(source) => bring_in(stream, source, how).await,
                _ => send(stream, tokio::io::stdin(), || Ok(Packed::default())).await,
            }
        }
    }
}

/// Unpacks what the app sends, in a thread of its own.
async fn bring_out(stream: impl Conversation, tree: &OsStr, target: &Path, keep: Keep) -> Result<(), Cause> {
    let (reader, writer) = io::pipe().map_err(Cause::Pipe)?;
    let (tree, target) = (tree.to_owned(), target.to_owned());
    let unpacking = thread::spawn(move || {
        let mut archive = BufReader::with_capacity(PIECE_BYTES, reader);
        unpack(&target, &mut archive, keep, Some(&tree))?;
        // What pads an archive is not read, and whoever writes it is not to fail.
        let _ = io::copy(&mut archive, &mut io::sink());
        Ok::<_, UnpackError>(())
    });
    let mut writer = sender(writer).map_err(Cause::Pipe)?;
    let received = receive(stream, &mut writer).await;
    drop(writer);
    let unpacked = unpacking.join().map_err(|_| Cause::Thread)?;
    match received {
        // The thread has ended before the archive did, and says why.
        Err(Cause::Stream(CopyError::Local(_))) | Ok(()) => Ok(unpacked?),
        // What came of the archive was unpacked, and the rest will not come.
        Err(cause) => Err(cause),
    }
}

async fn receive(
    mut stream: impl Conversation,
    archive: &mut (impl AsyncWrite + Unpin),
) -> Result<(), Cause> {
    let warning = copy::receive(&mut stream, archive).await.map_err(reported)?;
    if let Some(text) = warning {
        output::warning(&shown(text));
    }
    Ok(())
}

/// The agent's own words, as a terminal may see them.
fn reported(error: CopyError) -> Cause {
    match error {
        CopyError::Failed(text) => Cause::Reported(shown(text)),
        error => Cause::Stream(error),
    }
}

/// Packs what the app is to have, in a thread of its own.
async fn bring_in(stream: impl Conversation, source: &Path, how: How) -> Result<(), Cause> {
    let (reader, writer) = io::pipe().map_err(Cause::Pipe)?;
    let source = source.to_owned();
    let packing = thread::spawn(move || {
        let mut archive = BufWriter::with_capacity(PIECE_BYTES, writer);
        let packed = pack(&source, &mut archive, how.keep, how.last_link)?;
        archive.flush().map_err(PackError::Write)?;
        Ok::<_, PackError>(packed)
    });
    let reader = receiver(reader).map_err(Cause::Pipe)?;
    let packed = || Ok(packing.join().map_err(|_| Cause::Thread)??);
    send(stream, reader, packed).await
}

/// Sends an archive, and its end when `packed` says that it is whole; then the agent says whether it was unpacked. It
/// may say so at any time. What the archive does not have is reported when the rest is there.
async fn send(
    stream: impl Conversation,
    mut archive: impl AsyncRead + Unpin,
    packed: impl FnOnce() -> Result<Packed, Cause>,
) -> Result<(), Cause> {
    let (mut from, mut to) = tokio::io::split(stream);
    let mut nothing = tokio::io::sink();
    let mut verdict = pin!(copy::receive(&mut from, &mut nothing));
    let sent = tokio::select! {
        biased;
        verdict = &mut verdict => return verdict.map(drop).map_err(reported),
        sent = copy::send(&mut archive, &mut to) => sent,
    };
    match sent {
        Ok(()) => {
            let packed = packed()?;
            write_message(&mut to, &Frame::End).await.map_err(Cause::End)?;
            let _ = verdict.await.map_err(reported)?;
            if let Some(text) = packed.warning() {
                output::warning(&text);
            }
            packed
                .fault()
                .map_or(Ok(()), |fault| Err(Cause::Incomplete(fault)))
        }
        Err(CopyError::Local(error)) => Err(CopyError::Local(error).into()),
        // It hung up, and may have said why.
        Err(error) => match verdict.await {
            Err(CopyError::Failed(text)) => Err(reported(CopyError::Failed(text))),
            _ => Err(error.into()),
        },
    }
}

fn receiver(pipe: PipeReader) -> io::Result<Receiver> {
    let pipe = OwnedFd::from(pipe);
    rustix::io::ioctl_fionbio(&pipe, true)?;
    Receiver::from_owned_fd(pipe)
}

fn sender(pipe: PipeWriter) -> io::Result<Sender> {
    let pipe = OwnedFd::from(pipe);
    rustix::io::ioctl_fionbio(&pipe, true)?;
    Sender::from_owned_fd(pipe)
}
