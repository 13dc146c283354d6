//! Platforms, as indexes and configs name them (image-spec, image-index.md), and which of them this host runs.

use std::fmt;

use isopod_spec::Architecture;
use serde::Deserialize;

use crate::null::or_empty;

/// An operating system and a processor.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Platform {
    #[serde(default, deserialize_with = "or_empty")]
    architecture: String,
    #[serde(default, deserialize_with = "or_empty")]
    os: String,
    variant: Option<String>,
}

impl Platform {
    /// Whether a VM with that processor runs what is for it.
    pub(super) fn fits(&self, architecture: Architecture) -> bool {
        let highest = highest_level(architecture);
        let level = |variant: &str| self.level(variant).is_some_and(|level| level <= highest);
        self.os == "linux" && self.architecture == architecture.name() && self.variant().is_none_or(level)
    }

    /// Of several that fit, the lowest is taken: the one for every processor, then what asks for the most.
    pub(super) fn rank(&self) -> u32 {
        let level = self.variant().and_then(|variant| self.level(variant));
        level.map_or(0, |level| u32::MAX - level)
    }

    /// `None` for what every processor of the architecture has.
    fn variant(&self) -> Option<&str> {
        let plain =
            |variant: &&str| !matches!((self.architecture.as_str(), *variant), (_, "") | ("arm64", "v8"));
        self.variant.as_deref().filter(plain)
    }

    /// The number of a variant, which asks for everything that lower ones do.
    fn level(&self, variant: &str) -> Option<u32> {
        variant.strip_prefix('v')?.parse().ok()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.os.is_empty() && self.architecture.is_empty() {
            return f.write_str("unknown");
        }
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// The highest variant that a VM's processor has: that of the host's processor, where they are of one architecture. An emulated one has them all, and nobody
/// makes images for one.
fn highest_level(architecture: Architecture) -> u32 {
    match architecture == Architecture::HOST {
        true => host_level(),
        false => 0,
    }
}

/// The highest variant that this host's processor has (x86-64 psABI, "Micro-Architecture Levels").
#[cfg(target_arch = "x86_64")]
fn host_level() -> u32 {
    use std::is_x86_feature_detected as has;
    let v2 = has!("cmpxchg16b") && has!("popcnt") && has!("sse4.2") && has!("ssse3");
    let v3 = has!("avx2")
        && has!("bmi1")
        && has!("bmi2")
        && has!("f16c")
        && has!("fma")
        && has!("lzcnt")
        && has!("movbe");
    let v4 = has!("avx512f") && has!("avx512bw") && has!("avx512cd") && has!("avx512dq") && has!("avx512vl");
    match (v2, v2 && v3, v2 && v3 && v4) {
        (_, _, true) => 4,
        (_, true, _) => 3,
        (true, _, _) => 2,
        _ => 1,
    }
}

/// Not known of other processors.
#[cfg(not(target_arch = "x86_64"))]
fn host_level() -> u32 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(variant: Option<&str>) -> Platform {
        Platform {
            architecture: Architecture::HOST.name().to_owned(),
            os: "linux".to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    #[test]
    fn a_variant_fits_up_to_what_the_processor_has() {
        assert!(platform(None).fits(Architecture::HOST) && platform(Some("")).fits(Architecture::HOST));
        let own = format!("v{}", host_level());
        let next = format!("v{}", host_level() + 1);
        assert!(platform(Some(&own)).fits(Architecture::HOST), "{own}");
        assert!(!platform(Some(&next)).fits(Architecture::HOST), "{next}");
        assert!(!platform(Some("new")).fits(Architecture::HOST));
    }

    #[test]
    fn the_plain_one_is_taken_and_then_the_highest() {
        let ranks = [None, Some("v4"), Some("v3"), Some("v2")].map(|variant| platform(variant).rank());
        assert!(ranks.is_sorted(), "{ranks:?}");
        assert_eq!(platform(Some("")).rank(), platform(None).rank());
    }

    #[test]
    fn arm64_has_one_plain_variant() {
        let arm = |variant: &str| Platform {
            architecture: "arm64".to_owned(),
            ..platform(Some(variant))
        };
        assert_eq!((arm("v8").variant(), arm("v9").variant()), (None, Some("v9")));
        assert!(arm("v8").fits(Architecture::Arm64) && !arm("v8").fits(Architecture::Amd64));
    }
}
