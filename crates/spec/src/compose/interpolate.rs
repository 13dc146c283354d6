//! `${NAME:-default}` and its kin in the values of a compose file.
//!
//! ```text
//! $NAME ${NAME}        the variable's value; nothing where it is not set
//! ${NAME:-text} ${NAME-text}   or the text, where it is not set (with the colon: or empty)
//! ${NAME:?text} ${NAME?text}   or an error with the text
//! ${NAME:+text} ${NAME+text}   the text where it is set, otherwise nothing
//! $$                   a dollar
//! ```

use std::collections::BTreeMap;

/// What became of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interpolated {
    pub(super) text: String,
    /// The variables without a value and without another text, which count as empty.
    pub(super) unset: Vec<String>,
}

/// Replaces the variables of `text`.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn interpolate(text: &str, env: &BTreeMap<String, String>) -> Result<Interpolated, String> {
    let mut out = Interpolated {
        text: String::new(),
        unset: Vec::new(),
    };
    replace(text, env, &mut out)?;
    Ok(out)
}

fn replace(text: &str, env: &BTreeMap<String, String>, out: &mut Interpolated) -> Result<(), String> {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.text.push_str(before);
        rest = match after.chars().next() {
            Some('$') => {
                out.text.push('$');
                &after[1..]
            }
            Some('{') => {
                let end = closing(after).ok_or_else(|| wrong(after))?;
                braced(&after[1..end], env, out)?;
                &after[end + 1..]
            }
            Some(first) if first.is_ascii_alphabetic() || first == '_' => {
                let (name, rest) = after.split_at(name_length(after));
                value(name, env, out);
                rest
            }
            _ => return Err(wrong(after)),
        };
    }
    out.text.push_str(rest);
    Ok(())
}

fn wrong(after: &str) -> String {
    let shown: String = after.chars().take(20).collect();
    format!("`${shown}` is not a variable: write `${{NAME}}`, or `$$` for a dollar")
}

fn name_length(text: &str) -> usize {
    text.bytes()
        .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        .count()
}

/// Where the brace ends that `text` begins with.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'{' if at == 0 || bytes[at - 1] == b'$' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn value(name: &str, env: &BTreeMap<String, String>, out: &mut Interpolated) {
    match env.get(name) {
        Some(value) => out.text.push_str(value),
        None => out.unset.push(name.to_owned()),
    }
}

/// What stands between the braces.
fn braced(inner: &str, env: &BTreeMap<String, String>, out: &mut Interpolated) -> Result<(), String> {
    let (name, operator) = inner.split_at(name_length(inner));
    let begins = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if !begins {
        return Err(wrong(&format!("{{{inner}}}")));
    }
    if operator.is_empty() {
        value(name, env, out);
        return Ok(());
    }
    let (with_empty, operator) = match operator.strip_prefix(':') {
        Some(rest) => (true, rest),
        None => (false, operator),
    };
    let found = env.get(name).filter(|value| !(with_empty && value.is_empty()));
    let mut signs = operator.chars();
    let sign = signs.next();
    let other = signs.as_str();
    match (sign, found) {
        (Some('-' | '?'), Some(value)) => out.text.push_str(value),
        (Some('-'), None) | (Some('+'), Some(_)) => replace(other, env, out)?,
        (Some('+'), None) => {}
        (Some('?'), None) => {
            let mut said = Interpolated {
                text: String::new(),
                unset: Vec::new(),
            };
            replace(other, env, &mut said)?;
            return Err(match said.text.is_empty() {
                true => format!("the variable `{name}` must be set"),
                false => format!("the variable `{name}` must be set: {}", said.text),
            });
        }
        _ => return Err(wrong(&format!("{{{inner}}}"))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn env() -> BTreeMap<String, String> {
        [("A", "a"), ("EMPTY", ""), ("TAG", "1.27")]
            .map(|(name, value)| (name.into(), value.into()))
            .into()
    }

    #[test]
    fn variables_are_replaced_as_compose_does() {
        for (text, expected) in [
            ("nginx:${TAG}", "nginx:1.27"),
            ("$A-$TAG", "a-1.27"),
            ("${A}b${A}", "aba"),
            ("$$A $${A}", "$A ${A}"),
            ("${NO:-x}${NO-y}", "xy"),
            ("${EMPTY:-x}${EMPTY-y}", "x"),
            ("${A:+set}${NO+set}${EMPTY+set}${EMPTY:+set}", "setset"),
            ("${NO:-${A}/${NO:-deep}}", "a/deep"),
            ("${A:?must}", "a"),
            ("${NO:-}", ""),
            ("no variable", "no variable"),
            ("${NO:-{\"a\": 1}}", "{\"a\": 1}"),
        ] {
            assert_eq!(
                interpolate(text, &env()).map(|out| out.text),
                Ok(expected.to_owned()),
                "{text}"
            );
        }
        assert_eq!(interpolate("x${NO}$ALSO", &env()).unwrap().unset, ["NO", "ALSO"]);
        for (text, error) in [
            ("${NO:?set it}", "the variable `NO` must be set: set it"),
            ("${EMPTY:?}", "the variable `EMPTY` must be set"),
            (
                "${A",
                "`${A` is not a variable: write `${NAME}`, or `$$` for a dollar",
            ),
            (
                "a$",
                "`$` is not a variable: write `${NAME}`, or `$$` for a dollar",
            ),
            (
                "$1",
                "`$1` is not a variable: write `${NAME}`, or `$$` for a dollar",
            ),
            (
                "${A!x}",
                "`${A!x}` is not a variable: write `${NAME}`, or `$$` for a dollar",
            ),
        ] {
            assert_eq!(interpolate(text, &env()), Err(error.to_owned()), "{text}");
        }
    }

    proptest! {
        /// Text with its dollars doubled comes back as it was, and no text ends the process.
        #[test]
        fn dollars_that_are_doubled_are_dollars(text in "[ -~é]{0,40}") {
            let doubled = text.replace('$', "$$");
            prop_assert_eq!(interpolate(&doubled, &env()).unwrap().text, text.clone());
            let _ = interpolate(&text, &env());
        }

        #[test]
        fn nothing_panics(text in "(\\$|\\{|\\}|:|-|\\?|\\+|A|é){0,16}") {
            let _ = interpolate(&text, &env());
        }
    }
}
