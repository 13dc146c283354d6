//! Where a part of a pod stands in its manifest, for what later stages find wrong with it.

use std::path::Path;

use super::origin;
use crate::check::clean;
use crate::located::{Faults, Location, Node, Part, read_json};

/// Where `part` stands in the manifest `text`, which is called `file`. `None` where it does not: an image may have
/// brought it.
#[must_use]
pub fn locate(text: &str, file: &str, part: &Part) -> Option<Location> {
    let faults = Faults::default();
    let root = read_json(text).ok()?;
    let root = Node::root(origin(text, file, &faults), &root).expect_any_object()?;
    let node = match part {
        Part::Volume(name) => named(&root, "volumes", name.as_str())?,
        Part::App(name) => named(&root, "apps", name.as_str())?,
        Part::Target(name, target) => {
            let app = named(&root, "apps", name.as_str())?;
            target_of(&app, target).unwrap_or(app)
        }
    };
    Some(node.location())
}

/// The item of the list `list` that has that name.
fn named<'a>(fields: &Node<'a>, list: &str, name: &str) -> Option<Node<'a>> {
    fields.expect_items(list).into_iter().find(|item| {
        let text = item
            .expect_any_object()
            .and_then(|item| item.optional_text("name"));
        text.is_some_and(|(_, text)| text == name)
    })
}

fn target_of<'a>(app: &Node<'a>, target: &Path) -> Option<Node<'a>> {
    let app = app.expect_any_object()?;
    let mounts = app.expect_items("mounts");
    let points = app
        .get("app")
        .and_then(|app| Some(app.expect_any_object()?.expect_items("mountPoints")));
    let paths = mounts.into_iter().chain(points.into_iter().flatten());
    paths
        .filter_map(|item| item.expect_any_object()?.optional_text("path"))
        .find_map(|(node, path)| (clean(Path::new(&path)) == target).then_some(node))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AppName, VolumeName};

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
