//! `--filter` of `isopod images`.

use std::collections::BTreeMap;

use isopod_image::{Digest, Image};
use serde_json::Value;

use super::Images;
use crate::glob;
use crate::label_filter::LabelFilter;
use crate::output::Report;
use crate::time::time;

/// Which images are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ImageFilter {
    /// Those with a name like this.
    Reference(String),
    /// Those without a name, or with one.
    Dangling(bool),
    /// Those that were built before that image.
    Before(String),
    /// Those that were built after it.
    Since(String),
    Label(LabelFilter),
}

/// Reads one.
///
/// # Errors
/// What is wrong with it.
pub(super) fn image_filter(text: &str) -> Result<ImageFilter, String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| "it is not KEY=VALUE".to_owned())?;
    match key {
        "reference" if glob::matches(value, "").is_none() => Err("it is not a valid pattern".to_owned()),
        "reference" => Ok(ImageFilter::Reference(value.to_owned())),
        "dangling" => match value {
            "true" | "1" => Ok(ImageFilter::Dangling(true)),
            "false" | "0" => Ok(ImageFilter::Dangling(false)),
            _ => Err("it must be `true` or `false`".to_owned()),
        },
        "before" => Ok(ImageFilter::Before(value.to_owned())),
        "since" => Ok(ImageFilter::Since(value.to_owned())),
        "label" => Ok(ImageFilter::Label(LabelFilter::read(value))),
        _ => Err("the keys are reference, dangling, before, since and label".to_owned()),
    }
}

impl Images<'_> {
    /// Keeps those that pass one filter of each key: with labels, each one. Of their names those stay that pass.
    ///
    /// # Errors
    /// A [`Report`] where an image that a filter names is not there.
    pub(super) fn filtered(
        &self,
        mut images: Vec<Image>,
        filters: &[ImageFilter],
    ) -> Result<Vec<Image>, Report> {
        let references: Vec<&str> = filters
            .iter()
            .filter_map(|filter| match filter {
                ImageFilter::Reference(pattern) => Some(pattern.as_str()),
                _ => None,
            })
            .collect();
        if !references.is_empty() {
            for image in &mut images {
                image
                    .names
                    .retain(|name| references.iter().any(|pattern| is_like(name, pattern)));
            }
            images.retain(|image| !image.names.is_empty());
        }
        for filter in filters {
            match filter {
                ImageFilter::Reference(_) => {}
                ImageFilter::Dangling(_) => images.retain(|image| {
                    let is = image.names.is_empty();
                    filters.contains(&ImageFilter::Dangling(is))
                }),
                ImageFilter::Before(other) => {
                    let built = built(&self.find(other)?);
                    images.retain(|image| self::built(image) < built);
                }
                ImageFilter::Since(other) => {
                    let built = built(&self.find(other)?);
                    images.retain(|image| self::built(image) > built);
                }
                ImageFilter::Label(label) => {
                    let labels = images
                        .iter()
                        .map(|image| Ok((image.id, label.passes(&self.labels(image)?))));
                    let passes: BTreeMap<Digest, bool> = labels.collect::<Result<_, Report>>()?;
                    images.retain(|image| passes[&image.id]);
                }
            }
        }
        Ok(images)
    }

    /// The labels of its config.
    pub(super) fn labels(&self, image: &Image) -> Result<BTreeMap<String, String>, Report> {
        let config: Value = serde_json::from_slice(&self.store.config(image)?)?;
        let labels = config["config"]["Labels"].as_object();
        let labels = labels.into_iter().flatten();
        Ok(labels
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect())
    }
}

/// When it was built; what does not say comes first.
pub(super) fn built(image: &Image) -> Option<std::time::SystemTime> {
    time("created", image.created.as_deref()?).ok()
}

/// Whether a name is like that, in its short form or its long one, with its tag or without.
fn is_like(name: &str, pattern: &str) -> bool {
    let short = ["docker.io/library/", "docker.io/"];
    let short = short.iter().find_map(|begin| name.strip_prefix(begin));
    let like = |name: &str| {
        let bare = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'));
        let matches = |name: &str| glob::matches(pattern, name) == Some(true);
        matches(name) || bare.is_some_and(|(bare, _)| matches(bare))
    };
    like(name) || short.is_some_and(like)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_short_and_long() {
        let full = "docker.io/library/alpine:3";
        for pattern in [
            "alpine",
            "alp*",
            "alpine:3",
            "*:3",
            "docker.io/library/alpine",
            "docker.io/*/*:3",
        ] {
            assert!(is_like(full, pattern), "{pattern}");
        }
        for pattern in ["alp", "docker.io/*", "alpine:4", "*/alpine"] {
            assert!(!is_like(full, pattern), "{pattern}");
        }
        assert!(is_like("host:5000/a", "host:5000/*"));
    }

    #[test]
    fn filters_are_read() {
        assert_eq!(image_filter("dangling=true"), Ok(ImageFilter::Dangling(true)));
        for wrong in ["dangling=x", "reference=[", "until=1h", "x"] {
            assert!(image_filter(wrong).is_err(), "{wrong}");
        }
    }
}
