//! Which of the host's kernels the guest runs: decided from what was found, without looking at anything.
//!
//! ```text
//! 1. the one that the host itself runs: it is known to work, and its modules are those that are kept
//! 2. the others, the newest series first (`6.12` before `6.1`)
//! 3. in a series the general builds before those for clouds, for debugging and for real time, which lack drivers or are slow
//! 4. then by their versions, as dpkg(1) and rpm(8) compare them
//! ```

use std::cmp::{Ordering, Reverse};
use std::path::PathBuf;

/// A kernel of the host that has its modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// The file, a bzImage or a `vmlinux`.
    pub(crate) file: PathBuf,
    /// Its release, as uname(1) says it.
    pub(crate) release: String,
    /// The directory with its modules.
    pub(crate) modules_dir: PathBuf,
}

/// Words of a release that mark a build for one purpose: of one series it comes after the general build. Ubuntu's count their
/// builds apart (`6.8.0-1017-aws` is not newer than `6.8.0-117-generic`), and Debian's `cloud` has no 9p.
const SPECIAL: [&str; 16] = [
    "aws",
    "azure",
    "cloud",
    "dbg",
    "debug",
    "fips",
    "gcp",
    "gke",
    "ibm",
    "kvm",
    "lowlatency",
    "minimal",
    "nvidia",
    "oracle",
    "realtime",
    "rt",
];

/// Puts the best first. Of two files of one release the first stays.
pub(crate) fn in_order(mut kernels: Vec<Kernel>, running: Option<&str>) -> Vec<Kernel> {
    kernels.sort_by(|left, right| {
        let runs = |kernel: &Kernel| running == Some(kernel.release.as_str());
        let first = runs(right).cmp(&runs(left));
        first.then_with(|| compare_releases(&right.release, &left.release))
    });
    kernels.dedup_by(|later, earlier| later.release == earlier.release);
    kernels
}

/// Orders releases of kernels, the better last.
pub(crate) fn compare_releases(left: &str, right: &str) -> Ordering {
    let rank = |release: &str| (series(release), Reverse(is_special(release)));
    let by_version = || compare_versions(&with_candidates(left), &with_candidates(right));
    rank(left)
        .cmp(&rank(right))
        .then_with(by_version)
        .then_with(|| left.cmp(right))
}

/// The first two numbers of a release.
fn series(release: &str) -> (u64, u64) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn is_special(release: &str) -> bool {
    let mut words = release.split(['-', '+', '.', '_']);
    words.any(|word| SPECIAL.contains(&word))
}

/// A release whose candidates come before it: what the kernel calls `6.18-rc5` a package calls `6.18~rc5`.
fn with_candidates(release: &str) -> String {
    release.replace("-rc", "~rc")
}

/// Compares versions as deb-version(7) has it: parts that are no numbers and numbers in turn; letters come before other signs,
/// and `~` before everything, also before the end.
fn compare_versions(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left, right);
    while !(left.is_empty() && right.is_empty()) {
        let words = |c: char| !c.is_ascii_digit();
        let order = compare_words(take(&mut left, words), take(&mut right, words));
        let numbers = |c: char| c.is_ascii_digit();
        let order = order.then_with(|| compare_numbers(take(&mut left, numbers), take(&mut right, numbers)));
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// Takes the beginning off that consists of such signs.
fn take<'a>(text: &mut &'a str, such: impl Fn(char) -> bool) -> &'a str {
    let end = text.find(|c| !such(c)).unwrap_or(text.len());
    let (taken, rest) = text.split_at(end);
    *text = rest;
    taken
}

fn compare_words(left: &str, right: &str) -> Ordering {
    let rank = |sign: Option<char>| match sign {
        Some('~') => (0, 0),
        None => (1, 0),
        Some(letter) if letter.is_ascii_alphabetic() => (2, u32::from(letter)),
        Some(other) => (3, u32::from(other)),
    };
    let (mut left, mut right) = (left.chars(), right.chars());
    loop {
        let (a, b) = (left.next(), right.next());
        let order = rank(a).cmp(&rank(b));
        if order.is_ne() || (a.is_none() && b.is_none()) {
            return order;
        }
    }
}

/// Compares numbers of any length.
fn compare_numbers(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(releases: &[&str], running: Option<&str>) -> Vec<String> {
        let kernel = |release: &&str| Kernel {
            file: format!("/boot/vmlinuz-{release}").into(),
            release: (*release).to_owned(),
            modules_dir: format!("/lib/modules/{release}").into(),
        };
        let kernels = in_order(releases.iter().map(kernel).collect(), running);
        kernels.into_iter().map(|kernel| kernel.release).collect()
    }

    #[test]
    fn releases_of_each_distribution_are_in_their_order() {
        let lists: [&[&str]; 6] = [
            // Debian, with backports, a release candidate and a cloud build.
            &[
                "6.18-rc5-amd64",
                "6.12.117+deb13-amd64",
                "6.12.38+deb13-amd64",
                "6.12.120+deb13-cloud-amd64",
                "6.10.0-1-amd64",
                "6.9.0",
                "6.1.0-56-amd64",
                "6.1.0-9-amd64",
                "6.1.0-9-rt-amd64",
            ],
            // The two that were in the wrong order.
            &["6.12.117", "6.12.1017-aws"],
            // Ubuntu.
            &[
                "6.14.0-27-generic",
                "6.8.0-117-generic",
                "6.8.0-31-generic",
                "6.8.0-1017-aws",
            ],
            // Fedora and RHEL.
            &[
                "6.17.4-300.fc43.x86_64",
                "6.17.4-200.fc42.x86_64",
                "6.17.4-200.fc42.x86_64+debug",
            ],
            &[
                "5.14.0-570.12.1.el9_6.x86_64",
                "5.14.0-570.2.1.el9_6.x86_64",
                "5.14.0-503.el9.x86_64",
            ],
            // Arch.
            &["6.17.5-arch1-1", "6.12.55-1-lts"],
        ];
        for list in lists {
            let mut mixed = list.to_vec();
            mixed.sort_unstable();
            assert_eq!(sorted(&mixed, None), list);
        }
    }

    #[test]
    fn the_running_kernel_comes_first_where_it_is_there() {
        let list = ["6.1.0-9-amd64", "6.12.38+deb13-amd64", "6.1.0-56-amd64"];
        let first = |running| sorted(&list, running).remove(0);
        assert_eq!(first(Some("6.1.0-9-amd64")), "6.1.0-9-amd64");
        assert_eq!(first(Some("6.18.44-fc")), "6.12.38+deb13-amd64");
    }

    #[test]
    fn versions_are_compared_as_dpkg_does() {
        let order = [
            "1.0~rc1", "1.0", "1.0a", "1.0+b", "1.0-1", "1.0.1", "1.1", "1.10", "001.11",
        ];
        for pair in order.windows(2) {
            assert_eq!(compare_versions(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare_versions(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(compare_versions("1.0", "1.00"), Ordering::Equal);
    }

    proptest::proptest! {
        #[test]
        fn it_is_an_order(a in "[0-9]{1,3}\\.[0-9a-z~+.-]{0,8}", b in "[0-9]{1,3}\\.[0-9a-z~+.-]{0,8}", c in "[0-9]{1,3}\\.[0-9a-z~+.-]{0,8}") {
            proptest::prop_assert_eq!(compare_releases(&a, &b), compare_releases(&b, &a).reverse());
            if compare_releases(&a, &b).is_le() && compare_releases(&b, &c).is_le() {
                proptest::prop_assert!(compare_releases(&a, &c).is_le());
            }
        }
    }
}
