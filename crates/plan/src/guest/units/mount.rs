//! Mount units, and the files that they come to in the guest. A plan may have a hundred thousand of them: whatever many
//! have in common is kept once, names and texts are made when they are asked for.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use isopod_spec::{MountFlags, VolumeName};

use crate::guest::entry::{Content, EntryKind, WriteText};
use crate::layout;
use crate::systemd::unit::{self, UnitFile, Unwritable};
use crate::systemd::unit_name;
use crate::volumes::VolumeMount;

/// A mount in the guest, as systemd will make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountUnit {
    /// What is mounted: a tag, a device, a directory.
    pub what: Arc<Path>,
    pub place: Arc<Path>,
    /// File system type.
    pub fs_type: &'static str,
    /// Options, none empty.
    pub options: Arc<[String]>,
    /// The mounts that must be there before it.
    pub after: Arc<[Arc<str>]>,
    /// The services that must not start without it.
    pub required_by: Arc<[Arc<str>]>,
    /// The volume that it brings; `None` for a part of an app's root.
    pub volume: Option<VolumeName>,
    /// Whether it is read-only.
    pub read_only: bool,
    /// What the guest does besides mounting.
    pub work: Work,
    /// Whether it is made when its app starts and not before: what other apps do first may matter to it.
    pub late: bool,
}

/// What the guest's mount(8) does for a mount besides mounting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// The path within `what` that is mounted, made where it is missing; relative.
    pub part: Option<Arc<Path>>,
    /// Whether its mount point was not there when it was looked for: a directory that is there then is systemd's.
    pub replaces: bool,
    /// `what` is the lower layer of an overlay whose writes go below this directory.
    pub upper: Option<Arc<Path>>,
    /// A directory that is made in what was mounted, from its root.
    pub working_dir: Option<Arc<Path>>,
}

impl Work {
    /// As options, whose words are the agent's (`agent::mount`).
    fn options(&self) -> impl Iterator<Item = String> {
        let option =
            |name: &str, path: &Option<Arc<Path>>| Some(format!("{name}={}", encoded(path.as_ref()?)));
        let replaces = self.replaces.then(|| "X-mount.mkdir".to_owned());
        [
            option("X-mount.subdir", &self.part),
            replaces,
            option("X-isopod.upper", &self.upper),
            option("X-isopod.workdir", &self.working_dir),
        ]
        .into_iter()
        .flatten()
    }
}

/// A path for an option, percent-encoded (RFC 3986): there are commas between options.
fn encoded(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => {
                text.push(char::from(*byte));
            }
            byte => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

impl MountUnit {
    /// A mount of `what` at `place`.
    #[must_use]
    pub fn new(what: impl Into<Arc<Path>>, place: impl Into<Arc<Path>>, fs_type: &'static str) -> Self {
        Self {
            what: what.into(),
            place: place.into(),
            fs_type,
            options: Arc::default(),
            after: Arc::default(),
            required_by: Arc::default(),
            volume: None,
            read_only: false,
            work: Work::default(),
            late: false,
        }
    }

    /// The mount of the volume at `what`, or of a part of it, that `mount` asks for in the app of `service`.
    pub(crate) fn of_volume(
        what: Arc<Path>,
        place: PathBuf,
        fs_type: &'static str,
        mount: &VolumeMount,
        service: &Arc<[Arc<str>]>,
    ) -> Self {
        Self {
            required_by: Arc::clone(service),
            volume: Some(mount.volume.clone()),
            read_only: mount.read_only_in_guest(),
            work: Work {
                part: (!mount.part.as_os_str().is_empty()).then(|| mount.part.as_path().into()),
                ..Work::default()
            },
            ..Self::new(what, place, fs_type)
        }
    }

    /// What is mounted: a tag, a device, a directory or a part of one.
    #[must_use]
    pub fn source(&self) -> Arc<Path> {
        match &self.work.part {
            Some(part) => self.what.join(part).into(),
            None => Arc::clone(&self.what),
        }
    }

    /// All options, with commas between them.
    #[must_use]
    pub fn option_text(&self) -> String {
        let options = self.options.iter().cloned().chain(self.work.options());
        options.collect::<Vec<_>>().join(",")
    }

    /// The unit's name.
    #[must_use]
    pub fn name(&self) -> String {
        unit_name::for_path(&self.place, ".mount")
    }

    /// Whether its files can be written.
    ///
    /// # Errors
    /// [`Unwritable`] where systemd cannot express a path; mounts that passed `volumes` have none.
    pub fn check(&self) -> Result<(), Unwritable> {
        unit::path_value(&self.place)?;
        unit::path_value(&self.what).map(drop)
    }

    /// The unit file.
    ///
    /// # Errors
    /// [`Unwritable`], as [`MountUnit::check`].
    pub fn file(&self) -> Result<UnitFile, Unwritable> {
        let place = unit::path_value(&self.place)?;
        let description = unit::description(&format!("Mount unit for {}", self.place.display()));
        let mut section = vec![
            ("Description", description),
            ("DefaultDependencies", "no".to_owned()),
        ];
        if !self.required_by.is_empty() {
            section.push(("Before", words(&self.required_by)));
        }
        if !self.after.is_empty() {
            section.push(("Requires", words(&self.after)));
            section.push(("After", words(&self.after)));
        }
        let mut mount = vec![
            ("What", unit::path_value(&self.what)?),
            ("Where", place),
            ("Type", self.fs_type.to_owned()),
        ];
        let options = self.option_text();
        if !options.is_empty() {
            mount.push(("Options", unit::specifiers(&options)));
        }
        // There is no journal, without which all that systemd would do with these words is to drop them.
        mount.push(("StandardOutput", "null".into()));
        mount.push(("StandardError", format!("file:{}/%n", layout::ERROR_DIR)));
        Ok(UnitFile::default()
            .section("Unit", section)
            .section("Mount", mount))
    }
}

/// Words with blanks between them.
pub(crate) fn words(words: &[Arc<str>]) -> String {
    words.join(" ")
}

/// Makes the bind mounts of a pod's apps.
#[derive(Default)]
pub struct Binds {
    /// Options by what they depend on.
    options: HashMap<(bool, MountFlags), Arc<[String]>>,
}

impl Binds {
    /// The bind mount of the volume at `what`, or of a part of it, that `mount` asks for in the app of `service`.
    #[must_use]
    pub fn mount(
        &mut self,
        what: Arc<Path>,
        place: PathBuf,
        mount: &VolumeMount,
        service: &Arc<[Arc<str>]>,
    ) -> MountUnit {
        let options = self
            .options
            .entry((mount.read_only_in_guest(), mount.flags))
            .or_insert_with(|| bind_options(mount.read_only_in_guest(), mount.flags).into());
        MountUnit {
            options: Arc::clone(options),
            ..MountUnit::of_volume(what, place, "none", mount, service)
        }
    }
}

/// The options of a bind mount.
fn bind_options(read_only: bool, flags: MountFlags) -> Vec<String> {
    // An app's nested volume is that app's alone.
    let mut options = vec!["bind".to_owned(), "private".to_owned()];
    options.extend(read_only.then(|| "ro".to_owned()));
    options.extend(flag_options(flags));
    options
}

/// A mount's restrictions as options.
pub(crate) fn flag_options(flags: MountFlags) -> impl Iterator<Item = String> {
    let all = [
        (flags.nosuid, "nosuid"),
        (flags.nodev, "nodev"),
        (flags.noexec, "noexec"),
    ];
    let set = all.into_iter().filter(|(set, _)| *set);
    set.map(|(_, option)| option.to_owned())
}

/// The mounts of a plan, in the order in which they can be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    units: Vec<MountUnit>,
}

impl Deref for Mounts {
    type Target = [MountUnit];

    fn deref(&self) -> &[MountUnit] {
        &self.units
    }
}

impl Mounts {
    /// Those mounts.
    #[must_use]
    pub fn new(units: Vec<MountUnit>) -> Self {
        Self { units }
    }

    /// By service, the numbers of the mounts that it needs.
    #[must_use]
    pub fn by_service(&self) -> HashMap<&str, Vec<usize>> {
        let mut by_service: HashMap<&str, Vec<usize>> = HashMap::new();
        for (i, mount) in self.units.iter().enumerate() {
            for service in mount.required_by.iter() {
                by_service.entry(service).or_default().push(i);
            }
        }
        by_service
    }

    /// The directories that the mounts' files are in.
    pub(crate) fn directories(&self) -> impl Iterator<Item = PathBuf> {
        let services = self.units.iter().flat_map(|mount| mount.required_by.iter());
        let services: BTreeSet<&str> = services.map(AsRef::as_ref).collect();
        let units = (!self.units.is_empty()).then(|| PathBuf::from(layout::UNIT_DIR));
        let requirements: Vec<PathBuf> = services.into_iter().map(requirements_dir).collect();
        units.into_iter().chain(requirements)
    }

    /// The mounts' files: units, and links from the services that need them.
    pub(crate) fn files(this: &Arc<Self>) -> impl Iterator<Item = (PathBuf, EntryKind)> {
        (0..this.units.len()).flat_map(|i| Self::files_of(this, i))
    }

    fn files_of(this: &Arc<Self>, number: usize) -> Vec<(PathBuf, EntryKind)> {
        let Some(mount) = this.units.get(number) else {
            return Vec::new();
        };
        let dir = Path::new(layout::UNIT_DIR);
        let mounts = Arc::clone(this);
        let file = EntryKind::File(Content::Deferred(Arc::new(MountFile { mounts, number })));
        let name = mount.name();
        let target = Path::new("..").join(&name);
        let links = mount.required_by.iter();
        let links = links.map(|service| requirements_dir(service).join(&name));
        let links = links.map(|link| (link, EntryKind::Symlink(target.clone())));
        std::iter::once((dir.join(&name), file)).chain(links).collect()
    }
}

/// Where links say what `service` does not start without: what `systemctl enable` makes of `RequiredBy=`.
fn requirements_dir(service: &str) -> PathBuf {
    Path::new(layout::UNIT_DIR).join(format!("{service}.requires"))
}

/// The unit file of a mount.
struct MountFile {
    mounts: Arc<Mounts>,
    number: usize,
}

impl WriteText for MountFile {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(mount) = self.mounts.units.get(self.number) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let file = mount
            .file()
            .map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))?;
        out.write_all(file.text().as_bytes())
    }
}

/// Some of the mounts of a plan.
#[derive(Clone)]
pub(crate) struct Selected {
    mounts: Arc<Mounts>,
    numbers: Arc<[usize]>,
}

impl Selected {
    pub(crate) fn new(mounts: &Arc<Mounts>, numbers: Vec<usize>) -> Self {
        Self {
            mounts: Arc::clone(mounts),
            numbers: numbers.into(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &MountUnit> {
        self.numbers
            .iter()
            .filter_map(|number| self.mounts.units.get(*number))
    }
}
