//! Where a part of a pod stands in its manifest, for what later stages find wrong with it.

use std::fmt;
use std::path::{Path, PathBuf};

use super::json::{Document, JsonNode, ReadFields};
use crate::check::clean;
use crate::{AppName, VolumeName};

/// A part of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// An app.
    App(AppName),
    /// What an app has at a path: a mount, or where it has none a mount point.
    Target(AppName, PathBuf),
    /// A volume.
    Volume(VolumeName),
}

/// A place in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters, from 1.
    pub column: usize,
    /// The field, such as `apps[0].mounts[1].path`.
    pub field: String,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: `{}`", self.file, self.line, self.column, self.field)
    }
}

/// Where `part` stands in the manifest `text`, which is called `file`. `None` where it does not: an image may have
/// brought it.
#[must_use]
pub fn locate(text: &str, file: &str, part: &Part) -> Option<Location> {
    let document = Document::new(text, file);
    let root = document.parse().ok()?;
    let root = JsonNode::root(&document, &root).any_object()?;
    let place = match part {
        Part::Volume(name) => named(&root, "volumes", name.as_str())?.place(),
        Part::App(name) => named(&root, "apps", name.as_str())?.place(),
        Part::Target(name, target) => {
            let app = named(&root, "apps", name.as_str())?;
            target_of(&app, target).unwrap_or_else(|| app.place())
        }
    };
    Some(document.location(place))
}

/// The item of the list `list` that has that name.
fn named<'a>(fields: &ReadFields<'a>, list: &str, name: &str) -> Option<JsonNode<'a>> {
    fields.items(list).into_iter().find(|item| {
        let text = item.any_object().and_then(|item| item.optional_text("name"));
        text.is_some_and(|(_, text)| text == name)
    })
}

fn target_of(app: &JsonNode<'_>, target: &Path) -> Option<super::json::JsonPlace> {
    let app = app.any_object()?;
    let mounts = app.items("mounts");
    let points = app
        .optional("app")
        .and_then(|app| Some(app.any_object()?.items("mountPoints")));
    let paths = mounts.into_iter().chain(points.into_iter().flatten());
    paths
        .filter_map(|item| item.any_object()?.optional_text("path"))
        .find_map(|(node, path)| (clean(Path::new(&path)) == target).then(|| node.place()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{
  "volumes": [{"name": "a"}, {"name": "data", "kind": "empty"}],
  "apps": [
    {"name": "web",
     "app": {"mountPoints": [{"name": "x", "path": "/image"}]},
     "mounts": [{"volume": "a", "path": "/one"},
                {"volume": "data", "path": "//two/"}]}
  ]
}"#;

    #[test]
    fn finds_parts_by_what_they_are() {
        let app = AppName::new("web").unwrap();
        let at = |part: Part| locate(TEXT, "pod.json", &part).map(|location| location.to_string());
        let target = |path: &str| at(Part::Target(app.clone(), path.into()));
        assert_eq!(target("/two").unwrap(), "pod.json:7:44: `apps[0].mounts[1].path`");
        assert_eq!(
            target("/image").unwrap(),
            "pod.json:5:52: `apps[0].app.mountPoints[0].path`"
        );
        assert_eq!(target("/else").unwrap(), "pod.json:4:5: `apps[0]`");
        assert_eq!(at(Part::App(app.clone())).unwrap(), "pod.json:4:5: `apps[0]`");
        let volume = |name| at(Part::Volume(VolumeName::new(name).unwrap()));
        assert_eq!(volume("data").unwrap(), "pod.json:2:30: `volumes[1]`");
        assert_eq!(volume("nope"), None);
        assert_eq!(locate("{", "pod.json", &Part::App(app)), None);
    }
}
