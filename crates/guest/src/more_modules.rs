//! Kernel modules that no pod needs to start and an app may ask for: networks of its own, firewalls, tunnels, file
//! systems on loop devices. They are in an archive of their own, which a pod gets behind its files where one of its apps may
//! have modules loaded (docs/adr/0011), so that every other pod is not the slower for them.
//!
//! ```text
//! isopod/modules/NAME.ko      where the others are; their lines in `order` are in every guest image
//! isopod/modules/aliases      ALIAS NAME: by which names the kernel asks for a module
//! usr/sbin/modprobe           the agent: whom the kernel asks
//! ```

use std::collections::BTreeSet;
use std::fmt::Write as _;

use isopod_contract::layout::{AGENT, MODULES_ALIASES};

use crate::archive::{Archive, Node};
use crate::modules::{self, ModuleSet, Tree};

/// The archive of what `set` has beside what every guest image has.
pub(crate) fn archive(tree: &Tree, set: &mut ModuleSet) -> Archive {
    let mut archive = Archive::default();
    let mut names: BTreeSet<&str> = BTreeSet::new();
    let more = std::mem::take(&mut set.more);
    for (name, content) in more {
        archive.add(&modules::path(&format!("{name}.ko")), Node::File(content), 0o644);
    }
    for line in set.order.lines() {
        names.extend(line.split_ascii_whitespace().next());
    }
    let mut aliases = String::new();
    for (alias, name) in tree.aliases_of(&names) {
        let _ = writeln!(aliases, "{alias} {name}");
    }
    archive.add(
        &modules::path(MODULES_ALIASES),
        Node::File(aliases.into_bytes()),
        0o644,
    );
    archive.add("usr/sbin/modprobe", Node::Symlink(AGENT.to_owned()), 0o777);
    archive
}
