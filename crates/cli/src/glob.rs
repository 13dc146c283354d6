//! Patterns of names as Go's `path.Match` has them, which docker's filters use: `*` and `?` stand for anything but a slash,
//! `[a-z]` and `[^a-z]` for one character, and a backslash takes the meaning from what follows.

/// Whether all of `name` is as `pattern` says; `None`: it is no pattern.
pub(crate) fn matches(pattern: &str, name: &str) -> Option<bool> {
    let pattern = read(pattern)?;
    Some(fits(&pattern, &name.chars().collect::<Vec<_>>()))
}

#[derive(Debug)]
enum Part {
    Any,
    One,
    Char(char),
    /// Whether it is none of these, and the ranges.
    Class(bool, Vec<(char, char)>),
}

fn read(pattern: &str) -> Option<Vec<Part>> {
    let (mut parts, mut chars) = (Vec::new(), pattern.chars().peekable());
    while let Some(char) = chars.next() {
        parts.push(match char {
            '*' => Part::Any,
            '?' => Part::One,
            '\\' => Part::Char(chars.next()?),
            '[' => {
                let negated = chars.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                loop {
                    let first = match chars.next()? {
                        ']' if !ranges.is_empty() => break,
                        '\\' => chars.next()?,
                        ']' | '-' => return None,
                        first => first,
                    };
                    let last = match chars.next_if_eq(&'-') {
                        Some(_) => match chars.next()? {
                            '\\' => chars.next()?,
                            ']' => return None,
                            last => last,
                        },
                        None => first,
                    };
                    ranges.push((first, last));
                }
                Part::Class(negated, ranges)
            }
            char => Part::Char(char),
        });
    }
    Some(parts)
}

/// In time of the lengths' product: only the last `*` is ever given more.
fn fits(pattern: &[Part], name: &[char]) -> bool {
    let (mut part, mut at, mut star) = (0, 0, None);
    while at < name.len() {
        let one = match pattern.get(part) {
            Some(Part::Any) => {
                star = Some((part, at));
                part += 1;
                continue;
            }
            Some(Part::One) => name[at] != '/',
            Some(Part::Char(char)) => name[at] == *char,
            Some(Part::Class(negated, ranges)) => {
                let within = ranges
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&name[at]));
                name[at] != '/' && within != *negated
            }
            None => false,
        };
        match (one, star) {
            (true, _) => (part, at) = (part + 1, at + 1),
            (false, Some((of, from))) if name[from] != '/' => {
                star = Some((of, from + 1));
                (part, at) = (of + 1, from + 1);
            }
            (false, _) => return false,
        }
    }
    pattern[part..].iter().all(|part| matches!(part, Part::Any))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From Go's own tests (src/path/match_test.go).
    #[test]
    fn patterns_are_gos() {
        for (pattern, name, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a/b", false),
            ("a*b", "a/b", false),
            ("[a-ζ]*", "α", true),
            ("*[a-ζ]", "A", false),
            ("", "", true),
            ("", "x", false),
            ("*x", "xxx", true),
        ] {
            assert_eq!(matches(pattern, name), Some(expected), "{pattern} {name}");
        }
        for pattern in ["[]a]", "[-]", "[x-]", "[a-b-c]", "[", "[^", "[^bc", "a[", "a\\"] {
            assert_eq!(matches(pattern, "a"), None, "{pattern}");
        }
    }
}
