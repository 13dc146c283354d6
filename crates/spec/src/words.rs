//! The user's words in messages: how they are shown, and which known word was meant; amounts as people write them.
//!
//! It decides nothing about what is accepted; a guess ends up in a hint, never in a pod.

use std::ffi::OsStr;

/// `text` for a message: what is not UTF-8 replaced, and [what controls a terminal](is_terminal_control) escaped, so that a
/// message stays on its line.
#[must_use]
pub fn shown(text: impl AsRef<OsStr>) -> String {
    escaped(&text.as_ref().to_string_lossy(), |_| false)
}

/// Whether `c` controls a terminal rather than being shown: the control characters (C0, DEL, C1), the ends of lines and
/// paragraphs, and what reorders a line (Unicode Standard Annex 9, "Directional Formatting Characters").
#[must_use]
pub fn is_terminal_control(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// The longest line of a message, in characters: a path has 4096 bytes at most (limits.h, `PATH_MAX`).
const MAX_LINE_CHARS: usize = 8192;

/// A text of several lines as a terminal may see it, whoever wrote it: what controls it is escaped, but for the ends of
/// lines and tabs.
#[must_use]
pub fn for_terminal(text: &str) -> String {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

/// The same of a message, whose very long lines are cut.
#[must_use]
pub fn message_for_terminal(text: &str) -> String {
    let cut = |line: &str| match line.char_indices().nth(MAX_LINE_CHARS) {
        None => line.to_owned(),
        Some((at, _)) => format!("{}... ({} more bytes)", &line[..at], line.len() - at),
    };
    let lines: Vec<String> = for_terminal(text).split('\n').map(cut).collect();
    lines.join("\n")
}

fn escaped(text: &str, is_kept: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_terminal_control(c) && !is_kept(c) {
            out.extend(c.escape_default())
        } else {
            out.push(c)
        }
    }
    out
}

/// Among so many words the one that was meant is looked for: every system call, and not every key of a user's file, which
/// may be as often wrong as there are keys.
const MAX_KNOWN: usize = 1000;

/// The known word that `word` was most likely meant to be: another spelling of its letters' case, or at most two typing
/// errors away (one in a word of up to four letters). It is looked for among the first thousand.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let length = lower.chars().count();
    let allowed = if word.chars().count() <= 4 { 1 } else { 2 };
    known
        .into_iter()
        .take(MAX_KNOWN)
        // So many errors it has at least, and a long word would be compared for long.
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= allowed)
        .map(|candidate| (strsim::osa_distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// An amount of bytes in the largest binary unit that has it exactly (`64Mi`), as Kubernetes and appc read it.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = [(40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")];
    let unit = units
        .into_iter()
        .find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    match unit {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    }
}

/// Thousandths of a CPU (`500m`, `2`), as Kubernetes and appc read them.
pub(crate) fn cpus(millis: u32) -> String {
    match millis % 1000 {
        0 => (millis / 1000).to_string(),
        _ => format!("{millis}m"),
    }
}

/// `words` as a message lists them: `` `a`, `b` or `c` ``.
#[must_use]
pub fn either(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_shown_text_stays_on_its_line() {
        assert_eq!(shown("a \"b\" 日本"), "a \"b\" 日本");
        assert_eq!(shown("a\nb\u{1b}[31m"), "a\\nb\\u{1b}[31m");
        assert_eq!(shown(OsStr::from_bytes(b"a\xffb")), "a\u{fffd}b");
        assert_eq!(
            shown("a\u{9b}2J\u{7f}\u{202e}b\u{2066}"),
            "a\\u{9b}2J\\u{7f}\\u{202e}b\\u{2066}"
        );
    }

    #[test]
    fn no_text_controls_a_terminal() {
        assert_eq!(
            for_terminal("a\tb\nc\r\u{1b}]0;x\u{7}"),
            "a\tb\nc\\r\\u{1b}]0;x\\u{7}"
        );
        let every: String = (0..=0x10_ffff).filter_map(char::from_u32).collect();
        assert!(!shown(&every).chars().any(is_terminal_control));
        let long = message_for_terminal(&"x".repeat(MAX_LINE_CHARS + 7));
        assert!(long.ends_with("x... (7 more bytes)"), "{}", long.len());
    }

    #[test]
    fn guesses_only_what_is_close() {
        let known = ["readOnly", "source", "kind", "uid"];
        assert_eq!(nearest("readonly", known), Some("readOnly"));
        assert_eq!(nearest("soruce", known), Some("source"));
        assert_eq!(nearest("gid", known), Some("uid"));
        assert_eq!(nearest("target", known), None);
        assert_eq!(nearest("", known), None);
        // It would take minutes to compare it.
        let many = vec!["a word of some letters"; 1000];
        assert_eq!(nearest(&"x".repeat(1 << 20), many), None);
    }

    #[test]
    fn lists_read_as_prose() {
        assert_eq!(either(&["a"]), "`a`");
        assert_eq!(either(&["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
