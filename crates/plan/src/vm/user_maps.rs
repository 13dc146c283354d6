//! Maps of a user namespace (user_namespaces(7)) in which an ordinary user has his subordinate users and groups beside himself: the file
//! server of his pod's host volumes can give files to them, and so the guest's users are different users to the host, too.
//!
//! ```text
//! guest            host
//! 0 .. N-1         the first N of his subordinates     /etc/subuid, /etc/subgid
//! N                he himself                          N is 0, or what `--userns keep-id` says
//! N+1 .. COUNT     the others
//! ```

use std::path::PathBuf;

use crate::facts::{HostFacts, HostUser, IdRange, Owner, SubordinateIds};
use crate::fault::Fault;
use crate::vm::sharing::Sharing;
use isopod_spec::UserMapping;

/// The maps of a namespace, and what writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserMaps {
    /// Writes the map of users (newuidmap(1)).
    pub newuidmap: PathBuf,
    /// Writes the map of groups (newgidmap(1)).
    pub newgidmap: PathBuf,
    pub users: Vec<IdMap>,
    pub groups: Vec<IdMap>,
}

/// A line of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// The first number inside.
    pub inside: u32,
    /// The first number outside.
    pub outside: u32,
    pub count: u32,
}

impl UserMaps {
    /// The maps in which the caller, who is `caller` to the host, is `owner` inside.
    #[must_use]
    pub fn new(ids: &SubordinateIds, owner: Owner, caller: Owner) -> Self {
        Self {
            newuidmap: ids.newuidmap.clone(),
            newgidmap: ids.newgidmap.clone(),
            users: lines(owner.uid, caller.uid, &ids.users),
            groups: lines(owner.gid, caller.gid, &ids.groups),
        }
    }
}

impl UserMaps {
    /// Whether that user and that group are of the namespace.
    #[must_use]
    pub fn has(&self, owner: Owner) -> bool {
        let of = |lines: &[IdMap], id: u32| {
            lines.iter().any(|line| {
                id.checked_sub(line.inside)
                    .is_some_and(|offset| offset < line.count)
            })
        };
        of(&self.users, owner.uid) && of(&self.groups, owner.gid)
    }
}

/// `own` is `caller`, and every other number, from 0 on, the next one of `ranges`.
fn lines(own: u32, caller: u32, ranges: &[IdRange]) -> Vec<IdMap> {
    let mut lines = Vec::new();
    let mut next = 0_u32;
    let mut own_is_left = true;
    for range in ranges {
        let (mut outside, mut left) = (range.first, range.count);
        while left > 0 {
            if own_is_left && next == own {
                lines.push(IdMap {
                    inside: own,
                    outside: caller,
                    count: 1,
                });
                own_is_left = false;
                next += 1;
            }
            let count = match own_is_left {
                true => left.min(own - next),
                false => left.min(u32::MAX - next),
            };
            if count == 0 {
                break;
            }
            lines.push(IdMap {
                inside: next,
                outside,
                count,
            });
            (next, outside, left) = (next + count, outside + count, left - count);
        }
    }
    if own_is_left {
        lines.push(IdMap {
            inside: own,
            outside: caller,
            count: 1,
        });
    }
    lines
}

/// Who the caller is to be in the guest where his subordinates are the others; `None` where nobody asked for that, or where it is so anyway.
///
/// # Errors
/// A [`Fault`] where it cannot be.
pub fn wanted(
    mapping: UserMapping,
    host: &HostFacts,
    sharing: Option<&Sharing>,
) -> Result<Option<Owner>, Fault> {
    let refused = |reason: String, hint: String| {
        Err(Fault::Host {
            what: "cannot keep the owners of files (`--userns`)".into(),
            reason,
            hint,
        })
    };
    let (uid, gid) = match (mapping, host.user) {
        (UserMapping::Unspecified, _) | (UserMapping::Host, HostUser::Root) => return Ok(None),
        (UserMapping::KeepId { .. }, HostUser::Root) => {
            return refused(
                "root is not mapped to another user".into(),
                "leave it out: root's pods have the host's users and groups by number".into(),
            );
        }
        (UserMapping::Host, HostUser::Ordinary { .. }) => (0, 0),
        (UserMapping::KeepId { uid, gid }, HostUser::Ordinary { .. }) => {
            (uid.unwrap_or(host.caller.uid), gid.unwrap_or(host.caller.gid))
        }
    };
    if sharing.is_some_and(|sharing| !sharing.is_bound()) {
        return refused(
            "it needs a user namespace, and there is none here".into(),
            "`isopod doctor` says what is in the way".into(),
        );
    }
    match &host.subordinates {
        Some(_) => Ok(Some(Owner { uid, gid })),
        None => refused(
            "you have no subordinate users and groups here".into(),
            "`isopod doctor` says what is missing (`/etc/subuid`, `/etc/subgid`, `newuidmap`)".into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(inside: u32, outside: u32, count: u32) -> IdMap {
        IdMap {
            inside,
            outside,
            count,
        }
    }

    fn range(first: u32, count: u32) -> IdRange {
        IdRange { first, count }
    }

    /// podman's maps: of a rootless container, and with `--userns keep-id`.
    #[test]
    fn the_caller_is_one_user_and_his_subordinates_are_the_others() {
        let own = [range(100_000, 65_536)];
        assert_eq!(lines(0, 1000, &own), [line(0, 1000, 1), line(1, 100_000, 65_536)]);
        assert_eq!(
            lines(1000, 1000, &own),
            [
                line(0, 100_000, 1000),
                line(1000, 1000, 1),
                line(1001, 101_000, 64_536)
            ]
        );
    }

    #[test]
    fn ranges_follow_each_other_and_the_caller_is_never_left_out() {
        let two = [range(100, 10), range(500, 10)];
        assert_eq!(
            lines(10, 7, &two),
            [line(0, 100, 10), line(10, 7, 1), line(11, 500, 10)]
        );
        assert_eq!(
            lines(5, 7, &two),
            [line(0, 100, 5), line(5, 7, 1), line(6, 105, 5), line(11, 500, 10)]
        );
        assert_eq!(
            lines(1000, 7, &two),
            [line(0, 100, 10), line(10, 500, 10), line(1000, 7, 1)]
        );
        assert_eq!(lines(0, 7, &[]), [line(0, 7, 1)]);
    }

    proptest::proptest! {
        #[test]
        fn no_number_is_there_twice(own in 0_u32..300, counts in proptest::collection::vec(1_u32..100, 0..4)) {
            let ranges: Vec<IdRange> =
                counts.iter().enumerate().map(|(i, count)| range(1000 * (i as u32 + 1), *count)).collect();
            let lines = lines(own, 7, &ranges);
            let numbers = |of: fn(&IdMap) -> u32| {
                let mut all: Vec<u32> = lines.iter().flat_map(|line| of(line)..of(line) + line.count).collect();
                let count = all.len();
                all.sort_unstable();
                all.dedup();
                (count, all.len())
            };
            let expected = counts.iter().sum::<u32>() as usize + 1;
            proptest::prop_assert_eq!(numbers(|line| line.inside), (expected, expected));
            proptest::prop_assert_eq!(numbers(|line| line.outside), (expected, expected));
            proptest::prop_assert!(lines.contains(&line(own, 7, 1)));
        }
    }
}
