//! The files of a project as one: those that the caller names, what they `include`, and the services of other files that
//! theirs extend.
//!
//! ```text
//! each file: text ─ values ─ `${NAME}` replaced ─ extends: merged onto the service that is extended ─┐
//!     what it includes: the same, its paths made those of the project, beside what is there ─────────┤
//! the next file of the caller: merged onto those before (merge.rs) <───────────────────────────────┘
//! ```
//!
//! The texts are one behind the other, and each value's place is one of that whole, so that whoever reads it needs to know of
//! no files; a fault's place is brought back to its file ([`Sources::locate`]). Other files are read by a function of the
//! caller's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::merge::{merged, settled, text_of};
use super::{document, read_dotenv, replaced};
use crate::kube::File;
use crate::located::{Fault, FaultKind, Faults, Key, Kind, Origin, Tag, Value};

/// The most files of a project.
const MAX_FILES: usize = 64;

/// The most services that extend each other in turn.
const MAX_EXTENDED: usize = 16;

/// Gives the text of a file by its path from the project's directory.
pub type Open<'a> = &'a dyn Fn(&Path) -> Result<String, String>;

/// The sections of a file whose names are a project's own.
const SECTIONS: [&str; 5] = ["services", "volumes", "networks", "secrets", "configs"];

/// A file that was read.
struct ReadFile {
    name: String,
    /// The lines of the whole before its first.
    lines_before: usize,
}

/// The files that were read so far.
pub(super) struct Sources<'a> {
    parts: Vec<ReadFile>,
    text: String,
    open: Open<'a>,
    faults: &'a Faults,
}

/// Where a file stands, and what it may use.
#[derive(Clone)]
struct Standing<'e> {
    /// Its directory, from the project's.
    dir: PathBuf,
    env: &'e BTreeMap<String, String>,
}

impl<'a> Sources<'a> {
    pub(super) fn new(open: Open<'a>, faults: &'a Faults) -> Self {
        Self {
            parts: Vec::new(),
            text: String::new(),
            open,
            faults,
        }
    }

    /// Reads the files of a project, each on top of those before; `None` where one cannot be read.
    pub(super) fn read(&mut self, files: &[File<'_>], env: &BTreeMap<String, String>) -> Option<Value> {
        let standing = Standing {
            dir: PathBuf::new(),
            env,
        };
        let mut whole: Option<Value> = None;
        for file in files {
            let next = self.file(file, &standing)?;
            whole = Some(match whole {
                Some(before) => merged(before, next, &mut Vec::new()),
                None => next,
            });
        }
        whole.map(settled)
    }

    /// All texts, one behind the other.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The faults with their places in their own files, in the order of the files.
    pub(super) fn locate(&self, mut faults: Vec<Fault>) -> Vec<Fault> {
        for fault in faults.iter_mut().filter(|fault| fault.at.file.is_empty()) {
            let part = self.parts.iter().rfind(|part| part.lines_before < fault.at.line);
            if let Some(part) = part {
                fault.at.file.clone_from(&part.name);
                fault.at.line -= part.lines_before;
            }
        }
        let number = |fault: &Fault| self.parts.iter().position(|part| part.name == fault.at.file);
        faults.sort_by_key(|fault| (number(fault), fault.at.line, fault.at.column));
        faults
    }

    /// A file, with what it extends and includes.
    fn file(&mut self, file: &File<'_>, standing: &Standing<'_>) -> Option<Value> {
        let value = self.plain(file, standing)?;
        let value = self.extended(value, standing);
        self.included(value, standing)
    }

    /// A file as it is written, its variables replaced.
    fn plain(&mut self, file: &File<'_>, standing: &Standing<'_>) -> Option<Value> {
        let origin = Origin {
            file: file.name,
            text: file.text,
            index: self.parts.len(),
            faults: self.faults,
        };
        if self.parts.len() >= MAX_FILES {
            let at = crate::located::At { line: 1, column: 1 };
            origin.report(
                at,
                "",
                FaultKind::Rule(format!("a project has at most {MAX_FILES} files")),
            );
            return None;
        }
        let value = document(file, origin).map(|value| replaced(value, origin, "", standing.env));
        let lines_before = self.text.matches('\n').count();
        let bytes_before = self.text.len();
        self.parts.push(ReadFile {
            name: file.name.to_owned(),
            lines_before,
        });
        self.text.push_str(file.text);
        self.text.push('\n');
        value.map(|value| moved(value, lines_before, bytes_before))
    }

    /// Another file, by its path from the project's directory.
    fn other(&mut self, path: &Path, asked: &Value, field: &str) -> Option<(String, String)> {
        match (self.open)(path) {
            Ok(text) => Some((path.display().to_string(), text)),
            Err(why) => {
                self.fault(asked, field, format!("cannot read `{}`: {why}", path.display()));
                None
            }
        }
    }

    /// Reports something about a value of the whole.
    fn fault(&self, value: &Value, field: &str, text: String) {
        let origin = Origin {
            file: "",
            text: "",
            index: usize::MAX,
            faults: self.faults,
        };
        origin.report(value.at, field, FaultKind::Rule(text));
    }

    /// The file with each service on top of the one that it extends.
    fn extended(&mut self, file: Value, standing: &Standing<'_>) -> Value {
        let names: Vec<String> = entries(&file, "services")
            .iter()
            .map(|(key, _)| key.text.clone())
            .collect();
        let mut services = Vec::new();
        for name in names {
            if let Some((key, value)) = self.service(&file, &name, standing, 0) {
                services.push((key, value));
            }
        }
        with_entries(file, "services", services)
    }

    /// A service with what it extends.
    fn service(
        &mut self,
        file: &Value,
        name: &str,
        standing: &Standing<'_>,
        depth: usize,
    ) -> Option<(Key, Value)> {
        let (key, service) = entries(file, "services")
            .iter()
            .find(|(key, _)| key.text == name)?
            .clone();
        let Some(extends) = get(&service, "extends").cloned() else {
            return Some((key, service));
        };
        let field = format!("services.{name}.extends");
        let (base, from) = match &extends.kind {
            Kind::Text(base) => (base.clone(), None),
            _ => {
                let of = |name| get(&extends, name).map(text_of);
                let Some(base) = of("service") else {
                    self.fault(
                        &extends,
                        &field,
                        "it does not say which `service` is extended".to_owned(),
                    );
                    return Some((key, without(service, "extends")));
                };
                (base, of("file"))
            }
        };
        let own = without(service, "extends");
        if depth >= MAX_EXTENDED {
            self.fault(
                &extends,
                &field,
                "the services extend each other in a cycle".to_owned(),
            );
            return Some((key, own));
        }
        let found = match from {
            None => self.service(file, &base, standing, depth + 1),
            Some(path) => {
                let path = standing.dir.join(path);
                let (name, text) = self.other(&path, &extends, &field)?;
                let below = Standing {
                    dir: path.parent().map(Path::to_owned).unwrap_or_default(),
                    env: standing.env,
                };
                let other = File {
                    name: &name,
                    text: &text,
                };
                let other = self.plain(&other, &below)?;
                let found = self.service(&other, &base, &below, depth + 1);
                found.map(|(key, value)| (key, with_paths(value, &relative(&standing.dir, &below.dir))))
            }
        };
        let Some((_, base_service)) = found else {
            self.fault(
                &extends,
                &field,
                format!("there is no service `{base}` that it could extend"),
            );
            return Some((key, own));
        };
        let mut place = vec!["services".to_owned(), name.to_owned()];
        Some((key, merged(base_service, own, &mut place)))
    }

    /// The file with what it includes beside its own.
    fn included(&mut self, file: Value, standing: &Standing<'_>) -> Option<Value> {
        let Some(include) = get(&file, "include").cloned() else {
            return Some(file);
        };
        let mut file = without(file, "include");
        let Kind::List(items) = &include.kind else {
            self.fault(&include, "include", "it is not a list of files".to_owned());
            return Some(file);
        };
        for (index, item) in items.iter().enumerate() {
            let field = format!("include[{index}]");
            let paths: Vec<String> = match get(item, "path") {
                Some(Value {
                    kind: Kind::List(paths),
                    ..
                }) => paths.iter().map(text_of).collect(),
                Some(path) => vec![text_of(path)],
                None => vec![text_of(item)],
            };
            let Some(first) = paths.first().filter(|path| !path.is_empty()) else {
                self.fault(item, &field, "it names no file".to_owned());
                continue;
            };
            let dir = match get(item, "project_directory") {
                Some(dir) => standing.dir.join(text_of(dir)),
                None => standing
                    .dir
                    .join(first)
                    .parent()
                    .map(Path::to_owned)
                    .unwrap_or_default(),
            };
            let env = self.env_of(item, &dir, standing, &field);
            let below = Standing {
                dir: dir.clone(),
                env: &env,
            };
            let mut whole: Option<Value> = None;
            for path in paths {
                let (name, text) = self.other(&standing.dir.join(path), item, &field)?;
                let next = File {
                    name: &name,
                    text: &text,
                };
                let next = self.file(&next, &below)?;
                whole = Some(match whole {
                    Some(before) => merged(before, next, &mut Vec::new()),
                    None => next,
                });
            }
            let whole = whole?;
            for section in SECTIONS {
                file = self.beside(file, &whole, section, &relative(&standing.dir, &dir));
            }
        }
        Some(file)
    }

    /// The variables of an included project: those of the one that includes it, and below them its own.
    fn env_of(
        &mut self,
        item: &Value,
        dir: &Path,
        standing: &Standing<'_>,
        field: &str,
    ) -> BTreeMap<String, String> {
        let mut env = standing.env.clone();
        let files: Vec<(PathBuf, bool)> = match get(item, "env_file") {
            Some(Value {
                kind: Kind::List(files),
                ..
            }) => files
                .iter()
                .map(|file| (standing.dir.join(text_of(file)), true))
                .collect(),
            Some(file) => vec![(standing.dir.join(text_of(file)), true)],
            None => vec![(dir.join(".env"), false)],
        };
        for (path, required) in files {
            let text = match (self.open)(&path) {
                Ok(text) => text,
                Err(why) => {
                    if required {
                        self.fault(item, field, format!("cannot read `{}`: {why}", path.display()));
                    }
                    continue;
                }
            };
            match read_dotenv(&text, standing.env) {
                Ok(found) => {
                    for (name, value) in found {
                        env.entry(name).or_insert(value);
                    }
                }
                Err(fault) => {
                    self.fault(
                        item,
                        field,
                        format!("{}:{}: {}", path.display(), fault.line, fault.what),
                    );
                }
            }
        }
        env
    }

    /// The file with the entries of a section of another one beside its own.
    fn beside(&mut self, file: Value, other: &Value, section: &str, dir: &Path) -> Value {
        let mut all: Vec<(Key, Value)> = Vec::new();
        for (key, value) in entries(other, section) {
            let value = match section {
                "services" => with_paths(value.clone(), dir),
                "secrets" | "configs" => with_path(value.clone(), "file", dir),
                _ => value.clone(),
            };
            all.push((key.clone(), value));
        }
        for (key, value) in entries(&file, section) {
            match all.iter().find(|(known, _)| known.text == key.text) {
                Some((_, same)) if same.kind == value.kind => {}
                Some(_) => self.fault(
                    value,
                    &format!("{section}.{}", key.text),
                    "an included file has another one of this name".to_owned(),
                ),
                None => all.push((key.clone(), value.clone())),
            }
        }
        match all.is_empty() {
            true => file,
            false => with_entries(file, section, all),
        }
    }
}

/// A directory as it is seen from another; both are from the project's.
fn relative(from: &Path, to: &Path) -> PathBuf {
    // A service's paths become those of the project at last: each step adds its own.
    to.strip_prefix(from)
        .map_or_else(|_| to.to_owned(), Path::to_owned)
}

fn get<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let Kind::Map(entries) = &value.kind else {
        return None;
    };
    let found = entries.iter().find(|(key, _)| key.text == name);
    found
        .map(|(_, value)| value)
        .filter(|value| value.kind != Kind::Null)
}

fn entries<'v>(file: &'v Value, section: &str) -> &'v [(Key, Value)] {
    match get(file, section).map(|section| &section.kind) {
        Some(Kind::Map(entries)) => entries,
        _ => &[],
    }
}

fn with_entries(mut file: Value, section: &str, new: Vec<(Key, Value)>) -> Value {
    let at = file.at;
    let Kind::Map(fields) = &mut file.kind else {
        return file;
    };
    match fields.iter_mut().find(|(key, _)| key.text == section) {
        // What is no object is for whoever reads it to refuse.
        Some((_, value)) if !matches!(value.kind, Kind::Map(_) | Kind::Null) => {}
        Some((_, value)) if new.is_empty() && value.kind == Kind::Null => {}
        Some((_, value)) => value.kind = Kind::Map(new),
        None if new.is_empty() => {}
        None => {
            let key = Key {
                at,
                text: section.to_owned(),
            };
            let value = Value {
                at,
                bytes: 0..0,
                tag: Tag::None,
                kind: Kind::Map(new),
            };
            fields.push((key, value));
        }
    }
    file
}

fn without(mut value: Value, name: &str) -> Value {
    if let Kind::Map(entries) = &mut value.kind {
        entries.retain(|(key, _)| key.text != name);
    }
    value
}

/// A value at its place in the whole.
fn moved(mut value: Value, lines: usize, bytes: usize) -> Value {
    value.at.line += lines;
    value.bytes = value.bytes.start + bytes..value.bytes.end + bytes;
    value.kind = match value.kind {
        Kind::List(items) => Kind::List(items.into_iter().map(|item| moved(item, lines, bytes)).collect()),
        Kind::Map(entries) => Kind::Map(
            entries
                .into_iter()
                .map(|(mut key, value)| {
                    key.at.line += lines;
                    (key, moved(value, lines, bytes))
                })
                .collect(),
        ),
        kind => kind,
    };
    value
}

/// A service whose relative paths are those of the directory `dir`.
fn with_paths(mut service: Value, dir: &Path) -> Value {
    if dir.as_os_str().is_empty() {
        return service;
    }
    let Kind::Map(fields) = &mut service.kind else {
        return service;
    };
    for (key, value) in fields {
        let change: fn(Value, &Path) -> Value = match key.text.as_str() {
            "volumes" => volume,
            "env_file" => env_file,
            "label_file" => text_path,
            _ => continue,
        };
        let before = std::mem::replace(value, none());
        *value = match before.kind {
            Kind::List(items) => Value {
                kind: Kind::List(items.into_iter().map(|item| change(item, dir)).collect()),
                ..before
            },
            kind => change(Value { kind, ..before }, dir),
        };
    }
    service
}

fn none() -> Value {
    Value {
        at: crate::located::At::default(),
        bytes: 0..0,
        tag: Tag::None,
        kind: Kind::Null,
    }
}

fn volume(value: Value, dir: &Path) -> Value {
    match &value.kind {
        // `./source:/target`: other sources are names.
        Kind::Text(text) if text.starts_with('.') => {
            let (source, rest) = text.split_once(':').unwrap_or((text, ""));
            let joined = dir.join(source).display().to_string();
            let text = match rest.is_empty() {
                true => joined,
                false => format!("{}:{rest}", dotted(&joined)),
            };
            Value {
                kind: Kind::Text(text),
                ..value
            }
        }
        Kind::Map(_) if get(&value, "type").map(text_of).as_deref() == Some("bind") => {
            with_path(value, "source", dir)
        }
        _ => value,
    }
}

/// A relative path that is seen to be one.
fn dotted(path: &str) -> String {
    match path.starts_with(['/', '.']) {
        true => path.to_owned(),
        false => format!("./{path}"),
    }
}

fn env_file(value: Value, dir: &Path) -> Value {
    match value.kind {
        Kind::Map(_) => with_path(value, "path", dir),
        _ => text_path(value, dir),
    }
}

fn text_path(value: Value, dir: &Path) -> Value {
    match &value.kind {
        Kind::Text(path) if !path.starts_with(['/', '~']) => Value {
            kind: Kind::Text(dir.join(path).display().to_string()),
            ..value
        },
        _ => value,
    }
}

/// An object whose field `name` is a path.
fn with_path(mut value: Value, name: &str, dir: &Path) -> Value {
    if let Kind::Map(entries) = &mut value.kind {
        for (_, path) in entries.iter_mut().filter(|(key, _)| key.text == name) {
            let before = std::mem::replace(path, none());
            *path = text_path(before, dir);
        }
    }
    value
}
