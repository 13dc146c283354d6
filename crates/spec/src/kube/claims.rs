//! Claims: which PersistentVolume of the files each is bound to, at most one claim to a volume.

use std::collections::BTreeMap;

use super::objects::{Named, Objects};
use super::quantity::Quantity;
use crate::located::{FaultKind, Node};
use crate::words::{nearest, shown};

/// The volumes that claims are bound to.
pub(super) struct Bindings<'o, 'a>(BTreeMap<&'o str, &'o Named<'a>>);

impl<'o, 'a> Bindings<'o, 'a> {
    /// Binds every claim of the files: first those that name their volume, then those that a volume names, and then each
    /// of the rest to the smallest volume that fits and is nobody's.
    pub(super) fn new(objects: &'o Objects<'a>) -> Self {
        let (claims, volumes) = (&objects.claims, &objects.volumes);
        for named in claims.iter().chain(volumes) {
            check(&named.node);
        }
        let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
        let mut bound: BTreeMap<&str, &Named<'a>> = BTreeMap::new();
        for claim in claims {
            if let Some((node, volume)) = named_by(claim, volumes) {
                let other = claimed_by(volume).or(taken.get(&*volume.name).copied());
                if let Some(other) = other.filter(|other| **other != claim.name) {
                    let (volume, other) = (shown(&volume.name), shown(other));
                    node.rule(format!("volume `{volume}` is claim `{other}`'s"));
                }
                taken.insert(&volume.name, &claim.name);
                bound.insert(&claim.name, volume);
            }
        }
        for volume in volumes {
            // The claim itself need not be in the files.
            if let Some(claim) = claimed_by(volume) {
                taken.insert(&volume.name, claim);
                bound.entry(claim).or_insert(volume);
            }
        }
        let free = volumes.iter().filter(|volume| !taken.contains_key(&*volume.name));
        let mut free: Vec<_> = free
            .filter_map(|volume| Some((Terms::of_volume(volume)?, volume)))
            .collect();
        // The first of those that are as small as another stays the first.
        free.sort_by_key(|(terms, _)| terms.storage);
        for claim in claims {
            let asked = Terms::of_claim(claim).filter(|_| !bound.contains_key(&*claim.name));
            let Some(asked) = asked else { continue };
            if let Some(at) = free.iter().position(|(terms, _)| asked.fit(terms)) {
                bound.insert(&claim.name, free.remove(at).1);
            }
        }
        Self(bound)
    }

    /// The volume of the claim `name`.
    pub(super) fn of(&self, name: &str) -> Option<&'o Named<'a>> {
        self.0.get(name).copied()
    }
}

/// Whether the claim or volume `node` is one of directories, as all are here.
pub(super) fn is_directory(node: &Node<'_>) -> bool {
    let mode = node.get("spec").and_then(|spec| Some(spec.text("volumeMode")?.1));
    mode.is_none_or(|mode| mode == "Filesystem")
}

/// Reports what a claim or volume cannot be.
fn check(node: &Node<'_>) {
    let Some(spec) = node.get("spec") else { return };
    if let Some((mode_node, mode)) = spec.text("volumeMode")
        && !is_directory(node)
    {
        mode_node.refuse(
            format!("volume mode `{}` is", shown(mode)),
            "block devices are not passed to pods",
        );
    }
    for mode in spec.items("accessModes") {
        const MODES: [&str; 4] = [
            "ReadWriteOnce",
            "ReadOnlyMany",
            "ReadWriteMany",
            "ReadWriteOncePod",
        ];
        if let Some(text) = mode.as_text().filter(|text| !MODES.contains(text)) {
            mode.reject(
                text,
                "`ReadWriteOnce`, `ReadOnlyMany`, `ReadWriteMany` or `ReadWriteOncePod`",
            );
        }
    }
}

/// The volume that a claim names.
fn named_by<'o, 'a>(claim: &Named<'a>, volumes: &'o [Named<'a>]) -> Option<(Node<'a>, &'o Named<'a>)> {
    let spec = claim.node.get("spec")?;
    let (node, name) = spec.text("volumeName")?;
    let found = volumes.iter().find(|volume| volume.name == name);
    if found.is_none() {
        node.fault(FaultKind::NotFound {
            what: "PersistentVolume".to_owned(),
            name: shown(name),
            nearest: nearest(name, volumes.iter().map(|volume| &*volume.name)).map(str::to_owned),
        });
    }
    Some((node, found?))
}

/// The claim that a volume names.
fn claimed_by<'a>(volume: &Named<'a>) -> Option<&'a str> {
    let reference = volume.node.get("spec")?.get("claimRef")?;
    Some(reference.text("name")?.1)
}

/// What a claim asks for, or a volume has.
struct Terms<'a> {
    class: Option<&'a str>,
    access_modes: Vec<&'a str>,
    storage: Quantity,
}

impl<'a> Terms<'a> {
    fn of_claim(claim: &Named<'a>) -> Option<Self> {
        let spec = claim.node.get("spec")?;
        Some(Self::new(&spec, spec.get("resources").as_ref(), "requests"))
    }

    fn of_volume(volume: &Named<'a>) -> Option<Self> {
        let spec = volume.node.get("spec")?;
        Some(Self::new(&spec, Some(&spec), "capacity"))
    }

    fn new(spec: &Node<'a>, amounts: Option<&Node<'a>>, list: &str) -> Self {
        let entries = amounts.map(|node| node.entries(list)).unwrap_or_default();
        let storage = entries.into_iter().find(|(name, _)| *name == "storage");
        Self {
            class: spec.text("storageClassName").map(|(_, class)| class),
            access_modes: spec.texts("accessModes").unwrap_or_default(),
            storage: storage
                .and_then(|(_, amount)| super::values::quantity(&amount))
                .unwrap_or_default(),
        }
    }

    /// Whether a claim that asks for this may have a volume that has `volume`; one that says no access modes has all.
    fn fit(&self, volume: &Terms<'_>) -> bool {
        let mut asked = self.access_modes.iter();
        self.class == volume.class
            && self.storage <= volume.storage
            && (volume.access_modes.is_empty() || asked.all(|mode| volume.access_modes.contains(mode)))
    }
}
