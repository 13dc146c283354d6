//! Reads compose files: a project is one pod, and each of its services an app.
//!
//! ```text
//! files ─ sources.rs: values with their places, of all files ─ interpolate.rs: `${NAME}` ─ keys.rs: the specification's keys ─┐
//!   ┌─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────┘
//!   └─ profiles.rs: which services ─ service.rs: each an app; mounts.rs: its volumes; shared.rs: what is the whole pod's ─> PodSpec
//! ```
//!
//! The services share the pod's network: their names lead to 127.0.0.1, and two of them cannot have one port. Values that
//! have the form of docker's flags are read by their readers. Every fault is reported with its file, line and key; what
//! changes nothing is reported too, as a notice.

mod dotenv;
mod interpolate;
pub mod keys;
mod merge;
mod mounts;
pub mod one_off;
mod profiles;
mod service;
mod shared;
mod sources;
mod values;

pub use dotenv::read_dotenv;
pub use shared::PROJECT_LABEL;
pub use sources::Open;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::check;
use crate::kube::{File, PodFileErrors};
use crate::located::{At, Fault, FaultKind, Faults, Kind, Node, Origin, Value, read_yaml};
use crate::tree::{Fields, Tree};
use crate::{AppName, PodName, PodSpec, Vm};
use shared::Shared;
use sources::Sources;

/// What a compose file does not say.
#[derive(Clone, Copy, Debug)]
pub struct ComposeSurroundings<'a> {
    /// The variables that the file may use: the caller's, and below them those of `.env`.
    pub env: &'a BTreeMap<String, String>,
    /// The address by which a pod reaches the host.
    pub host_ip: IpAddr,
    /// The name of the project, where the caller gives it one.
    pub name: Option<&'a str>,
    /// The name of the project's directory, which otherwise is the project's.
    pub directory: &'a str,
    /// The profiles that are asked for; `*` is every one.
    pub profiles: &'a [String],
    /// The services that are asked for, and with them those that they depend on; none: all.
    pub services: &'a [String],
}

/// A project that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its name, which is the pod's.
    pub name: PodName,
    /// The pod. Relative paths are those of the project's directory.
    pub pod: PodSpec,
    /// The services with the apps that they are, in the order of the file.
    pub services: Vec<(String, AppName)>,
    /// The files of variables of each app, whose values come below those that the app has.
    pub env_files: Vec<Vec<EnvFile>>,
    /// The files of labels, which come below those that the pod has.
    pub label_files: Vec<PathBuf>,
    /// The named volumes that are the project's own.
    pub volumes: Vec<String>,
    /// The named volumes that must be there already.
    pub external_volumes: Vec<String>,
    /// What of the file changes nothing, or is another thing here.
    pub notices: Vec<Fault>,
    /// The file with its variables replaced, as YAML.
    pub config: String,
}

/// A file of variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvFile {
    pub path: PathBuf,
    /// Whether it must be there.
    pub required: bool,
    /// Whether its values are taken as they stand, as docker's `--env-file` does (`format: raw`).
    pub raw: bool,
}

/// Reads the project of its files, each on top of those before; what they include and extend is read by `open`.
///
/// # Errors
/// [`PodFileErrors`] with every fault of the files.
pub fn read(
    files: &[File<'_>],
    surroundings: &ComposeSurroundings<'_>,
    open: Open<'_>,
) -> Result<Project, PodFileErrors> {
    let faults = Faults::default();
    let mut sources = Sources::new(open, &faults);
    let value = sources.read(files, surroundings.env);
    let origin = Origin {
        file: "",
        text: sources.text(),
        index: usize::MAX,
        faults: &faults,
    };
    let project = value
        .as_ref()
        .and_then(|value| project(&Node::root(origin, value), surroundings));
    let is_notice = |fault: &Fault| matches!(fault.kind, FaultKind::Notice(_) | FaultKind::InPart(_));
    let found = sources.locate(faults.take_sorted());
    let (notices, faults): (Vec<Fault>, Vec<Fault>) = found.into_iter().partition(is_notice);
    match project {
        Some(project) if faults.is_empty() => Ok(Project { notices, ..project }),
        _ => Err(PodFileErrors { faults }),
    }
}

/// The only document of the file.
fn document(file: &File<'_>, origin: Origin<'_>) -> Option<Value> {
    let begin = At { line: 1, column: 1 };
    match read_yaml(file.text) {
        Ok(mut documents) if documents.len() == 1 => documents.pop(),
        Ok(documents) => {
            let (at, what) = match documents.get(1) {
                None => (begin, "there are no services"),
                Some(second) => (second.at, "a compose file is one document"),
            };
            origin.report(at, "", FaultKind::Rule(what.to_owned()));
            None
        }
        Err((at, message)) => {
            let language = "YAML";
            origin.report(at, "", FaultKind::Syntax { language, message });
            None
        }
    }
}

/// The value with the variables of its texts replaced; keys stay as they are.
fn replaced(value: Value, origin: Origin<'_>, field: &str, env: &BTreeMap<String, String>) -> Value {
    let below = |name: &str| match field.is_empty() {
        true => name.to_owned(),
        false => format!("{field}.{name}"),
    };
    let at = value.at;
    let kind = match value.kind.clone() {
        Kind::Text(text) => Kind::Text(match interpolate::interpolate(&text, env) {
            Ok(done) => {
                for name in done.unset {
                    let notice = format!("the variable `{name}` is not set, and counts as empty");
                    origin.report(at, field, FaultKind::Notice(notice));
                }
                done.text
            }
            Err(why) => {
                origin.report(at, field, FaultKind::Rule(why));
                text
            }
        }),
        Kind::List(items) => Kind::List(
            items
                .into_iter()
                .enumerate()
                .map(|(index, item)| replaced(item, origin, &format!("{field}[{index}]"), env))
                .collect(),
        ),
        Kind::Map(entries) => Kind::Map(
            entries
                .into_iter()
                .map(|(key, item)| {
                    let item = replaced(item, origin, &below(&key.text), env);
                    (key, item)
                })
                .collect(),
        ),
        kind => kind,
    };
    Value { kind, ..value }
}

fn project(file: &Node<'_>, surroundings: &ComposeSurroundings<'_>) -> Option<Project> {
    keys::check(file, "file");
    let name = project_name(file, surroundings)?;
    let chosen = profiles::chosen(file, surroundings);
    if chosen.is_empty() {
        file.rule("there are no services, or none of the profiles that are asked for");
        return None;
    }
    let mut shared = Shared::new(file, &name, &chosen, surroundings);
    let mut apps = Vec::new();
    let mut env_files = Vec::new();
    let mut label_files = Vec::new();
    let mut services = Vec::new();
    for service in &chosen {
        // The faults of the others are wanted too.
        if let Some((app, files)) = service::read(service, &mut shared, &apps) {
            services.push((service.name.to_owned(), app.name.clone()));
            apps.push(app);
            env_files.push(files);
            label_files.extend(service::label_files(&service.node));
        }
    }
    if apps.len() < chosen.len() {
        return None;
    }
    let mut pod = PodSpec::new(apps);
    pod.vm = Vm::holding(&pod.apps);
    let (volumes, external_volumes) = shared.finish(&mut pod);
    pod.name = Some(name.clone());
    for fault in check::check(&pod) {
        file.fault(FaultKind::Pod(fault));
    }
    Some(Project {
        name,
        pod,
        services,
        env_files,
        label_files,
        volumes,
        external_volumes,
        notices: Vec::new(),
        config: written(file),
    })
}

/// The project's name: the caller's, the file's, or its directory's, of which compose takes what may be in a name.
fn project_name(file: &Node<'_>, surroundings: &ComposeSurroundings<'_>) -> Option<PodName> {
    let own = file.text("name").map(|(_, name)| name);
    let made = || {
        let lower = surroundings.directory.to_lowercase();
        let kept: String = lower
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c))
            .collect();
        kept.trim_start_matches(['-', '_']).to_owned()
    };
    let name = surroundings.name.or(own).map_or_else(made, str::to_owned);
    match PodName::new(name) {
        Ok(name) => Some(name),
        Err(error) => {
            file.rule(format!(
                "{error}: name the project with `name: NAME`, or `--project-name NAME`"
            ));
            None
        }
    }
}

/// The file as YAML.
fn written(file: &Node<'_>) -> String {
    serde_saphyr::to_string(&tree(file)).unwrap_or_default()
}

fn tree(node: &Node<'_>) -> Tree {
    match node.kind() {
        Kind::Null => Tree::Text(String::new()),
        Kind::Integer(number) => Tree::Number(*number),
        // As it is written: `yes` is a text to compose, and `1.10` no number.
        Kind::Boolean(_) | Kind::Number(_) => match values::word(node).as_deref() {
            Some("true") => Tree::Boolean(true),
            Some("false") => Tree::Boolean(false),
            word => Tree::Text(word.unwrap_or_default().to_owned()),
        },
        Kind::Text(text) => Tree::Text(text.clone()),
        Kind::List(_) => Tree::List(node.own_items().iter().map(tree).collect()),
        Kind::Map(_) => {
            let fields = values::fields(node).into_iter();
            Tree::Object(fields.fold(Fields::new(), |fields, (key, value)| {
                fields.with(&key.text, tree(&value))
            }))
        }
    }
}
