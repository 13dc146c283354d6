//! Volumes: what a pod's `volumes` are on a single host.

use std::collections::{BTreeMap, HashSet};
use std::path::{Component, Path, PathBuf};

use super::claims;
use super::context::Pod;
use super::downward::Destination;
use super::names;
use super::objects::Secrecy;
use super::quantity::Quantity;
use super::values::{image, pull_policy, quantity};
use super::{KubeSurroundings, ReadPlaces};
use crate::check::clean;
use crate::located::Part;
use crate::located::{FaultKind, Node};
use crate::{
    Device, EmptyVolume, FileContent, FilesVolume, HostVolume, ImageVolume, Medium, Propagation, SourceRule,
    Volume, VolumeFile, VolumeKind, VolumeName,
};

/// The mode of a file of a ConfigMap, Secret or downward API volume where none is said.
pub(super) const FILE_MODE: u32 = 0o644;

/// The volumes of a pod.
pub(super) struct Volumes {
    volumes: Vec<Volume>,
    /// Those that are no volumes, but devices of the guest.
    devices: BTreeMap<VolumeName, Device>,
}

impl Volumes {
    /// The device that a volume of that name is.
    pub(super) fn device(&self, name: &VolumeName) -> Option<Device> {
        self.devices.get(name).copied()
    }

    /// Whether nothing can be written to it, whatever a mount says.
    pub(super) fn is_always_read_only(&self, name: &VolumeName) -> bool {
        let volume = self.volumes.iter().find(|volume| volume.name == *name);
        volume.is_some_and(|volume| {
            let literal = matches!(volume.kind, VolumeKind::Files(_) | VolumeKind::Image(_));
            literal || volume.read_only == Some(true)
        })
    }

    pub(super) fn into_volumes(self) -> Vec<Volume> {
        self.volumes
    }
}

/// Reads the volumes of the pod `spec`. With a valid name a volume is given even where the rest has faults, so that its
/// mounts are checked; it is among `places.left_out` then.
pub(super) fn read<'a>(
    spec: &Node<'a>,
    pod: &Pod<'a, '_>,
    surroundings: &KubeSurroundings,
    places: &mut ReadPlaces<'a>,
) -> Volumes {
    let fs_group = pod.security.as_ref().and_then(|security| security.get("fsGroup"));
    let group = fs_group
        .as_ref()
        .and_then(|node| node.as_number::<u32>("a group id"));
    let reader = Reader {
        pod,
        surroundings,
        group,
        propagating: propagating(spec),
    };
    let (mut volumes, mut devices) = (Vec::new(), BTreeMap::new());
    for (name, claim) in &pod.template.claims {
        let read = reader.claim_of_template(name, claim);
        volumes.extend(read.map(|(volume, node)| {
            places.of.volumes.push(node);
            volume
        }));
    }
    for node in spec.items("volumes") {
        // The set's own claim takes its place.
        if node
            .text("name")
            .is_some_and(|(_, name)| pod.template.claims.iter().any(|(other, _)| *other == name))
        {
            continue;
        }
        let claim = node.get("persistentVolumeClaim");
        let read_only = claim.as_ref().is_some_and(|claim| claim.is_true("readOnly"));
        if let (Some(claim), Some(fs_group), Some(group)) = (&claim, &fs_group, group)
            && let (false, Some((_, name))) = (read_only, claim.text("claimName"))
        {
            fs_group.fault(FaultKind::InPart(unchanged(name, group)));
        }
        let device = device(&node);
        let kind = match device {
            Some(_) => None,
            None => reader.kind(&node),
        };
        let Some((name_node, name)) = node.text("name") else {
            continue;
        };
        if !names::check(&name_node, name, "name of a volume", names::dns_label) {
            continue;
        }
        match VolumeName::new(name) {
            Ok(name) if let Some(device) = device => drop(devices.insert(name, device)),
            Ok(name) => {
                places
                    .parts
                    .push((Part::Volume(name.clone()), name_node.location()));
                if kind.is_none() {
                    places.left_out.push(name.clone());
                }
                volumes.push(Volume {
                    name,
                    kind: kind.unwrap_or(VolumeKind::Empty(EmptyVolume::default())),
                    read_only: read_only.then_some(true),
                });
                places.of.volumes.push(node);
            }
            Err(error) => name_node.fault(FaultKind::Name(error)),
        }
    }
    Volumes { volumes, devices }
}

/// The device of the guest that a `hostPath` means: as with `--device`, those that an app can have are the guest's own, for
/// the host's work on the host's kernel only.
fn device(node: &Node<'_>) -> Option<Device> {
    let source = node.get("hostPath")?;
    let (_, path) = source.text("path")?;
    let is_device = matches!(source.text("type"), None | Some((_, "" | "CharDevice")));
    let named = Device::ALL
        .into_iter()
        .find(|device| Path::new(device.path()) == clean(Path::new(path)));
    named.filter(|_| is_device)
}

/// What `fsGroup` does not do: a claim's files outlive the pod, and may be others' too.
fn unchanged(claim: &str, group: u32) -> String {
    format!(
        "what is in claim `{}` keeps its owners and modes: `chgrp -R {group}` and `chmod -R g+rwX` give the group what \
         it would have in a cluster",
        crate::words::shown(claim)
    )
}

/// The volumes of which a mount wants to see what the host mounts later.
fn propagating<'a>(spec: &Node<'a>) -> HashSet<&'a str> {
    let containers = [spec.items("initContainers"), spec.items("containers")].concat();
    let mounts = containers
        .iter()
        .flat_map(|container| container.items("volumeMounts"));
    let wanting = mounts.filter_map(|mount| {
        let (_, propagation) = mount.text("mountPropagation")?;
        (propagation == "HostToContainer").then(|| mount.text("name"))?
    });
    wanting.map(|(_, name)| name).collect()
}

struct Reader<'a, 'o> {
    pod: &'o Pod<'a, 'o>,
    surroundings: &'o KubeSurroundings,
    /// `fsGroup`.
    group: Option<u32>,
    propagating: HashSet<&'a str>,
}

/// The kinds of volume that a host can give.
const KINDS: [&str; 8] = [
    "configMap",
    "downwardAPI",
    "emptyDir",
    "hostPath",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

impl<'a> Reader<'a, '_> {
    /// What the volume `node` is; `None` where it is nothing that can be given, which was reported.
    fn kind(&self, node: &Node<'_>) -> Option<VolumeKind> {
        let mut there = KINDS.iter().filter_map(|name| Some((*name, node.get(name)?)));
        let Some((kind, source)) = there.next() else {
            // None at all is an empty directory, as in the API.
            let empty = || VolumeKind::Empty(self.empty_dir(None));
            return (!node.asks_for_refused("Volume")).then(empty);
        };
        if let Some((second, node)) = there.next() {
            node.rule(format!("the volume is `{kind}` and `{second}` at once"));
        }
        Some(match kind {
            "configMap" => {
                self.files(self.values(&source, "name", Secrecy::Open, self.default_file(&source)))
            }
            "secret" => {
                self.files(self.values(&source, "secretName", Secrecy::Secret, self.default_file(&source)))
            }
            "downwardAPI" => self.files(self.downward_files(&source, self.default_file(&source))),
            "projected" => self.projected(&source),
            "emptyDir" => VolumeKind::Empty(self.empty_dir(Some(&source))),
            "image" => {
                let image = image(&source, "reference")?;
                let pull = pull_policy(&source, "pullPolicy", Some(&image));
                VolumeKind::Image(ImageVolume { image, pull })
            }
            "hostPath" => VolumeKind::Host(self.host_path(&source, self.is_propagating(node))?),
            _ => VolumeKind::Host(self.claim(&source, self.is_propagating(node))?),
        })
    }

    fn is_propagating(&self, node: &Node<'_>) -> Propagation {
        let name = node.text("name").map(|(_, name)| name);
        match name.is_some_and(|name| self.propagating.contains(name)) {
            true => Propagation::Rslave,
            false => Propagation::Private,
        }
    }

    fn empty_dir(&self, node: Option<&Node<'_>>) -> EmptyVolume {
        let medium = match node.and_then(|node| node.text("medium")) {
            None => Medium::Disk,
            Some((_, "Memory")) => Medium::Memory,
            Some((node, other)) => {
                if other.starts_with("HugePages") {
                    node.refuse(
                        "a volume of huge pages is",
                        "`Memory` is the guest's memory in pages of 4 KiB",
                    );
                } else {
                    node.reject(other, "`Memory`, or left out");
                }
                Medium::Memory
            }
        };
        let size = node.and_then(|node| quantity(&node.get("sizeLimit")?));
        let mode = node.and_then(|node| directory_mode(node, "mode"));
        // The kubelet's way (`SetVolumeOwnership`): the group may do all, and what is made is the group's.
        let of_group = if self.group.is_some() { 0o2770 } else { 0 };
        EmptyVolume {
            mode: Some(mode.unwrap_or(0o777) | of_group),
            uid: None,
            gid: self.group,
            // 0 is no limit.
            size_bytes: size.map(Quantity::units).filter(|bytes| *bytes > 0),
            medium,
        }
    }

    fn host_path(&self, node: &Node<'_>, propagation: Propagation) -> Option<HostVolume> {
        let (path_node, path) = node.text("path")?;
        let path = PathBuf::from(path);
        if !path.is_absolute() || path.components().any(|c| c == Component::ParentDir) {
            path_node.reject(&path.to_string_lossy(), "an absolute path without `..`");
            return None;
        }
        let must_be = match node.text("type") {
            None => SourceRule::AnyOrCreate,
            Some((_, "Directory")) => SourceRule::Directory,
            Some((_, "DirectoryOrCreate")) => SourceRule::DirectoryOrCreate,
            Some((_, "File")) => SourceRule::File,
            Some((_, "FileOrCreate")) => SourceRule::FileOrCreate,
            Some((node, "Socket" | "CharDevice" | "BlockDevice")) => {
                let why = "sockets and devices work on one kernel only; directories and regular files can be shared, and of devices \
                           `/dev/net/tun` and `/dev/fuse` are the guest's own";
                node.refuse("sharing it is", why);
                return None;
            }
            Some((node, other)) => {
                let expected = "`DirectoryOrCreate`, `Directory`, `FileOrCreate` or `File`";
                node.reject(other, expected);
                SourceRule::AnyOrCreate
            }
        };
        Some(HostVolume {
            source: path,
            recursive: true,
            propagation,
            must_be,
        })
    }

    /// A claim: the volume of the files' that it is bound to, or a directory that is kept.
    fn claim(&self, node: &Node<'_>, propagation: Propagation) -> Option<HostVolume> {
        let (name_node, name) = node.text("claimName")?;
        self.claim_of(&name_node, name, propagation)
    }

    /// The claim that a StatefulSet makes for its pod.
    fn claim_of_template(&self, name: &str, claim: &str) -> Option<(Volume, Node<'a>)> {
        let made = self
            .pod
            .objects
            .objects
            .claims
            .iter()
            .find(|other| other.name == claim)?;
        let propagation = match self.propagating.contains(name) {
            true => Propagation::Rslave,
            false => Propagation::Private,
        };
        let host = self.claim_of(&made.node, claim, propagation)?;
        let name = VolumeName::new(name)
            .map_err(|error| made.node.fault(FaultKind::Name(error)))
            .ok()?;
        let volume = Volume {
            name,
            kind: VolumeKind::Host(host),
            read_only: None,
        };
        Some((volume, made.node.clone()))
    }

    fn claim_of(&self, name_node: &Node<'_>, name: &str, propagation: Propagation) -> Option<HostVolume> {
        // It becomes a directory's name.
        let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
        if name.len() > 253 || !name.bytes().all(known) || name.starts_with('.') {
            name_node.reject(name, "of lower-case letters, digits, `-` and `.`");
            return None;
        }
        let claim = self
            .pod
            .objects
            .objects
            .claims
            .iter()
            .find(|claim| claim.name == name);
        if claim.is_some_and(|claim| !claims::is_directory(&claim.node)) {
            return None;
        }
        if let Some(volume) = self.pod.bindings.of(name) {
            let spec = volume.node.get("spec")?;
            let source = spec.get("hostPath").or(spec.get("local"));
            if source.is_none() && !spec.asks_for_refused("PersistentVolumeSpec") {
                spec.rule("the volume is neither a `hostPath` nor a `local` one");
            }
            let source = source.filter(|_| claims::is_directory(&volume.node))?;
            let mut host = self.host_path(&source, propagation)?;
            if spec.get("hostPath").is_none() {
                // A `local` volume is there.
                host.must_be = SourceRule::Any;
            }
            return Some(host);
        }
        Some(HostVolume {
            source: self.surroundings.claims_dir.join(name),
            recursive: true,
            propagation,
            must_be: SourceRule::Kept,
        })
    }

    fn default_file(&self, node: &Node<'_>) -> FileDefaults {
        FileDefaults {
            mode: mode(node, "defaultMode").unwrap_or(FILE_MODE),
            uid: uid(node, "defaultUser"),
        }
    }

    fn files(&self, mut files: Vec<VolumeFile>) -> VolumeKind {
        if self.group.is_some() {
            // The kubelet's way (`SetVolumeOwnership`): the group is there to read them.
            files.iter_mut().for_each(|file| file.mode |= 0o440);
        }
        VolumeKind::Files(FilesVolume {
            files,
            gid: self.group,
        })
    }

    /// The files of a ConfigMap or Secret: all of its values by their keys, or the `items`.
    fn values(
        &self,
        node: &Node<'_>,
        name: &str,
        secrecy: Secrecy,
        defaults: FileDefaults,
    ) -> Vec<VolumeFile> {
        let Some(values) = self.pod.objects.named(node, name, secrecy) else {
            return Vec::new();
        };
        let file = |path: PathBuf, value: &[u8], defaults: FileDefaults| {
            node.take_room(value.len()).then(|| VolumeFile {
                path,
                content: FileContent(value.to_vec()),
                mode: defaults.mode,
                uid: defaults.uid,
                secret: secrecy == Secrecy::Secret,
            })
        };
        if node.get("items").is_none() {
            let all = values.entries.iter();
            return all
                .filter_map(|(key, value)| file(PathBuf::from(key), value, defaults))
                .collect();
        }
        let optional = node.is_true("optional");
        let item = |item: &Node<'_>| {
            let path = file_path(item)?;
            file(path, values.value(item, optional)?, defaults.of(item))
        };
        node.items("items").iter().filter_map(item).collect()
    }

    fn downward_files(&self, node: &Node<'_>, defaults: FileDefaults) -> Vec<VolumeFile> {
        let item = |item: &Node<'_>| {
            let text = match (item.get("fieldRef"), item.get("resourceFieldRef")) {
                (Some(field), None) => self.pod.downward.field(&field, Destination::File)?,
                (None, Some(resource)) => self.pod.downward.resource(&resource, None)?,
                _ => {
                    item.rule("`fieldRef` or `resourceFieldRef` must be given");
                    return None;
                }
            };
            let defaults = defaults.of(item);
            Some(VolumeFile {
                path: file_path(item)?,
                content: FileContent(text.into_bytes()),
                mode: defaults.mode,
                uid: defaults.uid,
                secret: false,
            })
        };
        node.items("items").iter().filter_map(item).collect()
    }

    /// The files of all sources; where two have one path the later one's is there, as in the API.
    fn projected(&self, node: &Node<'_>) -> VolumeKind {
        let defaults = self.default_file(node);
        let mut files: Vec<VolumeFile> = Vec::new();
        let mut paths = HashSet::new();
        for source in node.items("sources") {
            check_projection(&source, &mut paths);
            let config_map = source
                .get("configMap")
                .map(|node| self.values(&node, "name", Secrecy::Open, defaults));
            let secret = source
                .get("secret")
                .map(|node| self.values(&node, "name", Secrecy::Secret, defaults));
            let downward = source
                .get("downwardAPI")
                .map(|node| self.downward_files(&node, defaults));
            for file in [config_map, secret, downward].into_iter().flatten().flatten() {
                files.retain(|other| other.path != file.path);
                files.push(file);
            }
        }
        self.files(files)
    }
}

/// Reports what the API refuses of a source of a projected volume: several at once, or a path of `items` that an earlier one
/// has.
fn check_projection<'a>(source: &Node<'a>, paths: &mut HashSet<&'a str>) {
    let mut there = source.map().iter().filter_map(|(key, _)| source.get(&key.text));
    if there.by_ref().nth(1).is_some() {
        source.rule("it has more than one source: write an item of `sources` for each");
    }
    for kind in ["configMap", "secret", "downwardAPI"] {
        let items = source
            .get(kind)
            .map(|node| node.items("items"))
            .unwrap_or_default();
        for (node, path) in items.iter().filter_map(|item| item.text("path")) {
            if !paths.insert(path) {
                node.rule(format!("the volume has `{}` already", crate::words::shown(path)));
            }
        }
    }
}

/// Mode and owner of a file that does not say its own.
#[derive(Clone, Copy)]
struct FileDefaults {
    mode: u32,
    uid: Option<u32>,
}

impl FileDefaults {
    fn of(self, item: &Node<'_>) -> Self {
        Self {
            mode: mode(item, "mode").unwrap_or(self.mode),
            uid: uid(item, "user").or(self.uid),
        }
    }
}

/// What the memory must hold besides: the limits of the `emptyDir` volumes that are kept there, in bytes.
pub(super) fn in_memory(spec: &Node<'_>) -> u64 {
    let of_volume = |volume: &Node<'_>| {
        let empty = volume.get("emptyDir")?;
        let in_memory = empty.text("medium")?.1 == "Memory";
        let size = Quantity::read(&empty.get("sizeLimit")?.as_word()?)?;
        in_memory.then(|| size.units())
    };
    let all = spec.items("volumes");
    all.iter().filter_map(of_volume).fold(0, u64::saturating_add)
}

fn mode(node: &Node<'_>, name: &str) -> Option<u32> {
    const MODE: &str = "a mode from 0 to 0777, octal with its zero (`0640`) or decimal";
    mode_up_to(node, name, 0o777, MODE)
}

/// The mode of an `emptyDir`, which may have the sticky bit.
fn directory_mode(node: &Node<'_>, name: &str) -> Option<u32> {
    const MODE: &str = "a mode from 0 to 01777, octal with its zero (`01777`) or decimal";
    mode_up_to(node, name, 0o1777, MODE)
}

fn mode_up_to(node: &Node<'_>, name: &str, most: u32, expected: &'static str) -> Option<u32> {
    let node = node.get(name)?;
    let mode: u32 = node.as_number(expected)?;
    if mode > most {
        node.reject(&mode.to_string(), expected);
        return None;
    }
    Some(mode)
}

fn uid(node: &Node<'_>, name: &str) -> Option<u32> {
    const ID: &str = "a whole number below 4294967295";
    let node = node.get(name)?;
    let id: u32 = node.as_number(ID)?;
    if id == u32::MAX {
        node.reject(&id.to_string(), ID);
        return None;
    }
    Some(id)
}

/// The `path` of an item: relative, and within the volume.
fn file_path(item: &Node<'_>) -> Option<PathBuf> {
    let (node, path) = item.text("path")?;
    let path = Path::new(path);
    let names: PathBuf = path.components().filter(|c| *c != Component::CurDir).collect();
    let stays = path
        .components()
        .all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
    // What begins so is the kubelet's own.
    if names.as_os_str().is_empty() || !stays || node.as_text().is_some_and(|text| text.starts_with("..")) {
        node.reject(
            &path.to_string_lossy(),
            "a relative path without `..`, and not begin with it",
        );
        return None;
    }
    Some(names)
}
