//! Volumes in running pods: what is where, who may write, and whatever else a mount can get wrong.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

mod changes;
mod everything;
mod own_volumes;
mod sources;
mod targets;

use isopod_tests::{Bench, Pod};

/// Prints the places where something of a type is mounted, each once: the guest's kernel puts the root of another file
/// system of the host's above a share, at its first use.
const MOUNTED: &str = r#"mounted() { awk -v type="$1" '$3 == type { print $2 }' /proc/mounts | sort -u; }"#;

/// The user's way to ask for a transport, and who serves it.
#[derive(Clone, Copy)]
enum Transport {
    /// virtiofs by the virtiofsd that is found first: the crate's, where the tests' tools are installed.
    Virtiofs,
    /// virtiofs by Debian's own, in C.
    DebianVirtiofs,
    NineP,
}

impl Transport {
    fn choose<'a>(self, bench: &'a mut Bench) -> Pod<'a> {
        let name = match self {
            Self::NineP => "9p",
            Self::Virtiofs => "virtiofs",
            Self::DebianVirtiofs => {
                bench.path = "/usr/sbin:/usr/bin:/sbin:/bin".into();
                "virtiofs"
            }
        };
        bench.pod().flags(["--transport", name])
    }

    fn fs_type(self) -> &'static str {
        if matches!(self, Self::NineP) {
            "9p"
        } else {
            "virtiofs"
        }
    }
}
