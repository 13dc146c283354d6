//! Servers for images, from Debian's packages: downloaded and unpacked below the target directory, never installed, so that no
//! service of the host's begins.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

    /// `image` with all files and directories that they have below `path`, as root's, at `place`.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn tree(&self, image: Image, path: &str, place: &str) -> Image {
        tree(image, &self.root.join(path), place)
    }

    /// Executes a program of theirs on the host, with their libraries, as a user who is not root and has the caller's files.
    ///
    /// # Panics
    /// If it fails.
    pub fn run(&self, program: &str, args: &[&str], input: &[u8]) {
        let mut child = Command::new("unshare")
            .args(["--user", "--map-user=65534", "--map-group=65534"])
            .arg(self.root.join(program))
            .args(args)
            .env("LD_LIBRARY_PATH", self.root.join("usr/lib/x86_64-linux-gnu"))
            // The one that a server knows without a database of time zones.
            .env("TZ", "GMT")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare(1)");
        let mut stdin = child.stdin.take().expect("its input");
        let output = std::thread::scope(|scope| {
            // A program that has failed reads no more, and says why.
            scope.spawn(move || drop(stdin.write_all(input)));
            child.wait_with_output().expect("its end")
        });
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {said}");
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

/// `image` with what is in a directory of the host, as root's, at `place`.
#[must_use]
pub fn tree(image: Image, from: &Path, place: &str) -> Image {
    let image = image.directory(place, 0o755, (0, 0));
    let mut entries: Vec<_> = fs::read_dir(from).expect("a directory").flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    entries.into_iter().fold(image, |image, entry| {
        let (path, name) = (entry.path(), entry.file_name());
        let place = format!("{place}/{}", name.to_string_lossy());
        match entry.file_type().expect("its type") {
            kind if kind.is_dir() => tree(image, &path, &place),
            kind if kind.is_file() => add(image, &place, &path),
            _ => image,
        }
    })
}

fn add(image: Image, place: &str, file: &Path) -> Image {
    image.file(place, 0o755, fs::read(file).expect("a file of the package"))
}

fn run(command: &mut Command) {
    let output = command.output().expect("Debian's package manager");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
