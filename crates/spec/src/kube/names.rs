//! What the API takes for the names of things (apimachinery, `util/validation`), and for labels and annotations.
//!
//! A rule gives what is wrong with a text, or nothing.

use crate::located::Node;
use crate::words::shown;

/// The longest DNS label (RFC 1123), in bytes.
const MAX_LABEL: usize = 63;

/// The longest DNS name, in bytes.
const MAX_SUBDOMAIN: usize = 253;

/// The most bytes of all annotations of an object together, keys and values.
const MAX_ANNOTATIONS: usize = 256 << 10;

/// A rule of the API's.
pub(super) type Rule = fn(&str) -> Option<&'static str>;

/// A DNS label: the name of a container, a volume or a namespace.
pub(super) fn dns_label(text: &str) -> Option<&'static str> {
    match text.len() {
        0 => Some("it is empty"),
        1..=MAX_LABEL => parts(text, "-", false),
        _ => Some("it is longer than 63 bytes"),
    }
}

/// A DNS subdomain: the name of most objects.
pub(super) fn dns_subdomain(text: &str) -> Option<&'static str> {
    match text.len() {
        0 => Some("it is empty"),
        1..=MAX_SUBDOMAIN => text.split('.').find_map(|label| match label {
            "" => Some("a part of it between dots is empty"),
            label => parts(label, "-", false),
        }),
        _ => Some("it is longer than 253 bytes"),
    }
}

/// The name of a container's port (RFC 6335).
pub(super) fn port_name(text: &str) -> Option<&'static str> {
    if text.len() > 15 {
        return Some("it is longer than 15 bytes");
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        return Some("it must have a letter, in lower case");
    }
    if text.contains("--") {
        return Some("it has two dashes in a row");
    }
    parts(text, "-", false)
}

/// The value of a label, which may be empty.
pub(super) fn label_value(text: &str) -> Option<&'static str> {
    match text.len() {
        0 => None,
        1..=MAX_LABEL => parts(text, "-_.", true),
        _ => Some("it is longer than 63 bytes"),
    }
}

/// The key of a label, an annotation or a resource: a name, after a DNS subdomain and `/` where it has that.
pub(super) fn qualified(text: &str) -> Option<&'static str> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    if name.is_empty() {
        return Some("its name is empty");
    }
    label_value(name).or_else(|| prefix.and_then(dns_subdomain))
}

/// Letters and digits, and inner ones of `others`; upper case where that is allowed.
fn parts(text: &str, others: &str, upper: bool) -> Option<&'static str> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || (upper && b.is_ascii_uppercase());
    let (first, last) = (text.bytes().next(), text.bytes().last());
    if !text.bytes().all(|b| plain(b) || others.as_bytes().contains(&b)) {
        return Some(match upper {
            true => "it may have letters, digits, `-`, `_` and `.` only",
            false => "it may have lower-case letters, digits and `-` only",
        });
    }
    (!first.is_some_and(plain) || !last.is_some_and(plain))
        .then_some("it must begin and end with a letter or digit")
}

/// Reports what `rule` finds wrong with `text` at `node`, which is `what`; whether it is right.
pub(super) fn check(node: &Node<'_>, text: &str, what: &str, rule: Rule) -> bool {
    let wrong = rule(text);
    if let Some(wrong) = wrong {
        node.rule(format!("`{}` is not a valid {what}: {wrong}", short(text)));
    }
    wrong.is_none()
}

/// `text` for a message, which need not have all of a long one.
fn short(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", shown(&text[..end])),
        None => shown(text),
    }
}

/// Reports what the API refuses of an object's metadata. `rule` is that of its name.
pub(super) fn check_metadata(metadata: &Node<'_>, rule: Rule) {
    if let Some((node, name)) = metadata.text("name") {
        check(&node, name, "name", rule);
    }
    if let Some((node, namespace)) = metadata.text("namespace") {
        check(&node, namespace, "name of a namespace", dns_label);
    }
    for (key, value) in metadata.entries("labels") {
        check(&value, key, "key of a label", qualified);
        if let Some(text) = value.as_text() {
            check(&value, text, "value of a label", label_value);
        }
    }
    let mut bytes = 0_usize;
    for (key, value) in metadata.entries("annotations") {
        check(
            &value,
            &key.to_ascii_lowercase(),
            "key of an annotation",
            qualified,
        );
        let length = value.as_text().map_or(0, str::len);
        bytes = bytes.saturating_add(key.len()).saturating_add(length);
    }
    if bytes > MAX_ANNOTATIONS
        && let Some(node) = metadata.get("annotations")
    {
        node.rule(format!(
            "the annotations have {bytes} bytes together, more than 256 KiB"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(rule: Rule, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(rule(text), None, "{text}");
        }
        for text in bad {
            assert!(rule(text).is_some(), "{text}");
        }
    }

    #[test]
    fn names_are_what_the_api_takes_for_them() {
        let (long, longer) = ("a".repeat(63), "a".repeat(64));
        holds(
            dns_label,
            &["a", "a-1", "0", &long, "a--b"],
            &["", "A", "a.b", "-a", "a-", "a_b", "ä", &longer],
        );
        let dotted = format!("{longer}.b");
        holds(
            dns_subdomain,
            &["a", "a.b-c", &dotted],
            &["", "a..b", ".a", "a.", "A.b", "a.-b", &"a.".repeat(127)],
        );
        holds(
            port_name,
            &["http", "a1", "8080-tcp", "abcdefghijklmno"],
            &[
                "",
                "80",
                "abcdefghijklmnop",
                "a--b",
                "-a",
                "a-",
                "HTTP",
                "a.b",
                "a_b",
            ],
        );
        holds(
            label_value,
            &["", "A_b.c-1", &long],
            &["-a", "a/b", "a b", &longer],
        );
        holds(
            qualified,
            &["app", "app.kubernetes.io/name", "a/B_c"],
            &["", "/a", "a/", "a/b/c", "A.b/c", "a b", "-a"],
        );
    }
}
