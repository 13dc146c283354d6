//! Is every mount that an app needs there, on top, of the right kind, and read-only where it must be?
//!
//! systemd asserts most of it before the app starts (`AssertPathIsMountPoint=`); this looks at the rest, and at all of it
//! once more, before an app counts as started. It mends nothing.

use std::path::Path;

use isopod_contract::config::{GuestApp, GuestMount};

use crate::mounts::mountinfo::{self, Mount};

/// What is wrong with the app's mounts, each with the mount it is about.
pub(crate) fn faults<'a>(
    app: &'a GuestApp,
    mounts: &'a [Mount],
) -> impl Iterator<Item = (&'a GuestMount, String)> + 'a {
    app.mounts
        .iter()
        .filter_map(|mount| Some((mount, fault(mount, mounts)?)))
}

/// What is wrong with a mount, in words that name the volume and the unit.
pub(crate) fn fault(wanted: &GuestMount, mounts: &[Mount]) -> Option<String> {
    let found = mountinfo::visible(mounts, Path::new(&wanted.mount_point));
    let wrong = match found.filter(|found| found.mount_point == Path::new(&wanted.mount_point)) {
        None => "is not mounted".to_owned(),
        Some(found) => match &wanted.fs_type {
            Some(fs_type) if *fs_type != found.fs_type => {
                format!("is of type `{}`, not `{fs_type}`", found.fs_type)
            }
            _ if wanted.read_only && !found.read_only => "is writable and must be read-only".to_owned(),
            _ => return None,
        },
    };
    let what = match &wanted.volume {
        Some(volume) => format!("volume `{volume}`"),
        None => "part of the root filesystem".to_owned(),
    };
    Some(format!(
        "{what} at `{}` {wrong} (unit `{}`)",
        wanted.mount_point, wanted.unit
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(at: &str, fs_type: Option<&str>, read_only: bool) -> GuestMount {
        GuestMount {
            unit: format!("{}.mount", at.trim_start_matches('/')),
            mount_point: at.to_owned(),
            volume: Some("data".to_owned()),
            fs_type: fs_type.map(str::to_owned),
            read_only,
        }
    }

    fn app(mounts: Vec<GuestMount>) -> GuestApp {
        GuestApp {
            name: "web".to_owned(),
            unit: "web.service".to_owned(),
            mounts,
            ..GuestApp::default()
        }
    }

    const MOUNTS: &[u8] = b"1 1 0:2 / / rw - rootfs rootfs rw\n\
        2 1 0:3 / /srv rw - 9p isopod rw\n\
        3 1 0:4 / /ro ro - 9p isopod rw\n";

    fn verdict(mounts: Vec<GuestMount>) -> Vec<String> {
        let app = app(mounts);
        faults(&app, &mountinfo::parse(MOUNTS))
            .map(|(_, fault)| fault)
            .collect()
    }

    #[test]
    fn passes_what_is_as_it_must_be() {
        let mounts = vec![
            wanted("/srv", Some("9p"), false),
            wanted("/ro", Some("9p"), true),
            wanted("/ro", None, false),
        ];
        assert_eq!(verdict(mounts), Vec::<String>::new());
    }

    #[test]
    fn names_app_volume_unit_and_fault() {
        let mounts = vec![
            wanted("/srv", Some("virtiofs"), false),
            wanted("/srv", Some("9p"), true),
            wanted("/srv/deep", None, false),
        ];
        let faults = [
            "volume `data` at `/srv` is of type `9p`, not `virtiofs` (unit `srv.mount`)",
            "volume `data` at `/srv` is writable and must be read-only (unit `srv.mount`)",
            "volume `data` at `/srv/deep` is not mounted (unit `srv/deep.mount`)",
        ];
        assert_eq!(verdict(mounts), faults);
    }
}
