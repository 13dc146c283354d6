//! Where programs are: in the search path, or where distributions hide them.

use std::path::{Path, PathBuf};

/// QEMU's name everywhere but in RHEL.
const QEMU: &str = "qemu-system-x86_64";

/// RHEL's QEMU, which is in no search path, and its name where it is in one.
const QEMU_KVM: (&str, &str) = ("/usr/libexec/qemu-kvm", "qemu-kvm");

/// The first executable of that name in `search`.
pub(crate) fn find_program(search: &[PathBuf], name: &str) -> Option<PathBuf> {
    search
        .iter()
        .map(|dir| dir.join(name))
        .find(|path| is_program(path))
}

/// QEMU for x86-64.
pub(crate) fn find_qemu(search: &[PathBuf]) -> Option<PathBuf> {
    qemu_in(search, Path::new("/"))
}

fn qemu_in(search: &[PathBuf], root: &Path) -> Option<PathBuf> {
    let hidden = root.join(QEMU_KVM.0.trim_start_matches('/'));
    find_program(search, QEMU)
        .or_else(|| is_program(&hidden).then_some(hidden))
        .or_else(|| find_program(search, QEMU_KVM.1))
}

fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

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
        let found = || {
            let found = qemu_in(&search, root.path())?;
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
        make("usr/bin/qemu-system-x86_64", 0o644);
        assert_eq!(found().as_deref(), Some("usr/libexec/qemu-kvm"));
        make("usr/bin/qemu-system-x86_64", 0o755);
        assert_eq!(found().as_deref(), Some("usr/bin/qemu-system-x86_64"));
    }
}
