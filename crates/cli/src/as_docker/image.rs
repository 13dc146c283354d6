//! An image as docker lists it: a row for each of its names.

use std::time::SystemTime;

use isopod_image::Image;
use serde_json::{Value, json};

use super::time::{human, size};

/// A row of `images` by that name, which may be none. `created` is when it was built, where its config says that.
pub(crate) fn image_row(
    image: &Image,
    name: Option<&str>,
    created: Option<SystemTime>,
    now: SystemTime,
) -> Value {
    let (repository, tag) = name.map_or(("<none>", "<none>"), split);
    json!({
        "ID": &image.id.hex()[..12],
        "Repository": repository,
        "Tag": tag,
        "Digest": image.manifest.map_or_else(|| "<none>".to_owned(), |digest| digest.to_string()),
        "CreatedAt": image.created.as_deref().unwrap_or("N/A"),
        "CreatedSince": since(created, now),
        "Size": size(image.rootfs_bytes),
        "Names": image.names,
    })
}

/// How long ago that was, as docker says it.
pub(crate) fn since(created: Option<SystemTime>, now: SystemTime) -> String {
    let passed = created.map(|created| now.duration_since(created).unwrap_or_default());
    passed.map_or_else(|| "N/A".to_owned(), |passed| format!("{} ago", human(passed)))
}

/// A name and its tag; a registry's port is none.
fn split(name: &str) -> (&str, &str) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "<none>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_tag() {
        assert_eq!(
            split("docker.io/library/nginx:1.27"),
            ("docker.io/library/nginx", "1.27")
        );
        assert_eq!(split("localhost:5000/a"), ("localhost:5000/a", "<none>"));
        assert_eq!(split("localhost:5000/a:b"), ("localhost:5000/a", "b"));
    }
}
