//! The name servers of apps whose pod has joined networks or left them: `/etc/resolv.conf` of each is changed where the pod has it from, the
//! layer below the app's writes, in place, so that a running app reads the new one, as does its next life. An app that has
//! written the file itself keeps its own.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

/// The layers of an app that may be the one: its own, or the one that takes the writes too.
const LAYERS: [&str; 2] = ["seed", "upper"];

/// The file, from a layer's root.
const RESOLV_CONF: &str = "etc/resolv.conf";

/// The planner writes no larger one, in bytes: a larger one is the app's own.
const MAX_BYTES: u64 = 64 * 1024;

/// Replaces them for the apps whose directories are in `apps`.
pub(super) fn replace(apps: &Path, before: &[IpAddr], after: &[IpAddr]) -> Result<(), String> {
    let entries = fs::read_dir(apps).map_err(|error| format!("cannot list the apps: {error}"))?;
    for app in entries.flatten() {
        for layer in LAYERS {
            let layer = app.path().join(layer);
            change(&layer, before, after).map_err(|error| {
                format!("cannot change the name servers in `{}`: {error}", layer.display())
            })?;
        }
    }
    Ok(())
}

fn change(layer: &Path, before: &[IpAddr], after: &[IpAddr]) -> io::Result<()> {
    let Ok(layer) = File::open(layer) else {
        return Ok(());
    };
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // The app may have made something else of its own layer.
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let Ok(file) = openat2(&layer, RESOLV_CONF, flags, Mode::empty(), resolve) else {
        return Ok(());
    };
    let mut file = File::from(file);
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return Ok(());
    }
    let mut text = String::new();
    if file.read_to_string(&mut text).is_err() {
        return Ok(());
    }
    if let Some(text) = replaced(&text, before, after) {
        file.write_all_at(text.as_bytes(), 0)?;
        file.set_len(u64::try_from(text.len()).unwrap_or(u64::MAX))?;
    }
    Ok(())
}

/// `text` with `after` in the place of `before`; `None` where it has others, which are the user's.
fn replaced(text: &str, before: &[IpAddr], after: &[IpAddr]) -> Option<String> {
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next().unwrap_or_default().to_owned())
    };
    let is_before = |line: &str| {
        let address = server(line).and_then(|word| word.parse().ok());
        address.is_some_and(|address: IpAddr| before.contains(&address))
    };
    let has_some = text.lines().any(|line| server(line).is_some());
    if has_some && !text.lines().any(is_before) || !has_some && !before.is_empty() {
        return None;
    }
    let added = after.iter().map(|address| format!("nameserver {address}\n"));
    let kept = text.lines().filter(|line| !is_before(line));
    Some(added.chain(kept.map(|line| format!("{line}\n"))).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn addresses<const N: usize>(texts: [&str; N]) -> [IpAddr; N] {
        texts.map(|text| text.parse().unwrap())
    }

    #[test]
    fn the_networks_servers_are_replaced_and_the_users_stay() {
        let before = addresses(["10.89.0.1", "fd00::1"]);
        let after = addresses(["10.90.0.1"]);
        let replaced = |text| replaced(text, &before, &after);
        let planned = "nameserver 10.89.0.1\nnameserver fd00::1\nnameserver 9.9.9.9\nsearch corp.example\n";
        assert_eq!(
            replaced(planned).unwrap(),
            "nameserver 10.90.0.1\nnameserver 9.9.9.9\nsearch corp.example\n"
        );
        assert_eq!(replaced("nameserver 9.9.9.9\noptions ndots:2\n"), None);
        assert_eq!(replaced("search corp.example\n"), None);
    }

    #[test]
    fn a_pod_without_name_servers_gets_some_and_loses_them() {
        let server = addresses(["10.90.0.1"]);
        let got = replaced("search corp.example\n", &[], &server).unwrap();
        assert_eq!(got, "nameserver 10.90.0.1\nsearch corp.example\n");
        assert_eq!(replaced(&got, &server, &[]).unwrap(), "search corp.example\n");
        assert_eq!(replaced("nameserver 9.9.9.9\n", &[], &server), None);
    }

    #[test]
    fn files_are_changed_in_place_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (apps, outside) = (dir.path().join("apps"), dir.path().join("outside"));
        let text = "nameserver 10.89.0.1\nsearch a-rather-long-name.example\n";
        for place in ["web/seed", "db/upper"] {
            fs::create_dir_all(apps.join(place).join("etc")).unwrap();
            fs::write(apps.join(place).join(RESOLV_CONF), text).unwrap();
        }
        fs::write(&outside, text).unwrap();
        fs::create_dir_all(apps.join("hostile/upper/etc")).unwrap();
        symlink(&outside, apps.join("hostile/upper").join(RESOLV_CONF)).unwrap();
        fs::create_dir_all(apps.join("none/seed")).unwrap();
        let large = text.repeat(2000);
        fs::create_dir_all(apps.join("large/upper/etc")).unwrap();
        fs::write(apps.join("large/upper").join(RESOLV_CONF), &large).unwrap();
        let open = File::open(apps.join("web/seed").join(RESOLV_CONF)).unwrap();
        let [before] = addresses(["10.89.0.1"]);
        replace(&apps, &[before], &[]).unwrap();
        let expected = "search a-rather-long-name.example\n";
        assert_eq!(io::read_to_string(&open).unwrap(), expected);
        assert_eq!(
            fs::read_to_string(apps.join("db/upper").join(RESOLV_CONF)).unwrap(),
            expected
        );
        assert_eq!(fs::read_to_string(&outside).unwrap(), text);
        let kept = fs::read_to_string(apps.join("large/upper").join(RESOLV_CONF));
        assert_eq!(
            kept.unwrap(),
            large,
            "nothing of a file of the app's own is cut off"
        );
    }
}
