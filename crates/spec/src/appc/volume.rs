//! The `volumes` of a pod manifest.

use crate::flags::{read_id, read_mode};
use crate::located::{FaultKind, Node};
use crate::{EmptyVolume, HostVolume, Medium, Propagation, Volume, VolumeKind, VolumeName};

const FIELDS: [&str; 8] = [
    "name",
    "kind",
    "source",
    "readOnly",
    "recursive",
    "mode",
    "uid",
    "gid",
];

/// A volume. With a valid name it is given even where the rest has faults, so that its mounts
/// are checked.
pub(super) fn read_volume(node: &Node<'_>) -> Option<Volume> {
    let fields = node.expect_object(&FIELDS)?;
    let name = fields
        .required("name")
        .and_then(|node| node.name(VolumeName::new));
    let read_only = fields.get("readOnly").and_then(|node| node.expect_boolean());
    let kind = fields
        .required("kind")
        .and_then(|node| match node.expect_text()?.as_str() {
            "host" => Some(VolumeKind::Host(read_host(&fields)?)),
            "empty" => Some(VolumeKind::Empty(read_empty(&fields))),
            other => {
                node.reject(other, "`host` or `empty`");
                None
            }
        });
    let name = name?;
    let kind = kind.unwrap_or(VolumeKind::Empty(EmptyVolume::default()));
    Some(Volume {
        name,
        kind,
        read_only,
    })
}

fn refuse_misplaced(fields: &Node<'_>, names: &[&str], kind: &'static str) {
    for node in names.iter().filter_map(|name| fields.get(name)) {
        node.fault(FaultKind::MisplacedField { kind });
    }
}

fn read_host(fields: &Node<'_>) -> Option<HostVolume> {
    refuse_misplaced(fields, &["mode", "uid", "gid"], "host");
    let recursive = fields
        .get("recursive")
        .and_then(|node| node.expect_boolean())
        .unwrap_or(true);
    let source = fields.required("source")?.absolute_path()?;
    Some(HostVolume {
        source,
        recursive,
        propagation: Propagation::Private,
        must_be: crate::SourceRule::Any,
    })
}

fn read_empty(fields: &Node<'_>) -> EmptyVolume {
    refuse_misplaced(fields, &["source", "recursive"], "empty");
    let mode = fields.optional_text("mode").and_then(|(node, text)| {
        let mode = read_mode(&text);
        if mode.is_none() {
            node.reject(&text, "an octal number of at most 7777");
        }
        mode
    });
    let id = |name| fields.get(name).and_then(|node| node.id());
    EmptyVolume {
        mode,
        uid: id("uid"),
        gid: id("gid"),
        size_bytes: None,
        medium: Medium::default(),
    }
}

impl Node<'_> {
    /// A user or group id.
    pub(super) fn id(&self) -> Option<u32> {
        let number = self.expect_number()?;
        let id = read_id(number);
        if id.is_none() {
            self.reject(number, "a whole number below 4294967295");
        }
        id
    }
}
