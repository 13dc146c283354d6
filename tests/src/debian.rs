//! Servers for images, from Debian's packages: downloaded and unpacked below the target directory, never installed, so that no
//! service of the host's begins.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Image;
use crate::bench::target;

/// Packages of Debian's, unpacked.
#[derive(Clone, Debug)]
pub struct Debian {
    root: PathBuf,
}

impl Debian {
    /// Unpacks them below one root, unless they are there. The host's package manager must know them, and reach its mirror.
    ///
    /// # Panics
    /// If they cannot be had.
    #[must_use]
    pub fn of(packages: &[&str]) -> Self {
        let all = target().join("vm-tests/debian");
        let root = all.join(packages.join("+"));
        if root.is_dir() {
            return Self { root };
        }
        fs::create_dir_all(&all).expect("a directory for packages");
        let new = tempfile::tempdir_in(&all).expect("a directory for packages");
        let unpacked = new.path().join("root");
        run(Command::new("apt-get")
            .arg("download")
            .args(packages)
            .current_dir(new.path()));
        for entry in fs::read_dir(new.path()).expect("packages").flatten() {
            run(Command::new("dpkg-deb")
                .arg("-x")
                .arg(entry.path())
                .arg(&unpacked));
        }
        // Another test may have been faster: its files are the same.
        let _ = fs::rename(&unpacked, &root);
        Self { root }
    }

    /// Those of another architecture and all that they depend on, without their scripts: what a guest can be made of. The host's own
    /// depmod(8) lists the kernel's modules.
    ///
    /// # Panics
    /// If they cannot be had.
    #[must_use]
    pub fn of_architecture(architecture: &str, packages: &[&str]) -> Self {
        let all = target().join("vm-tests/debian");
        let root = all.join(format!("{architecture}+{}", packages.join("+")));
        if root.is_dir() {
            return Self { root };
        }
        fs::create_dir_all(&all).expect("a directory for packages");
        let new = tempfile::tempdir_in(&all).expect("a directory for packages");
        let unpacked = new.path().join("root");
        run(Command::new("mmdebstrap")
            .args(["--variant=extract", "--quiet"])
            .arg(format!("--architectures={architecture}"))
            .arg(format!("--include={}", packages.join(",")))
            .arg("bookworm")
            .arg(&unpacked));
        for modules in fs::read_dir(unpacked.join("lib/modules"))
            .into_iter()
            .flatten()
            .flatten()
        {
            run(Command::new("/sbin/depmod")
                .arg("-b")
                .arg(&unpacked)
                .arg(modules.file_name()));
        }
        let _ = fs::rename(&unpacked, &root);
        Self { root }
    }

    /// Where they are.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `image` with a program of theirs at its place, and all libraries that it needs, theirs or the host's.
    ///
    /// # Panics
    /// If the program is not there, or a library is not.
    #[must_use]
    pub fn program(&self, image: Image, path: &str) -> Image {
        let own = self.root.join("usr/lib/x86_64-linux-gnu");
        let program = self
            .root
            .join(path)
            .canonicalize()
            .expect("a program of the package");
        let found = Command::new("ldd")
            .arg(&program)
            .env("LD_LIBRARY_PATH", &own)
            .output()
            .expect("ldd");
        let text = String::from_utf8(found.stdout).expect("names of libraries");
        let image = add(image, path, &program);
        let libraries = text.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.into_iter().find(|word| word.starts_with('/'))
        });
        libraries.fold(image, |image, library| {
            let library = Path::new(library);
            let name = library
                .file_name()
                .and_then(|name| name.to_str())
                .expect("a library's name");
            // The loader is where the program says, the others where the loader looks.
            let place = match library.parent().is_some_and(|parent| parent.ends_with("lib64")) {
                true => format!("lib64/{name}"),
                false => format!("usr/lib/{name}"),
            };
            add(image, &place, library)
        })
    }
}

fn add(image: Image, place: &str, file: &Path) -> Image {
    image.file(place, 0o755, fs::read(file).expect("a file of the package"))
}

fn run(command: &mut Command) {
    let output = command.output().expect("Debian's package manager");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
