//! Flags that say what an app runs and as whom. With which rights: [`isopod_spec::flags::PROCESS`].

use isopod_spec::flags;

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
];
