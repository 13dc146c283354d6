//! Reads `--userns` (podman-run(1)).

use std::ffi::OsStr;

use super::InvalidFlag;
use super::limits::{form, read};
use crate::pod::UserMapping;

/// Reads `host` or `keep-id[:uid=N,gid=N]`.
///
/// # Errors
/// [`InvalidFlag`] for podman's other modes, and for anything else.
pub fn read_userns(text: &OsStr) -> Result<UserMapping, InvalidFlag> {
    read("--userns", text, |word| {
        let (mode, options) = word.split_once(':').unwrap_or((word, ""));
        match (mode, options) {
            ("host" | "", "") => Ok(UserMapping::Host),
            ("keep-id", "") => Ok(UserMapping::KeepId { uid: None, gid: None }),
            ("keep-id", options) => keep_id(options).ok_or(form(
                "its options do not name users",
                "write `keep-id:uid=1000,gid=1000`",
            )),
            ("auto" | "nomap" | "private" | "ns" | "container", _) => Err(form(
                "a pod has users of its own anyway: this is about whose the files of host volumes are",
                "`keep-id` makes them yours by number, `host` the guest root's",
            )),
            _ => Err(form(
                "it is not a mode",
                "`keep-id` keeps your files yours by number, `host` makes them the guest root's",
            )),
        }
    })
}

fn keep_id(options: &str) -> Option<UserMapping> {
    let (mut uid, mut gid) = (None, None);
    for option in options.split(',') {
        let (key, number) = option.split_once('=')?;
        let number = number.parse().ok().filter(|number| *number < u32::MAX)?;
        let place = match key {
            "uid" => &mut uid,
            "gid" => &mut gid,
            _ => return None,
        };
        place.replace(number).is_none().then_some(())?;
    }
    Some(UserMapping::KeepId { uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podmans_forms() {
        let read = |text: &str| read_userns(OsStr::new(text));
        let keep = |uid, gid| Ok(UserMapping::KeepId { uid, gid });
        assert_eq!(read("host"), Ok(UserMapping::Host));
        assert_eq!(read("keep-id"), keep(None, None));
        assert_eq!(read("keep-id:uid=200,gid=210"), keep(Some(200), Some(210)));
        assert_eq!(read("keep-id:gid=0"), keep(None, Some(0)));
        for wrong in [
            "auto",
            "nomap",
            "ns:/proc/1/ns/user",
            "keep",
            "keep-id:uid=x",
            "keep-id:uid=1,uid=2",
            "host:1",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
