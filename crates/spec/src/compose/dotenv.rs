//! `.env` and the files of `env_file`, in compose's form: quotes are taken off, and variables replaced.

use std::collections::BTreeMap;

use super::interpolate::interpolate;
use crate::flags::EnvFileFault;

/// Reads the variables of a file; those that it sets, and `env`, may be used in values without single quotes. A name without a
/// value has the one that `env` has for it, or is left out.
///
/// # Errors
/// [`EnvFileFault`] of the first line that cannot be read.
pub fn read_dotenv(
    text: &str,
    env: &BTreeMap<String, String>,
) -> Result<Vec<(String, String)>, EnvFileFault> {
    let mut known = env.clone();
    let mut found: Vec<(String, String)> = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fault = |what| EnvFileFault { line: at + 1, what };
        let (name, value) = match line.split_once(['=', ':']) {
            Some((name, value)) => (name.trim_end(), Some(value.trim_start())),
            None => (line.trim_end(), None),
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(fault("it is not `NAME=VALUE`"));
        }
        let value = match value {
            None => match env.get(name) {
                Some(value) => value.clone(),
                None => continue,
            },
            Some(value) => {
                let mut value = value.to_owned();
                // A quote may end in a later line.
                while is_open(&value) {
                    let Some((_, more)) = lines.next() else {
                        return Err(fault("a quote does not end"));
                    };
                    value = value + "\n" + more;
                }
                read_value(&value, &known).map_err(fault)?
            }
        };
        known.insert(name.to_owned(), value.clone());
        found.push((name.to_owned(), value));
    }
    Ok(found)
}

/// Whether a value begins with a quote that does not end in it.
fn is_open(value: &str) -> bool {
    match value.as_bytes().first() {
        Some(quote @ (b'\'' | b'"')) => end_of(value, *quote).is_none(),
        _ => false,
    }
}

/// Where the quote ends that the value begins with.
fn end_of(value: &str, quote: u8) -> Option<usize> {
    let bytes = value.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quote == b'"' => at += 1,
            byte if byte == quote => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn read_value(value: &str, known: &BTreeMap<String, String>) -> Result<String, &'static str> {
    let replaced = |text: &str| {
        interpolate(text, known)
            .map(|out| out.text)
            .map_err(|_| "it has a `$` that begins no variable")
    };
    match value.as_bytes().first() {
        Some(b'\'') => Ok(value[1..end_of(value, b'\'').unwrap_or(1)].to_owned()),
        Some(b'"') => replaced(&unescaped(&value[1..end_of(value, b'"').unwrap_or(1)])),
        _ => {
            let end = value.find(" #").unwrap_or(value.len());
            replaced(value[..end].trim_end())
        }
    }
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some('t') => out.push('\t'),
                Some('$') => out.push_str("$$"),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_unquoted_and_replaced() {
        let env: BTreeMap<String, String> = [("HOME".to_owned(), "/root".to_owned())].into();
        let text = "# a comment\nexport A=1\nB = \"x $A\\n\" # y\nC='$A # z'\nD=${A}2 # three\nE=\nHOME\nNOT_SET\nF=\"two\nlines\"\nG=a#b\nH: y\n";
        let read = read_dotenv(text, &env).unwrap();
        let read: Vec<(&str, &str)> = read.iter().map(|(name, value)| (&**name, &**value)).collect();
        let expected = [
            ("A", "1"),
            ("B", "x 1\n"),
            ("C", "$A # z"),
            ("D", "12"),
            ("E", ""),
            ("HOME", "/root"),
            ("F", "two\nlines"),
            ("G", "a#b"),
            ("H", "y"),
        ];
        assert_eq!(read, expected);
        for (text, line) in [("A=1\nb c=1", 2), ("=x", 1), ("A='x\n\n", 1), ("A=$1", 1)] {
            assert_eq!(read_dotenv(text, &env).unwrap_err().line, line, "{text}");
        }
    }
}
