//! The table of the API's fields against the API's own schema, which the crate `k8s-openapi` brings, and
//! `docs/pod-files.md` against the table.
//!
//! `UPDATE=1 cargo test -p isopod-spec --test kube_api` writes the document's table again.

#![allow(clippy::unwrap_used, reason = "a test's way to fail")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use isopod_spec::kube::table::{FieldStatus, FieldType, TYPES};
use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::batch::v1 as batch;
use k8s_openapi::api::core::v1 as api;
use serde_json::Value;

/// Every type that a pod file reaches: its fields, each with the table's word for its type and whether it must be there.
fn schema() -> BTreeMap<String, BTreeMap<String, (String, bool)>> {
    let mut generator = schemars::SchemaGenerator::default();
    generator.subschema_for::<api::Pod>();
    generator.subschema_for::<api::ConfigMap>();
    generator.subschema_for::<api::Secret>();
    generator.subschema_for::<api::PersistentVolumeClaim>();
    generator.subschema_for::<api::PersistentVolume>();
    generator.subschema_for::<api::ReplicationController>();
    generator.subschema_for::<apps::Deployment>();
    generator.subschema_for::<apps::StatefulSet>();
    generator.subschema_for::<apps::DaemonSet>();
    generator.subschema_for::<apps::ReplicaSet>();
    generator.subschema_for::<batch::Job>();
    generator.subschema_for::<batch::CronJob>();
    let mut types = BTreeMap::new();
    for (name, schema) in generator.take_definitions(true) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            continue;
        };
        let required = schema
            .get("required")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let field = |(name, schema): (&String, &Value)| {
            let required = required.iter().any(|other| other == name);
            (name.clone(), (type_text(schema), required))
        };
        types.insert(last(&name), properties.iter().map(field).collect());
    }
    types
}

fn last(name: &str) -> String {
    name.rsplit('.').next().unwrap_or(name).to_owned()
}

fn type_text(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        return last(reference);
    }
    if let Some(all) = schema["allOf"].as_array() {
        return type_text(&all[0]);
    }
    match (
        schema["type"].as_str(),
        &schema["additionalProperties"],
        schema["format"].as_str(),
    ) {
        (Some("array"), ..) => format!("[{}]", type_text(&schema["items"])),
        (Some("object"), values, _) if values.is_object() => format!("{{{}}}", type_text(values)),
        (Some("string"), _, Some("byte")) => "bytes".to_owned(),
        (Some(name), ..) => name.to_owned(),
        (None, ..) => panic!("a schema without a type: {schema}"),
    }
}

#[test]
fn the_table_has_every_field_of_the_api_and_no_other() {
    let schema = schema();
    let mut wrong = String::new();
    let known: BTreeSet<&str> = TYPES.iter().map(|(name, _)| *name).collect();
    for name in schema.keys().filter(|name| !known.contains(name.as_str())) {
        writeln!(wrong, "the table has no type {name}").unwrap();
    }
    for (name, fields) in TYPES.iter() {
        let Some(schema) = schema.get(*name) else {
            writeln!(wrong, "the API has no type {name}").unwrap();
            continue;
        };
        let own: BTreeMap<String, (String, bool)> = fields
            .iter()
            .map(|field| {
                (
                    field.name.to_owned(),
                    (field.type_text.to_owned(), field.required),
                )
            })
            .collect();
        assert_eq!(own.len(), fields.len(), "{name} has a field twice");
        for field in schema.keys().chain(own.keys()).collect::<BTreeSet<_>>() {
            if own.get(field) != schema.get(field) {
                writeln!(
                    wrong,
                    "{name}.{field}: table {:?}, API {:?}",
                    own.get(field),
                    schema.get(field)
                )
                .unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A field that is honoured is one that some reader asks for.
#[test]
fn no_honoured_field_is_forgotten() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kube");
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let mut text = read(&sources.with_extension("rs"));
    for entry in fs::read_dir(sources).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "rs") {
            text += &read(&path);
        }
    }
    let forgotten: Vec<String> = TYPES
        .iter()
        .flat_map(|(name, fields)| fields.iter().map(move |field| (name, field)))
        .filter(|(_, field)| matches!(field.status, FieldStatus::Honoured(_)))
        .filter(|(_, field)| !text.contains(&format!("\"{}\"", field.name)))
        .map(|(name, field)| format!("{name}.{}", field.name))
        .collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
}

/// The table as the document has it.
fn document() -> String {
    let mut out = String::new();
    let count = |wanted: fn(&FieldStatus) -> bool| {
        let fields = TYPES.iter().flat_map(|(_, fields)| fields);
        fields.filter(|field| wanted(&field.status)).count()
    };
    writeln!(
        out,
        "{} fields of {} types: {} honoured, {} ignored, {} refused, {} parts of ignored and refused ones.",
        count(|_| true),
        TYPES.len(),
        count(|status| matches!(status, FieldStatus::Honoured(_))),
        count(|status| matches!(status, FieldStatus::Ignored(_))),
        count(|status| matches!(status, FieldStatus::Refused(_))),
        count(|status| matches!(status, FieldStatus::Inherited)),
    )
    .unwrap();
    let mut rest = Vec::new();
    for (name, fields) in TYPES.iter() {
        if fields.iter().any(|field| field.status == FieldStatus::Inherited) {
            rest.push((name, fields));
            continue;
        }
        writeln!(out, "\n#### {name}\n\n| field | status | |\n|---|---|---|").unwrap();
        for field in fields {
            let (word, words) = match field.status {
                FieldStatus::Honoured(how) => ("honoured", how),
                FieldStatus::Ignored(why) => ("ignored", why),
                FieldStatus::Refused(why) => ("refused", why),
                FieldStatus::Inherited => unreachable!("sorted out above"),
            };
            writeln!(out, "| `{}` | {word} | {words} |", field.name).unwrap();
        }
    }
    writeln!(
        out,
        "\n#### Parts of ignored and refused fields\n\n| type | part of | fields |\n|---|---|---|"
    )
    .unwrap();
    for (name, fields) in rest {
        let users = TYPES.iter().flat_map(|(user, fields)| {
            let of = fields.iter().filter(|field| field.of == FieldType::Object(name));
            of.map(move |field| format!("`{user}.{}`", field.name))
        });
        let users: Vec<String> = users.collect();
        let fields: Vec<String> = fields.iter().map(|field| format!("`{}`", field.name)).collect();
        writeln!(out, "| {name} | {} | {} |", users.join(", "), fields.join(", ")).unwrap();
    }
    out
}

#[test]
fn the_document_has_the_table() {
    const BEGIN: &str = "<!-- the table: UPDATE=1 cargo test -p isopod-spec --test kube_api -->\n";
    const END: &str = "<!-- end of the table -->\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/pod-files.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text
        .split_once(BEGIN)
        .expect("the document has the mark of the table's beginning");
    let (table, after) = rest
        .split_once(END)
        .expect("the document has the mark of the table's end");
    let expected = document();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
    } else {
        assert!(
            table == expected,
            "`UPDATE=1` writes the table of docs/pod-files.md anew"
        );
    }
}
