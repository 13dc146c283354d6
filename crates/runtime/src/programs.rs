//! Where programs are: in the search path, or where distributions hide them.

use std::path::{Path, PathBuf};

use isopod_plan::vm::board;
use isopod_spec::Architecture;

/// RHEL's QEMU, for VMs of the host's architecture, which is in no search path, and its name where it is in one.
const QEMU_KVM: (&str, &str) = ("/usr/libexec/qemu-kvm", "qemu-kvm");

/// The first executable of that name in `search`.
pub(crate) fn find_program(search: &[PathBuf], name: &str) -> Option<PathBuf> {
    search
        .iter()
        .map(|dir| dir.join(name))
        .find(|path| is_program(path))
}

/// QEMU for VMs of that architecture.
pub(crate) fn find_qemu(search: &[PathBuf], architecture: Architecture) -> Option<PathBuf> {
    qemu_in(search, architecture, Path::new("/"))
}

fn qemu_in(search: &[PathBuf], architecture: Architecture, root: &Path) -> Option<PathBuf> {
    let named = find_program(search, board::program(architecture));
    if architecture != Architecture::HOST {
        return named;
    }
    let hidden = root.join(QEMU_KVM.0.trim_start_matches('/'));
    named
        .or_else(|| is_program(&hidden).then_some(hidden))
        .or_else(|| find_program(search, QEMU_KVM.1))
}

/// Whether that QEMU finds [`board::QBOOT`]: it looks where it is installed itself.
pub(crate) fn has_qboot(qemu: &Path) -> bool {
    let program = qemu.canonicalize().ok();
    let prefix = program.as_deref().and_then(Path::parent).and_then(Path::parent);
    prefix.is_some_and(|prefix| prefix.join("share/qemu").join(board::QBOOT).is_file())
}

fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn qboot_is_looked_for_where_qemu_is_installed() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for dir in ["opt/qemu/bin", "opt/qemu/share/qemu", "usr/bin"] {
            std::fs::create_dir_all(at(dir)).unwrap();
        }
        std::fs::write(at("opt/qemu/bin/qemu-system-x86_64"), "").unwrap();
        std::os::unix::fs::symlink(at("opt/qemu/bin/qemu-system-x86_64"), at("usr/bin/qemu")).unwrap();
        assert!(!has_qboot(&at("usr/bin/qemu")));
        std::fs::write(at("opt/qemu/share/qemu/qboot.rom"), "").unwrap();
        assert!(has_qboot(&at("usr/bin/qemu")));
        assert!(!has_qboot(&at("usr/bin/none")));
    }

    #[test]
    fn qemu_is_found_by_each_of_its_names() {
        let root = tempfile::tempdir().unwrap();
        let search = [root.path().join("usr/bin")];
        let make = |path: &str, mode| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let other = Architecture::ALL
            .into_iter()
            .find(|one| *one != Architecture::HOST);
        let (own, other) = (Architecture::HOST, other.unwrap());
        let found = || {
            let found = qemu_in(&search, own, root.path())?;
            Some(
                found
                    .strip_prefix(root.path())
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
            )
        };
        assert_eq!(found(), None);
        make("usr/bin/qemu-kvm", 0o755);
        assert_eq!(found().as_deref(), Some("usr/bin/qemu-kvm"));
        make("usr/libexec/qemu-kvm", 0o755);
        assert_eq!(found().as_deref(), Some("usr/libexec/qemu-kvm"));
        let named = |architecture| format!("usr/bin/{}", board::program(architecture));
        make(&named(own), 0o644);
        assert_eq!(found().as_deref(), Some("usr/libexec/qemu-kvm"));
        make(&named(own), 0o755);
        assert_eq!(found(), Some(named(own)));
        assert_eq!(qemu_in(&search, other, root.path()), None);
        make(&named(other), 0o755);
        assert_eq!(
            qemu_in(&search, other, root.path()),
            Some(root.path().join(named(other)))
        );
    }
}
