//! The pod's volumes.

use std::collections::BTreeSet;

use super::super::objects::{MAX_BYTES, Secrecy};
use super::super::volumes::FILE_MODE;
use super::image;
use super::objects::WrittenObjects;
use super::security::Groups;
use crate::gaps::Gaps;
use crate::tree::{Fields, Tree};
use crate::{
    Device, EmptyVolume, FilesVolume, HostVolume, Medium, PodSpec, Propagation, SourceRule, Volume,
    VolumeFile, VolumeKind,
};

/// The mode of an `emptyDir` where none is said.
const EMPTY_MODE: u32 = 0o777;

/// The volumes of `pod`; what they hold is added to `objects`.
pub(super) fn write(
    pod: &PodSpec,
    groups: &Groups,
    objects: &mut WrittenObjects,
    gaps: &Gaps,
) -> Vec<Fields> {
    let one = |volume: &Volume| {
        let named = Fields::new().with("name", volume.name.as_str());
        let subject = format!("volume `{}`", volume.name);
        Some(match &volume.kind {
            VolumeKind::Host(host) if host.must_be.is_kept() => {
                let read_only = (volume.read_only == Some(true)).then_some(true);
                let claim = claim_name(&subject, host, gaps)?;
                let claim = Fields::new()
                    .with("claimName", claim)
                    .with_some("readOnly", read_only);
                named.with("persistentVolumeClaim", claim)
            }
            VolumeKind::Host(host) => {
                gaps_of_host(pod, volume, host, gaps);
                named.with("hostPath", host_path(&subject, host, gaps)?)
            }
            VolumeKind::Empty(empty) => named.with("emptyDir", empty_dir(&subject, empty, groups, gaps)),
            VolumeKind::Files(files) => {
                let (kind, source) = files_source(volume, files, groups, objects, gaps);
                named.with(kind, source)
            }
            VolumeKind::Image(image) => {
                let (reference, pull) = image::image(&subject, &image.image, image.pull, gaps);
                let source = Fields::new()
                    .with_some("reference", reference)
                    .with_some("pullPolicy", pull);
                named.with("image", source)
            }
        })
    };
    let used = |device: &&Device| pod.apps.iter().any(|app| app.overrides.devices.contains(device));
    let device = |device: &Device| {
        let source = Fields::new()
            .with("path", device.path())
            .with("type", "CharDevice");
        Fields::new()
            .with("name", device_name(*device, pod))
            .with("hostPath", source)
    };
    let devices = Device::ALL.iter().filter(used).map(device);
    pod.volumes.iter().filter_map(one).chain(devices).collect()
}

/// The name of the volume that is that device, which no other of the pod has.
pub(super) fn device_name(device: Device, pod: &PodSpec) -> String {
    let mut name = device.path().trim_start_matches('/').replace('/', "-");
    while pod.volumes.iter().any(|volume| volume.name.as_str() == name) {
        name.push_str("-1");
    }
    name
}

fn gaps_of_host(pod: &PodSpec, volume: &Volume, host: &HostVolume, gaps: &Gaps) {
    let subject = format!("volume `{}`", volume.name);
    if !host.recursive {
        let why = "what is mounted below a `hostPath` is part of it";
        gaps.add(format!("{subject}: leaving out what is mounted below it"), why);
    }
    let mut mounts = pod.apps.iter().flat_map(|app| &app.mounts);
    if host.propagation == Propagation::Rslave && !mounts.any(|mount| mount.volume == volume.name) {
        let why = "a container's mount has it, and none mounts this volume";
        gaps.add(format!("{subject}: its propagation"), why);
    }
}

fn host_path(subject: &str, host: &HostVolume, gaps: &Gaps) -> Option<Fields> {
    let path = host.source.to_str();
    let path = path.filter(|_| host.source.is_absolute() && super::is_plain(&host.source));
    if path.is_none() {
        gaps.add_needed(
            format!("{subject}: its path `{}`", crate::words::shown(&host.source)),
            "a `hostPath` is absolute, UTF-8 and without `..`",
            "give the directory another path, such as that of a link to it",
        );
    }
    let kind = match host.must_be {
        // What is to be there is looked at when the pod is prepared, and would be made then.
        SourceRule::Any | SourceRule::AnyOrCreate | SourceRule::Kept | SourceRule::Named { .. } => None,
        SourceRule::Directory => Some("Directory"),
        SourceRule::DirectoryOrCreate => Some("DirectoryOrCreate"),
        SourceRule::File => Some("File"),
        SourceRule::FileOrCreate => Some("FileOrCreate"),
    };
    Some(Fields::new().with("path", path?).with_some("type", kind))
}

/// A claim is the last part of the directory that is kept for it.
fn claim_name(subject: &str, host: &HostVolume, gaps: &Gaps) -> Option<String> {
    let name = host.source.file_name().and_then(|name| name.to_str());
    if name.is_none() {
        gaps.add_needed(
            format!("{subject}: its claim"),
            "it has no name",
            "give the claim a name",
        );
    }
    name.map(str::to_owned)
}

fn empty_dir(subject: &str, empty: &EmptyVolume, groups: &Groups, gaps: &Gaps) -> Fields {
    // appc's mode where none is said.
    let mode = empty.mode.unwrap_or(0o755);
    let set_group_id = if groups.fs.is_some() { 0o2000 } else { 0 };
    let bits = mode & !set_group_id;
    if bits > 0o1777 {
        let what = format!("{subject}: the mode {mode:04o}");
        gaps.add(what, "an `emptyDir` has the bits of 01777 only");
    }
    if groups.fs.is_some() && bits & 0o770 != 0o770 {
        let what = format!("{subject}: the mode {mode:04o}");
        gaps.add(what, "with an `fsGroup` owner and group may do all");
    }
    if empty.uid.is_some_and(|uid| uid != 0) {
        gaps.add(format!("{subject}: its owner"), "an `emptyDir` is root's");
    }
    if groups.fs.is_none() && empty.gid.is_some_and(|gid| gid != 0) {
        let why = "an `emptyDir` is of `fsGroup`, as all of the pod's are";
        gaps.add(format!("{subject}: its group"), why);
    }
    let bits = bits & 0o1777;
    Fields::new()
        .with_some("medium", (empty.medium == Medium::Memory).then_some("Memory"))
        .with_some("sizeLimit", empty.size_bytes.map(crate::words::bytes))
        .with_some("mode", (bits != EMPTY_MODE).then_some(Tree::Mode(bits)))
}

/// The files of a volume, in parts that are of one kind and fit into an object.
fn runs(files: &[VolumeFile]) -> Vec<&[VolumeFile]> {
    let mut bytes = 0;
    let fits = |before: &VolumeFile, file: &VolumeFile| {
        bytes += before.content.0.len();
        let fits = before.secret == file.secret && bytes + file.content.0.len() <= MAX_BYTES;
        if !fits {
            bytes = 0;
        }
        fits
    };
    files.chunk_by(fits).collect()
}

/// `configMap`, `secret` or, where a volume has files of both, `projected`.
fn files_source(
    volume: &Volume,
    files: &FilesVolume,
    groups: &Groups,
    objects: &mut WrittenObjects,
    gaps: &Gaps,
) -> (&'static str, Fields) {
    let subject = format!("volume `{}`", volume.name);
    if groups.fs.is_none() && files.gid.is_some_and(|gid| gid != 0) {
        let why = "its files are of `fsGroup`, as those of all of the pod's volumes are";
        gaps.add(format!("{subject}: its group"), why);
    }
    for file in files.files.iter().filter(|file| file.mode > 0o777) {
        let what = format!(
            "{subject}: the mode {:04o} of `{}`",
            file.mode,
            file.path.display()
        );
        gaps.add(what, "files of a volume have the bits of 0777 only");
    }
    let defaults = Defaults::of(files);
    let runs = runs(&files.files);
    let mut source = |files: &[VolumeFile]| {
        let secrecy = match files.first().is_some_and(|file| file.secret) {
            true => Secrecy::Secret,
            false => Secrecy::Open,
        };
        let keys = keys(files);
        let plain = is_plain(files, &keys, &defaults);
        let items: Vec<Fields> = files
            .iter()
            .zip(&keys)
            .map(|(file, key)| defaults.item(file, key))
            .collect();
        let entries = keys
            .into_iter()
            .zip(files)
            .map(|(key, file)| (key, file.content.0.clone()));
        let name = objects.add(secrecy, volume.name.as_str(), entries.collect());
        (secrecy, name, if plain { Vec::new() } else { items })
    };
    if let [_, _, ..] = &runs[..] {
        let sources = runs.into_iter().map(|files| {
            let (secrecy, name, items) = source(files);
            let kind = if secrecy == Secrecy::Open {
                "configMap"
            } else {
                "secret"
            };
            Fields::new().with(kind, Fields::new().with("name", name).with_list("items", items))
        });
        let sources = Fields::new().with_list("sources", sources);
        return ("projected", defaults.add_to(sources));
    }
    let (secrecy, name, items) = source(&files.files);
    let (kind, field) = match secrecy {
        Secrecy::Open => ("configMap", "name"),
        Secrecy::Secret => ("secret", "secretName"),
    };
    (
        kind,
        defaults
            .add_to(Fields::new().with(field, name))
            .with_list("items", items),
    )
}

/// Mode and owner that all files of a volume have, or else what a file that says nothing has.
struct Defaults {
    mode: u32,
    uid: Option<u32>,
}

impl Defaults {
    fn of(files: &FilesVolume) -> Self {
        let mut modes = files.files.iter().map(|file| file.mode & 0o777);
        let mut uids = files.files.iter().map(|file| file.uid);
        let (mode, uid) = (modes.next().unwrap_or(FILE_MODE), uids.next().flatten());
        Self {
            mode: if modes.all(|other| other == mode) {
                mode
            } else {
                FILE_MODE
            },
            uid: uid.filter(|uid| uids.all(|other| other == Some(*uid))),
        }
    }

    fn add_to(&self, source: Fields) -> Fields {
        source
            .with_some(
                "defaultMode",
                (self.mode != FILE_MODE).then_some(Tree::Mode(self.mode)),
            )
            .with_some("defaultUser", self.uid)
    }

    fn item(&self, file: &VolumeFile, key: &str) -> Fields {
        let mode = file.mode & 0o777;
        Fields::new()
            .with("key", key)
            .with_some("path", super::text(&file.path))
            .with_some("mode", (mode != self.mode).then_some(Tree::Mode(mode)))
            .with_some("user", file.uid.filter(|uid| Some(*uid) != self.uid))
    }
}

/// A key for each file: its path, as far as a key may be one.
fn keys(files: &[VolumeFile]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let key = |file: &VolumeFile| {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let path = file.path.to_string_lossy();
        let key: String = path
            .chars()
            .take(200)
            .map(|c| if known(c) { c } else { '-' })
            .collect();
        let others = (2..).map(|number| format!("{key}-{number}"));
        let mut keys = std::iter::once(key.clone()).chain(others);
        let free = keys.find(|key| !taken.contains(key)).unwrap_or_default();
        taken.insert(free.clone());
        free
    };
    files.iter().map(key).collect()
}

/// Whether the files are all values by their keys, in the order in which they are read.
fn is_plain(files: &[VolumeFile], keys: &[String], defaults: &Defaults) -> bool {
    let own = |file: &VolumeFile| file.mode & 0o777 != defaults.mode || file.uid != defaults.uid;
    let same = files
        .iter()
        .zip(keys)
        .all(|(file, key)| file.path.as_os_str() == key.as_str());
    same && keys.is_sorted() && !files.iter().any(own)
}
