//! The manual, from the definitions of the commands: `cli.md`, a page of man(1) for each command, and the shells' scripts.
//!
//! ```text
//! DIR/cli.md
//! DIR/man/isopod.1, isopod-run.1, ...
//! DIR/completions/isopod.bash, isopod.zsh, isopod.fish
//! ```

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap_mangen::Man;

use crate::args::{Described, Shell, manual};
use crate::complete;
use crate::failure::Failure;
use crate::output::Report;

const HEAD: &str = "\
# The commands

Every command with its flags, as `--help` prints them. Made by `cargo xtask docs`; a test fails when it is stale.
";

/// Writes it to `dir`.
///
/// # Errors
/// A [`Report`] when a file cannot be written.
pub(crate) fn write(dir: &Path) -> Result<ExitCode, Failure> {
    let failed =
        |error: io::Error| Report::text(format!("cannot write the manual to `{}`: {error}", dir.display()));
    let commands = manual();
    for below in ["man", "completions"] {
        fs::create_dir_all(dir.join(below)).map_err(failed)?;
    }
    fs::write(dir.join("cli.md"), markdown(&commands)).map_err(failed)?;
    for command in &commands {
        let name = format!("{}.1", command.name.replace(' ', "-"));
        let page = page(command).map_err(failed)?;
        fs::write(dir.join("man").join(name), page).map_err(failed)?;
    }
    for shell in Shell::ALL {
        let name = format!("isopod.{}", shell.as_str());
        fs::write(dir.join("completions").join(name), complete::script(shell)?).map_err(failed)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn markdown(commands: &[Described]) -> String {
    let mut text = HEAD.to_owned();
    for command in commands {
        let help = command.help.to_string();
        let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
        text += &format!("\n## {}\n\n```text\n{}\n```\n", command.name, lines.join("\n"));
    }
    text
}

/// A page of man(1).
fn page(command: &Described) -> io::Result<Vec<u8>> {
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
    use super::*;

    #[test]
    fn cli_md_is_as_the_definitions_are() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == markdown(&manual()),
            "docs/cli.md is stale: run `cargo xtask docs` and commit it"
        );
    }

    #[test]
    fn every_command_has_a_page() {
        let commands = manual();
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
