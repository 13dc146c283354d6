//! The `volumes` of a pod manifest.

use super::FaultKind;
use super::json::{JsonNode, JsonPlace, ReadFields};
use crate::flags::{read_id, read_mode};
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

/// A volume and the place of its name. With a valid name it is given even where the rest has faults, so that its mounts
/// are checked.
pub(super) fn read_volume(node: &JsonNode<'_>) -> Option<(Volume, JsonPlace)> {
    let fields = node.object(&FIELDS)?;
    let name = fields
        .required("name")
        .and_then(|node| Some((node.place(), node.name(VolumeName::new)?)));
    let read_only = fields.optional("readOnly").and_then(|node| node.boolean());
    let kind = fields
        .required("kind")
        .and_then(|node| match node.string()?.as_str() {
            "host" => Some(VolumeKind::Host(read_host(&fields)?)),
            "empty" => Some(VolumeKind::Empty(read_empty(&fields))),
            other => {
                node.reject(other, "`host` or `empty`");
                None
            }
        });
    let (place, name) = name?;
    let kind = kind.unwrap_or(VolumeKind::Empty(EmptyVolume::default()));
    Some((
        Volume {
            name,
            kind,
            read_only,
        },
        place,
    ))
}

fn refuse_misplaced(fields: &ReadFields<'_>, names: &[&str], kind: &'static str) {
    for node in names.iter().filter_map(|name| fields.optional(name)) {
        node.fault(FaultKind::MisplacedField { kind });
    }
}

fn read_host(fields: &ReadFields<'_>) -> Option<HostVolume> {
    refuse_misplaced(fields, &["mode", "uid", "gid"], "host");
    let recursive = fields
        .optional("recursive")
        .and_then(|node| node.boolean())
        .unwrap_or(true);
    let source = fields.required("source")?.absolute_path()?;
    Some(HostVolume {
        source,
        recursive,
        propagation: Propagation::Private,
        must_be: crate::SourceRule::Any,
    })
}

fn read_empty(fields: &ReadFields<'_>) -> EmptyVolume {
    refuse_misplaced(fields, &["source", "recursive"], "empty");
    let mode = fields.optional_text("mode").and_then(|(node, text)| {
        let mode = read_mode(&text);
        if mode.is_none() {
            node.reject(&text, "an octal number of at most 7777");
        }
        mode
    });
    let id = |name| fields.optional(name).and_then(|node| node.id());
    EmptyVolume {
        mode,
        uid: id("uid"),
        gid: id("gid"),
        size_bytes: None,
        medium: Medium::default(),
    }
}

impl JsonNode<'_> {
    /// A user or group id.
    pub(super) fn id(&self) -> Option<u32> {
        let number = self.number()?;
        let id = read_id(number);
        if id.is_none() {
            self.reject(number, "a whole number below 4294967295");
        }
        id
    }
}
