//! Unit files: their text, and how a value is written so that systemd reads back just that value (systemd.syntax(7),
//! systemd.unit(5) "Specifiers", systemd.service(5) "Command Lines").

use std::fmt::Write as _;
use std::path::Path;

/// Why a value cannot be written into a unit file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// systemd reads unit files as UTF-8 and drops other lines.
    #[error("systemd reads only UTF-8")]
    NotUtf8,
    /// A line break ends the setting, and paths have no escape for it.
    #[error("systemd has no way to write a line break in a path")]
    LineBreak,
    /// systemd refuses paths of `PATH_MAX` bytes and more.
    #[error("it is {0} bytes long in the guest, and a path has at most 4095")]
    TooLong(usize),
    /// `NAME_MAX`.
    #[error("a name in it is longer than 255 bytes")]
    NameTooLong,
}

/// Linux's `PATH_MAX`, the final NUL left out.
pub(crate) const PATH_MAX: usize = 4095;

/// A unit file: sections in order, each an ordered list of settings whose values are already written for systemd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitFile {
    /// The sections: name and settings.
    pub sections: Vec<(&'static str, Vec<(&'static str, String)>)>,
}

impl UnitFile {
    /// Adds a section.
    #[must_use]
    pub fn section(mut self, name: &'static str, settings: Vec<(&'static str, String)>) -> Self {
        self.sections.push((name, settings));
        self
    }

    /// The text of the file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (i, (name, settings)) in self.sections.iter().enumerate() {
            let gap = if i == 0 { "" } else { "\n" };
            let _ = writeln!(out, "{gap}[{name}]");
            for (key, value) in settings {
                let _ = writeln!(out, "{key}={value}");
            }
        }
        out
    }
}

/// Checks that a path can be written at all, and gives it as text.
///
/// # Errors
/// [`Unwritable`] with the reason.
pub fn path_text(path: &Path) -> Result<&str, Unwritable> {
    let text = path.to_str().ok_or(Unwritable::NotUtf8)?;
    if text.contains(['\n', '\r']) {
        return Err(Unwritable::LineBreak);
    }
    if text.len() > PATH_MAX {
        return Err(Unwritable::TooLong(text.len()));
    }
    if text.split('/').any(|name| name.len() > 255) {
        return Err(Unwritable::NameTooLong);
    }
    Ok(text)
}

/// Writes a path as the value of a setting that takes one path (`Where=`, `What=`, `WorkingDirectory=`). systemd
/// strips blanks at the end of a line and continues a line that ends in a backslash, so such a path gets `/.` behind
/// it, which systemd takes away again.
///
/// # Errors
/// [`Unwritable`] with the reason.
pub fn path_value(path: &Path) -> Result<String, Unwritable> {
    let text = path_text(path)?;
    let value = specifiers(text);
    if !text.ends_with(|c: char| c.is_ascii_whitespace() || c == '\u{b}' || c == '\\') {
        return Ok(value);
    }
    // What counts for systemd is the length of what it reads, specifiers expanded.
    if text.len() + "/.".len() > PATH_MAX {
        return Err(Unwritable::TooLong(text.len() + "/.".len()));
    }
    Ok(value + "/.")
}

/// Doubles `%`, so that nothing is taken for a specifier.
#[must_use]
pub fn specifiers(text: &str) -> String {
    text.replace('%', "%%")
}

/// Writes text for a setting that is for people (`Description=`): one line, nothing expanded.
#[must_use]
pub fn description(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    let line = specifiers(line.trim_end());
    line.strip_suffix('\\')
        .map(|l| format!("{l}\\ ."))
        .unwrap_or(line)
}

/// Quotes one word of a setting that takes several (`ExecStart=`, `BindPaths=`): always in double quotes, with
/// C-style escapes for what the quotes do not cover.
#[must_use]
pub fn word(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '%' => out.push_str("%%"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Quotes one word of a command line whose variables are expanded (an `ExecStart=` without the `:` prefix): as
/// [`word`], and `$` doubled (systemd.service(5)).
#[must_use]
pub fn exec_word(text: &str) -> String {
    word(text).replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_so_that_systemd_reads_them_back() {
        for (path, value) in [
            ("/data", "/data"),
            ("/100%", "/100%%"),
            ("/a ", "/a /."),
            ("/a\t", "/a\t/."),
            ("/a\\", "/a\\/."),
            ("/ a\"b'c", "/ a\"b'c"),
        ] {
            assert_eq!(path_value(Path::new(path)).as_deref(), Ok(value));
        }
        assert_eq!(path_value(Path::new("/a\nb")), Err(Unwritable::LineBreak));
        assert_eq!(path_value(Path::new("/a\rb")), Err(Unwritable::LineBreak));
        let long = format!("/{}", "x".repeat(256));
        assert_eq!(path_value(Path::new(&long)), Err(Unwritable::NameTooLong));
        // A doubled `%` makes the text longer and the name not.
        let name = format!("/{}%", "x".repeat(254));
        assert_eq!(path_value(Path::new(&name)), Ok(format!("{name}%")));
        let long = "/x".repeat(2048);
        assert_eq!(path_value(Path::new(&long)), Err(Unwritable::TooLong(4096)));
    }

    #[test]
    fn words_and_environment() {
        assert_eq!(word("a b\"\\%\n\u{1}"), "\"a b\\\"\\\\%%\\n\\x01\"");
        assert_eq!(description("100% of\nall\\"), "100%% of?all\\ .");
    }
}
