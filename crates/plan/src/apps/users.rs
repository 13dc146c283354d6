//! Who an app runs as: `--user`, `--group` and the image's words against the image's own `/etc/passwd` and
//! `/etc/group`, as docker and podman read them.

use std::path::Path;

use isopod_spec::ImageGroups;

use crate::path::{Lookup, resolve};

/// Who an app runs as, in numbers: names mean nothing to the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Further groups, sorted.
    pub supplementary_gids: Vec<u32>,
    /// The user's home directory as the image has it, `/` where it has none (docker's rule), `/root` for root.
    pub home: String,
}

/// What an image knows of users.
pub struct UserDatabase<'a> {
    /// The text of `/etc/passwd`.
    pub passwd: &'a str,
    /// The text of `/etc/group`.
    pub group: &'a str,
    /// The image's files: an absolute path in place of a name means its owner (appc spec, `app.user`).
    pub files: &'a dyn Lookup,
}

/// The user, and the group, of number 0.
const ROOT: &str = "root";

/// The kernel takes the last number for "no change" (setreuid(2)): a process of that user or group cannot be.
fn is_id(id: u32, asked: &str) -> Result<u32, String> {
    match id {
        u32::MAX => Err(format!(
            "`{asked}` is {id}, which is not a valid user or group number; 4294967294 is the largest"
        )),
        id => Ok(id),
    }
}

struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> UserDatabase<'a> {
    fn users(&self) -> impl Iterator<Item = PasswdEntry<'a>> {
        self.passwd.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, uid, gid, _, home, ..] = fields[..] else {
                return None;
            };
            Some(PasswdEntry {
                name,
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
                home,
            })
        })
    }

    /// Each group: name, ID, members.
    fn groups(&self) -> impl Iterator<Item = (&'a str, u32, &'a str)> {
        self.group.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, gid, members, ..] = fields[..] else {
                return None;
            };
            Some((name, gid.parse().ok()?, members))
        })
    }

    fn owner(&self, path: &str) -> Result<(u32, u32), String> {
        let found = resolve(self.files, Path::new(path)).map_err(|e| e.to_string())?;
        let node = found
            .node
            .ok_or_else(|| format!("the image has no `{path}` whose owner it could be"))?;
        Ok((node.uid, node.gid))
    }

    /// The identity for what was asked: `user` and `group` are a number, a name, or an absolute path; a user without
    /// an entry has group 0, as with docker. `extra` groups are added to those that `image_groups` admits.
    ///
    /// # Errors
    /// A sentence that names what the image does not have.
    pub fn identity(
        &self,
        user: Option<&str>,
        group: Option<&str>,
        image_groups: ImageGroups,
        extra: &[u32],
    ) -> Result<Identity, String> {
        let user = user.filter(|u| !u.is_empty()).unwrap_or("0");
        let (uid, owner_gid) = self.user_ids(user)?;
        let uid = is_id(uid, user)?;
        let entry = self
            .users()
            .find(|e| e.name == user)
            .or_else(|| self.users().find(|e| e.uid == uid));
        let gid = match group.filter(|g| !g.is_empty()) {
            Some(group) => self.group_id(group)?,
            None => owner_gid.or(entry.as_ref().map(|e| e.gid)).unwrap_or(0),
        };
        let gid = is_id(gid, group.unwrap_or(user))?;
        for gid in extra {
            is_id(*gid, "a supplementary group")?;
        }
        let mut supplementary_gids = extra.to_vec();
        let merged = match image_groups {
            ImageGroups::WithoutGroup => group.is_none(),
            ImageGroups::Always => true,
            ImageGroups::Never => false,
        };
        if let Some(entry) = entry.as_ref().filter(|_| merged) {
            let member = |members: &str| members.split(',').any(|m| m == entry.name);
            supplementary_gids.extend(self.groups().filter(|(_, _, m)| member(m)).map(|(_, gid, _)| gid));
        }
        supplementary_gids.retain(|g| *g != gid);
        supplementary_gids.sort_unstable();
        supplementary_gids.dedup();
        let home = entry.map(|e| e.home).filter(|h| !h.is_empty());
        let home = home.unwrap_or(if uid == 0 { "/root" } else { "/" }).to_owned();
        Ok(Identity {
            uid,
            gid,
            supplementary_gids,
            home,
        })
    }

    fn user_ids(&self, user: &str) -> Result<(u32, Option<u32>), String> {
        if user.starts_with('/') {
            let (uid, gid) = self.owner(user)?;
            return Ok((uid, Some(gid)));
        }
        // A name that is all digits is looked up first, as docker does.
        if let Some(entry) = self.users().find(|e| e.name == user) {
            return Ok((entry.uid, None));
        }
        // Root needs no entry: many an image of one program has no database at all.
        if user == ROOT {
            return Ok((0, None));
        }
        let uid = user
            .parse()
            .map_err(|_| format!("the image's /etc/passwd has no user `{user}`"))?;
        Ok((uid, None))
    }

    /// The number of a group: of a name of the image, of a path's group, or itself.
    ///
    /// # Errors
    /// A sentence that names what the image does not have.
    pub fn group_id(&self, group: &str) -> Result<u32, String> {
        if group.starts_with('/') {
            return Ok(self.owner(group)?.1);
        }
        if let Some((_, gid, _)) = self.groups().find(|(name, _, _)| *name == group) {
            return Ok(gid);
        }
        if group == ROOT {
            return Ok(0);
        }
        group
            .parse()
            .map_err(|_| format!("the image's /etc/group has no group `{group}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::{Node, NodeKind, Tree};

    #[test]
    fn reads_users_as_docker_does() {
        let files = Tree(
            [(
                "/srv".into(),
                Node {
                    kind: NodeKind::Directory,
                    mode: 0o755,
                    uid: 7,
                    gid: 8,
                },
            )]
            .into(),
        );
        let db = UserDatabase {
            passwd: "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:\nbroken\n1000:x:5:5::/five:\n",
            group: "root:x:0:\nwww-data:x:33:\nadm:x:4:www-data,x\nwheel:x:10:root\n",
            files: &files,
        };
        let id = |user, group| {
            db.identity(user, group, ImageGroups::WithoutGroup, &[99])
                .map(|i| (i.uid, i.gid, i.supplementary_gids, i.home))
        };
        assert_eq!(id(None, None), Ok((0, 0, vec![10, 99], "/root".into())));
        assert_eq!(
            id(Some("www-data"), None),
            Ok((33, 33, vec![4, 99], "/var/www".into()))
        );
        assert_eq!(id(Some("33"), None), Ok((33, 33, vec![4, 99], "/var/www".into())));
        assert_eq!(
            id(Some("33"), Some("adm")),
            Ok((33, 4, vec![99], "/var/www".into()))
        );
        assert_eq!(id(Some("4242"), None), Ok((4242, 0, vec![99], "/".into())));
        assert_eq!(id(Some("1000"), None), Ok((5, 5, vec![99], "/five".into())));
        assert_eq!(id(Some("/srv"), None), Ok((7, 8, vec![99], "/".into())));
        assert_eq!(
            id(Some("nobody"), None),
            Err("the image's /etc/passwd has no user `nobody`".into())
        );
        assert_eq!(
            id(Some("0"), Some("x")),
            Err("the image's /etc/group has no group `x`".into())
        );
        assert!(id(Some("/nowhere"), None).is_err());
        // systemd takes no 65535; the kernel does, and the pause image of Kubernetes is it.
        let ids = |user, group| id(user, group).map(|(uid, gid, ..)| (uid, gid));
        assert_eq!(ids(Some("65535"), Some("65535")), Ok((65535, 65535)));
        assert_eq!(ids(Some("4294967294"), None), Ok((u32::MAX - 1, 0)));
        for (user, group) in [("4294967295", None), ("0", Some("4294967295"))] {
            let refused = ids(Some(user), group).unwrap_err();
            assert!(refused.contains("not a valid user or group number"), "{refused}");
        }
        let extra = db.identity(None, None, ImageGroups::Never, &[u32::MAX]);
        assert!(extra.is_err());
        let groups = |group, image_groups| {
            let identity = db.identity(Some("33"), group, image_groups, &[99]).unwrap();
            identity.supplementary_gids
        };
        assert_eq!(groups(Some("7"), ImageGroups::Always), [4, 99]);
        assert_eq!(groups(None, ImageGroups::Never), [99]);
    }

    /// An image of one program has no database, or one without root.
    #[test]
    fn root_and_numbers_need_no_entry() {
        for (passwd, group) in [("", ""), ("web:x:33:33::/:\n", "web:x:33:\n")] {
            let db = UserDatabase {
                passwd,
                group,
                files: &Tree::default(),
            };
            let id = |user, group| {
                db.identity(Some(user), group, ImageGroups::WithoutGroup, &[])
                    .map(|i| (i.uid, i.gid, i.home))
            };
            assert_eq!(id("root", None), Ok((0, 0, "/root".into())));
            assert_eq!(id("root", Some("root")), Ok((0, 0, "/root".into())));
            assert_eq!(id("7", Some("root")), Ok((7, 0, "/".into())));
            assert_eq!(id("7", Some("8")), Ok((7, 8, "/".into())));
            assert!(id("daemon", None).is_err() && id("7", Some("adm")).is_err());
        }
        // An entry counts before its name does.
        let db = UserDatabase {
            passwd: "root:x:5:6::/five:\n",
            group: "root:x:7:\n",
            files: &Tree::default(),
        };
        let root = db
            .identity(Some("root"), Some("root"), ImageGroups::Never, &[])
            .unwrap();
        assert_eq!((root.uid, root.gid), (5, 7));
    }
}
