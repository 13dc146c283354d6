//! Logs that a program writes (`binary://PATH?KEY=VALUE`), as containerd's `runtime/v2/logging` has it: the program reads the task's
//! outputs as its descriptors 3 and 4, and closes 5 or writes to it when it is ready. It ends by itself when they do.

use std::io::{self, PipeReader, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use tokio::net::unix::pipe::Sender;

use crate::stdio::Output;

/// How long a program may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// Whose output is logged.
#[derive(Clone, Debug)]
pub(crate) struct Whose {
    /// The container.
    pub(crate) id: String,
    /// containerd's namespace.
    pub(crate) namespace: String,
}

/// What a URI says: the program, and its arguments.
fn read(uri: &str) -> Option<(String, Vec<String>)> {
    let rest = uri.strip_prefix("binary://")?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = unescape(path)?;
    let mut args = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        args.push(unescape(&key.replace('+', " "))?);
        args.extend(Some(unescape(&value.replace('+', " "))?).filter(|value| !value.is_empty()));
    }
    Path::new(&path).is_absolute().then_some((path, args))
}

/// A text with its bytes in the form `%20` (RFC 3986).
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, more)) = rest.split_first() {
        rest = more;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, more) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = more;
    }
    String::from_utf8(bytes).ok()
}

/// Starts the program, and waits until it is ready; what it reads.
///
/// # Errors
/// The system's, and that the program is not ready.
pub(crate) async fn begin(uri: &str, whose: &Whose) -> io::Result<[Option<Output>; 2]> {
    let (program, args) = read(uri).ok_or_else(|| {
        let what = format!("`{}` is not the absolute path of a program", uri.escape_debug());
        io::Error::new(io::ErrorKind::InvalidInput, what)
    })?;
    let ((stdout, from_stdout), (stderr, from_stderr)) = (io::pipe()?, io::pipe()?);
    let (ready, ready_reader) = io::pipe()?;
    let mut command = Command::new(&program);
    command
        .args(args)
        .env_clear()
        .env("CONTAINER_ID", &whose.id)
        .env("CONTAINER_NAMESPACE", &whose.namespace)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let ends: [OwnedFd; 3] = [stdout.into(), stderr.into(), ready_reader.into()];
    let mappings = ends
        .into_iter()
        .zip(3..)
        .map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd });
    command
        .fd_mappings(mappings.collect())
        .map_err(io::Error::other)?;
    let mut child = command.spawn()?;
    // The command's own copies of the ends: an end of file is to be one.
    drop(command);
    // Reaped, whenever it ends.
    std::thread::spawn(move || child.wait());
    let waits = tokio::task::spawn_blocking(move || is_ready(ready));
    match tokio::time::timeout(READY_WITHIN, waits).await {
        Ok(Ok(result)) => result?,
        Ok(Err(panic)) => return Err(io::Error::other(panic)),
        Err(_) => {
            let seconds = READY_WITHIN.as_secs();
            let what = format!("the logger `{program}` is not ready after {seconds} s");
            return Err(io::Error::new(io::ErrorKind::TimedOut, what));
        }
    }
    let output = |pipe: io::PipeWriter| -> io::Result<Option<Output>> {
        let pipe = OwnedFd::from(pipe);
        rustix::io::ioctl_fionbio(&pipe, true)?;
        Ok(Some(Box::new(Sender::from_owned_fd(pipe)?)))
    };
    Ok([output(from_stdout)?, output(from_stderr)?])
}

/// A byte, or an end.
fn is_ready(mut ready: PipeReader) -> io::Result<()> {
    match ready.read_exact(&mut [0]) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        read => read,
    }
}

/// Whether outputs go to a program.
pub(crate) fn is_one(uri: &str) -> bool {
    uri.starts_with("binary:")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[test]
    fn a_uri_is_a_program_and_its_arguments() {
        let (program, args) = read("binary:///opt/my%20log?--to=a%2Fb&flag&x=1+2").unwrap();
        assert_eq!(
            (&*program, &args[..]),
            (
                "/opt/my log",
                &["--to", "a/b", "flag", "x", "1 2"].map(str::to_owned)[..]
            )
        );
        for wrong in ["binary://log", "binary:///a%2", "file:///a"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_program_gets_both_outputs() {
        let dir = tempfile::tempdir().unwrap();
        let (program, log) = (dir.path().join("logger"), dir.path().join("log"));
        let script = "#!/bin/sh\nout=$1; exec 5>&-\n{ echo $CONTAINER_NAMESPACE/$CONTAINER_ID; cat <&3; cat <&4; } > $out.new\nmv $out.new $out\n";
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let whose = Whose {
            id: "c1".to_owned(),
            namespace: "default".to_owned(),
        };
        let uri = format!("binary://{}?{}", program.display(), log.display());
        let [stdout, stderr] = begin(&uri, &whose).await.unwrap();
        stdout.unwrap().write_all(b"out\n").await.unwrap();
        stderr.unwrap().write_all(b"err\n").await.unwrap();
        while !log.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "default/c1\nout\nerr\n");
    }
}
