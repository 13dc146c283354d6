//! What a service sees of files: `volumes`, `tmpfs`, `secrets` and `configs`.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::keys;
use super::shared::Shared;
use super::values::{boolean, flag, flag_at, is_object, word, word_at, words};
use crate::check::clean;
use crate::flags::{self, Brought, VolumeFlag};
use crate::located::Node;
use crate::{
    App, EmptyVolume, FileContent, FilesVolume, HostVolume, ImageReference, ImageSource, ImageVolume,
    MountFlags, Owners, Propagation, PullPolicy, SourceRule, VolumeFile, VolumeKind,
};

/// Where a secret is, unless it says otherwise.
const SECRETS: &str = "/run/secrets";

/// Adds the mounts of a service to its app, and their volumes to the pod.
pub(super) fn read<'a>(node: &Node<'a>, shared: &mut Shared<'a>, app: &mut App) {
    for item in node
        .get("volumes")
        .map(|volumes| volumes.own_items())
        .unwrap_or_default()
    {
        let read = match is_object(&item) {
            false => short(&item, shared),
            true => long(&item, shared),
        };
        match read {
            Some(VolumeFlag::Brought(brought)) => mount(brought, shared, app),
            Some(VolumeFlag::Anonymous(target)) => app.anonymous.push(target),
            _ => {}
        }
    }
    for (item, text) in words(node, "tmpfs") {
        if let Some(brought) = flag(&item, flags::read_tmpfs(OsStr::new(&text))) {
            mount(brought, shared, app);
        }
    }
    files(node, "secrets", shared, app);
    files(node, "configs", shared, app);
}

/// The later one of two at one target is mounted.
fn mount(brought: Brought, shared: &mut Shared<'_>, app: &mut App) {
    let target = clean(&brought.target);
    app.mounts.retain(|earlier| clean(&earlier.target) != target);
    app.mounts.push(brought.add_to(&mut shared.volumes, 0));
}

/// `SOURCE:TARGET[:OPTIONS]` or `TARGET`.
fn short<'a>(item: &Node<'a>, shared: &mut Shared<'a>) -> Option<VolumeFlag> {
    let text = home(word(item)?, shared);
    // rkt's form would be read otherwise.
    if text.starts_with(|first: char| first.is_ascii_alphanumeric()) && !text.contains(':') {
        item.rule("it has no target: write `NAME:TARGET`");
        return None;
    }
    let read = flag(item, flags::read_volume_flag(OsStr::new(&text)))?;
    let VolumeFlag::Brought(mut brought) = read else {
        return Some(read);
    };
    if let VolumeKind::Host(host) = &mut brought.kind {
        match host.must_be {
            SourceRule::Named { .. } => {
                let name = host.source.to_string_lossy().into_owned();
                host.source = shared.volume_name(item, &name)?.into();
            }
            // As with docker, a directory that is missing is made.
            _ => host.must_be = SourceRule::AnyOrCreate,
        }
    }
    Some(VolumeFlag::Brought(brought))
}

/// `~` is the caller's home.
fn home(text: String, shared: &Shared<'_>) -> String {
    match (text.strip_prefix('~'), shared.env.get("HOME")) {
        (Some(rest), Some(home)) if rest.starts_with('/') || rest.starts_with(':') => format!("{home}{rest}"),
        _ => text,
    }
}

fn long<'a>(item: &Node<'a>, shared: &mut Shared<'a>) -> Option<VolumeFlag> {
    keys::check(item, "mount");
    let Some((_, kind)) = word_at(item, "type") else {
        item.missing("type");
        return None;
    };
    let target = flag_at(item, "target", flags::read_workdir);
    if item.get("target").is_none() {
        item.missing("target");
    }
    let source = word_at(item, "source");
    let mut sub_path = None;
    let volume = match (kind.as_str(), source) {
        ("bind", Some((_, source))) => VolumeKind::Host(bind(item, home(source, shared))?),
        ("volume", Some((source, name))) => {
            let own = item.get("volume");
            if let Some(own) = &own {
                keys::check(own, "mounted volume");
                sub_path = word_at(own, "subpath").map(|(_, path)| PathBuf::from(path));
            }
            let copies = own.is_none_or(|own| boolean(&own, "nocopy") != Some(true));
            VolumeKind::Host(HostVolume {
                source: shared.volume_name(&source, &name)?.into(),
                recursive: true,
                propagation: Propagation::Private,
                must_be: SourceRule::Named { copies },
            })
        }
        ("volume", None) => return Some(VolumeFlag::Anonymous(target?)),
        ("tmpfs", None) => VolumeKind::Empty(tmpfs(item)),
        ("image", Some((source, text))) => {
            if let Some(own) = item.get("image") {
                keys::check(&own, "mounted image");
                sub_path = word_at(&own, "subpath").map(|(_, path)| PathBuf::from(path));
            }
            let read = ImageReference::parse(OsStr::new(&text));
            let image = read
                .map_err(|error| source.fault(crate::located::FaultKind::Reference(error)))
                .ok()?;
            VolumeKind::Image(ImageVolume {
                image: ImageSource::Reference(image),
                pull: PullPolicy::default(),
            })
        }
        ("bind" | "image", None) => {
            item.missing("source");
            return None;
        }
        ("tmpfs", Some((source, _))) => {
            source.rule("a tmpfs has no source");
            return None;
        }
        (other, _) => {
            item.reject(other, "`bind`, `volume`, `tmpfs` or `image`");
            return None;
        }
    };
    Some(VolumeFlag::Brought(Brought {
        kind: volume,
        target: target?,
        read_only: boolean(item, "read_only"),
        sub_path,
        flags: MountFlags::default(),
        owners: Owners::default(),
    }))
}

fn bind(item: &Node<'_>, source: String) -> Option<HostVolume> {
    let mut host = HostVolume {
        source: source.into(),
        recursive: true,
        propagation: Propagation::Private,
        must_be: SourceRule::AnyOrCreate,
    };
    let Some(own) = item.get("bind") else {
        return Some(host);
    };
    keys::check(&own, "bind");
    if boolean(&own, "create_host_path") == Some(false) {
        host.must_be = SourceRule::Any;
    }
    if let Some((recursive, word)) = word_at(&own, "recursive") {
        match word.as_str() {
            "enabled" => {}
            "disabled" => host.recursive = false,
            _ => recursive.unsupported("the mode is", None, "write `enabled` or `disabled`"),
        }
    }
    if let Some((propagation, word)) = word_at(&own, "propagation") {
        match word.as_str() {
            "private" | "rprivate" => {}
            "slave" | "rslave" => host.propagation = Propagation::Rslave,
            _ => propagation.unsupported("the propagation is", None, "write `private` or `rslave`"),
        }
    }
    Some(host)
}

fn tmpfs(item: &Node<'_>) -> EmptyVolume {
    let mut empty = EmptyVolume {
        mode: Some(0o1777),
        ..EmptyVolume::default()
    };
    if let Some(own) = item.get("tmpfs") {
        keys::check(&own, "mounted tmpfs");
        empty.size_bytes = flag_at(&own, "size", |text| flags::read_memory_bytes("size", text));
        if let Some((mode, word)) = word_at(&own, "mode") {
            let read = u32::from_str_radix(word.trim_start_matches("0o"), 8).ok();
            match read.filter(|mode| *mode <= 0o7777) {
                Some(mode) => empty.mode = Some(mode),
                None => mode.reject(&word, "permission bits, in octal"),
            }
        }
    }
    empty
}

/// `secrets` or `configs`: files that are mounted read-only.
fn files<'a>(node: &Node<'a>, key: &'static str, shared: &mut Shared<'a>, app: &mut App) {
    for item in node.get(key).map(|files| files.own_items()).unwrap_or_default() {
        let (name, target) = match is_object(&item) {
            false => (word(&item), None),
            true => {
                keys::check(&item, "mounted file");
                let text = |key: &str| word_at(&item, key).map(|(_, word)| word);
                (text("source"), text("target"))
            }
        };
        let Some(name) = name else {
            item.missing("source");
            continue;
        };
        let target = match (target, key) {
            (Some(target), _) if target.starts_with('/') => PathBuf::from(target),
            (Some(target), _) => Path::new(SECRETS).join(target),
            (None, "secrets") => Path::new(SECRETS).join(&name),
            (None, _) => Path::new("/").join(&name),
        };
        if let Some((kind, sub_path)) = source(&item, key, &name, shared) {
            let brought = Brought {
                kind,
                target,
                read_only: Some(true),
                sub_path,
                flags: MountFlags::default(),
                owners: Owners::default(),
            };
            mount(brought, shared, app);
        }
    }
}

/// What the file declares of a secret or config.
fn source<'a>(
    item: &Node<'a>,
    key: &'static str,
    name: &str,
    shared: &Shared<'a>,
) -> Option<(VolumeKind, Option<PathBuf>)> {
    let declared = shared.file.entries(key);
    let Some((_, declared)) = declared.iter().find(|(known, _)| *known == name) else {
        item.fault(crate::located::FaultKind::NotFound {
            what: if key == "secrets" { "secret" } else { "config" }.to_owned(),
            name: name.to_owned(),
            nearest: None,
        });
        return None;
    };
    keys::check(declared, "file source");
    if let Some((_, path)) = word_at(declared, "file") {
        let source = OsString::from(home(path, shared)).into();
        let host = HostVolume {
            source,
            recursive: true,
            propagation: Propagation::Private,
            must_be: SourceRule::File,
        };
        return Some((VolumeKind::Host(host), None));
    }
    let content = match (word_at(declared, "content"), word_at(declared, "environment")) {
        (Some((_, content)), _) => content,
        (None, Some((node, variable))) => match shared.env.get(&variable) {
            Some(value) => value.clone(),
            None => {
                node.rule(format!("the variable `{variable}` must be set"));
                return None;
            }
        },
        (None, None) => {
            declared.missing("file");
            return None;
        }
    };
    let file = VolumeFile {
        path: "content".into(),
        content: FileContent(content.into_bytes()),
        mode: 0o444,
        uid: None,
        secret: key == "secrets",
    };
    let files = FilesVolume {
        files: vec![file],
        gid: None,
    };
    Some((VolumeKind::Files(files), Some("content".into())))
}
