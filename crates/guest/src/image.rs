//! The finished image and the directory that keeps it.
//!
//! ```text
//! DIR/guest/
//!   lock               held while an image is built
//!   inputs-ID.json     which files an image was made of last time, by where its sources are
//!   unusable-ID.json   why no image can be made of these sources, until their kernel or its modules change
//!   KEY/               one image; never changed once it has its name
//!     vmlinux          the kernel, uncompressed
//!     initrd.cpio      the root file system, uncompressed; more archives can be appended
//!     modules.cpio     kernel modules that only some pods get
//!     guest.json       what is known of it; written last
//! ```
//!
//! KEY follows from the length, time and inode of every file that the image is made of, so finding a finished image reads
//! two small files and looks at about two hundred. An image is built in a temporary directory and gets its name in one step.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::build_error::BuildError;
use crate::initrd;
use crate::inputs::{Inputs, hex};
use crate::kernel;
use crate::sources::Sources;

/// Where the images are in the state directory.
pub const DIRECTORY: &str = "guest";

/// Changes whenever the same inputs would give another image.
const FORMAT: u32 = 6;
const KERNEL_FILE: &str = "vmlinux";
const INITRD_FILE: &str = "initrd.cpio";
const MODULES_FILE: &str = "modules.cpio";
const DESCRIPTION_FILE: &str = "guest.json";
const TEMPORARY_PREFIX: &str = ".new-";

/// A guest image on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestImage {
    /// The kernel as QEMU starts it directly, uncompressed.
    pub kernel: PathBuf,
    /// The root file system: a cpio archive to which others can be appended.
    pub initrd: PathBuf,
    /// Kernel modules that only some pods get: a cpio archive to be unpacked over the other.
    pub more_modules: PathBuf,
    /// The kernel's release.
    pub release: String,
    /// What [`gc`] knows the image by: its inputs.
    pub key: String,
    /// The SHA-256 of kernel, initrd and modules, as `sha256:HEX`: the same bytes, the same digest.
    pub digest: String,
    /// The modules among [`crate::WANTED`] and [`crate::MORE`] that the kernel has, as a file or built in.
    pub modules: BTreeSet<String>,
    /// systemd's major version.
    pub systemd_version: u32,
}

/// Why images could not be removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot remove `{}`", .path.display())]
pub struct GcError {
    /// The image's directory.
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

/// `guest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Description {
    format: u32,
    release: String,
    systemd_version: u32,
    modules: BTreeSet<String>,
    digest: String,
    kernel_bytes: u64,
    initrd_bytes: u64,
    modules_bytes: u64,
}

/// `inputs-ID.json`.
#[derive(Debug, Serialize, Deserialize)]
struct InputList {
    paths: Vec<PathBuf>,
}

/// A guest image, and the kernels that were better and could not be used.
#[derive(Debug)]
pub struct Ensured {
    pub image: GuestImage,
    /// What was passed over for it.
    pub passed_over: Vec<PassedOver>,
}

/// A kernel that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    pub kernel: PathBuf,
    /// Why, in one line.
    pub reason: String,
}

/// `unusable-ID.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Unusable {
    key: String,
    reason: String,
}

/// The image of the first of these sources whose kernel can be used: a kept one, or a new one if there is none or a source has
/// changed.
///
/// `dir` is the directory for all that can be recreated; images go to `guest` below it. Calls at the same time build one
/// image between them.
///
/// # Errors
/// Something else than a kernel that cannot be read or used, or that of the first of `sources` where no other can be used either;
/// `dir` that cannot be written.
pub fn ensure(sources: &[Sources], dir: &Path) -> Result<Ensured, BuildError> {
    let home = dir.join(DIRECTORY);
    let mut first = None;
    let mut passed_over = Vec::new();
    let last = sources.len().saturating_sub(1);
    for (i, sources) in sources.iter().enumerate() {
        // Where there is no other, the error itself is reported, and not what was noted of it.
        let known = (i < last).then(|| unusable(sources, &home)).flatten();
        let reason = match known {
            Some(reason) => reason,
            None => match of_sources(sources, &home) {
                Ok(image) => return Ok(Ensured { image, passed_over }),
                Err(error) if error.is_of_kernel(sources) => {
                    let reason = isopod_contract::in_one_line(&error);
                    if i < last && !matches!(error, BuildError::Read(_)) {
                        note_unusable(sources, &home, &reason);
                    }
                    first.get_or_insert(error);
                    reason
                }
                Err(error) => return Err(error),
            },
        };
        tracing::info!(kernel = %sources.kernel.display(), %reason, "the kernel is passed over");
        passed_over.push(PassedOver {
            kernel: sources.kernel.clone(),
            reason,
        });
    }
    // The last was tried: where there is one, there is an error.
    Err(first.unwrap_or(BuildError::NoSources))
}

/// The image of these sources.
fn of_sources(sources: &Sources, home: &Path) -> Result<GuestImage, BuildError> {
    if let Some(image) = kept(sources, home) {
        return Ok(image);
    }
    fs::create_dir_all(home).map_err(write_error(home))?;
    let _lock = lock(home)?;
    match kept(sources, home) {
        Some(image) => Ok(image),
        None => build(sources, home),
    }
}

/// Why no image can be made of these sources, where that was found before and their kernel is the same.
fn unusable(sources: &Sources, home: &Path) -> Option<String> {
    let text = fs::read(home.join(format!("unusable-{}.json", id(sources)))).ok()?;
    let noted: Unusable = serde_json::from_slice(&text).ok()?;
    (noted.key == kernel_key(sources)).then_some(noted.reason)
}

/// Keeps why; where it cannot be kept it is found again.
fn note_unusable(sources: &Sources, home: &Path, reason: &str) {
    let (key, reason) = (kernel_key(sources), reason.to_owned());
    let path = home.join(format!("unusable-{}.json", id(sources)));
    let new = home.join(format!("{TEMPORARY_PREFIX}unusable-{}", std::process::id()));
    let _ = write(&new, &json(&Unusable { key, reason })).map(|()| fs::rename(&new, &path));
}

fn kernel_key(sources: &Sources) -> String {
    let paths = [sources.kernel.clone(), sources.modules_dir.join("modules.dep")];
    Inputs::look(paths).key(&salt(sources))
}

/// Removes every image whose key is not among `keep`, and what unfinished builds left; returns how many images went.
///
/// A VM that has started does not need its image any more; one that is about to start does.
///
/// # Errors
/// A directory that cannot be removed.
pub fn gc(dir: &Path, keep: &BTreeSet<String>) -> Result<usize, GcError> {
    let home = dir.join(DIRECTORY);
    if !home.is_dir() {
        return Ok(0);
    }
    let error = |path: &Path| {
        let path = path.to_owned();
        move |source| GcError { path, source }
    };
    let _lock = File::create(home.join("lock"))
        .and_then(|file| file.lock().map(|()| file))
        .map_err(error(&home))?;
    let mut removed = 0;
    for entry in fs::read_dir(&home).map_err(error(&home))? {
        let entry = entry.map_err(error(&home))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_file() && name.starts_with(TEMPORARY_PREFIX) {
            fs::remove_file(entry.path()).map_err(error(&entry.path()))?;
        }
        if !entry.path().is_dir() || keep.contains(&name) {
            continue;
        }
        fs::remove_dir_all(entry.path()).map_err(error(&entry.path()))?;
        removed += usize::from(!name.starts_with(TEMPORARY_PREFIX));
    }
    Ok(removed)
}

/// A finished image, if its inputs are as they were. Whatever is wrong with the kept files means that there is none.
fn kept(sources: &Sources, home: &Path) -> Option<GuestImage> {
    let list: InputList = serde_json::from_slice(&fs::read(input_list(sources, home)).ok()?).ok()?;
    let key = Inputs::look(list.paths).key(&salt(sources));
    let description = fs::read(home.join(&key).join(DESCRIPTION_FILE)).ok()?;
    let description: Description = serde_json::from_slice(&description).ok()?;
    let (kernel_bytes, initrd_bytes) = (description.kernel_bytes, description.initrd_bytes);
    let modules_bytes = description.modules_bytes;
    let image = image(home, key, description);
    let whole = |path: &Path, size| fs::metadata(path).is_ok_and(|metadata| metadata.len() == size);
    let all = [
        (&image.kernel, kernel_bytes),
        (&image.initrd, initrd_bytes),
        (&image.more_modules, modules_bytes),
    ];
    let all = all.into_iter().all(|(path, size)| whole(path, size));
    all.then_some(image)
}

fn image(home: &Path, key: String, description: Description) -> GuestImage {
    let dir = home.join(&key);
    GuestImage {
        kernel: dir.join(KERNEL_FILE),
        initrd: dir.join(INITRD_FILE),
        more_modules: dir.join(MODULES_FILE),
        release: description.release,
        key,
        digest: description.digest,
        modules: description.modules,
        systemd_version: description.systemd_version,
    }
}

fn build(sources: &Sources, home: &Path) -> Result<GuestImage, BuildError> {
    tracing::info!(kernel = %sources.kernel.display(), "building the guest image");
    let mut inputs = Inputs::default();
    let kernel =
        kernel::startable(sources.architecture, inputs.read(&sources.kernel)?).map_err(|source| {
            BuildError::Kernel {
                path: sources.kernel.clone(),
                source,
            }
        })?;
    let content = initrd::collect(sources, &mut inputs)?;
    let initrd = content.archive.to_bytes()?;
    let modules = content.more_modules.to_bytes()?;
    let description = Description {
        format: FORMAT,
        release: sources.release.clone(),
        systemd_version: content.systemd_version,
        modules: content.modules,
        digest: digest(&[&kernel, &initrd, &modules]),
        kernel_bytes: kernel.len() as u64,
        initrd_bytes: initrd.len() as u64,
        modules_bytes: modules.len() as u64,
    };
    let key = inputs.key(&salt(sources));
    let dir = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .tempdir_in(home)
        .map_err(write_error(home))?;
    write(&dir.path().join(KERNEL_FILE), &kernel)?;
    write(&dir.path().join(INITRD_FILE), &initrd)?;
    write(&dir.path().join(MODULES_FILE), &modules)?;
    write(&dir.path().join(DESCRIPTION_FILE), &json(&description))?;
    publish(dir, &home.join(&key))?;
    let list = InputList {
        paths: inputs.paths().map(Path::to_owned).collect(),
    };
    let list_path = input_list(sources, home);
    let new = home.join(format!("{TEMPORARY_PREFIX}inputs"));
    write(&new, &json(&list))?;
    fs::rename(&new, &list_path).map_err(write_error(&list_path))?;
    Ok(image(home, key, description))
}

/// Gives a finished directory its name. One that has the name already was damaged, or it would have been found.
fn publish(dir: tempfile::TempDir, path: &Path) -> Result<(), BuildError> {
    if path.exists() {
        fs::remove_dir_all(path).map_err(write_error(path))?;
    }
    fs::rename(dir.path(), path).map_err(write_error(path))?;
    // The directory has moved: there is nothing left to remove.
    let _ = dir.keep();
    Ok(())
}

fn digest(files: &[&[u8]]) -> String {
    let all: Vec<u8> = files.iter().flat_map(Sha256::digest).collect();
    format!("sha256:{}", hex(&Sha256::digest(all)))
}

/// What the image depends on besides the inputs' stamps.
fn salt(sources: &Sources) -> String {
    format!("{FORMAT} {} {sources:?}", env!("CARGO_PKG_VERSION"))
}

fn input_list(sources: &Sources, home: &Path) -> PathBuf {
    home.join(format!("inputs-{}.json", id(sources)))
}

/// What distinguishes these sources from others.
fn id(sources: &Sources) -> String {
    hex(&Sha256::digest(salt(sources))[..8])
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value).unwrap_or_default()
}

fn lock(home: &Path) -> Result<File, BuildError> {
    let path = home.join("lock");
    let file = File::create(&path).map_err(write_error(&path))?;
    file.lock().map_err(write_error(&path))?;
    Ok(file)
}

fn write(path: &Path, content: &[u8]) -> Result<(), BuildError> {
    let mut file = File::create(path).map_err(write_error(path))?;
    file.write_all(content)
        .and_then(|()| file.sync_all())
        .map_err(write_error(path))
}

fn write_error(path: &Path) -> impl FnOnce(io::Error) -> BuildError {
    let path = path.to_owned();
    move |source| BuildError::Write { path, source }
}
