//! The command line, as containerd writes it: Go's flags, then what to do.
//!
//! ```text
//! containerd-shim-isopod-v2 -namespace NS -id ID -address SOCKET -publish-binary FILE [-bundle DIR] [-debug] start | delete
//! containerd-shim-isopod-v2 -namespace NS -id ID -address SOCKET                      the server that `start` begins
//! containerd-shim-isopod-v2 -namespace spare -id MEMORYxCPUS spare                    a VM for a sandbox to come
//! containerd-shim-isopod-v2 -v
//! ```

use std::ffi::OsString;
use std::path::PathBuf;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Begin a server, or find the one of the sandbox, and print where it listens.
    Start,
    /// Clean up after a server that was killed.
    Delete,
    /// Be the server.
    Serve,
    /// Be a VM of which nobody knows yet which sandbox it will be.
    Spare,
    /// Print the version.
    Version,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) action: Action,
    /// containerd's namespace.
    pub(crate) namespace: String,
    /// The container, or the sandbox.
    pub(crate) id: String,
    /// containerd's socket.
    pub(crate) address: PathBuf,
    /// The directory with the container's `config.json`; `None`: the working directory.
    pub(crate) bundle: Option<PathBuf>,
    pub(crate) debug: bool,
}

/// Why the command line says nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}; this program is started by containerd: the command for users is `isopod`")]
pub(crate) struct UsageError(String);

impl Args {
    /// Reads the arguments, the program's name left out.
    pub(crate) fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, UsageError> {
        let mut read = Self {
            action: Action::Serve,
            namespace: String::new(),
            id: String::new(),
            address: PathBuf::new(),
            bundle: None,
            debug: false,
        };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let text = arg.to_string_lossy().into_owned();
            let Some(flag) = text.strip_prefix('-').map(|rest| rest.trim_start_matches('-')) else {
                read.action = match &*text {
                    "start" => Action::Start,
                    "delete" => Action::Delete,
                    "spare" => Action::Spare,
                    _ => return Err(UsageError(format!("`{}` is unknown", text.escape_debug()))),
                };
                continue;
            };
            let (name, given) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(OsString::from(value))),
                None => (flag, None),
            };
            match name {
                "debug" => {
                    read.debug = true;
                    continue;
                }
                "v" => {
                    read.action = Action::Version;
                    continue;
                }
                _ => {}
            }
            let value = given.or_else(|| args.next());
            let value = value.ok_or_else(|| UsageError(format!("`-{name}` has no value")))?;
            let word = || value.to_string_lossy().into_owned();
            match name {
                "namespace" => read.namespace = word(),
                "id" => read.id = word(),
                "address" => read.address = value.into(),
                "bundle" => read.bundle = Some(value.into()),
                // Events go to containerd's own socket.
                "publish-binary" | "socket" => {}
                _ => return Err(UsageError(format!("`-{}` is unknown", name.escape_debug()))),
            }
        }
        if read.action != Action::Version && (read.namespace.is_empty() || read.id.is_empty()) {
            return Err(UsageError("`-namespace` or `-id` is missing".to_owned()));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Args, UsageError> {
        Args::read(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn containerds_own_lines_are_read() {
        let line =
            "-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id a1 -debug start";
        let args = read(line).unwrap();
        assert_eq!(
            (args.action, &*args.namespace, &*args.id, args.debug),
            (Action::Start, "k8s.io", "a1", true)
        );
        assert_eq!(args.address, PathBuf::from("/run/c.sock"));
        let line = "--namespace=default -id=x -address /c --publish-binary=c -bundle /run/b delete";
        let args = read(line).unwrap();
        assert_eq!(
            (args.action, args.bundle),
            (Action::Delete, Some("/run/b".into()))
        );
        assert_eq!(read("-v").unwrap().action, Action::Version);
    }

    #[test]
    fn what_is_no_line_of_containerds_is_refused() {
        for line in [
            "",
            "run -it busybox",
            "-namespace n start",
            "-id",
            "-namespace n -id i -colour red",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
