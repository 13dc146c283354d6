//! Flags that say what an app runs, as whom and with which rights.

use isopod_spec::flags::{self, SecurityOption};

use super::{Flag, keep, push};

pub(super) const FLAGS: &[Flag] = &[
    Flag::app(
        "entrypoint",
        "PROGRAM",
        "Run PROGRAM instead of the image's entry point and command; a JSON list is a program with its first arguments",
        |app, text| {
            let (program, arguments) = flags::read_entrypoint(text)?;
            (app.overrides.exec, app.entrypoint_args) = (Some(program), arguments);
            Ok(())
        },
    ),
    Flag::app(
        "user",
        "USER[:GROUP]",
        "Run as this user: a uid, a name, or a path in the image whose owner it is",
        |app, text| {
            let (user, group) = flags::read_user(text)?;
            app.overrides.user = Some(user);
            app.overrides.group = group;
            Ok(())
        },
    )
    .short('u'),
    Flag::app("group", "GROUP", "Run as this group", |app, text| {
        keep(&mut app.group, flags::read_word("--group", text))
    }),
    Flag::app("workdir", "PATH", "Start in PATH", |app, text| {
        keep(&mut app.overrides.working_dir, flags::read_workdir(text))
    })
    .short('w'),
    Flag::app(
        "env",
        "NAME[=VALUE]",
        "Set an environment variable; without a value, to this command's own",
        |app, text| push(&mut app.overrides.env, flags::read_env(text)),
    )
    .short('e'),
    Flag::app(
        "env-file",
        "FILE",
        "Set the environment variables in FILE, one NAME[=VALUE] per line; `--env` takes precedence",
        |app, text| {
            app.env_files.push(text.into());
            Ok(())
        },
    ),
    Flag::app(
        "cap-add",
        "CAPABILITY",
        "Give the app a capability, or ALL",
        |app, text| {
            push(
                &mut app.overrides.cap_add,
                flags::read_capability("--cap-add", text),
            )
        },
    ),
    Flag::app(
        "cap-drop",
        "CAPABILITY",
        "Take a capability from the app, or ALL",
        |app, text| {
            push(
                &mut app.overrides.cap_drop,
                flags::read_capability("--cap-drop", text),
            )
        },
    ),
    Flag::app(
        "device",
        "PATH",
        "Give the app a device of the guest: /dev/net/tun or /dev/fuse",
        |app, text| push(&mut app.overrides.devices, flags::read_device(text)),
    ),
    Flag::app_switch(
        "tty",
        "Give the app a terminal; in the foreground, with `-i`, this command's is connected to it",
        |app, on| app.overrides.tty = on,
    )
    .short('t'),
    Flag::app_switch(
        "init",
        "Run an init as process 1 of the app, which reaps processes and passes signals on; with =false its program is process 1 \
         [default: an init, unless the program is one itself, such as /sbin/init or tini]",
        |app, on| app.overrides.init = Some(on),
    ),
    Flag::app_switch(
        "privileged",
        "Give the app every capability and every device of the guest, and its /proc and /sys unmasked",
        |app, on| app.overrides.privileged = on,
    ),
    Flag::app(
        "group-add",
        "GROUP",
        "Put the app into another group: a number or a name",
        |app, text| {
            push(
                &mut app.overrides.group_add,
                flags::read_word("--group-add", text),
            )
        },
    ),
    Flag::app(
        "security-opt",
        "OPTION",
        "no-new-privileges, seccomp=unconfined, seccomp=builtin, or seccomp=FILE, a profile in docker's format",
        |app, text| {
            match flags::read_security_opt(text)? {
                SecurityOption::NoNewPrivileges(value) => app.overrides.no_new_privileges = Some(value),
                SecurityOption::Seccomp(seccomp) => app.overrides.seccomp = Some(seccomp),
            }
            Ok(())
        },
    ),
];
