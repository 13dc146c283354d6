//! Reads an appc pod manifest (App Container specification 0.8.11, "Pod Manifest Schema") into a [`PodSpec`], and an image's
//! manifest (image.rs).
//!
//! ```text
//! text ─ crate::located, node.rs: values ─┬─ appc.rs: pod, apps, images, mounts ─┐
//!                                         ├─ volume.rs, ports.rs                 ├─> PodSpec ─> crate::check
//!                                         └─ run_config.rs, isolators.rs: `app`  ┘
//! ```
//!
//! Every fault is reported, not the first one, each with its line and field. Nothing is dropped silently: what cannot be
//! honoured is a fault that names it, and so is a field that the specification does not know (it has no rule for those;
//! for isolators it has a "strict mode", which is what happens here). Labels, annotations and the ports an app says it
//! listens on inform and ask for nothing; their form is checked and they go no further, but for a port that the pod's
//! own `ports` publish. Whether a mount point finds its
//! volume is not decided here, since an image may bring mount points too.

mod fault;
mod image;
mod isolators;

mod locate;
mod node;
mod ports;
mod quantity;
mod run_config;
mod volume;

pub use fault::PodManifestErrors;
pub use image::{ImageManifest, read_image_manifest};
pub use locate::locate;

use std::path::PathBuf;

use crate::check;
use crate::located::{
    AppPlaces, At, Fault, FaultKind, Faults, MountFields, Node, Origin, PodPlaces, Value, read_json,
};
use crate::name::check_ac_name;
use crate::words::shown;
use crate::{
    App, AppName, Architecture, ImagePort, ImageReference, ImageSource, InvalidName, Mount, MountFlags,
    Network, Owners, PodSpec, Resources, RootfsAccess, SizedBy, Vm, Volume, VolumeName,
};
use isolators::PodIsolators;

/// Reads the pod manifest `text`; `file` is its name in messages. The VM is the default one. Whether a mount
/// point without a volume gets an empty one is the caller's to say; here it does.
///
/// # Errors
/// [`PodManifestErrors`] with every fault of the manifest.
pub fn read_pod_manifest(text: &str, file: &str) -> Result<PodSpec, PodManifestErrors> {
    let faults = Faults::default();
    let root = parse(text, file, &faults);
    let mut places = PodPlaces::default();
    let root = root
        .as_ref()
        .map(|value| Node::root(origin(text, file, &faults), value));
    let pod = root.and_then(|root| read_pod(&root, &mut places));
    for fault in pod.iter().flat_map(check::check) {
        if let Some(node) = places.of(&fault, &MOUNT_FIELDS) {
            node.fault(FaultKind::Pod(fault));
        }
    }
    drop(places);
    finish(file, pod, faults.into_sorted())
}

const MOUNT_FIELDS: MountFields = MountFields {
    volume: "volume",
    target: "path",
};

/// The manifest's value; what is wrong with its form is reported.
fn parse(text: &str, file: &str, faults: &Faults) -> Option<Value> {
    let report = |(at, message): (At, String)| {
        let kind = FaultKind::Syntax {
            language: "JSON",
            message,
        };
        origin(text, file, faults).report(at, "", kind);
    };
    read_json(text).map_err(report).ok()
}

fn origin<'a>(text: &'a str, file: &'a str, faults: &'a Faults) -> Origin<'a> {
    Origin {
        file,
        text,
        index: 0,
        faults,
    }
}

/// What was read, unless there are faults.
fn finish<T>(file: &str, read: Option<T>, faults: Vec<Fault>) -> Result<T, PodManifestErrors> {
    match read {
        Some(read) if faults.is_empty() => Ok(read),
        _ => Err(PodManifestErrors {
            file: file.to_owned(),
            faults,
        }),
    }
}

const POD_FIELDS: [&str; 9] = [
    "acVersion",
    "acKind",
    "apps",
    "volumes",
    "isolators",
    "annotations",
    "ports",
    "userAnnotations",
    "userLabels",
];

fn read_pod<'a>(root: &Node<'a>, places: &mut PodPlaces<'a>) -> Option<PodSpec> {
    let fields = root.expect_object(&POD_FIELDS)?;
    read_kind_and_version(&fields, "PodManifest", "`PodManifest`");
    for name in ["userAnnotations", "userLabels"] {
        fields.get(name).inspect(Node::check_texts);
    }
    fields.get("annotations").inspect(Node::check_pairs);
    let isolators = isolators::read_pod_isolators(&fields);
    let mut volumes = Vec::new();
    for node in fields.expect_items("volumes") {
        if let Some(volume) = volume::read_volume(&node) {
            volumes.push(volume);
            places.volumes.push(node);
        }
    }
    let mut apps = Vec::new();
    let list = fields.required("apps");
    let nodes = list.as_ref().and_then(Node::expect_list).unwrap_or_default();
    if let Some(list) = list.filter(|list| list.is_empty_list()) {
        list.fault(FaultKind::Value {
            value: "[]".to_owned(),
            expected: "a list of at least one app",
        });
    }
    for node in nodes {
        let mut own = Vec::new();
        if let Some((app, mounts)) = read_app(&node, &mut own) {
            apps.push(app);
            places.apps.push(AppPlaces { app: node, mounts });
        }
        for (volume, place) in own {
            volumes.push(volume);
            places.volumes.push(place);
        }
    }
    let of_apps = apps.iter().filter_map(|app| app.run_config.as_ref());
    let app_ports: Vec<ImagePort> = of_apps.flat_map(|config| config.ports.clone()).collect();
    let images_may_name = apps.iter().any(|app| app.run_config.is_none());
    let (ports, named_ports) = ports::read_pod_ports(&fields, &app_ports, images_may_name);
    let (ports, port_places) = ports.into_iter().unzip();
    places.ports = port_places;
    Some(PodSpec {
        volumes,
        network: Network::user(ports),
        named_ports,
        vm: vm(&isolators, &apps),
        sysctls: isolators.sysctls,
        ..PodSpec::new(apps)
    })
}

/// The VM: as large as the pod's isolators say, or as those of its apps do, and never smaller than the default. An app
/// without an `app` section has those of its image, which only the planner knows.
fn vm(isolators: &PodIsolators, apps: &[App]) -> Vm {
    let of_apps: Vec<Resources> = apps
        .iter()
        .map(|app| {
            app.run_config
                .as_ref()
                .map(|config| config.resources)
                .unwrap_or_default()
        })
        .collect();
    let by = |said: Option<u32>| match said {
        Some(_) => SizedBy::Pod,
        None => SizedBy::Apps,
    };
    let vm = Vm {
        memory_by: by(isolators.memory_mib),
        cpus_by: by(isolators.cpus),
        memory_mib: isolators.memory_mib.unwrap_or_default(),
        cpus: isolators.cpus.unwrap_or_default(),
        ..Vm::default()
    };
    vm.for_apps(apps.iter().map(|app| &app.overrides.resources).zip(&of_apps))
}

fn read_kind_and_version(fields: &Node<'_>, kind: &str, expected: &'static str) {
    if let Some((node, found)) = fields.required_text("acKind")
        && found != kind
    {
        node.reject(&found, expected);
    }
    if let Some((node, version)) = fields.required_text("acVersion")
        && !is_supported_version(&version)
    {
        node.reject(&version, "a version of the appc specification up to `0.8.11`");
    }
}

/// Whether `text` is a semantic version up to the last one that the specification had. What follows the three numbers
/// (`-dev`, `+git`) makes no difference.
fn is_supported_version(text: &str) -> bool {
    let numbers = text.split(['-', '+']).next().unwrap_or_default();
    let parse = |number: &str| {
        number
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| number.parse::<u32>().ok())
            .flatten()
    };
    let parsed: Option<Vec<u32>> = numbers.split('.').map(parse).collect();
    parsed.is_some_and(|version| version.len() == 3 && version <= vec![0, 8, 11])
}

/// An app, with the places of its mounts. The volumes of its own are put to `volumes`.
fn read_app<'a>(node: &Node<'a>, volumes: &mut Vec<(Volume, Node<'a>)>) -> Option<(App, Vec<Node<'a>>)> {
    let fields = node.expect_object(&["name", "image", "app", "readOnlyRootFS", "mounts", "annotations"])?;
    let name = fields.required("name").and_then(|node| node.name(AppName::new));
    let image = fields.required("image").and_then(|node| read_image(&node));
    let run_config = fields
        .get("app")
        .and_then(|node| run_config::read_run_config(&node));
    let read_only = fields
        .get("readOnlyRootFS")
        .and_then(|node| node.expect_boolean())
        .unwrap_or_default();
    let app_name = name.as_ref().map_or("", AppName::as_str).to_owned();
    let nodes = fields.expect_items("mounts").into_iter();
    let read = nodes.filter_map(|node| Some((read_mount(&node, &app_name, volumes)?, node)));
    let (mounts, mount_places) = read.unzip();
    fields.get("annotations").inspect(Node::check_pairs);
    let name = name?;
    // Without an image there is a fault already; the app stays for the checks of its names.
    let image = image.unwrap_or(ImageSource::Stored { id: None, name: None });
    let app = App {
        run_config,
        mounts,
        rootfs: if read_only {
            RootfsAccess::ReadOnly
        } else {
            RootfsAccess::Writable
        },
        ..App::new(name, image)
    };
    Some((app, mount_places))
}

/// An image by its id or name in the store; a name that begins with a transport is a reference.
fn read_image(node: &Node<'_>) -> Option<ImageSource> {
    let fields = node.expect_object(&["name", "id", "labels"])?;
    let labels = image::read_pairs(&fields, "labels");
    // appc's own name for 64-bit ARM is the kernel's.
    let (arch, hint) = match Architecture::HOST {
        Architecture::Amd64 => (
            "amd64",
            "the guest executes programs of os `linux` and arch `amd64`",
        ),
        Architecture::Arm64 => (
            "aarch64",
            "the guest executes programs of os `linux` and arch `aarch64`",
        ),
    };
    for (label, guests) in [("os", "linux"), ("arch", arch)] {
        let other = labels
            .iter()
            .find(|(name, value)| name == label && value != guests);
        if let (Some((_, value)), Some(node)) = (other, fields.get("labels")) {
            let what = format!("an image of {label} `{}` is", shown(value));
            node.refuse_it(&what, hint);
        }
    }
    let version = labels.into_iter().find(|(label, _)| label == "version");
    let name = fields.optional_text("name");
    let id = fields.optional_text("id");
    if let Some((node, id)) = &id
        && !is_image_id(id)
    {
        node.reject(id, "`sha512-` or `sha256-` and hexadecimal digits");
    }
    match (name, id) {
        (Some((name_node, name)), id) if ImageReference::names_transport(&name) => {
            if let Some((id_node, _)) = id {
                let hint = "leave `id` out, or import the image and name it without a transport";
                id_node.refuse_it("an id beside a reference with a transport is", hint);
            }
            match ImageReference::parse(name.as_ref()) {
                Ok(reference) => Some(ImageSource::Reference(reference)),
                Err(error) => {
                    name_node.fault(FaultKind::Reference(error));
                    None
                }
            }
        }
        (None, None) => {
            fields.missing("id");
            None
        }
        (name, id) => Some(ImageSource::Stored {
            // Of an image of no ID the version is the tag that its name has in the store.
            name: name.map(|(_, name)| match &version {
                Some((_, version)) if id.is_none() && !has_tag(&name) => format!("{name}:{version}"),
                _ => name,
            }),
            id: id.map(|(_, id)| id),
        }),
    }
}

/// Whether a name in the store has a tag or a digest; a port is not a tag.
fn has_tag(name: &str) -> bool {
    name.rsplit('/')
        .next()
        .is_some_and(|last| last.contains([':', '@']))
}

fn is_image_id(id: &str) -> bool {
    id.split_once('-').is_some_and(|(algorithm, hex)| {
        matches!(algorithm, "sha256" | "sha512")
            && !hex.is_empty()
            && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

/// A mount. A volume that it brings for this app alone (`appVolume`, of the specification's schema) takes the place of
/// the pod's, by a name of its own.
fn read_mount<'a>(node: &Node<'a>, app: &str, volumes: &mut Vec<(Volume, Node<'a>)>) -> Option<Mount> {
    let fields = node.expect_object(&["volume", "path", "appVolume"])?;
    let named = fields
        .required("volume")
        .and_then(|node| node.name(VolumeName::new));
    let own = fields.get("appVolume");
    let own = own.and_then(|node| Some((volume::read_volume(&node)?, node)));
    let volume = match own {
        Some((volume, node)) => {
            let name = VolumeName::nearest(&format!("{app}-{}", volume.name))?;
            let volume = Volume {
                name: name.clone(),
                ..volume
            };
            volumes.push((volume, node));
            Some(name)
        }
        None => named,
    };
    let path = fields.required("path").and_then(|node| node.path_in_root());
    Some(Mount {
        volume: volume?,
        target: path?,
        read_only: None,
        sub_path: None,
        flags: MountFlags::default(),
        owners: Owners::default(),
    })
}

impl Node<'_> {
    /// An AC Name.
    fn name<N>(&self, read: impl FnOnce(String) -> Result<N, InvalidName>) -> Option<N> {
        let text = self.expect_text()?;
        check_ac_name(&text)
            .and_then(|()| read(text))
            .map_err(|error| self.fault(FaultKind::Name(error)))
            .ok()
    }

    /// A path from the root. A relative one is a fault, and given all the same for the checks that follow.
    fn absolute_path(&self) -> Option<PathBuf> {
        let text = self.expect_text()?;
        if !text.starts_with('/') {
            self.reject(&text, "an absolute path");
        }
        Some(PathBuf::from(text))
    }

    /// A path in an app's root: one without a slash in front begins there too, as rkt had it.
    fn path_in_root(&self) -> Option<PathBuf> {
        let text = self.expect_text()?;
        if text.is_empty() {
            self.reject(&text, "a path");
        }
        Some(PathBuf::from("/").join(text))
    }

    /// Reports that what the field asks for cannot be honoured.
    fn refuse_it(&self, what: &str, hint: &'static str) {
        self.unsupported(what, None, hint);
    }

    /// Checks that this is a list of objects with a `name` and a `value`, both strings (labels, annotations).
    fn check_pairs(&self) {
        for item in self.expect_list().unwrap_or_default() {
            if let Some(fields) = item.expect_object(&["name", "value"]) {
                fields.required_text("name");
                fields.required_text("value");
            }
        }
    }
}
