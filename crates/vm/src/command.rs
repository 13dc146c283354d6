//! Programs with nothing of the caller.

use std::path::Path;
use std::process::{Command, Stdio};

/// A command with an empty environment and no standard input.
#[must_use]
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null());
    command
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    /// The program that has the caller's environment: a credential helper is the user's own.
    const OF_THE_USER: &str = "credentials.rs";

    fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => sources(&path, found),
                false if path.ends_with("tests.rs") => {}
                false => found.push(path),
            }
        }
    }

    /// docs/security.md: no program that isopod starts on the host has the caller's variables.
    #[test]
    fn no_program_is_started_with_the_callers_environment() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut found = Vec::new();
        for name in ["cli", "image", "runtime", "shim", "vm"] {
            sources(&crates.join(name).join("src"), &mut found);
        }
        let (mut started, mut wrong) = (0, Vec::new());
        for path in found {
            let text = fs::read_to_string(&path).unwrap();
            let own = text.split("#[cfg(test)]").next().unwrap();
            // clap's commands start nothing.
            if !own.contains("process::Command") && !own.contains("process::{Command") {
                continue;
            }
            for (at, _) in own.match_indices("Command::new(") {
                started += 1;
                let statements = own[at..].lines().take(12).collect::<String>();
                if !statements.contains(".env_clear()") && !path.ends_with(OF_THE_USER) {
                    wrong.push(path.clone());
                }
            }
        }
        assert!(started >= 5, "{started}");
        assert_eq!(wrong, Vec::<PathBuf>::new());
    }
}
