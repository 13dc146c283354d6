//! Who `--user` means in an app: docker's rules against the app's own `/etc/passwd` and `/etc/group`, read when the
//! root is the app's already. The planner has the same rules for the app itself; this is without its cases of appc.

use isopod_contract::launch::GuestIdentity;

use crate::process::assume::is_id;

/// The longest database that is read: an app may have made it a pipe, or endless.
const MAX_DATABASE_BYTES: u64 = 4 * 1024 * 1024;

/// The identity and home directory of `USER[:GROUP]` in this root.
pub(super) fn find(user: &str) -> Result<(GuestIdentity, String), String> {
    identify(user, &read("/etc/passwd"), &read("/etc/group"))
}

fn read(path: &str) -> String {
    use std::io::Read as _;
    let regular = std::fs::metadata(path).is_ok_and(|data| data.is_file());
    let mut bytes = Vec::new();
    if regular && let Ok(file) = std::fs::File::open(path) {
        let _ = file.take(MAX_DATABASE_BYTES).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn identify(user: &str, passwd: &str, group: &str) -> Result<(GuestIdentity, String), String> {
    let (user, wanted_group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let fields = |line: &str| -> Vec<String> { line.split(':').map(str::to_owned).collect() };
    let entries = || passwd.lines().map(fields).filter(|entry| entry.len() >= 6);
    let groups = || group.lines().map(fields).filter(|entry| entry.len() >= 4);

    // A name that is all digits is looked up first, as docker does.
    let by_name = entries().find(|entry| entry[0] == user);
    let entry = by_name.or_else(|| entries().find(|entry| is_number(&entry[2], user)));
    let uid = match &entry {
        Some(entry) => entry[2].parse().ok(),
        None if user == "root" => Some(0),
        None => user.parse().ok(),
    };
    let uid: u32 =
        uid.ok_or_else(|| format!("the app's /etc/passwd has no user `{}`", user.escape_debug()))?;
    let gid = match wanted_group {
        None => entry
            .as_ref()
            .and_then(|entry| entry[3].parse().ok())
            .unwrap_or(0),
        Some(wanted) => groups()
            .find(|entry| entry[0] == wanted)
            .map_or_else(
                || if wanted == "root" { "0" } else { wanted }.to_owned(),
                |entry| entry[2].clone(),
            )
            .parse()
            .map_err(|_| format!("the app's /etc/group has no group `{}`", wanted.escape_debug()))?,
    };
    let mut supplementary = Vec::new();
    if let (Some(entry), None) = (&entry, wanted_group) {
        let member = |members: &str| members.split(',').any(|member| member == entry[0]);
        let of_user = groups().filter(|group| member(&group[3]));
        supplementary.extend(of_user.filter_map(|group| group[2].parse::<u32>().ok()));
        supplementary.retain(|group| *group != gid);
    }
    if !is_id(uid) || !is_id(gid) {
        return Err(format!("{} is not a valid user or group number", u32::MAX));
    }
    let home = entry
        .map(|entry| entry[5].clone())
        .filter(|home| !home.is_empty());
    let home = home.unwrap_or_else(|| if uid == 0 { "/root" } else { "/" }.to_owned());
    Ok((
        GuestIdentity {
            uid,
            gid,
            groups: supplementary,
        },
        home,
    ))
}

/// Whether both are the same number.
fn is_number(field: &str, user: &str) -> bool {
    matches!((field.parse::<u32>(), user.parse::<u32>()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_as_docker_finds_them() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv/web:\nbroken\n1000:x:5:6::/five:\n";
        let group = "root:x:0:\nweb:x:34:\nadm:x:4:web,x\nwheel:x:10:root\n";
        let found = |user| identify(user, passwd, group).map(|(id, home)| (id.uid, id.gid, id.groups, home));
        assert_eq!(found("web"), Ok((33, 34, vec![4], "/srv/web".into())));
        assert_eq!(found("33"), Ok((33, 34, vec![4], "/srv/web".into())));
        assert_eq!(found("web:adm"), Ok((33, 4, vec![], "/srv/web".into())));
        assert_eq!(found("33:77"), Ok((33, 77, vec![], "/srv/web".into())));
        assert_eq!(found("1000"), Ok((5, 6, vec![], "/five".into())));
        assert_eq!(found("4242"), Ok((4242, 0, vec![], "/".into())));
        assert_eq!(found("0:0"), Ok((0, 0, vec![], "/root".into())));
        assert_eq!(
            found("nobody"),
            Err("the app's /etc/passwd has no user `nobody`".into())
        );
        assert_eq!(
            found("0:none"),
            Err("the app's /etc/group has no group `none`".into())
        );
        assert!(found("").is_err() && found("4294967295").is_err() && found("0:4294967295").is_err());
        // Root needs no entry.
        let bare = |user| identify(user, "", "").map(|(id, home)| (id.uid, id.gid, home));
        assert_eq!(bare("root:root"), Ok((0, 0, "/root".into())));
        assert_eq!(bare("7:root"), Ok((7, 0, "/".into())));
        assert!(bare("web").is_err());
        assert_eq!(found("65535:65535"), Ok((65535, 65535, vec![], "/".into())));
    }
}
