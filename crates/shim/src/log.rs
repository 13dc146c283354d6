//! Where the server writes what is worth knowing: the FIFO `log` in the bundle, which containerd reads into its own log.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Arc, Mutex};

use rustix::fs::OFlags;
use tracing_subscriber::fmt::MakeWriter;

use crate::args::{Action, Args};

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
    let level = match args.debug {
        true => tracing::Level::DEBUG,
        false => tracing::Level::INFO,
    };
    let id = args.id.chars().take(12).collect::<String>().into();
    let log = Log(Arc::new(Mutex::new(file)), id);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_target(false);
    // It is the first.
    let _ = tracing::subscriber::set_global_default(subscriber.with_writer(log).finish());
}

#[derive(Clone)]
struct Log(Arc<Mutex<File>>, Arc<str>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Ok(mut file) = self.0.lock() {
            // A line at a time; one that does not fit is left out.
            let mut line = format!("isopod {}: ", self.1).into_bytes();
            line.extend_from_slice(bytes);
            let _ = file.write(&line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}
