//! `--volumes-from POD[:ro|rw]`: the volumes of another pod, or of another app of the same one.

use std::ffi::OsStr;

use super::scalar::utf8;
use super::{FlagFault, InvalidFlag};
use crate::words::shown;
use crate::{App, Mount, check};

/// Whose volumes an app takes over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumesFrom {
    /// The name of an app of the same pod, or the name or UUID of another pod.
    pub name: String,
    /// Read-only, or as they are there.
    pub read_only: bool,
}

/// Reads `--volumes-from`.
///
/// # Errors
/// [`InvalidFlag`] where it has no name, or another option than `ro`, `rw` and `z`.
pub fn read_volumes_from(text: &OsStr) -> Result<VolumesFrom, InvalidFlag> {
    let read = |text: &str| {
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        if name.is_empty() {
            return Err(FlagFault::form("it names no pod"));
        }
        let mut read_only = false;
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" => read_only = true,
                "rw" | "z" => {}
                other => {
                    return Err(FlagFault::Unknown {
                        what: "option",
                        name: shown(other),
                        hint: "there are `ro` and `rw`".to_owned(),
                    });
                }
            }
        }
        Ok(VolumesFrom {
            name: name.to_owned(),
            read_only,
        })
    };
    utf8(text)
        .and_then(read)
        .map_err(|fault| InvalidFlag::new("--volumes-from", text, fault))
}

/// Adds `mounts` to those of `app`, but for what it has a mount of its own at, as with docker.
pub fn take_over(app: &mut App, mounts: impl IntoIterator<Item = Mount>, read_only: bool) {
    for mut mount in mounts {
        let target = check::clean(&mount.target);
        let own = app.mounts.iter().map(|own| &own.target).chain(&app.anonymous);
        if own.into_iter().any(|own| check::clean(own) == target) {
            continue;
        }
        if read_only {
            mount.read_only = Some(true);
        }
        app.mounts.push(mount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_options() {
        let read = |text: &str| {
            let read = read_volumes_from(OsStr::new(text)).ok();
            read.map(|from| (from.name, from.read_only))
        };
        let from = |name: &str, read_only| Some((name.to_owned(), read_only));
        assert_eq!(read("db"), from("db", false));
        assert_eq!(read("db:ro"), from("db", true));
        assert_eq!(read("db:rw,z"), from("db", false));
        assert_eq!((read(""), read(":ro"), read("db:rx")), (None, None, None));
    }
}
