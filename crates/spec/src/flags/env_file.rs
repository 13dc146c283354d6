//! The files of `--env-file`, in docker's form: `NAME=VALUE` or `NAME`, one a line; a value is taken as it stands, quotes
//! and all.

use crate::EnvVar;

/// A line of a file that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvFileFault {
    /// Which one, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

/// Reads the text of an `--env-file`. Empty lines, and those that begin with `#`, are left out.
///
/// # Errors
/// [`EnvFileFault`] of the first line without a name, or with a blank in it.
pub fn read_env_file(text: &str) -> Result<Vec<EnvVar>, EnvFileFault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text
        .lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line.trim_start()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(line, text)| read(text).map_err(|what| EnvFileFault { line, what }))
        .collect()
}

fn read(line: &str) -> Result<EnvVar, &'static str> {
    let (name, value) = match line.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (line.trim_end(), None),
    };
    if line.contains('\0') {
        return Err("it holds a NUL byte");
    }
    if name.is_empty() {
        return Err("the variable has no name");
    }
    if name.contains(char::is_whitespace) {
        return Err("a blank stands in the variable's name");
    }
    Ok(EnvVar {
        name: name.to_owned(),
        value,
        secret: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_as_they_stand() {
        let text = "\u{feff}# a\n\nA=1\n  B= \"x\" # y \nC\nD=\nE=a=b\n";
        let read = read_env_file(text).unwrap();
        let shown: Vec<(&str, Option<&str>)> = read
            .iter()
            .map(|variable| (&*variable.name, variable.value.as_deref()))
            .collect();
        let expected = [
            ("A", Some("1")),
            ("B", Some(" \"x\" # y ")),
            ("C", None),
            ("D", Some("")),
            ("E", Some("a=b")),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_has_no_name_is_refused_with_its_line() {
        for (text, line) in [("A=1\n=2", 2), ("A B=1", 1), ("# \n\nA B\n", 3)] {
            assert_eq!(read_env_file(text).unwrap_err().line, line, "{text}");
        }
    }
}
