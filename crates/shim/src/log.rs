//! Where the server writes what is worth knowing: the FIFO `log` in the bundle, which containerd reads into its own log.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::OFlags;
use tracing_subscriber::fmt::MakeWriter;

use crate::args::{Action, Args};

/// Where the lines go now, and what they begin with.
static TARGET: Mutex<Option<Target>> = Mutex::new(None);

struct Target {
    file: File,
    begin: String,
}

/// Begins to log, where there is something to log to.
pub(crate) fn begin(args: &Args) {
    if args.action != Action::Serve {
        return;
    }
    // For reading too: containerd comes and goes. A log that nobody reads is no reason to wait.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options()
        .read(true)
        .write(true)
        .custom_flags(flags)
        .open("log");
    let Ok(file) = file else { return };
    let id = args.id.chars().take(12).collect::<String>();
    to(file, format!("isopod {id}: "), args.debug);
}

/// Begins to log to a file of a spare's, for as long as it is one.
pub(crate) fn begin_spare(path: &Path, debug: bool) {
    if let Ok(file) = File::create(path) {
        to(file, String::new(), debug);
    }
}

fn to(file: File, begin: String, debug: bool) {
    *TARGET.lock().unwrap_or_else(PoisonError::into_inner) = Some(Target { file, begin });
    let level = match debug {
        true => tracing::Level::DEBUG,
        false => tracing::Level::INFO,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_target(false);
    // That of a spare stays when it is a server.
    let _ = tracing::subscriber::set_global_default(subscriber.with_writer(Log).finish());
}

#[derive(Clone, Copy)]
struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut target = TARGET.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Target { file, begin }) = &mut *target {
            // A line at a time; one that does not fit is left out.
            let _ = file.write(&[begin.as_bytes(), bytes].concat());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self::Writer {
        *self
    }
}
