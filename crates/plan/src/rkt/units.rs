//! The files of a mount in rkt's way (stage1/init/kvm/mount.go, November 2015): units say in an `[Install]` section who needs
//! them, and a read-only mount is made so by a service, before which the app may run.

use std::path::Path;

use crate::guest::tree::GuestTree;
use crate::guest::units::{MountUnit, words};
use crate::layout;
use crate::systemd::unit::{self, UnitFile, Unwritable};
use crate::systemd::unit_name;

/// Adds the files of `mount`.
///
/// # Errors
/// [`Unwritable`] where systemd cannot express a path.
pub(super) fn add(tree: &mut GuestTree, mount: &MountUnit) -> Result<(), Unwritable> {
    let dir = Path::new(layout::UNIT_DIR);
    tree.file(&dir.join(mount.name()), mount_unit(mount)?.text(), 0o644);
    if mount.read_only {
        tree.file(
            &dir.join(remount_name(mount)),
            remount_service(mount)?.text(),
            0o644,
        );
    }
    Ok(())
}

fn mount_unit(mount: &MountUnit) -> Result<UnitFile, Unwritable> {
    let description = unit::description(&format!("Mount unit for {}", mount.place.display()));
    let mut section = vec![
        ("Description", description),
        ("DefaultDependencies", "false".to_owned()),
    ];
    if !mount.required_by.is_empty() {
        section.push(("Before", words(&mount.required_by)));
    }
    let mut of_mount = vec![
        ("What", unit::path_value(&mount.what)?),
        ("Where", unit::path_value(&mount.place)?),
        ("Type", mount.fs_type.to_owned()),
    ];
    let options = mount.option_text();
    if !options.is_empty() {
        of_mount.push(("Options", unit::specifiers(&options)));
    }
    Ok(UnitFile::default()
        .section("Unit", section)
        .section("Mount", of_mount)
        .section("Install", vec![("RequiredBy", words(&mount.required_by))]))
}

/// The name of the service that makes `mount` read-only.
fn remount_name(mount: &MountUnit) -> String {
    let mut remounted = mount.place.as_os_str().to_owned();
    remounted.push("-remount");
    unit_name::for_path(Path::new(&remounted), ".service")
}

/// The service that makes `mount` read-only. Where rkt wrote the path as it was, this quotes it when it holds anything that
/// systemd would take apart.
fn remount_service(mount: &MountUnit) -> Result<UnitFile, Unwritable> {
    let text = unit::path_text(&mount.place)?;
    let special = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\'' | '\\' | '%');
    let expanded = text.contains("${") || text.contains("$$");
    let word = if expanded || text.contains(special) {
        unit::exec_word(text)
    } else {
        text.to_owned()
    };
    let description = unit::description(&format!("Remount read-only unit for {}", mount.place.display()));
    Ok(UnitFile::default()
        .section(
            "Unit",
            vec![
                ("Description", description),
                ("DefaultDependencies", "false".into()),
                ("After", mount.name()),
                ("Wants", mount.name()),
            ],
        )
        .section(
            "Service",
            vec![("ExecStart", format!("/usr/bin/mount -o remount,ro {word}"))],
        )
        .section("Install", vec![("RequiredBy", mount.name())]))
}
