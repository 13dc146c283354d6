//! What `isopod cp` copies from and to, as docker writes it, with the app between pod and path where there are several.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use isopod_spec::AppName;

use super::values::invalid_name;

/// One end of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CopyPlace {
    /// `-`: a tar archive, on standard input or output.
    Stream,
    /// A path of this host.
    Host(PathBuf),
    /// A path in an app.
    App {
        /// The pod: its name, its UUID or the beginning of it.
        pod: String,
        /// The app; `None`: the pod's only one.
        app: Option<AppName>,
        /// The path, from the app's root.
        path: String,
    },
}

impl CopyPlace {
    /// Reads it. What begins with `/` or `.`, or has no colon, is a path of this host; and in the same way, what
    /// follows the pod is a path without an app.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &OsStr) -> Result<Self, String> {
        let bytes = text.as_bytes();
        let is_path = |bytes: &[u8]| matches!(bytes.first(), Some(b'/' | b'.') | None);
        if bytes == b"-" {
            return Ok(Self::Stream);
        }
        if bytes.is_empty() {
            return Err("it names no path".to_owned());
        }
        if is_path(bytes) || !bytes.contains(&b':') {
            return Ok(Self::Host(text.into()));
        }
        let text = text
            .to_str()
            .ok_or_else(|| "a path in an app has to be UTF-8; copy the directory that holds it".to_owned())?;
        let (pod, rest) = text.split_once(':').unwrap_or((text, ""));
        let (app, path) = match rest.split_once(':') {
            Some((app, path)) if !is_path(rest.as_bytes()) => {
                let app = AppName::new(app)
                    .map_err(|error| format!("its app is not a valid name: {}", invalid_name(error)))?;
                (Some(app), path)
            }
            _ => (None, rest),
        };
        if pod.is_empty() || path.is_empty() {
            return Err(
                "it is not POD:[APP:]PATH; a path of the host with a colon begins with `./`".to_owned(),
            );
        }
        Ok(Self::App {
            pod: pod.to_owned(),
            app,
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for CopyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream => f.write_str("-"),
            Self::Host(path) => write!(f, "{}", path.to_string_lossy().escape_debug()),
            Self::App { pod, app, path } => {
                write!(f, "{}:", pod.escape_debug())?;
                app.iter().try_for_each(|app| write!(f, "{app}:"))?;
                write!(f, "{}", path.escape_debug())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn app(pod: &str, app: Option<&str>, path: &str) -> Result<CopyPlace, String> {
        Ok(CopyPlace::App {
            pod: pod.into(),
            app: app.map(|app| AppName::new(app).unwrap()),
            path: path.into(),
        })
    }

    #[test]
    fn as_docker_writes_them() {
        let parse = |text: &str| CopyPlace::parse(text.as_ref());
        let host = |path: &str| Ok(CopyPlace::Host(path.into()));
        assert_eq!(parse("-"), Ok(CopyPlace::Stream));
        for path in [".", "a", "a/b", "/a:b", "./a:b", "../a:b:c", "./-"] {
            assert_eq!(parse(path), host(path));
        }
        assert_eq!(parse("web:/etc/hosts"), app("web", None, "/etc/hosts"));
        assert_eq!(parse("web:etc"), app("web", None, "etc"));
        assert_eq!(parse("web:/a:b"), app("web", None, "/a:b"));
        assert_eq!(parse("web:./a:b"), app("web", None, "./a:b"));
        assert_eq!(parse("web:db:/etc/"), app("web", Some("db"), "/etc/"));
        assert_eq!(parse("web:db:a:b"), app("web", Some("db"), "a:b"));
        assert_eq!(parse("e1c7:db:."), app("e1c7", Some("db"), "."));
        for text in ["", "web:", ":x", "web:db:", "web:DB:/x", "web::/x"] {
            assert!(parse(text).is_err(), "{text}: {:?}", parse(text));
        }
        assert!(CopyPlace::parse(OsStr::from_bytes(b"web:/\xff")).is_err());
        assert!(CopyPlace::parse(OsStr::from_bytes(b"\xff")).is_ok());
    }

    proptest! {
        /// Every path of this host's can be written.
        #[test]
        fn paths_stay_paths(bytes in prop::collection::vec(1_u8.., 1..20)) {
            let path = [b"./", &bytes[..]].concat();
            let path = OsStr::from_bytes(&path);
            prop_assert_eq!(CopyPlace::parse(path), Ok(CopyPlace::Host(path.into())));
        }

        #[test]
        fn paths_in_apps_come_back(path in "/[a-z:/. ]{0,12}", name in "[a-z]{1,5}") {
            prop_assert_eq!(CopyPlace::parse(format!("p:{path}").as_ref()), app("p", None, &path));
            prop_assert_eq!(CopyPlace::parse(format!("p:{name}:{path}").as_ref()), app("p", Some(&name), &path));
        }
    }
}
