//! Compose files: which one is meant, what of the environment it may use, and the files that it names. Here they are read.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use isopod_plan::vm::network;
use isopod_runtime::Settings;
use isopod_spec::compose::{self, ComposeSurroundings, EnvFile, Project, read_dotenv};
use isopod_spec::flags::read_env_file;
use isopod_spec::kube::{File, PodFileErrors};
use isopod_spec::{EnvVar, SourceRule, VolumeKind};

use crate::env_files;
use crate::failure::Failure;
use crate::output::{self, Report};
use crate::text_file;

/// The names of compose files, the preferred one first.
const NAMES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
];

/// Which project is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct ProjectArgs {
    /// The compose file; may be repeated, each one overrides those before it; `-` is standard input [default: compose.yaml here or in a
    /// directory above, and compose.override.yaml beside it]
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The project's name [default: the file's `name`, or its directory's]
    #[arg(short, long, value_name = "NAME")]
    project_name: Option<String>,
    /// The directory that relative paths and `.env` are in [default: the first file's]
    #[arg(long, value_name = "DIR")]
    project_directory: Option<PathBuf>,
    /// Start the services of this profile, too; may be repeated; `*` means all
    #[arg(long = "profile", value_name = "PROFILE")]
    profiles: Vec<String>,
    /// Read the variables that the file uses from FILE instead of `.env`
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

/// How much of a project is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent<'a> {
    /// The services that are to be started: those of the profiles, or these.
    ToStart(&'a [String]),
    /// The same, and what of the file changes nothing is known already.
    Silent(&'a [String]),
    /// All of them, whatever their profiles: for what is there already.
    Whole,
}

impl ProjectArgs {
    /// Reads the project; what of its file changes nothing is printed where it is to be started.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(crate) fn read(&self, extent: Extent<'_>, settings: &Settings) -> Result<Project, Failure> {
        let (files, dir) = self.find(settings)?;
        let env = self.env(&dir, settings)?;
        let words = |name: &str| {
            env.get(name)
                .map(String::as_str)
                .filter(|value| !value.is_empty())
        };
        let mut profiles = self.profiles.clone();
        profiles.extend(
            words("COMPOSE_PROFILES")
                .into_iter()
                .flat_map(|all| all.split(','))
                .map(str::to_owned),
        );
        let (services, all) = match extent {
            Extent::ToStart(services) | Extent::Silent(services) => (services, false),
            Extent::Whole => (&[][..], true),
        };
        if all {
            profiles = vec!["*".to_owned()];
        }
        let surroundings = ComposeSurroundings {
            env: &env,
            host_ip: network::GATEWAY.into(),
            name: self
                .project_name
                .as_deref()
                .or_else(|| words("COMPOSE_PROJECT_NAME")),
            directory: dir.file_name().and_then(OsStr::to_str).unwrap_or_default(),
            profiles: &profiles,
            services,
        };
        let files: Vec<File<'_>> = files.iter().map(|(name, text)| File { name, text }).collect();
        let other = |path: &Path| open(&dir.join(path));
        let mut project = compose::read(&files, &surroundings, &other).map_err(|errors| refused(&errors))?;
        if matches!(extent, Extent::ToStart(_)) {
            project
                .notices
                .iter()
                .for_each(|notice| output::note(&notice.to_string()));
        }
        project.pod.map_host_paths(|path| absolute(&dir, path));
        if !all {
            add_env_files(&mut project, &dir, &env)?;
            let files = project.label_files.iter().map(|file| absolute(&dir, file));
            let files: Vec<PathBuf> = files.collect();
            env_files::add_labels(&mut project.pod, &files, settings)?;
        }
        Ok(project)
    }

    /// The files' names in messages with what they hold, and the directory of the project.
    fn find(&self, settings: &Settings) -> Result<(Vec<(String, String)>, PathBuf), Report> {
        let own_dir = self
            .project_directory
            .as_ref()
            .map(|dir| settings.working_dir.join(dir));
        let named = settings.env.get("COMPOSE_FILE").filter(|files| !files.is_empty());
        let separator = settings
            .env
            .get("COMPOSE_PATH_SEPARATOR")
            .map_or(":", String::as_str);
        let paths: Vec<PathBuf> = match (&self.files[..], named) {
            ([], None) => found(own_dir.as_ref().unwrap_or(&settings.working_dir))?,
            ([], Some(named)) => named
                .split(separator)
                .map(|file| settings.working_dir.join(file))
                .collect(),
            (files, _) => files.iter().map(|file| settings.working_dir.join(file)).collect(),
        };
        let is_stdin = |path: &PathBuf| path.file_name() == Some(OsStr::new("-"));
        let mut files = Vec::new();
        for path in &paths {
            files.push(match is_stdin(path) {
                true => (
                    "<stdin>".to_owned(),
                    text_file::read(std::io::stdin())
                        .map_err(|why| Report::text(format!("cannot read the compose file: {why}")))?,
                ),
                false => read(path, settings)?,
            });
        }
        let first = paths.first().filter(|path| !is_stdin(path));
        let dir = own_dir
            .or_else(|| first.and_then(|file| file.parent()).map(Path::to_owned))
            .unwrap_or_else(|| settings.working_dir.clone());
        // A name is made of it.
        let dir = dir.canonicalize().unwrap_or(dir);
        Ok((files, dir))
    }

    /// The variables that the file may use: the caller's, and below them those of `.env`.
    fn env(&self, dir: &Path, settings: &Settings) -> Result<BTreeMap<String, String>, Report> {
        let (file, required) = match &self.env_file {
            Some(file) => (settings.working_dir.join(file), true),
            None => (dir.join(".env"), false),
        };
        let mut env: BTreeMap<String, String> = settings.env.clone();
        if required || file.is_file() {
            for (name, value) in dotenv(&file, &settings.env)? {
                env.entry(name).or_insert(value);
            }
        }
        Ok(env)
    }
}

/// A file's name in messages, and what it holds.
fn read(file: &Path, settings: &Settings) -> Result<(String, String), Report> {
    let shown = file.strip_prefix(&settings.working_dir).unwrap_or(file).display();
    let text =
        open(file).map_err(|why| Report::text(format!("cannot read the compose file `{shown}`: {why}")))?;
    Ok((shown.to_string(), text))
}

/// The compose file of a directory, or of one above it, and what is to be on top of it.
fn found(dir: &Path) -> Result<Vec<PathBuf>, Report> {
    let all = dir.ancestors().flat_map(|dir| NAMES.map(|name| dir.join(name)));
    let file = all.into_iter().find(|file| file.is_file()).ok_or_else(|| {
        Report::text("there is no compose file here, nor in a directory above")
            .hint(Some("name it: `isopod compose -f FILE`".into()))
    })?;
    let over = ["yml", "yaml"].map(|ending| file.with_extension(format!("override.{ending}")));
    let over = over.into_iter().find(|file| file.is_file());
    Ok(std::iter::once(file).chain(over).collect())
}

fn open(file: &Path) -> Result<String, String> {
    std::fs::File::open(file)
        .map_err(|error| error.to_string())
        .and_then(text_file::read)
}

fn dotenv(file: &Path, env: &BTreeMap<String, String>) -> Result<Vec<(String, String)>, Report> {
    let text = open(file).map_err(|why| Report::text(format!("cannot read `{}`: {why}", file.display())))?;
    read_dotenv(&text, env).map_err(|fault| at(file, fault.line, fault.what))
}

fn at(file: &Path, line: usize, what: &str) -> Report {
    Report::text(format!("{}:{line}: {what}", file.display()))
}

/// Gives each app the variables of its files, below those that it has.
fn add_env_files(project: &mut Project, dir: &Path, env: &BTreeMap<String, String>) -> Result<(), Failure> {
    let mut reports = Vec::new();
    for (app, files) in project.pod.apps.iter_mut().zip(&project.env_files) {
        let mut variables = Vec::new();
        for file in files {
            match read_variables(file, dir, env) {
                Ok(found) => variables.extend(found),
                Err(report) => reports.push(report),
            }
        }
        variables.append(&mut app.overrides.env);
        app.overrides.env = variables;
    }
    Failure::unless_empty(reports)
}

fn read_variables(file: &EnvFile, dir: &Path, env: &BTreeMap<String, String>) -> Result<Vec<EnvVar>, Report> {
    let path = absolute(dir, &file.path);
    if !file.required && !path.exists() {
        return Ok(Vec::new());
    }
    if file.raw {
        let text =
            open(&path).map_err(|why| Report::text(format!("cannot read `{}`: {why}", path.display())))?;
        return read_env_file(&text).map_err(|fault| at(&path, fault.line, fault.what));
    }
    let variable = |(name, value)| EnvVar {
        name,
        value: Some(value),
        secret: false,
    };
    Ok(dotenv(&path, env)?.into_iter().map(variable).collect())
}

/// A path of the project, without `.`, and without `..` where it is there.
fn absolute(dir: &Path, path: &Path) -> PathBuf {
    let path = dir.join(path);
    let up = path.components().any(|part| part == Component::ParentDir);
    let real = up.then(|| path.canonicalize().ok()).flatten();
    real.unwrap_or_else(|| path.components().collect())
}

fn refused(errors: &PodFileErrors) -> Failure {
    Failure::of(&errors.faults)
}

/// The named volumes that the project takes as they are, and that nobody made.
pub(crate) fn missing_volumes(project: &Project, known: &[String]) -> Vec<String> {
    let missing = project
        .external_volumes
        .iter()
        .filter(|name| !known.contains(name));
    missing.cloned().collect()
}

/// The named volumes of the project that a service mounts, as far as they are the project's own.
pub(crate) fn own_volumes(project: &Project) -> Vec<String> {
    let mounted = project
        .pod
        .volumes
        .iter()
        .filter_map(|volume| match &volume.kind {
            VolumeKind::Host(host) if matches!(host.must_be, SourceRule::Named { .. }) => {
                host.source.to_str()
            }
            _ => None,
        });
    let own = |name: &&str| project.volumes.iter().any(|own| own == name);
    mounted.filter(own).map(str::to_owned).collect()
}
