//! The manual, from the definitions of the commands: `cli.md`, and a page of man(1) for each command.
//!
//! ```text
//! DIR/cli.md
//! DIR/man/isopod.1, isopod-run.1, ...
//! DIR/completions/isopod.bash, isopod.zsh, isopod.fish
//! ```

use std::io;

use clap::Command;
use clap::builder::StyledStr;
use clap_mangen::Man;

use crate::args::{For, HELP_WIDTH, described, usage};

const HEAD: &str = "\
# The commands

Every command with its flags, as `--help` prints them. Made by `cargo xtask docs`; a test fails when it is stale.
";

/// A command as the manual describes it: its flags, what comes behind them, and its help as it is printed.
pub(crate) struct Described {
    /// Its name with those above it: `isopod image import`.
    pub(crate) name: String,
    /// How it is used, where clap does not know.
    pub(crate) usage: Option<&'static str>,
    /// The command, with its flags.
    pub(crate) command: Command,
    /// What stands behind the flags.
    pub(crate) notes: String,
    /// What `--help` prints.
    pub(crate) help: StyledStr,
}

/// Every command below `root` that is not hidden, the root first.
pub(crate) fn describe(mut root: Command) -> Vec<Described> {
    root.build();
    let mut described = Vec::new();
    describe_below(&root, &mut described);
    described
}

fn describe_below(command: &Command, described: &mut Vec<Described>) {
    let name = command
        .get_bin_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned();
    let pods = match &*name {
        "isopod run" => Some(For::Run),
        "isopod prepare" => Some(For::Prepare),
        "isopod plan" => Some(For::Plan),
        _ => None,
    };
    let shown = match pods {
        Some(pods) => self::described(pods),
        None => command.clone().term_width(HELP_WIDTH),
    };
    let notes = shown.get_after_help().map(ToString::to_string);
    described.push(Described {
        name,
        usage: pods.map(usage),
        notes: notes.unwrap_or_default(),
        help: shown.clone().render_help(),
        command: shown,
    });
    let below = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    below.for_each(|sub| describe_below(sub, described));
}

/// All of them in one page.
pub(crate) fn markdown(commands: &[Described]) -> String {
    let mut text = HEAD.to_owned();
    for command in commands {
        let help = command.help.to_string();
        let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
        text += &format!("\n## {}\n\n```text\n{}\n```\n", command.name, lines.join("\n"));
    }
    text
}

/// A page of man(1).
pub(crate) fn page(command: &Described) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    let title = command.name.replace(' ', "-");
    let man = Man::new(
        command
            .command
            .clone()
            .display_name(title.clone())
            .bin_name(&command.name),
    )
    .title(title)
    .source(format!("isopod {}", env!("CARGO_PKG_VERSION")));
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    match command.usage {
        Some(usage) => page.extend(verbatim("SYNOPSIS", usage).bytes()),
        None => man.render_synopsis_section(&mut page)?,
    }
    man.render_options_section(&mut page)?;
    if command.name == "isopod" {
        man.render_subcommands_section(&mut page)?;
    }
    if !command.notes.trim().is_empty() {
        page.extend(verbatim("NOTES", &command.notes).bytes());
    }
    Ok(page)
}

/// A section whose lines stay as they are (man(7)).
fn verbatim(heading: &str, text: &str) -> String {
    let line = |line: &str| {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        match line.starts_with(['.', '\'']) {
            true => format!("\\&{line}\n"),
            false => line + "\n",
        }
    };
    let lines: String = text.trim_matches('\n').lines().map(line).collect();
    format!(".SH {heading}\n.nf\n{lines}.fi\n")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn cli_md_is_as_the_definitions_are() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == markdown(&describe(crate::command_line::root())),
            "docs/cli.md is stale: run `cargo xtask docs` and commit it"
        );
    }

    #[test]
    fn every_command_has_a_page() {
        let commands = describe(crate::command_line::root());
        let names: Vec<&str> = commands.iter().map(|command| &*command.name).collect();
        for name in ["isopod", "isopod run", "isopod image import", "isopod cp"] {
            assert!(names.contains(&name), "{name}: {names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("internal")), "{names:?}");
        for command in &commands {
            let page = String::from_utf8(page(command).unwrap()).unwrap();
            assert!(
                page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"),
                "{page}"
            );
        }
        let run = &commands[names.iter().position(|name| *name == "isopod run").unwrap()];
        let page = String::from_utf8(page(run).unwrap()).unwrap();
        for flag in ["\\-\\-volume", "\\-\\-workdir", "isopod run oci:/images/alpine"] {
            assert!(page.contains(flag), "{flag}: {page}");
        }
    }

    #[test]
    fn lines_of_a_page_stay_lines() {
        assert_eq!(
            verbatim("NOTES", "\n.a\\b\n  x-y\n"),
            ".SH NOTES\n.nf\n\\&.a\\eb\n  x\\-y\n.fi\n"
        );
    }
}
