//! The networks that a pod has joined or left since it was prepared: `networks.json`, written at each change, by the supervisor while the
//! pod runs. It names all that the pod is in; what its record names is what there was at first, and what the guest receives first.

use std::io;
use std::path::Path;

use isopod_plan::layout;
use isopod_spec::JoinedNetwork;
use serde::{Deserialize, Serialize};

use crate::json_file::{self, Durability, VERSION};

/// The networks that a pod is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Members {
    /// The version of all files of a pod.
    version: u32,
    /// What the pod has of each.
    joined: Vec<JoinedNetwork>,
}

/// What the pod at `dir` is in; `None` where nothing has changed since it was prepared, or where that cannot be read.
pub(crate) fn read(dir: &Path) -> Option<Vec<JoinedNetwork>> {
    let read = json_file::read::<Members>(dir, layout::MEMBERS).ok().flatten();
    read.filter(|members| members.version == VERSION)
        .map(|members| members.joined)
}

/// Writes what the pod at `dir` is in.
pub(crate) fn write(dir: &Path, joined: &[JoinedNetwork]) -> io::Result<()> {
    let members = Members {
        version: VERSION,
        joined: joined.to_vec(),
    };
    json_file::write(dir, layout::MEMBERS, &members, Durability::Durable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        write(dir.path(), &[]).unwrap();
        assert_eq!(read(dir.path()), Some(Vec::new()));
        std::fs::write(dir.path().join(layout::MEMBERS), r#"{"version":0,"joined":[]}"#).unwrap();
        assert_eq!(read(dir.path()), None);
    }
}
