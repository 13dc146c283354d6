//! Images of apps and of volumes.

use super::super::values::default_pull_policy;
use super::Gaps;
use crate::{ImageReference, ImageSource, PullPolicy};

/// An image's reference and pull policy, each where it must be written.
pub(super) fn image(
    subject: &str,
    image: &ImageSource,
    pull: PullPolicy,
    gaps: &Gaps,
) -> (Option<String>, Option<&'static str>) {
    let (reference, pull) = match image {
        ImageSource::Reference(reference) => (Some(reference.clone()), pull),
        ImageSource::Locked { reference, .. } => {
            let why = "`isopod pod lock` writes it beside the file";
            gaps.add(format!("{subject}: the lock of its image"), why);
            (Some(reference.clone()), pull)
        }
        // The store alone is asked for it; an ID is a name there.
        ImageSource::Stored { id, name } => {
            let id = id.as_ref().map(|id| id.replace('-', ":"));
            let name = id
                .filter(|id| !id.starts_with("sha512:"))
                .or_else(|| name.clone());
            let named = name.and_then(|name| ImageReference::parse(name.as_ref()).ok());
            (named, PullPolicy::Never)
        }
    };
    let text = reference.as_ref().map(ToString::to_string);
    let read = text
        .as_ref()
        .and_then(|text| ImageReference::parse(text.as_ref()).ok());
    if read.is_none() || read != reference {
        gaps.add_needed(
            format!("{subject}: its image"),
            "it takes names in registries and in the store, IDs of `sha256`, and paths that are UTF-8",
            "give the image a name, `isopod image tag IMAGE NAME`, and let the pod use that",
        );
        return (None, None);
    }
    let policy = match pull {
        PullPolicy::Always => "Always",
        PullPolicy::Missing => "IfNotPresent",
        PullPolicy::Never => "Never",
        PullPolicy::Newer => {
            let what = format!("{subject}: an image that the store has when the registry does not answer");
            gaps.add(what, "a pull policy is `Always`, `IfNotPresent` or `Never`");
            "Always"
        }
    };
    let is_default = reference
        .map(ImageSource::Reference)
        .map(|image| default_pull_policy(Some(&image)))
        == Some(pull);
    (text, (!is_default).then_some(policy))
}
