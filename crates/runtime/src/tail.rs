//! The last lines of a log, for an error message.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use isopod_spec::words::shown;

/// As much as is read of a log's end: the guest decides how much it writes.
const MAX_BYTES: u64 = 16 * 1024;

/// What a guest's console always says and what explains nothing: the firmware's greeting, a module that systemd has
/// asked for since before it had another name, and the library for modules, which the guest image leaves out (systemd 262).
const NOISE: [&str; 4] = [
    "SeaBIOS (",
    "iPXE (",
    "Failed to find module 'autofs4'",
    "Failed to initialize kmod context",
];

/// The firmware's last words, without a line break: the guest's first ones follow in the same line.
const FIRMWARE_ENDS: &str = "Booting from ROM..";

/// The line that says why a kernel gave up; registers and a stack come behind it.
const REASON: &str = "Kernel panic";

/// The last `count` lines that hold anything of files that were written one after the other, or those around a kernel's
/// reason to give up; a terminal's commands are left out, and what else controls it is escaped. None of a file that cannot be read.
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
    let text = without_commands(text).replace(FIRMWARE_ENDS, "\n");
    let explains = |line: &&str| !line.is_empty() && !NOISE.iter().any(|noise| line.contains(noise));
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(explains).collect();
    let last = lines.len().saturating_sub(count);
    let reason = lines.iter().position(|line| line.contains(REASON));
    let start = reason.map_or(last, |line| line.saturating_sub(count / 2).min(last));
    lines[start..].iter().take(count).map(shown).collect()
}

/// `text` without the commands of terminals (ECMA-48): SeaBIOS clears a screen that there is not, and systemd has colours.
fn without_commands(text: &str) -> String {
    const ESCAPE: char = '\u{1b}';
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != ESCAPE {
            out.push(c);
            continue;
        }
        match chars.next_if(|c| !c.is_control()) {
            // A control sequence: parameters, then its last byte (5.4).
            Some('[') => {
                while chars.next_if(|c| matches!(*c, ' '..='?')).is_some() {}
                chars.next_if(|c| matches!(*c, '@'..='~'));
            }
            // A control string, up to BEL or its terminator (5.6), on this line.
            Some(']' | 'P' | 'X' | '^' | '_') => {
                while chars
                    .next_if(|c| !matches!(*c, '\u{7}' | ESCAPE | '\n'))
                    .is_some()
                {}
                if chars.next_if(|c| *c == '\u{7}').is_none() && chars.next_if_eq(&ESCAPE).is_some() {
                    chars.next_if_eq(&'\\');
                }
            }
            // Others have bytes in between (ECMA-35, 13.2).
            Some(' '..='/') => {
                while chars.next_if(|c| matches!(*c, ' '..='/')).is_some() {}
                chars.next_if(|c| !c.is_control());
            }
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What QEMU's serial port gives at every start.
    #[test]
    fn what_explains_nothing_is_left_out() {
        let greeting = "\u{1b}c\u{1b}[?7l\u{1b}[2J\u{1b}[0mSeaBIOS (version 1.16.2-debian-1.16.2-1)\r\n\
                        \u{1b}[01;01HBooting from ROM..Failed to find module 'autofs4'\r\r\n\
                        [    1.0] systemd[1]: Failed to find module 'autofs4'\n\
                        [    1.1] systemd[1]: Failed to initialize kmod context: Operation not supported\n";
        assert_eq!(select(greeting, 5), [""; 0]);
        // The guest's first word follows the firmware's last one in the same line.
        let first = "Booting from ROM..Kernel panic - not syncing\r\n";
        assert_eq!(select(first, 5), ["Kernel panic - not syncing"]);
        let text = format!(
            "{greeting}\u{1b}[0;1;31mFailed\u{1b}[0m to\u{1b}]0;title\u{7} start\u{1b}(B \u{1b}P1\u{1b}\\x\u{1b}"
        );
        assert_eq!(select(&text, 5), ["Failed to start x"]);
    }

    #[test]
    fn shows_the_end_or_the_reason() {
        let numbered = |n: usize| (0..n).map(|i| format!("line {i}\n")).collect::<String>();
        assert_eq!(select(&numbered(9), 2), ["line 7", "line 8"]);
        assert_eq!(
            select("a\u{1b}[2J\n\n  \nb\u{9b}2J\u{202e}", 5),
            ["a", "b\\u{9b}2J\\u{202e}"]
        );
        let panic = format!("{}Kernel panic - not syncing\n{}", numbered(9), numbered(9));
        assert_eq!(
            select(&panic, 4),
            ["line 7", "line 8", "Kernel panic - not syncing", "line 0"]
        );
    }
}
