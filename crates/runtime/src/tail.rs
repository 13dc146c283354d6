//! The last lines of a log, for an error message.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// As much as is read of a log's end: the guest decides how much it writes.
const MAX_BYTES: u64 = 16 * 1024;

/// The line that says why a kernel gave up; registers and a stack come behind it.
const REASON: &str = "Kernel panic";

/// The last `count` lines that hold anything of files that were written one after the other, or those around a kernel's
/// reason to give up; control characters escaped. None of a file that cannot be read.
pub(crate) fn tail(paths: &[&Path], count: usize) -> Vec<String> {
    let mut bytes = Vec::new();
    for path in paths.iter().rev() {
        let room = MAX_BYTES - u64::try_from(bytes.len()).unwrap_or(MAX_BYTES).min(MAX_BYTES);
        let mut end = read_end(path, room).unwrap_or_default();
        end.append(&mut bytes);
        bytes = end;
    }
    select(&String::from_utf8_lossy(&bytes), count)
}

fn read_end(path: &Path, max_bytes: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(max_bytes)))?;
    let mut bytes = Vec::new();
    file.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn select(text: &str, count: usize) -> Vec<String> {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let last = lines.len().saturating_sub(count);
    let reason = lines.iter().position(|line| line.contains(REASON));
    let start = reason.map_or(last, |line| line.saturating_sub(count / 2).min(last));
    lines[start..]
        .iter()
        .take(count)
        .map(|line| escaped(line))
        .collect()
}

fn escaped(line: &str) -> String {
    let escape = |c: char| {
        if c.is_control() {
            c.escape_debug().collect()
        } else {
            vec![c]
        }
    };
    line.chars().flat_map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_end_or_the_reason() {
        let numbered = |n: usize| (0..n).map(|i| format!("line {i}\n")).collect::<String>();
        assert_eq!(select(&numbered(9), 2), ["line 7", "line 8"]);
        assert_eq!(select("a\u{1b}[2J\n\n  \nb", 5), ["a\\u{1b}[2J", "b"]);
        let panic = format!("{}Kernel panic - not syncing\n{}", numbered(9), numbered(9));
        assert_eq!(
            select(&panic, 4),
            ["line 7", "line 8", "Kernel panic - not syncing", "line 0"]
        );
    }
}
