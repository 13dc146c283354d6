//! Compose files: each folder of `tests/compose` has one, perhaps with one on top of it (`compose.override.yaml`), and beside it the project that it is (`project.json`) with what of it
//! changes nothing (`notices.txt`), or what is wrong with it (`errors.txt`). `UPDATE=1` writes what is found.
//!
//! The list of keys is held against the specification's own schema (`data/compose-spec.json`), and docs/compose.md against the list.

#![allow(clippy::unwrap_used, reason = "a test's way to fail")]

mod golden;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use golden::{compare, folders, prune};
use isopod_spec::compose::keys::{KeyStatus, OBJECTS};
use isopod_spec::compose::one_off::{OneOffError, OneOffOptions};
use isopod_spec::compose::{self, ComposeSurroundings, Project};
use isopod_spec::kube::{File, PodFileErrors};
use isopod_spec::located::Fault;
use isopod_spec::{App, AppName, EnvVar, PodSpec};
use proptest::prelude::*;
use serde_json::{Value, json};

fn read(text: &str, profiles: &[&str], services: &[&str]) -> Result<Project, PodFileErrors> {
    read_all(
        &[("compose.yaml", text)],
        Path::new("/nowhere"),
        profiles,
        services,
    )
}

/// Reads files, with others beside them in `folder`.
fn read_all(
    files: &[(&str, &str)],
    folder: &Path,
    profiles: &[&str],
    services: &[&str],
) -> Result<Project, PodFileErrors> {
    let env = [
        ("DB_PASSWORD", "secret"),
        ("FROM_CALLER", "the caller's"),
        ("HOME", "/root"),
        ("USER_NAME", "Ada"),
    ];
    let env: BTreeMap<String, String> = env.map(|(name, value)| (name.into(), value.into())).into();
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let surroundings = ComposeSurroundings {
        env: &env,
        host_ip: [10, 0, 2, 2].into(),
        name: None,
        directory: "My.Project",
        profiles: &owned(profiles),
        services: &owned(services),
    };
    let files: Vec<File<'_>> = files.iter().map(|(name, text)| File { name, text }).collect();
    let open = |path: &Path| fs::read_to_string(folder.join(path)).map_err(|_| "it is not there".to_owned());
    compose::read(&files, &surroundings, &open)
}

fn listed(faults: &[Fault]) -> String {
    golden::listed(faults, Fault::hint)
}

#[test]
fn every_folder_is_read_as_it_says() {
    let mut wrong = String::new();
    for folder in folders("compose") {
        let text = |name: &str| {
            fs::read_to_string(folder.join(name))
                .ok()
                .map(|text| (name.to_owned(), text))
        };
        let files: Vec<_> = ["compose.yaml", "compose.override.yaml"]
            .into_iter()
            .filter_map(text)
            .collect();
        let files: Vec<_> = files
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        let (project, notices, errors) = match read_all(&files, &folder, &[], &[]) {
            Ok(project) => {
                let files = project.env_files.iter().map(|files| {
                    files
                        .iter()
                        .map(|file| json!({ "path": file.path, "optional": !file.required }))
                        .collect::<Vec<_>>()
                });
                let mut value = json!({
                    "name": project.name,
                    "services": project.services,
                    "envFiles": files.collect::<Vec<_>>(),
                    "labelFiles": project.label_files,
                    "volumes": project.volumes,
                    "externalVolumes": project.external_volumes,
                    "pod": project.pod,
                });
                prune(&mut value);
                (format!("{value:#}\n"), listed(&project.notices), String::new())
            }
            Err(errors) => (String::new(), String::new(), listed(&errors.faults)),
        };
        compare(&folder.join("project.json"), &project, &mut wrong);
        compare(&folder.join("notices.txt"), &notices, &mut wrong);
        compare(&folder.join("errors.txt"), &errors, &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn services_are_chosen_by_profiles_and_names() {
    let text = include_str!("compose/profiles/compose.yaml");
    let names = |profiles: &[&str], services: &[&str]| -> Vec<String> {
        let project = read(text, profiles, services).unwrap();
        project.services.into_iter().map(|(name, _)| name).collect()
    };
    // What a service depends on comes with it.
    assert_eq!(names(&[], &[]), ["web", "db"]);
    assert_eq!(names(&["debug"], &[]), ["web", "db", "debug"]);
    assert_eq!(names(&["*"], &[]), ["web", "db", "debug"]);
    assert_eq!(names(&[], &["debug"]), ["debug"]);
    assert_eq!(names(&[], &["db", "never"]), ["db", "never"]);
    assert!(listed(&read(text, &[], &["wbe"]).unwrap_err().faults).contains("there is no service `wbe`"));
}

#[test]
fn what_is_no_compose_file_is_refused() {
    for (text, says) in [
        ("", "there are no services"),
        ("services: {}", "there are no services"),
        ("a: 1\n---\nb: 2", "a compose file is one document"),
        ("services: [", "not YAML"),
        ("services:\n  a: {image: b}\nversion: 3", ""),
        ("[]", "expected an object"),
        ("services:\n  a: nothing", "expected an object"),
    ] {
        match read(text, &[], &[]) {
            Ok(_) => assert!(says.is_empty(), "{text}"),
            Err(errors) => assert!(
                listed(&errors.faults).contains(says),
                "{text}: {}",
                listed(&errors.faults)
            ),
        }
    }
}

/// The keys of the objects of the specification's schema that the list has by another name.
const OF_SCHEMA: [(&str, &str); 11] = [
    ("file", ""),
    ("service", "/definitions/service"),
    (
        "dependency",
        "/definitions/service/properties/depends_on/oneOf/1/patternProperties/^[a-zA-Z0-9._-]+$",
    ),
    ("healthcheck", "/definitions/healthcheck"),
    ("logging", "/definitions/service/properties/logging"),
    ("port", "/definitions/service/properties/ports/items/oneOf/2"),
    ("mount", "/definitions/service/properties/volumes/items/oneOf/1"),
    ("volume", "/definitions/volume"),
    ("file source", "/definitions/config"),
    ("deploy", "/definitions/deployment"),
    (
        "restart policy",
        "/definitions/deployment/properties/restart_policy",
    ),
];

#[test]
fn the_keys_are_those_of_the_specification() {
    let schema: Value = serde_json::from_str(include_str!("data/compose-spec.json")).unwrap();
    let keys = |object: &str| -> BTreeSet<String> {
        let (_, keys) = OBJECTS.iter().find(|(name, _)| *name == object).unwrap();
        keys.iter().map(|key| key.name.to_owned()).collect()
    };
    let properties = |pointer: &str| -> BTreeSet<String> {
        let object = schema.pointer(pointer).unwrap_or_else(|| panic!("{pointer}"));
        object["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    for (object, pointer) in OF_SCHEMA {
        let mut theirs = properties(pointer);
        if object == "file source" {
            theirs.extend(properties("/definitions/secret"));
        }
        assert_eq!(keys(object), theirs, "{object}");
    }
}

#[test]
fn the_page_about_compose_has_the_keys() {
    const BEGIN: &str = "<!-- The table is written by a test. -->\n";
    const END: &str = "<!-- end of the table -->\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/compose.md");
    let page = fs::read_to_string(&path).unwrap();
    let (head, rest) = page.split_once(BEGIN).unwrap();
    let (_, tail) = rest.split_once(END).unwrap();
    let mut table = String::from("| of | key | here | |\n|---|---|---|---|\n");
    for (object, keys) in OBJECTS.iter() {
        for key in keys {
            let (verdict, words) = match key.status {
                KeyStatus::Honoured(words) => ("honoured", words),
                KeyStatus::Ignored(words) => ("changes nothing", words),
                KeyStatus::Refused(words) => ("refused", words),
            };
            writeln!(
                table,
                "| {object} | `{}` | {verdict} | {} |",
                key.name,
                words.replace('|', "\\|")
            )
            .unwrap();
        }
    }
    let new = format!("{head}{BEGIN}{table}{END}{tail}");
    if std::env::var_os("UPDATE").is_some() {
        return fs::write(&path, &new).unwrap();
    }
    assert!(
        page == new,
        "docs/compose.md is stale: `UPDATE=1 cargo test -p isopod-spec --test compose`, and commit it"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever stands where, nothing ends the process.
    #[test]
    fn no_value_panics(line in 0..80_usize, other in "(\\$\\{|[ -~]){0,24}") {
        for text in [include_str!("compose/shop/compose.yaml"), include_str!("compose/long-forms/compose.yaml")] {
            let changed: Vec<String> = text
                .lines()
                .enumerate()
                .map(|(at, own)| match (at == line, own.split_once(':')) {
                    (true, Some((key, _))) => format!("{key}: {other}"),
                    _ => own.to_owned(),
                })
                .collect();
            let _ = read(&changed.join("\n"), &["*"], &[]);
        }
    }
}

/// `compose run`: what its flags say comes on top of the service, and the service's own ports only where they are asked for.
#[test]
fn a_command_in_a_service_of_its_own() {
    let text = "services:
  web: {image: web, ports: ['8080:80'], depends_on: [db], environment: {A: service}, user: ada, command: [serve], volumes: ['data:/data', 'more:/more']}
  db: {image: db, ports: ['5432:5432']}
volumes: {data: , more: }
";
    let project = read(text, &[], &[]).unwrap();
    let (web, others) = (AppName::new("web").unwrap(), read(text, &[], &["db"]).unwrap());
    assert_eq!(project.needed_by(&web), ["db"]);

    let mut own = App::new(web.clone(), project.pod.apps[0].image().unwrap().clone());
    own.overrides.env.push(EnvVar {
        name: "A".into(),
        value: Some("flag".into()),
        secret: false,
    });
    own.overrides.exec = Some("migrate".into());
    own.overrides.args = Some(vec!["--all".into()]);
    let [data, more] = &project.pod.apps[0].mounts[..] else {
        panic!("{:?}", project.pod.apps[0].mounts)
    };
    own.mounts.push(data.clone());
    let mut flags = PodSpec::new(vec![own]);
    flags.volumes.clone_from(&project.pod.volumes);
    let command = ["now".to_owned()];
    let options = OneOffOptions {
        name: None,
        suffix: "0123",
        flags: &flags,
        command: &command,
        tty: true,
        stdin: false,
        service_ports: true,
    };
    let one_off = project.one_off(&web, Some(&others), &options).unwrap();
    let app = &one_off.spec.apps[0];
    assert_eq!(app.name.as_str(), "myproject-web-run-0123");
    let overrides = &app.overrides;
    let args: Vec<&str> = overrides.args.iter().flatten().map(String::as_str).collect();
    assert_eq!(
        (overrides.exec.as_deref(), &args[..]),
        (Some("migrate"), &["--all", "now"][..])
    );
    assert_eq!((overrides.tty, overrides.user.as_deref()), (true, Some("ada")));
    let set: Vec<_> = overrides
        .env
        .iter()
        .filter_map(|variable| variable.value.as_deref())
        .collect();
    assert_eq!(set, ["service", "flag"]);
    // The flag's volume is at `/data` now, beside the one that the service keeps.
    let volumes: Vec<_> = one_off
        .spec
        .volumes
        .iter()
        .map(|volume| volume.name.to_string())
        .collect();
    assert_eq!(volumes, [more.volume.to_string(), format!("run-{}", data.volume)]);
    let ports: Vec<_> = one_off.ports.iter().map(|port| port.host_port).collect();
    assert_eq!(ports, [8080]);

    let alone = project.of_one_off("web", one_off).unwrap();
    assert_eq!(alone.name.unwrap().as_str(), "myproject-web-run-0123");
    assert_eq!(
        (alone.apps[0].name.as_str(), alone.apps[0].depends_on.len()),
        ("web", 0)
    );
    assert_eq!(alone.network.ports().len(), 1);

    let named = OneOffOptions {
        name: Some("No Name"),
        ..options
    };
    let refused = project.one_off(&web, None, &named).unwrap_err();
    assert_eq!(refused, OneOffError::Name("No Name".into()));
}
