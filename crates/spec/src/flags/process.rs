//! Flags that say with which rights an app runs, and what it runs beside its program.

use super::app::{AppFlag, push};
use super::device::read_device;
use super::limits::{SecurityOption, read_security_opt};
use super::scalar::{read_capability, read_word};

/// The rows of the flags.
pub const PROCESS: [AppFlag; 8] = [
    AppFlag::text(
        "cap-add",
        "CAPABILITY",
        "Give the app a capability, or ALL",
        |app, text| push(&mut app.cap_add, read_capability("--cap-add", text)),
    ),
    AppFlag::text(
        "cap-drop",
        "CAPABILITY",
        "Take a capability from the app, or ALL",
        |app, text| push(&mut app.cap_drop, read_capability("--cap-drop", text)),
    ),
    AppFlag::text(
        "device",
        "PATH",
        "Give the app a device of the guest: /dev/net/tun or /dev/fuse",
        |app, text| push(&mut app.devices, read_device(text)),
    ),
    AppFlag::switch(
        "tty",
        "Give the app a terminal; in the foreground, with `-i`, this command's is connected to it",
        |app, on| app.tty = on,
    )
    .short('t'),
    AppFlag::switch(
        "init",
        "Run an init as process 1 of the app, which reaps processes and passes signals on; with =false its program is process 1 \
         [default: an init, unless the program is one itself, such as /sbin/init or tini]",
        |app, on| app.init = Some(on),
    )
    .gap(
        |app| app.init.is_some(),
        "whether it has an init",
        "an image brings its own there",
    ),
    AppFlag::switch(
        "privileged",
        "Give the app every capability and every device of the guest, and its /proc and /sys unmasked",
        |app, on| app.privileged = on,
    ),
    AppFlag::text(
        "group-add",
        "GROUP",
        "Put the app into another group: a number or a name",
        |app, text| push(&mut app.group_add, read_word("--group-add", text)),
    ),
    AppFlag::text(
        "security-opt",
        "OPTION",
        "no-new-privileges, seccomp=unconfined, seccomp=builtin, or seccomp=FILE, a profile in docker's format; apparmor=unconfined and \
         label=disable have no effect",
        |app, text| {
            match read_security_opt(text)? {
                SecurityOption::NoNewPrivileges(value) => app.no_new_privileges = Some(value),
                SecurityOption::Seccomp(seccomp) => app.seccomp = Some(seccomp),
                SecurityOption::NoHostProfile => {}
            }
            Ok(())
        },
    ),
];
