//! The users and groups that an ordinary user may be beside himself: his ranges in `/etc/subuid` and `/etc/subgid` (subuid(5)), which
//! newuidmap(1) and newgidmap(1) put into the map of a user namespace.

use std::fs;
use std::path::PathBuf;

use isopod_plan::doctor::Subordinates;
use isopod_plan::facts::{IdRange, SubordinateIds};

use crate::programs::find_program;

/// Those of this process's user, where there are some and the programs that map them.
pub(crate) fn of_caller(search: &[PathBuf]) -> Option<SubordinateIds> {
    let (newuidmap, newgidmap) = programs(search)?;
    let (users, groups) = (ranges("/etc/subuid"), ranges("/etc/subgid"));
    (!users.is_empty() && !groups.is_empty()).then_some(SubordinateIds {
        newuidmap,
        newgidmap,
        users,
        groups,
    })
}

/// The same, in words.
pub(crate) fn report(search: &[PathBuf]) -> Subordinates {
    if programs(search).is_none() {
        return Subordinates::NoPrograms;
    }
    match of_caller(search) {
        Some(found) => Subordinates::Available(found.count()),
        None => Subordinates::NoRange(names().remove(0)),
    }
}

fn programs(search: &[PathBuf]) -> Option<(PathBuf, PathBuf)> {
    Some((
        find_program(search, "newuidmap")?,
        find_program(search, "newgidmap")?,
    ))
}

/// What the caller is called in these files: his name, and his number.
fn names() -> Vec<String> {
    let uid = rustix::process::getuid().as_raw();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_of(&passwd, uid)
        .into_iter()
        .chain([uid.to_string()])
        .collect()
}

fn name_of(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

fn ranges(file: &str) -> Vec<IdRange> {
    read(&fs::read_to_string(file).unwrap_or_default(), &names())
}

/// The ranges of a user with these names, in their order.
fn read(text: &str, names: &[String]) -> Vec<IdRange> {
    let range = |line: &str| {
        let mut fields = line.split(':');
        names
            .iter()
            .any(|name| Some(name.as_str()) == fields.clone().next())
            .then_some(())?;
        let (first, count) = (
            fields.nth(1)?.trim().parse().ok()?,
            fields.next()?.trim().parse().ok()?,
        );
        // 65536 are enough for every number that images use, and what wraps around is no range.
        (count > 0 && u32::checked_add(first, count).is_some()).then_some(IdRange { first, count })
    };
    text.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_number() {
        let names = ["me".to_owned(), "1000".to_owned()];
        let text =
            "you:100000:65536\nme:165536:65536\n1000:300000:10\nme:4294967295:2\nme:x:1\nme:1\nmeme:1:1\n";
        let range = |first, count| IdRange { first, count };
        assert_eq!(read(text, &names), [range(165_536, 65_536), range(300_000, 10)]);
        assert_eq!(read("", &names), []);
        assert_eq!(
            name_of("root:x:0:0::/:/bin/sh\nme:x:1000:1000::/:/bin/sh\n", 1000).as_deref(),
            Some("me")
        );
        assert_eq!(name_of("", 1), None);
    }
}
