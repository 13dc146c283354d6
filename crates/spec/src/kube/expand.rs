//! `$(VAR)` in commands, arguments and variables (kubernetes, `third_party/forked/golang/expansion`).

/// `text` with every `$(NAME)` that `value_of` knows replaced; the others stay as they are, and `$$` is a `$`.
pub(super) fn expand<'v>(text: &str, mut value_of: impl FnMut(&str) -> Option<&'v str>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match value_of(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// `text` so that it expands to itself: a `$` is doubled where it would begin something.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(c);
        if c == '$' && matches!(chars.peek(), Some('$' | '(')) {
            out.push('$');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expanded(text: &str) -> String {
        expand(text, |name| match name {
            "A" => Some("1"),
            "B" => Some("$(A)"),
            _ => None,
        })
    }

    /// Cases of the API's own test.
    #[test]
    fn expands_as_the_api_does() {
        for (text, expected) in [
            ("$(A)", "1"),
            ("___$(B)___", "___$(A)___"),
            ("$$(A)_$(A)", "$(A)_1"),
            ("$$$(A)", "$1"),
            ("$$$$(A)", "$$(A)"),
            ("foo$$var", "foo$var"),
            ("$(NO)-$(A", "$(NO)-$(A"),
            ("$A $", "$A $"),
            ("$()", "$()"),
            ("f000-$(A)$(A)", "f000-11"),
            ("$(A$(A))", "$(A$(A))"),
            ("ä$(A)", "ä1"),
        ] {
            assert_eq!(expanded(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_escaped_expands_to_itself(text in "[$()A-C a-z]{0,20}|\\PC{0,20}") {
            prop_assert_eq!(expanded(&escape(&text)), text);
        }
    }
}
