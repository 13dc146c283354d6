//! What every app executes and mounts: the decisions that look into images and volumes.
//!
//! They are made twice with the same code: once on the real images and volumes while facts are gathered, so that
//! whatever is looked at is recorded ([`survey`]), and once on that record, by [`crate::plan`].

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use isopod_spec::{Medium, PodSpec, VolumeName};

use crate::apps::health::AppHealth;
use crate::apps::pod::Pod;
use crate::apps::process::{self, Process};
use crate::facts::{Facts, SourceKind};
use crate::fault::Fault;
use crate::path::{Lookup, Tree};
use crate::vm::disks;
use crate::volumes::{self, AskedBy, Roots, Rules, Source, View, VolumeMount, VolumeTable};

/// What is decided of an app.
pub(crate) struct Decided {
    /// Its mounts, parents first.
    pub mounts: Arc<[VolumeMount]>,
    pub process: Process,
    /// How its health is looked after.
    pub health: AppHealth,
}

/// Decides for every app, looking into `images` (one an app) and `sources`.
///
/// # Errors
/// Every [`Fault`] of every app.
pub(crate) fn decide(
    spec: &PodSpec,
    facts: &Facts,
    images: &[Option<&dyn Lookup>],
    sources: &BTreeMap<VolumeName, Source<'_>>,
    notices: &mut Vec<String>,
) -> Result<(Vec<Decided>, VolumeTable), Vec<Fault>> {
    let mut faults = volumes::check_names(spec);
    let pod = Pod::of(spec, &facts.host.guest);
    let given = volumes::given_trees(spec);
    let sources = with_given(sources, &given);
    let medium = match disks::writable_bytes(spec, &facts.host) {
        Ok(_) => Medium::Disk,
        Err(_) => Medium::Memory,
    };
    let mut table = VolumeTable::new(spec).keeping_implicit(medium);
    let mut decided = Vec::with_capacity(spec.apps.len());
    for (i, app) in spec.apps.iter().enumerate() {
        let app_facts = &facts.apps[i];
        let config = app_facts.run_config(app);
        let systemd_version = facts.host.guest.systemd_version;
        let roots = Roots {
            image: images[i],
            sources: &sources,
            rules: Rules::Isopod,
            systemd_version,
        };
        let mounts = volumes::mounts_of(
            app,
            &config.mount_points,
            spec.implicit_volumes,
            &mut table,
            &roots,
        )
        .unwrap_or_else(|found| {
            faults.extend(found);
            Vec::new()
        });
        notices.extend(
            mounts
                .iter()
                .filter(|m| m.asked_by == AskedBy::Implicit)
                .map(|m| {
                    let begins = match table.content(&m.volume) {
                        Some(_) => "one of its own, with the image's files",
                        None => "an empty one",
                    };
                    format!(
                        "app `{}`: its image declares a volume at `{}`: it gets {begins}",
                        app.name,
                        m.target.display()
                    )
                }),
        );
        let placed: HashMap<Arc<Path>, VolumeMount> =
            mounts.iter().map(|m| (m.place.clone(), m.clone())).collect();
        let view = View {
            roots,
            mounts: &placed,
        };
        let process = process::process_of(app, app_facts, &config, &pod, &view, notices);
        let process = process.map_err(|found| faults.extend(found)).ok();
        let health = AppHealth::of(app, &config.health_check, spec.stop_timeout).map_err(|reason| {
            let app = app.name.clone();
            faults.push(Fault::App { app, reason });
        });
        if let (Some(process), Ok(health)) = (process, health) {
            decided.push(Decided {
                mounts: mounts.into(),
                process,
                health,
            });
        }
    }
    if faults.is_empty() {
        Ok((decided, table))
    } else {
        Err(faults)
    }
}

/// `sources`, and the volumes of files besides.
fn with_given<'a>(
    sources: &'a BTreeMap<VolumeName, Source<'a>>,
    given: &'a BTreeMap<VolumeName, Tree>,
) -> Cow<'a, BTreeMap<VolumeName, Source<'a>>> {
    if given.is_empty() {
        return Cow::Borrowed(sources);
    }
    let source = |(name, tree): (&VolumeName, &'a Tree)| {
        let (kind, tree) = (SourceKind::Directory, tree as &dyn Lookup);
        (name.clone(), Source { kind, tree })
    };
    let all = sources.iter().map(|(name, source)| (name.clone(), *source));
    Cow::Owned(all.chain(given.iter().map(source)).collect())
}

/// Looks at everything in `images` and `sources` that planning will look at. They record what they are asked; the
/// faults are planning's to report.
pub fn survey(
    spec: &PodSpec,
    facts: &Facts,
    images: &[Option<&dyn Lookup>],
    sources: &BTreeMap<VolumeName, Source<'_>>,
) {
    drop(decide(spec, facts, images, sources, &mut Vec::new()));
    for (i, app) in spec.apps.iter().enumerate() {
        for path in crate::layout::ROOT_DIRECTORIES {
            images[i].map(|image| image.node(path.as_ref()));
        }
        if let Some(image) = images[i]
            && let Ok(found) = crate::path::resolve(image, crate::layout::NAMES_DIR.as_ref())
        {
            drop(image.node(&found.path.join(crate::layout::MTAB)));
        }
        drop(crate::apps::last_words::fault(app, images[i]));
        let config = facts.apps[i].run_config(app);
        let dir = app.overrides.working_dir.as_ref().or(config.working_dir.as_ref());
        if let (Some(dir), Some(image)) = (dir, images[i]) {
            drop(crate::path::resolve(image, dir));
        }
    }
}
