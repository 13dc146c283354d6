//! Types of one name in one crate: who searches for the name finds the wrong one first.
//!
//! The check reads the text of a crate's library or program with its unit tests. Benches and integration tests are crates of their own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use regex_lite::Regex;

use crate::circles;

/// A declaration of a type. An associated type of an `impl` is indented and begins with `type`: it is none.
const DECLARATION: &str =
    r"(?m)^\s*(?:pub(?:\([^)]*\))? )?(?:struct|enum|union|trait) (\w+)|^(?:pub(?:\([^)]*\))? )?type (\w+)";

/// The names in the crate at `dir` that several types have.
///
/// # Panics
/// When the crate cannot be read.
#[must_use]
pub fn shared(dir: &Path) -> Vec<String> {
    let declaration = Regex::new(DECLARATION).expect("an expression");
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for file in circles::files(&dir.join("src")) {
        let text = fs::read_to_string(file).expect("a source file");
        for found in declaration.captures_iter(&text) {
            let name = found.get(1).or(found.get(2)).expect("a name");
            *count.entry(name.as_str().to_owned()).or_default() += 1;
        }
    }
    let several = count.into_iter().filter(|(_, count)| *count > 1);
    several.map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_several_types_have_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let src = dir.path().join("src");
        fs::create_dir_all(src.join("deep")).unwrap();
        fs::write(
            src.join("lib.rs"),
            "pub struct One;\n// struct Two\nimpl A for One {\n    type B = u8;\n}\n",
        )
        .unwrap();
        fs::write(
            src.join("deep/mod.rs"),
            "impl C for D {\n    type B = u8;\n}\nenum Two {}\n",
        )
        .unwrap();
        assert_eq!(shared(dir.path()), Vec::<String>::new());
        fs::write(
            src.join("deep/more.rs"),
            "fn f() {\n    pub(crate) enum One {}\n}\n",
        )
        .unwrap();
        assert_eq!(shared(dir.path()), ["One"]);
    }
}
