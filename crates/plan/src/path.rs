//! Paths inside a root that is not ours: cleaning, and following symbolic links without ever leaving that root.
//!
//! Nothing here reads a file system. What is there is asked of a [`Lookup`]: while facts are gathered that is the
//! real image, which records what was asked; while planning it is that record, a [`Tree`].

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

pub use isopod_spec::check::clean;
use isopod_spec::words::shown;
use serde::{Deserialize, Serialize};

/// As many links as Linux follows (`MAXSYMLINKS`, path_resolution(7)).
const MAX_LINKS: usize = 40;

/// What a root holds at one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub kind: NodeKind,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

/// The kinds of node that planning distinguishes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeKind {
    Directory,
    File,
    /// A symbolic link, with what it points to.
    Symlink(PathBuf),
    /// A device, pipe or socket.
    Other,
}

/// A root that can be asked what is at a path.
pub trait Lookup {
    /// The node at `path`, which is absolute, clean, and below no symbolic link. The last component is not followed.
    fn node(&self, path: &Path) -> Option<Node>;
}

/// What was looked up in a root: a path that is not in it is not in the root either.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree(pub BTreeMap<PathBuf, Node>);

impl Lookup for Tree {
    fn node(&self, path: &Path) -> Option<Node> {
        self.0.get(path).cloned()
    }
}

/// Where a path leads inside a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The path with every link followed: absolute, clean, below no symbolic link.
    pub path: PathBuf,
    /// What is there; `None`: nothing yet.
    pub node: Option<Node>,
}

/// Why a path leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// More than 40 links.
    #[error("too many symbolic links, `{}` is among them", shown(.0))]
    Loop(PathBuf),
    /// A component other than the last is not a directory.
    #[error("`{}` is not a directory", shown(.0))]
    NotADirectory(PathBuf),
}

/// Follows `path` inside the root `tree`, links included, as a process whose root directory it is would. Absolute
/// links begin at that root and `..` never climbs above it. Components that do not exist are kept as they are.
///
/// # Errors
/// [`ResolveError`] for a loop, and where a file stands in the way of a directory.
pub fn resolve(tree: &(impl Lookup + ?Sized), path: &Path) -> Result<Resolved, ResolveError> {
    let node_at = |path: &Path| {
        tree.node(path)
            .or_else(|| (path == Path::new("/")).then_some(ROOT))
    };
    let mut pending: Vec<PathBuf> = components(path);
    let mut at = PathBuf::from("/");
    let mut node = node_at(&at);
    let mut links = 0;
    while let Some(name) = pending.pop() {
        match &node {
            Some(Node {
                kind: NodeKind::Directory,
                ..
            })
            | None => {}
            Some(_) => return Err(ResolveError::NotADirectory(at)),
        }
        if name.as_os_str() == ".." {
            at.pop();
            node = node_at(&at);
            continue;
        }
        let next = at.join(&name);
        // Also where `at` does not exist: it will, when a volume is mounted at `next` or below.
        let found = tree.node(&next);
        if let Some(Node {
            kind: NodeKind::Symlink(target),
            ..
        }) = &found
        {
            links += 1;
            if links > MAX_LINKS {
                return Err(ResolveError::Loop(next));
            }
            if target.is_absolute() {
                at = PathBuf::from("/");
                node = node_at(&at);
            }
            pending.extend(components(target));
            continue;
        }
        at = next;
        node = found;
    }
    Ok(Resolved { path: at, node })
}

const ROOT: Node = Node {
    kind: NodeKind::Directory,
    mode: 0o755,
    uid: 0,
    gid: 0,
};

/// The components of `path` that matter, last first.
fn components(path: &Path) -> Vec<PathBuf> {
    let names = path.components().filter_map(|c| match c {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut names: Vec<PathBuf> = names.collect();
    names.reverse();
    names
}

/// `path` below `root`: both absolute, the result too.
#[must_use]
pub fn below(root: &Path, path: &Path) -> PathBuf {
    match path.strip_prefix("/") {
        Ok(inner) if inner.as_os_str().is_empty() => root.to_owned(),
        Ok(inner) => root.join(inner),
        Err(_) => root.join(path),
    }
}

/// The paths from `/` (left out) down to `path` itself.
pub fn ancestors_down(path: &Path) -> impl Iterator<Item = &Path> {
    let mut all: Vec<&Path> = path
        .ancestors()
        .filter(|p| p.as_os_str() != OsStr::new("/"))
        .collect();
    all.reverse();
    all.into_iter()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dir() -> Node {
        ROOT
    }

    fn tree(entries: &[(&str, NodeKind)]) -> Tree {
        Tree(
            entries
                .iter()
                .map(|(p, k)| {
                    (
                        p.into(),
                        Node {
                            kind: k.clone(),
                            ..dir()
                        },
                    )
                })
                .collect(),
        )
    }

    fn link(to: &str) -> NodeKind {
        NodeKind::Symlink(to.into())
    }

    fn at(tree: &Tree, path: &str) -> String {
        match resolve(tree, Path::new(path)) {
            Ok(r) => format!(
                "{}{}",
                r.path.display(),
                if r.node.is_some() { "" } else { " new" }
            ),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn cleans_as_go_does() {
        for (path, cleaned) in [
            ("//a/./b/../c/", "/a/c"),
            ("/../../etc", "/etc"),
            ("/", "/"),
            ("a", "/a"),
            ("/a /.", "/a "),
            ("/a/..", "/"),
        ] {
            assert_eq!(clean(Path::new(path)), Path::new(cleaned), "{path}");
        }
    }

    #[test]
    fn links_are_followed_inside_the_root() {
        use NodeKind::{Directory, File};
        let t = tree(&[
            ("/var", Directory),
            ("/var/run", link("/run")),
            ("/run", Directory),
            ("/up", link("../../../etc")),
            ("/etc", Directory),
            ("/etc/passwd", File),
            ("/chain", link("chain2/x")),
            ("/chain2", link("var")),
            ("/loop", link("/loop2")),
            ("/loop2", link("loop")),
            ("/dangling", link("/nowhere/at/all")),
        ]);
        for (path, expected) in [
            ("/var/run/x", "/run/x new"),
            ("/var/run", "/run"),
            ("/up/x", "/etc/x new"),
            ("/etc/passwd", "/etc/passwd"),
            ("/etc/passwd/x", "`/etc/passwd` is not a directory"),
            ("/chain/run", "/var/x/run new"),
            ("/loop/x", "too many symbolic links, `/loop` is among them"),
            ("/dangling/x", "/nowhere/at/all/x new"),
            ("/new/../etc", "/etc"),
            ("/var/run/../etc", "/etc"),
            ("/", "/"),
        ] {
            assert_eq!(at(&t, path), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn never_leaves_the_root(
            links in prop::collection::btree_map("/[ab](/[ab]){0,2}", "(/|\\.\\./|\\./){0,3}[ab](/([ab]|\\.\\.)){0,3}", 0..6),
            path in "/([ab]|\\.\\.)(/([ab]|\\.\\.)){0,5}",
        ) {
            let t = Tree(links.into_iter().map(|(p, l)| (PathBuf::from(p), Node { kind: link(&l), ..dir() })).collect());
            if let Ok(r) = resolve(&t, Path::new(&path)) {
                prop_assert_eq!(&clean(&r.path), &r.path);
                let linked = ancestors_down(&r.path).any(|p| matches!(t.node(p), Some(Node { kind: NodeKind::Symlink(_), .. })));
                prop_assert!(!linked);
            }
        }
    }
}
