//! What is kept of the older events when there is no room for all: a fair part of each pod's, the newest of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Deserialize;

/// A pod has so much of the file, however many there are: its life's main events. Where even that is too much, the oldest
/// go.
const LEAST_BYTES: usize = 16 * 1024;

/// Whose event a line is.
#[derive(Deserialize)]
struct Whose {
    uuid: String,
}

/// Writes what is to be kept of `oldest` and the younger `older`, up to `max_bytes`, as the file `oldest`.
pub(super) fn merge(oldest: &Path, older: &Path, max_bytes: u64) -> io::Result<()> {
    let mut bytes = Vec::new();
    for path in [oldest, older] {
        match File::open(path) {
            // Both are bounded; what is behind was written by none of ours.
            Ok(file) => file.take(max_bytes.saturating_mul(2)).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        if bytes.last().is_some_and(|byte| *byte != b'\n') {
            bytes.push(b'\n');
        }
    }
    let kept = select(&bytes, usize::try_from(max_bytes).unwrap_or(usize::MAX));
    let temporary = oldest.with_added_extension("new");
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&temporary)?.write_all(&kept)?;
    fs::rename(&temporary, oldest)
}

/// The lines of `text` that are kept, in their order.
fn select(text: &[u8], max_bytes: usize) -> Vec<u8> {
    let lines: Vec<(&[u8], String)> = text
        .split_inclusive(|byte| *byte == b'\n')
        .filter_map(|line| Some((line, serde_json::from_slice::<Whose>(line).ok()?.uuid)))
        .collect();
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for (line, uuid) in &lines {
        *sizes.entry(uuid).or_default() += line.len();
    }
    let share = fair_share(sizes.values().copied().collect(), max_bytes).max(LEAST_BYTES.min(max_bytes));
    let mut used: BTreeMap<&str, usize> = BTreeMap::new();
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut room = max_bytes;
    for (line, uuid) in lines.iter().rev() {
        let used = used.entry(uuid).or_default();
        *used += line.len();
        if *used > share {
            continue;
        }
        match room.checked_sub(line.len()) {
            Some(left) => room = left,
            None => break,
        }
        kept.push(line);
    }
    kept.reverse();
    kept.concat()
}

/// The largest size to which all may be cut so that they fit together (max-min fairness).
fn fair_share(mut sizes: Vec<usize>, max_bytes: usize) -> usize {
    sizes.sort_unstable();
    let (mut left, mut count) = (max_bytes, sizes.len());
    for size in sizes {
        if size.saturating_mul(count) > left {
            return left / count;
        }
        left -= size;
        count -= 1;
    }
    max_bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shares_are_fair() {
        assert_eq!(fair_share(vec![], 100), 100);
        assert_eq!(fair_share(vec![10, 20], 100), 100);
        assert_eq!(fair_share(vec![10, 1000, 20], 100), 70);
        assert_eq!(fair_share(vec![1000, 10, 1000], 100), 45);
    }

    proptest! {
        /// Within the bound, lines of each pod in their order and its newest ones, and all lines of a pod that has few.
        #[test]
        fn what_is_kept(pods in proptest::collection::vec(0..5_u8, 0..200), max in 0..20_000_usize) {
            let line = |(n, pod): (usize, &u8)| format!("{{\"uuid\":\"{pod}\",\"n\":{n}}}\n");
            let text: String = pods.iter().enumerate().map(line).collect();
            let kept = String::from_utf8(select(text.as_bytes(), max)).unwrap();
            prop_assert!(kept.len() <= max);
            let mut all = text.lines();
            prop_assert!(kept.lines().all(|line| all.any(|other| other == line)));
            for pod in 0..5 {
                let of = |text: &str| -> Vec<String> {
                    let mark = format!("{{\"uuid\":\"{pod}\"");
                    text.lines().filter(|line| line.starts_with(&mark)).map(str::to_owned).collect()
                };
                prop_assert!(of(&text).ends_with(&of(&kept)));
            }
        }
    }
}
