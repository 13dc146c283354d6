//! Several descriptions of one thing as one (compose specification, "Merge and override"): objects key by key, lists one
//! behind the other, and of all else the later one. What is so by another rule is in [`rule`]. A value with the tag `!reset`
//! takes away what is there before it, one with `!override` replaces the whole of it.

use crate::located::{Key, Kind, Tag, Value};

/// How the values of a key are merged.
enum MergeRule {
    /// Objects key by key, lists one behind the other, the later one of all else.
    Plain,
    Later,
    /// Pairs, as a list or as an object, by their names. Between name and value of a list stands one of these.
    Pairs(&'static [char]),
    /// Names, or an object with more about each.
    Names,
    /// A list in which a later entry replaces one of the same key.
    Unique(fn(&Value) -> String),
}

/// The rule for what is at a place of the file: the names from its root on.
fn rule(place: &[String]) -> MergeRule {
    let words: Vec<&str> = place.iter().map(String::as_str).collect();
    match words[..] {
        ["services", _, "command" | "entrypoint"] | ["services", _, "healthcheck", "test"] => {
            MergeRule::Later
        }
        [
            "services",
            _,
            "environment" | "labels" | "annotations" | "sysctls",
        ]
        | ["services", _, "deploy", "labels"]
        | ["volumes" | "networks" | "secrets" | "configs", _, "labels"] => MergeRule::Pairs(&['=']),
        ["services", _, "extra_hosts"] => MergeRule::Pairs(&['=', ':']),
        ["services", _, "depends_on" | "networks"] => MergeRule::Names,
        ["services", _, "ports"] => MergeRule::Unique(port),
        ["services", _, "volumes"] => MergeRule::Unique(target),
        ["services", _, "secrets" | "configs"] => MergeRule::Unique(mounted),
        ["services", _, "devices"] => MergeRule::Unique(device),
        [
            "services",
            _,
            "expose" | "dns" | "dns_search" | "dns_opt" | "tmpfs" | "env_file" | "label_file" | "cap_add"
            | "cap_drop" | "security_opt" | "links" | "profiles" | "group_add",
        ] => MergeRule::Unique(whole),
        _ => MergeRule::Plain,
    }
}

/// What `base` says, and `later` on top of it.
pub(super) fn merged(base: Value, later: Value, place: &mut Vec<String>) -> Value {
    if later.tag == Tag::Override {
        return Value {
            tag: Tag::None,
            ..later
        };
    }
    if later.kind == Kind::Null {
        return base;
    }
    if base.kind == Kind::Null {
        return later;
    }
    match rule(place) {
        MergeRule::Later => later,
        MergeRule::Pairs(between) => match (as_pairs(&base, between), as_pairs(&later, between)) {
            (Some(base), Some(entries)) => by_key(
                base,
                Value {
                    kind: Kind::Map(entries),
                    ..later
                },
                place,
            ),
            // What is neither is for whoever reads it to refuse.
            _ => later,
        },
        MergeRule::Names => match (as_names(&base), as_names(&later)) {
            (Some(base), Some(entries)) => by_key(
                base,
                Value {
                    kind: Kind::Map(entries),
                    ..later
                },
                place,
            ),
            _ => later,
        },
        MergeRule::Unique(key) => unique(as_list(base), later, key),
        MergeRule::Plain => match (base.kind, later.kind) {
            (Kind::Map(entries), Kind::Map(over)) => {
                let later = Value {
                    kind: Kind::Map(over),
                    ..later
                };
                by_key(entries, later, place)
            }
            (Kind::List(mut items), Kind::List(more)) => {
                items.extend(more);
                Value {
                    kind: Kind::List(items),
                    ..later
                }
            }
            (_, kind) => Value { kind, ..later },
        },
    }
}

/// A description that nothing comes on top of any more: without what is reset, and without tags.
pub(super) fn settled(value: Value) -> Value {
    let stays = |value: &Value| value.tag != Tag::Reset;
    let kind = match value.kind {
        Kind::Map(entries) => Kind::Map(
            entries
                .into_iter()
                .filter(|(_, value)| stays(value))
                .map(|(key, value)| (key, settled(value)))
                .collect(),
        ),
        Kind::List(items) => Kind::List(items.into_iter().filter(stays).map(settled).collect()),
        kind => kind,
    };
    Value {
        tag: Tag::None,
        kind,
        ..value
    }
}

/// Merges objects; the later one's place in the file is the whole's.
fn by_key(mut entries: Vec<(Key, Value)>, later: Value, place: &mut Vec<String>) -> Value {
    let Kind::Map(over) = later.kind else { return later };
    for (key, value) in over {
        if value.tag == Tag::Reset {
            entries.retain(|(known, _)| known.text != key.text);
            continue;
        }
        match entries.iter_mut().find(|(known, _)| known.text == key.text) {
            Some((known, before)) if before.tag == Tag::Reset => (*known, *before) = (key, value),
            Some((known, before)) => {
                place.push(key.text.clone());
                let base = std::mem::replace(before, value.clone());
                *before = merged(base, value, place);
                place.pop();
                known.at = key.at;
            }
            None => entries.push((key, value)),
        }
    }
    Value {
        kind: Kind::Map(entries),
        ..later
    }
}

/// A list, or the one thing that may stand in its place.
fn as_list(value: Value) -> Vec<Value> {
    match value.kind {
        Kind::List(items) => items,
        _ => vec![value],
    }
}

/// The entries of both, in which a later one replaces one of the same key.
fn unique(mut items: Vec<Value>, later: Value, key: fn(&Value) -> String) -> Value {
    let (at, bytes, tag) = (later.at, later.bytes.clone(), later.tag);
    for item in as_list(later) {
        match items.iter_mut().find(|known| key(known) == key(&item)) {
            Some(known) => *known = item,
            None => items.push(item),
        }
    }
    Value {
        at,
        bytes,
        tag,
        kind: Kind::List(items),
    }
}

fn as_pairs(value: &Value, between: &[char]) -> Option<Vec<(Key, Value)>> {
    match &value.kind {
        Kind::Map(entries) => Some(entries.clone()),
        Kind::List(items) => items.iter().map(|item| pair(item, between)).collect(),
        _ => None,
    }
}

fn pair(item: &Value, between: &[char]) -> Option<(Key, Value)> {
    let Kind::Text(text) = &item.kind else { return None };
    let (name, kind) = match text.split_once(between) {
        Some((name, value)) => (name, Kind::Text(value.to_owned())),
        None => (text.as_str(), Kind::Null),
    };
    Some(named(name, kind, item))
}

fn as_names(value: &Value) -> Option<Vec<(Key, Value)>> {
    match &value.kind {
        Kind::Map(entries) => Some(entries.clone()),
        Kind::List(items) => items
            .iter()
            .map(|item| match &item.kind {
                Kind::Text(name) => Some(named(name, Kind::Null, item)),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}

fn named(name: &str, kind: Kind, item: &Value) -> (Key, Value) {
    let key = Key {
        at: item.at,
        text: name.to_owned(),
    };
    let value = Value {
        at: item.at,
        bytes: 0..0,
        tag: Tag::None,
        kind,
    };
    (key, value)
}

/// A scalar's text.
pub(super) fn text_of(value: &Value) -> String {
    match &value.kind {
        Kind::Text(text) => text.clone(),
        Kind::Integer(number) => number.to_string(),
        Kind::Boolean(value) => value.to_string(),
        Kind::Number(number) => number.to_string(),
        Kind::Null | Kind::List(_) | Kind::Map(_) => String::new(),
    }
}

fn field(value: &Value, name: &str) -> Option<String> {
    let Kind::Map(entries) = &value.kind else {
        return None;
    };
    let found = entries.iter().find(|(key, _)| key.text == name)?;
    Some(text_of(&found.1))
}

fn whole(value: &Value) -> String {
    // An environment file may be an object.
    field(value, "path").unwrap_or_else(|| text_of(value))
}

/// The place in the container.
fn target(value: &Value) -> String {
    if let Some(target) = field(value, "target") {
        return target;
    }
    let text = text_of(value);
    let mut parts = text.split(':');
    let first = parts.next().unwrap_or_default();
    parts.next().unwrap_or(first).to_owned()
}

/// A secret's or config's place in the container, or its name.
fn mounted(value: &Value) -> String {
    let target = field(value, "target").or_else(|| field(value, "source"));
    target.unwrap_or_else(|| text_of(value))
}

fn device(value: &Value) -> String {
    field(value, "target").unwrap_or_else(|| {
        let text = text_of(value);
        let mut parts = text.split(':');
        let first = parts.next().unwrap_or_default();
        parts.next().unwrap_or(first).to_owned()
    })
}

/// A port: the container's, the protocol, and where it is published.
fn port(value: &Value) -> String {
    if matches!(value.kind, Kind::Map(_)) {
        let of = |name: &str| field(value, name).unwrap_or_default();
        let protocol = field(value, "protocol").unwrap_or_else(|| "tcp".to_owned());
        return format!(
            "{}:{}:{}/{protocol}",
            of("host_ip"),
            of("published"),
            of("target")
        );
    }
    let text = text_of(value);
    let (ports, protocol) = text.split_once('/').unwrap_or((&text, "tcp"));
    let (host, port) = ports.rsplit_once(':').unwrap_or(("", ports));
    let (address, published) = host.rsplit_once(':').unwrap_or(("", host));
    format!("{address}:{published}:{port}/{protocol}")
}
