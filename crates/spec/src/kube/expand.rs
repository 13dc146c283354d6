//! `$(VAR)` in commands, arguments and variables (kubernetes, `third_party/forked/golang/expansion`).

/// `text` with every `$(NAME)` that `value_of` knows replaced; the others stay as they are, and `$$` is a `$`. `None` where
/// more than `max` bytes come of it: a variable can be made of the one before it, twice.
pub(super) fn expand<'v>(
    text: &str,
    max: usize,
    mut value_of: impl FnMut(&str) -> Option<&'v str>,
) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        if out.len() > max {
            return None;
        }
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
    (out.len() <= max).then_some(out)
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
        let value_of = |name: &str| match name {
            "A" => Some("1"),
            "B" => Some("$(A)"),
            _ => None,
        };
        expand(text, 1000, value_of).unwrap()
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

    #[test]
    fn what_gets_too_long_is_given_up_on_the_way() {
        let long = "x".repeat(1000);
        let mut asked = 0;
        let text = "$(A)".repeat(100);
        let expanded = expand(&text, 2500, |_| {
            asked += 1;
            Some(&long)
        });
        assert_eq!((expanded, asked), (None, 3));
        assert_eq!(expand("abc", 2, |_| None), None);
        assert_eq!(expand("abc", 3, |_| None).unwrap(), "abc");
    }

    proptest! {
        #[test]
        fn what_is_escaped_expands_to_itself(text in "[$()A-C a-z]{0,20}|\\PC{0,20}") {
            prop_assert_eq!(expanded(&escape(&text)), text);
        }
    }
}
