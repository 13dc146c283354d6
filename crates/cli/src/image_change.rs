//! Changes of an image's config (image-spec, config.md): what an app was run with, and instructions of a Dockerfile.

use std::collections::BTreeMap;

use isopod_spec::Overrides;
use serde_json::{Map, Value, json};

/// A change that an instruction asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConfigChange {
    /// A field gets this value.
    Set(&'static str, Value),
    /// A variable gets this value.
    Env(String, String),
    /// Names are added to a set (`ExposedPorts`, `Volumes`).
    Add(&'static str, Vec<String>),
    Labels(BTreeMap<String, String>),
    /// Several of them.
    All(Vec<ConfigChange>),
    /// The directory, from the one before where it is relative.
    WorkingDir(String),
}

const KNOWN: &str =
    "the instructions are CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME and WORKDIR";

impl ConfigChange {
    /// Reads an instruction, as in a Dockerfile.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, rest) = text
            .trim()
            .split_once(char::is_whitespace)
            .unwrap_or((text.trim(), ""));
        // `CMD=["a"]` is what podman's users write.
        let (name, rest) = match name.split_once('=') {
            Some((name, value)) if rest.is_empty() => (name, value),
            Some((name, _)) => (name, &text.trim()[name.len() + 1..]),
            None => (name, rest.trim()),
        };
        if rest.is_empty() {
            return Err(format!("`{}` has no value", name.escape_debug()));
        }
        match name.to_ascii_uppercase().as_str() {
            "CMD" => Ok(Self::Set("Cmd", command(rest)?)),
            "ENTRYPOINT" => Ok(Self::Set("Entrypoint", command(rest)?)),
            "STOPSIGNAL" => Ok(Self::Set("StopSignal", rest.into())),
            "USER" => Ok(Self::Set("User", rest.into())),
            "WORKDIR" => Ok(Self::WorkingDir(rest.to_owned())),
            "EXPOSE" => Ok(Self::Add(
                "ExposedPorts",
                rest.split_whitespace().map(port).collect::<Result<_, _>>()?,
            )),
            "VOLUME" => Ok(Self::Add(
                "Volumes",
                match rest.starts_with('[') {
                    true => strings(rest)?,
                    false => words(rest)?,
                },
            )),
            "ENV" => {
                let pairs = pairs(rest)?.into_iter();
                Ok(Self::All(
                    pairs.map(|(name, value)| Self::Env(name, value)).collect(),
                ))
            }
            "LABEL" => Ok(Self::Labels(pairs(rest)?.into_iter().collect())),
            _ => Err(format!("`{}` is not supported; {KNOWN}", name.escape_debug())),
        }
    }

    fn apply(&self, config: &mut Value) {
        match self {
            Self::Set(field, value) => config[*field] = value.clone(),
            Self::Env(name, value) => set_env(config, name, value),
            Self::Add(field, names) => {
                let set = object(config, field);
                set.extend(names.iter().map(|name| (name.clone(), json!({}))));
            }
            Self::Labels(labels) => {
                let set = object(config, "Labels");
                set.extend(
                    labels
                        .iter()
                        .map(|(name, value)| (name.clone(), value.clone().into())),
                );
            }
            Self::All(changes) => changes.iter().for_each(|change| change.apply(config)),
            Self::WorkingDir(dir) => {
                let before = config["WorkingDir"].as_str().filter(|dir| !dir.is_empty());
                let dir = std::path::Path::new(before.unwrap_or("/")).join(dir);
                config["WorkingDir"] = dir.to_string_lossy().into();
            }
        }
    }
}

/// Makes the changes in their order. An entry point without a command beside it takes the command away, as in a Dockerfile.
pub(crate) fn apply(config: &mut Value, changes: &[ConfigChange]) {
    let sets = |field| {
        changes
            .iter()
            .any(|change| matches!(change, ConfigChange::Set(set, _) if *set == field))
    };
    if sets("Entrypoint") && !sets("Cmd") {
        config["Cmd"] = Value::Null;
    }
    changes.iter().for_each(|change| change.apply(config));
}

/// Gives the config what an app was run with; secrets are left out.
pub(crate) fn as_run(config: &mut Value, overrides: &Overrides, labels: &BTreeMap<String, String>) {
    if let Some(program) = &overrides.exec {
        config["Entrypoint"] = match program.is_empty() {
            true => Value::Null,
            false => json!([program]),
        };
        config["Cmd"] = Value::Null;
    }
    if let Some(args) = overrides
        .args
        .as_ref()
        .filter(|_| overrides.secret_args.is_empty())
    {
        config["Cmd"] = json!(args);
    }
    for variable in overrides.env.iter().filter(|variable| !variable.secret) {
        if let Some(value) = &variable.value {
            set_env(config, &variable.name, value);
        }
    }
    if let Some(user) = &overrides.user {
        let group = overrides.group.as_ref().map(|group| format!(":{group}"));
        config["User"] = format!("{user}{}", group.unwrap_or_default()).into();
    }
    if let Some(dir) = &overrides.working_dir {
        config["WorkingDir"] = dir.to_string_lossy().into();
    }
    if let Some(signal) = &overrides.stop_signal {
        config["StopSignal"] = signal.clone().into();
    }
    if !labels.is_empty() {
        ConfigChange::Labels(labels.clone()).apply(config);
    }
}

fn object<'v>(config: &'v mut Value, field: &str) -> &'v mut Map<String, Value> {
    if !config[field].is_object() {
        config[field] = json!({});
    }
    match &mut config[field] {
        Value::Object(map) => map,
        _ => unreachable!("it was made one"),
    }
}

fn set_env(config: &mut Value, name: &str, value: &str) {
    let variable = Value::from(format!("{name}={value}"));
    let is_it = |known: &Value| {
        known
            .as_str()
            .and_then(|known| known.split_once('='))
            .is_some_and(|(known, _)| known == name)
    };
    match &mut config["Env"] {
        Value::Array(all) => match all.iter_mut().find(|known| is_it(known)) {
            Some(known) => *known = variable,
            None => all.push(variable),
        },
        none => *none = json!([variable]),
    }
}

/// A command as JSON or for a shell.
fn command(text: &str) -> Result<Value, String> {
    Ok(match text.starts_with('[') {
        true => json!(strings(text)?),
        false => json!(["/bin/sh", "-c", text]),
    })
}

fn strings(text: &str) -> Result<Vec<String>, String> {
    serde_json::from_str(text).map_err(|error| format!("it is not a JSON list of strings: {error}"))
}

fn words(text: &str) -> Result<Vec<String>, String> {
    shlex::split(text).ok_or_else(|| "a quotation mark has no end".to_owned())
}

/// `A=b C=d`, or `A b`.
fn pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let first = text.split_whitespace().next().unwrap_or_default();
    if !first.contains('=') {
        let (name, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        return match value.trim() {
            "" => Err(format!("`{}` has no value", name.escape_debug())),
            value => Ok(vec![(name.to_owned(), value.to_owned())]),
        };
    }
    let pair = |word: &String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{}` is not NAME=VALUE", word.escape_debug())),
    };
    words(text)?.iter().map(pair).collect()
}

fn port(text: &str) -> Result<String, String> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let known = matches!(protocol, "tcp" | "udp" | "sctp");
    match number.parse::<u16>() {
        Ok(1..) if known => Ok(format!("{number}/{protocol}")),
        _ => Err(format!("`{}` is not a port", text.escape_debug())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(config: Value, instructions: &[&str]) -> Value {
        let changes: Vec<_> = instructions
            .iter()
            .map(|text| ConfigChange::parse(text).unwrap())
            .collect();
        let mut config = config;
        apply(&mut config, &changes);
        config
    }

    #[test]
    fn instructions_are_a_dockerfiles() {
        let base = json!({ "Cmd": ["old"], "Env": ["PATH=/bin", "A=1"], "WorkingDir": "/srv" });
        let config = changed(
            base.clone(),
            &[
                "ENV A=2 B='three words'",
                "ENV C d e",
                "expose 80 53/udp",
                "LABEL a=b \"c d\"=e",
                "WORKDIR web",
                "USER 7:8",
                "VOLUME /a /b",
                "STOPSIGNAL SIGQUIT",
                "CMD [\"nginx\", \"-g\"]",
            ],
        );
        let expected = json!({
            "Cmd": ["nginx", "-g"],
            "Env": ["PATH=/bin", "A=2", "B=three words", "C=d e"],
            "ExposedPorts": { "80/tcp": {}, "53/udp": {} },
            "Labels": { "a": "b", "c d": "e" },
            "WorkingDir": "/srv/web",
            "User": "7:8",
            "Volumes": { "/a": {}, "/b": {} },
            "StopSignal": "SIGQUIT",
        });
        assert_eq!(config, expected);
        let config = changed(base, &["ENTRYPOINT exec top -b", "CMD=[]"]);
        assert_eq!(config["Entrypoint"], json!(["/bin/sh", "-c", "exec top -b"]));
        assert_eq!(config["Cmd"], json!([]));
        let alone = changed(json!({ "Cmd": ["old"] }), &["ENTRYPOINT [\"/x\"]"]);
        assert_eq!(alone["Cmd"], Value::Null);
        for bad in [
            "RUN ls",
            "CMD",
            "ENV A",
            "EXPOSE web",
            "CMD [1]",
            "LABEL 'a=b",
            "HEALTHCHECK NONE",
            "",
        ] {
            assert!(ConfigChange::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_app_is_committed_as_it_was_run() {
        let variable = |name: &str, secret| isopod_spec::EnvVar {
            name: name.to_owned(),
            value: Some("x".to_owned()),
            secret,
        };
        let overrides = Overrides {
            exec: Some("/run".to_owned()),
            args: Some(vec!["-a".to_owned()]),
            user: Some("web".to_owned()),
            env: vec![variable("A", false), variable("S", true)],
            ..Overrides::default()
        };
        let mut config = json!({ "Cmd": ["old"] });
        as_run(
            &mut config,
            &overrides,
            &BTreeMap::from([("l".to_owned(), "m".to_owned())]),
        );
        let expected = json!({
            "Entrypoint": ["/run"], "Cmd": ["-a"], "Env": ["A=x"], "User": "web", "Labels": { "l": "m" },
        });
        assert_eq!(config, expected);
        let secret = Overrides {
            args: Some(vec!["password".to_owned()]),
            secret_args: [0].into(),
            ..Overrides::default()
        };
        let mut config = json!({ "Cmd": ["old"] });
        as_run(&mut config, &secret, &BTreeMap::new());
        assert_eq!(config, json!({ "Cmd": ["old"] }));
    }
}
