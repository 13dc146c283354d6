//! What the pages refer to: files of the checkout and headings, by links and by paths in backticks.

use std::fs;
use std::path::Path;

use regex_lite::Regex;

use crate::page;

/// A link's target, and its heading.
const LINK: &str = r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)";

/// A path of the checkout in backticks.
const PATH: &str = r"`((?:\.config|crates|docs|fuzz|tests|xtask)/[A-Za-z0-9_./-]+)`";

/// The references of the pages of the checkout `root` that lead nowhere, each with its page and line. Addresses on the
/// internet are not looked at.
///
/// # Panics
/// When a page cannot be read.
#[must_use]
pub fn broken_links(root: &Path) -> Vec<String> {
    let (link, path) = (expression(LINK), expression(PATH));
    let mut faults = Vec::new();
    for page in page::paths(root) {
        let text = fs::read_to_string(&page).expect("a page");
        let shown = page.strip_prefix(root).unwrap_or(&page).display();
        for (line, content) in prose(&text) {
            for found in link.captures_iter(content) {
                let (target, heading) = (&found[1], found.get(2).map(|heading| heading.as_str()));
                if target.contains("://") {
                    continue;
                }
                let file = match target {
                    "" => page.clone(),
                    _ => page.parent().unwrap_or(root).join(target),
                };
                let is_there = file.exists() && heading.is_none_or(|heading| has_heading(&file, heading));
                if !is_there {
                    faults.push(format!("{shown}:{line}: `{}` leads nowhere", &found[0][1..]));
                }
            }
            for found in path.captures_iter(content) {
                if !root.join(&found[1]).exists() {
                    faults.push(format!("{shown}:{line}: there is no `{}`", &found[1]));
                }
            }
        }
    }
    faults
}

/// A test's name: words with underscores between them.
const TEST: &str = r"`([a-z0-9]+(?:_[a-z0-9]+){3,})`";

/// A file of tests or of a crate, without the folder that all of them are in.
const TEST_FILE: &str = r"`([a-z0-9_/]+\.rs)`";

/// The pages whose promises name the tests that hold them.
const PROMISES: [&str; 2] = ["docs/security.md", "docs/reliability.md"];

/// The tests and files of tests that these pages name, and that the checkout `root` does not have.
///
/// # Panics
/// When a page or a folder cannot be read.
#[must_use]
pub fn missing_tests(root: &Path) -> Vec<String> {
    let mut code = String::new();
    for folder in ["crates", "tests"] {
        read_code(&root.join(folder), &mut code);
    }
    let (test, file) = (expression(TEST), expression(TEST_FILE));
    let places = ["tests/tests", "crates"].map(|place| root.join(place));
    let mut missing = Vec::new();
    for page in PROMISES {
        let text = fs::read_to_string(root.join(page)).expect("a page");
        for (line, content) in prose(&text) {
            let tests = test
                .captures_iter(content)
                .filter(|found| !code.contains(&format!("fn {}(", &found[1])));
            let files = file
                .captures_iter(content)
                .filter(|found| !places.iter().any(|place| place.join(&found[1]).exists()));
            missing.extend(
                tests
                    .chain(files)
                    .map(|found| format!("{page}:{line}: there is no `{}`", &found[1])),
            );
        }
    }
    missing
}

/// All code below a folder.
fn read_code(dir: &Path, code: &mut String) {
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read_code(&path, code);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code.push_str(&fs::read_to_string(&path).expect("code"));
        }
    }
}

fn expression(written: &str) -> Regex {
    Regex::new(written).expect("a regular expression")
}

/// The lines of a page outside of its code blocks, with their numbers from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = false;
    text.lines().enumerate().filter_map(move |(i, line)| {
        let is_fence = line.trim_start().starts_with("```");
        inside ^= is_fence;
        (!inside && !is_fence).then_some((i + 1, line))
    })
}

fn has_heading(file: &Path, heading: &str) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    prose(&text).any(|(_, line)| line.starts_with('#') && anchor(line) == heading)
}

/// What GitHub makes of a heading: small letters, blanks as `-`, no punctuation.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let text = heading.trim_start_matches('#').trim();
    text.chars()
        .filter(kept)
        .flat_map(char::to_lowercase)
        .collect::<String>()
        .replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_nowhere_is_found() {
        let dir = tempfile::tempdir().unwrap();
        for pages in ["docs", "fuzz"] {
            fs::create_dir(dir.path().join(pages)).unwrap();
        }
        let page = "# Of `a`: b\n[1](docs/one.md#of-a-b) [2](docs/two.md)\n[3](#none) [4](#of-a-b) [5](https://x.y/z)\n\
            `tests/none.rs` `docs/one.md`\n```sh\n[6](none)\n```\n";
        fs::write(dir.path().join("README.md"), page).unwrap();
        fs::write(dir.path().join("docs/one.md"), "## Of a b\n").unwrap();
        let faults = [
            "README.md:2: `(docs/two.md)` leads nowhere",
            "README.md:3: `(#none)` leads nowhere",
            "README.md:4: there is no `tests/none.rs`",
        ];
        assert_eq!(broken_links(dir.path()), faults);
    }
}
