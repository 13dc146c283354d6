//! Whether the workspace has examples in its documentation that rustdoc would run: only then is rustdoc worth its
//! time. Looks at the sources as text; what it takes for an example wrongly costs a run of rustdoc and nothing else.

use std::fs;
use std::path::Path;

/// The words after a fence that leave a block Rust (rustdoc book, "Attributes"); `ignore` and `text` do not run.
const RUST: [&str; 5] = ["", "rust", "no_run", "should_panic", "compile_fail"];

/// Whether any library has one.
pub(crate) fn any() -> bool {
    let crates = fs::read_dir("crates").into_iter().flatten().flatten();
    crates
        .map(|entry| entry.path())
        .filter(|dir| dir.join("src/lib.rs").is_file())
        .any(|dir| in_dir(&dir.join("src")))
}

fn in_dir(dir: &Path) -> bool {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| {
        if path.is_dir() {
            return in_dir(&path);
        }
        path.extension().is_some_and(|extension| extension == "rs")
            && fs::read_to_string(&path).is_ok_and(|text| in_text(&text))
    })
}

fn in_text(text: &str) -> bool {
    let mut open = false;
    for line in text.lines().map(str::trim_start) {
        let Some(comment) = line.strip_prefix("//!").or_else(|| line.strip_prefix("///")) else {
            open = false;
            continue;
        };
        let Some(info) = comment.trim().strip_prefix("```") else {
            continue;
        };
        let first = info.split(',').next().unwrap_or_default();
        if !open && RUST.contains(&first) {
            return true;
        }
        open = !open;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawings_are_no_examples() {
        assert!(!in_text(
            "//! ```text\n//! a -> b\n//! ```\nfn f() {}\n/// ```ignore\n/// f()\n/// ```\n"
        ));
        assert!(!in_text("// ```\nlet fence = \"```\";\n"));
    }

    #[test]
    fn examples_are() {
        assert!(in_text(
            "//! ```text\n//! ```\n//!\n    /// ```\n    /// f();\n    /// ```\n"
        ));
        assert!(in_text("/// ```no_run,edition2024\n/// f();\n/// ```\n"));
    }
}
