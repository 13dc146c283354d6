//! Values that containers, volumes and the pod itself have in common.

use std::ffi::OsStr;
use std::net::IpAddr;

use super::quantity::Quantity;
use crate::located::{FaultKind, Node};
use crate::{ImageReference, ImageSource, PullPolicy};

pub(super) fn address(node: &Node<'_>) -> Option<IpAddr> {
    let text = node.as_text()?;
    let read = text.parse().ok();
    if read.is_none() {
        node.reject(text, "an IP address");
    }
    read
}

pub(super) fn quantity(node: &Node<'_>) -> Option<Quantity> {
    let word = node.as_word()?;
    let read = Quantity::read(&word);
    if read.is_none() {
        node.reject(&word, "a quantity such as `64Mi`");
    }
    read
}

/// The image that the field `field` of `node` names; it must be there.
pub(super) fn image(node: &Node<'_>, field: &str) -> Option<ImageSource> {
    let Some((node, image)) = node.text(field) else {
        node.missing(field);
        return None;
    };
    match ImageReference::parse(OsStr::new(image)) {
        Ok(reference) => Some(ImageSource::Reference(reference)),
        Err(error) => {
            node.fault(FaultKind::Reference(error));
            None
        }
    }
}

/// The policy that is named in the field `field` of `node`, or the API's default for `image`: what is called `latest` is
/// asked for again.
pub(super) fn pull_policy(node: &Node<'_>, field: &str, image: Option<&ImageSource>) -> PullPolicy {
    match node.text(field) {
        Some((_, "Always")) => PullPolicy::Always,
        Some((_, "IfNotPresent")) => PullPolicy::Missing,
        Some((_, "Never")) => PullPolicy::Never,
        Some((node, other)) => {
            node.reject(other, "`Always`, `IfNotPresent` or `Never`");
            PullPolicy::Missing
        }
        None => default_pull_policy(image),
    }
}

/// The policy of `image` where none is named.
pub(super) fn default_pull_policy(image: Option<&ImageSource>) -> PullPolicy {
    match image {
        Some(ImageSource::Reference(ImageReference::Registry(image))) if image.version() == "latest" => {
            PullPolicy::Always
        }
        _ => PullPolicy::Missing,
    }
}
