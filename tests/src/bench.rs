//! Where a test runs: a directory of its own, removed with its value, and the user that `isopod` runs as there.
//!
//! ```text
//! target/vm-tests/
//!   images/HEX/          image layouts
//!   store/               images, guest images and templates, imported, built and made once for all tests
//!   run-XXXXXX/          a bench
//!     state/             --dir: pods of its own; images, locks, guest and templates are links into the store
//!     home/              HOME
//! ```
//!
//! For an ordinary user, when the tests run as root, the bench is below the system's temporary directory, holds copies
//! of the programs (a checkout may be closed to others), and its state is its own.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::{Image, leftovers};

/// The ordinary user that tests run `isopod` as, when they run as root themselves: nobody's number.
pub const ORDINARY_UID: u32 = 12345;

/// What the states of all benches share.
const SHARED: [&str; 4] = ["images", "locks", "guest", TEMPLATES];

const TEMPLATES: &str = "templates";

/// Programs that have no place outside of distributions' own.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A test's own place.
pub struct Bench {
    dir: TempDir,
    isopod: PathBuf,
    /// The search path of its commands.
    pub path: OsString,
    /// Whether commands run as [`ORDINARY_UID`], which the tests themselves do not.
    demoted: bool,
}

impl Default for Bench {
    fn default() -> Self {
        Self::new()
    }
}

impl Bench {
    /// A bench of the user that runs the tests.
    #[must_use]
    pub fn new() -> Self {
        let root = target().join("vm-tests");
        let store = root.join("store");
        for dir in SHARED {
            make_dirs(&store.join(dir));
        }
        let dir = tempfile::Builder::new()
            .prefix("run-")
            .tempdir_in(&root)
            .expect("a directory for the test");
        let bench = Self {
            dir,
            isopod: isopod(),
            path: search_path(),
            demoted: false,
        };
        make_dirs(&bench.state());
        make_dirs(&bench.home());
        for name in SHARED {
            symlink(store.join(name), bench.state().join(name)).expect("a link into the store");
        }
        bench
    }

    /// A bench of root, or `None` and a word about it where the tests do not run as root.
    #[must_use]
    pub fn of_root() -> Option<Self> {
        if is_root() {
            return Some(Self::new());
        }
        say("skipped: only root can do this");
        None
    }

    /// A bench of an ordinary user: [`ORDINARY_UID`] where the tests run as root.
    #[must_use]
    pub fn of_ordinary_user() -> Self {
        if !is_root() {
            return Self::new();
        }
        let dir = tempfile::Builder::new()
            .prefix("isopod-vm-test-")
            .tempdir()
            .expect("a directory for the test");
        let programs = dir.path().join("bin");
        make_dirs(&programs);
        let isopod = isopod();
        for (program, name) in [
            (Some(isopod.clone()), "isopod"),
            (Some(isopod.with_file_name("isopod-agent")), "isopod-agent"),
            (find("virtiofsd"), "virtiofsd"),
        ] {
            if let Some(program) = program {
                fs::copy(&program, programs.join(name)).expect("a copy of a program");
            }
        }
        let mut path = OsString::from(&programs);
        path.push(":");
        path.push(SYSTEM_PATH);
        let bench = Self {
            dir,
            isopod: programs.join("isopod"),
            path,
            demoted: true,
        };
        make_dirs(&bench.state());
        make_dirs(&bench.home());
        bench.give_away(bench.dir());
        bench.give_away(&bench.state());
        bench.give_away(&bench.home());
        bench
    }

    /// With templates of its own, none yet: its pods boot where they do not say otherwise.
    #[must_use]
    pub fn own_templates(self) -> Self {
        self.leave_templates();
        self
    }

    pub(crate) fn leave_templates(&self) {
        if self.shares_templates() {
            fs::remove_file(self.state().join(TEMPLATES)).expect("a link into the store");
        }
    }

    /// How its pods start: from templates that other benches have too, or else they boot.
    pub(crate) fn start(&self) -> &'static str {
        if self.shares_templates() { "warm" } else { "cold" }
    }

    fn shares_templates(&self) -> bool {
        self.state().join(TEMPLATES).is_symlink()
    }

    /// Makes `path` the user's that commands run as.
    pub fn give_away(&self, path: &Path) {
        if self.demoted {
            lchown(path, Some(ORDINARY_UID), Some(ORDINARY_UID)).expect("a change of owner");
        }
    }

    /// The test's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A new directory with that name in the test's, with `files` in it.
    #[must_use]
    pub fn source(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let dir = self.dir().join(name);
        make_dirs(&dir);
        self.give_away(&dir);
        for (name, content) in files {
            let file = dir.join(name);
            let parent = file.parent().unwrap_or(&dir);
            make_dirs(parent);
            fs::write(&file, content).expect("a file of the test's");
            self.give_away(parent);
            self.give_away(&file);
        }
        dir
    }

    /// Where `isopod` keeps its state.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.dir().join("state")
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir().join("home")
    }

    /// The program.
    #[must_use]
    pub fn isopod(&self) -> &Path {
        &self.isopod
    }

    /// The words before the program that make it run as the right user.
    pub(crate) fn prefix(&self) -> Vec<OsString> {
        if !self.demoted {
            return Vec::new();
        }
        let uid = ORDINARY_UID.to_string();
        ["setpriv", "--reuid", &uid, "--regid", &uid, "--clear-groups"]
            .map(OsString::from)
            .into()
    }

    /// The image of most tests: busybox with its applets.
    #[must_use]
    pub fn busybox(&self) -> String {
        self.image(&Image::busybox())
    }

    /// Whether its commands run as an ordinary user.
    #[must_use]
    pub fn is_ordinary_user(&self) -> bool {
        self.demoted || !is_root()
    }

    /// Makes a directory that holds what the busybox image does, as a root; an ordinary user's is all that user's.
    #[must_use]
    pub fn root(&self, name: &str) -> PathBuf {
        let root = self.dir().join(name);
        Image::busybox().unpack(&root, |path| self.give_away(path));
        root
    }

    /// Writes `image` where the user can read it, and gives the reference to it.
    #[must_use]
    pub fn image(&self, image: &Image) -> String {
        let images = if self.demoted {
            self.dir().join("oci")
        } else {
            target().join("vm-tests/images")
        };
        let layout = image.write_once(&images);
        format!("oci:{}:latest", layout.display())
    }

    /// Fails the test where something of its commands is left: a process, a mount, a pod's directory.
    ///
    /// # Panics
    /// With what is left.
    pub fn assert_nothing_left(&self) {
        self.assert_nothing_left_in(&self.state());
    }

    /// The same in another state directory.
    ///
    /// # Panics
    /// With what is left.
    pub fn assert_nothing_left_in(&self, state: &Path) {
        let left = leftovers::of(self.dir(), state);
        assert!(left.is_empty(), "left behind: {left:#?}");
    }

    /// The processes of this bench: numbers and command lines.
    #[must_use]
    pub fn processes(&self) -> Vec<(i32, String)> {
        leftovers::processes(self.dir())
    }

    /// The process of this bench whose program has that name; it is waited for, for half a minute.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn process(&self, program: &str) -> i32 {
        leftovers::process(self.dir(), program).unwrap_or_else(|| panic!("no process `{program}`"))
    }
}

/// What a test that failed left in the background ends with it.
impl Drop for Bench {
    fn drop(&mut self) {
        for (pid, _) in self.processes() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

/// Says something on standard error, which test runners show for failures and on request.
#[expect(clippy::print_stderr, reason = "a test's only way to say that it was skipped")]
pub fn say(text: &str) {
    eprintln!("{text}");
}

fn make_dirs(dir: &Path) {
    fs::create_dir_all(dir).expect("a directory for the test");
    // Whatever the caller's umask, what an ordinary user is to reach can be reached.
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o755));
}

/// Whether the tests run as root.
#[must_use]
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("a workspace")
        .join("target")
}

/// `ISOPOD_BIN`, or what `cargo xtask test` or `cargo build` left.
fn isopod() -> PathBuf {
    if let Some(named) = std::env::var_os("ISOPOD_BIN") {
        return named.into();
    }
    let built = ["dist-debug/isopod", "debug/isopod"].map(|program| target().join(program));
    let found = built
        .into_iter()
        .find(|program| program.with_file_name("isopod-agent").is_file());
    found.expect("isopod and its agent are not built: run `cargo xtask test`")
}

/// The caller's search path, or the usual one, behind the directory of the tests' own tools.
fn search_path() -> OsString {
    let mut path = target().join("tools/bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_else(|| SYSTEM_PATH.into()));
    path
}

fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path())
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}
