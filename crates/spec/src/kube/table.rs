//! The fields of the API and what becomes of each: `fields.txt`, as it is compiled in.
//!
//! The file is the one place that says so: the reader, `docs/pod-files.md` and the tests are made from it.

use std::collections::HashMap;
use std::sync::LazyLock;

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldStatus {
    /// The pod is as it says; how, where that needs words.
    Honoured(&'static str),
    /// It asks for nothing that a host alone could do; why.
    Ignored(&'static str),
    /// A pod file that sets it is refused; why.
    Refused(&'static str),
    /// Its type is one of ignored and refused fields only.
    Inherited,
}

/// The type of a field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// Text; also `Time`.
    Text,
    /// Base64.
    Bytes,
    /// A whole number.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A number or a text (`Quantity`, `IntOrString`).
    NumberOrText,
    /// Any object (`FieldsV1`).
    Any,
    /// An object with the fields of that type.
    Object(&'static str),
}

/// How often the value of a field has its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Once.
    One,
    /// As the items of a list.
    List,
    /// As the values of a map whose keys are the user's.
    Map,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// Its type as the table writes it.
    pub type_text: &'static str,
    /// How often it has its type.
    pub shape: Shape,
    pub of: FieldType,
    /// What becomes of it.
    pub status: FieldStatus,
}

/// The types, in the order of the file, each with its fields.
pub static TYPES: LazyLock<Vec<(&'static str, Vec<Field>)>> =
    LazyLock::new(|| read(include_str!("fields.txt")));

static BY_NAME: LazyLock<HashMap<&'static str, &'static [Field]>> = LazyLock::new(|| {
    TYPES
        .iter()
        .map(|(name, fields)| (*name, fields.as_slice()))
        .collect()
});

/// The fields of a type; none for one that the table does not have.
pub(super) fn fields(name: &str) -> &'static [Field] {
    BY_NAME.get(name).copied().unwrap_or_default()
}

fn read(text: &'static str) -> Vec<(&'static str, Vec<Field>)> {
    let mut types: Vec<(&str, Vec<Field>)> = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        match (line.strip_prefix("  "), types.last_mut()) {
            (Some(line), Some((_, fields))) => fields.push(read_field(line)),
            _ => types.push((line, Vec::new())),
        }
    }
    types
}

fn read_field(line: &'static str) -> Field {
    let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (type_text, status) = rest.trim_start().split_once(' ').unwrap_or((rest, ""));
    let status = status.trim();
    let (word, words) = status.split_once(": ").unwrap_or((status, ""));
    let bare = type_text.trim_matches(['[', ']', '{', '}']);
    Field {
        name: name.trim_end_matches('!'),
        required: name.ends_with('!'),
        type_text,
        shape: match type_text.bytes().next() {
            Some(b'[') => Shape::List,
            Some(b'{') => Shape::Map,
            _ => Shape::One,
        },
        of: match bare {
            "string" | "Time" => FieldType::Text,
            "bytes" => FieldType::Bytes,
            "integer" => FieldType::Integer,
            "boolean" => FieldType::Boolean,
            "Quantity" | "IntOrString" => FieldType::NumberOrText,
            // The latter have no fields in the API's schema.
            "FieldsV1"
            | "WorkloadPodGroupAllDisruptionMode"
            | "WorkloadPodGroupSingleDisruptionMode"
            | "WorkloadPodGroupBasicSchedulingPolicy" => FieldType::Any,
            name => FieldType::Object(name),
        },
        status: match word {
            "honoured" => FieldStatus::Honoured(words),
            "ignored" => FieldStatus::Ignored(words),
            "refused" => FieldStatus::Refused(words),
            _ => FieldStatus::Inherited,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_status_and_a_known_type() {
        assert!(TYPES.len() > 150);
        for (name, fields) in TYPES.iter() {
            assert!(!fields.is_empty(), "{name}");
            for field in fields {
                let path = format!("{name}.{}", field.name);
                if let FieldType::Object(of) = field.of {
                    assert!(BY_NAME.contains_key(of), "{path}: {of}");
                }
                match field.status {
                    FieldStatus::Ignored(why) | FieldStatus::Refused(why) => {
                        assert!(!why.is_empty(), "{path}")
                    }
                    FieldStatus::Honoured(_) | FieldStatus::Inherited => {}
                }
            }
        }
        let container = fields("Container");
        let image = container.iter().find(|field| field.name == "image").unwrap();
        assert!(matches!(image.status, FieldStatus::Honoured(_)));
        assert!(
            container
                .iter()
                .any(|field| field.name == "name" && field.required)
        );
    }

    /// What is reached only through ignored and refused fields has no status of its own, and all else has one.
    #[test]
    fn a_status_is_inherited_where_no_honoured_field_leads() {
        let mut live = vec![
            "Pod",
            "ConfigMap",
            "Secret",
            "PersistentVolumeClaim",
            "PersistentVolume",
            "Deployment",
            "StatefulSet",
            "DaemonSet",
            "ReplicaSet",
            "ReplicationController",
            "Job",
            "CronJob",
        ];
        let mut next = 0;
        while let Some(name) = live.get(next).copied() {
            next += 1;
            for field in fields(name) {
                if let (FieldType::Object(of), FieldStatus::Honoured(_)) = (field.of, field.status)
                    && !live.contains(&of)
                {
                    live.push(of);
                }
            }
        }
        for (name, fields) in TYPES.iter() {
            for field in fields {
                let inherits = field.status == FieldStatus::Inherited;
                assert_eq!(inherits, !live.contains(name), "{name}.{}", field.name);
            }
        }
    }
}
