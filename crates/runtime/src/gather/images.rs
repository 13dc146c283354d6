//! The images of a pod's apps and volumes: brought into the store, or found there.

use isopod_image::erofs::Reader;
use isopod_image::{Held, Image, Store};
use isopod_spec::located::Part;
use isopod_spec::{Architecture, ImageReference, ImageSource, PodSpec, PullPolicy, VolumeKind, VolumeName};

use super::fault::GatherFault;
use crate::Settings;

/// An image, its root filesystem to look into, and what keeps it in the store.
pub(super) type Opened = (Image, Reader, Held);

/// The images of the apps, in their order (`None` for an app of none), and those that volumes are.
#[derive(Default)]
pub(super) struct Images {
    pub(super) apps: Vec<Option<Opened>>,
    pub(super) volumes: Vec<(VolumeName, Opened)>,
}

pub(super) fn images(
    spec: &PodSpec,
    architecture: Architecture,
    settings: &Settings,
    faults: &mut Vec<GatherFault>,
) -> Images {
    let store = match Store::open(&settings.state_dir) {
        Ok(store) => store.for_architecture(architecture),
        Err(error) => {
            faults.push(GatherFault::Store(error));
            return Images::default();
        }
    };
    let mut open = |part, source, pull| {
        let opened = open_image(&store, (settings, architecture), part, (source, pull));
        opened.map_err(|fault| faults.push(fault)).ok()
    };
    let apps = spec.apps.iter();
    let apps = apps.map(|app| open(Part::App(app.name.clone()), app.image()?, app.pull));
    let apps = apps.collect();
    let volumes = spec.volumes.iter().filter_map(|volume| match &volume.kind {
        VolumeKind::Image(image) => {
            let opened = open(Part::Volume(volume.name.clone()), &image.image, image.pull)?;
            Some((volume.name.clone(), opened))
        }
        _ => None,
    });
    Images {
        apps,
        volumes: volumes.collect(),
    }
}

/// The image of that ID: from the store, or else from where `reference` says.
fn locked(
    store: &Store,
    settings: &Settings,
    part: &Part,
    (reference, id, pull): (&ImageReference, &str, PullPolicy),
) -> Result<(Image, Held), GatherFault> {
    let failed = |source| GatherFault::Locked {
        part: part.clone(),
        reference: reference.to_string(),
        source: Box::new(source),
    };
    if let Ok(image) = store.find(Some(&id.replace(':', "-")), None)
        && let Some(held) = store.hold_image(&image).map_err(failed)?
    {
        return Ok((image, held));
    }
    let (image, held) = store
        .obtain(reference, pull, &settings.registries)
        .map_err(failed)?;
    match image.id.to_string() == id {
        true => Ok((image, held)),
        false => Err(GatherFault::Unlocked {
            part: part.clone(),
            reference: reference.to_string(),
            locked: id.to_owned(),
            found: image.id.to_string(),
        }),
    }
}

fn open_image(
    store: &Store,
    (settings, wanted): (&Settings, Architecture),
    part: Part,
    (source, pull): (&ImageSource, PullPolicy),
) -> Result<Opened, GatherFault> {
    let (image, held) = obtain(store, settings, &part, (source, pull))?;
    if image.processor() != wanted {
        return Err(GatherFault::Processor {
            part,
            image: image.id.to_string(),
            found: image.processor(),
            wanted,
        });
    }
    match Reader::open(&image.rootfs) {
        Ok(reader) => Ok((image, reader, held)),
        Err(source) => Err(GatherFault::Rootfs {
            part,
            path: image.rootfs.clone(),
            source: Box::new(source),
        }),
    }
}

/// The image of a part, which is kept in the store as long as the second value lives.
fn obtain(
    store: &Store,
    settings: &Settings,
    part: &Part,
    (source, pull): (&ImageSource, PullPolicy),
) -> Result<(Image, Held), GatherFault> {
    let failed = |reference: String, source| GatherFault::Import {
        part: part.clone(),
        reference,
        source: Box::new(source),
    };
    match source {
        ImageSource::Reference(reference) => store
            .obtain(reference, pull, &settings.registries)
            .map_err(|source| failed(reference.to_string(), source)),
        ImageSource::Locked { reference, id } => locked(store, settings, part, (reference, id, pull)),
        ImageSource::Stored { id, name } => loop {
            let found = store.find(id.as_deref(), name.as_deref());
            let image = found.map_err(|source| GatherFault::Find {
                part: part.clone(),
                source: Box::new(source),
            })?;
            let held = store.hold_image(&image);
            // Between the two it may have been removed, and is not found again then.
            if let Some(held) = held.map_err(|source| failed(image.id.to_string(), source))? {
                return Ok((image, held));
            }
        },
    }
}
