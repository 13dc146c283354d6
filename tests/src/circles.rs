//! Circles between the modules of a crate: rooms of which none can be read first.
//!
//! Seen are the modules that the crate's root declares, each with all that is in its folder; that the files of one folder use what
//! its own module has, and the other way round, is what a folder is for. Tests count for nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex_lite::Regex;

/// Which modules use which.
type Uses = BTreeMap<String, BTreeSet<String>>;

/// The circle in the crate at `dir`, as the modules on the way around it; empty where there is none.
///
/// # Panics
/// When the crate cannot be read.
#[must_use]
pub fn circle(dir: &Path) -> Vec<String> {
    around(&uses(&dir.join("src")))
}

/// Where the tests of a file begin, which stand at its end.
const TESTS: &str = r"#\[cfg\(test\)\]\s+(?:pub\(crate\) )?mod";

/// What a path within the crate begins with, and its first name.
const PATH: &str = r"\b(crate::|(?:super::)+)(\w+|\{)";

fn uses(src: &Path) -> Uses {
    let mut files = files(src);
    let tests = modules_of_tests(&files);
    files.retain(|file| !tests.iter().any(|test| file.starts_with(test)));
    let of = |path: &Path| {
        let inner = path.strip_prefix(src).expect("a file of the crate");
        let depth = inner.components().count();
        let first = inner.components().next().expect("a name");
        let name = Path::new(&first).file_stem().expect("a name");
        (name.to_string_lossy().into_owned(), depth)
    };
    let roots = ["lib", "main"];
    let modules: BTreeSet<String> = files.iter().map(|path| of(path).0).collect();
    let root: String = roots
        .iter()
        .filter_map(|root| fs::read_to_string(src.join(format!("{root}.rs"))).ok())
        .collect();
    let exported = exported(&root);
    let [tests, path] = [TESTS, PATH].map(|text| Regex::new(text).expect("an expression"));
    let mut uses = Uses::new();
    for file in &files {
        let (module, depth) = of(file);
        if roots.contains(&&*module) {
            continue;
        }
        let depth = depth - usize::from(file.ends_with("mod.rs"));
        let used = named(&path, &code(&tests, file), depth)
            .into_iter()
            .filter_map(|name| {
                let name = exported.get(&name).cloned().unwrap_or(name);
                (modules.contains(&name) && name != module).then_some(name)
            });
        uses.entry(module.clone()).or_default().extend(used);
    }
    uses
}

/// The texts of a crate's source files below `src`, without comments and tests.
pub(crate) fn code_of(src: &Path) -> Vec<String> {
    let mut files = files(src);
    let of_tests = modules_of_tests(&files);
    files.retain(|file| !of_tests.iter().any(|test| file.starts_with(test)));
    let tests = Regex::new(TESTS).expect("an expression");
    files.iter().map(|file| code(&tests, file)).collect()
}

/// The source files below `dir`.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory of the crate").flatten();
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.path()) {
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The files and folders of modules that are only there in tests.
fn modules_of_tests(files: &[PathBuf]) -> Vec<PathBuf> {
    let declared = Regex::new(r"#\[cfg\(test\)\]\s+(?:pub\(crate\) )?mod (\w+);").expect("an expression");
    let mut modules = Vec::new();
    for file in files {
        let own = ["lib.rs", "main.rs", "mod.rs"]
            .iter()
            .any(|name| file.ends_with(name));
        let folder = match own {
            true => file.with_file_name(""),
            false => file.with_extension(""),
        };
        let text = fs::read_to_string(file).expect("a source file");
        for found in declared.captures_iter(&text) {
            let module = folder.join(&found[1]);
            modules.extend([module.with_extension("rs"), module]);
        }
    }
    modules
}

/// A file's text, without comments, and without the tests that stand at its end.
fn code(tests: &Regex, path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file");
    let end = tests.find(&text).map_or(text.len(), |found| found.start());
    let lines = text[..end].lines();
    lines
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// The names of the crate's root that `code` uses, in a file that is `depth` below it.
fn named(path: &Regex, code: &str, depth: usize) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for found in path.captures_iter(code) {
        let above = found[1].matches("super").count();
        if above != depth && &found[1] != "crate::" {
            continue;
        }
        match &found[2] {
            "{" => names.extend(first_names(&code[found.get(0).expect("the whole").end()..])),
            name => {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

/// The first name of each path of a group, which `code` begins after the brace of.
fn first_names(code: &str) -> Vec<String> {
    let (mut depth, mut begins, mut names) = (0, true, Vec::new());
    for part in code.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_') {
        let name = part.trim_end_matches(|c: char| !c.is_alphanumeric() && c != '_');
        if begins && depth == 0 && !name.is_empty() {
            names.push(name.to_owned());
            begins = false;
        }
        match part.chars().next_back() {
            Some('{') => depth += 1,
            Some('}') if depth == 0 => break,
            Some('}') => depth -= 1,
            Some(',') if depth == 0 => begins = true,
            _ => {}
        }
    }
    names
}

/// What the crate's root exports of its modules: a name, and the module that it is from.
fn exported(root: &str) -> BTreeMap<String, String> {
    let exports = Regex::new(r"\buse (\w+)::([^;]+);").expect("an expression");
    let last = Regex::new(r"(\w+)\s*(?:[,}]|$)").expect("an expression");
    let mut exported = BTreeMap::new();
    for found in exports.captures_iter(root) {
        for name in last.captures_iter(&found[2]) {
            exported.insert(name[1].to_owned(), found[1].to_owned());
        }
    }
    exported
}

fn around(uses: &Uses) -> Vec<String> {
    /// Whether what is used leads back to who is on the way.
    fn visit(uses: &Uses, module: &String, way: &mut Vec<String>, done: &mut BTreeSet<String>) -> bool {
        if let Some(at) = way.iter().position(|on_the_way| on_the_way == module) {
            way.drain(..at);
            return true;
        }
        if !done.insert(module.clone()) {
            return false;
        }
        way.push(module.clone());
        let used = uses.get(module).into_iter().flatten();
        if used.into_iter().any(|used| visit(uses, used, way, done)) {
            return true;
        }
        way.pop();
        false
    }
    let (mut way, mut done) = (Vec::new(), BTreeSet::new());
    for module in uses.keys() {
        if visit(uses, module, &mut way, &mut done) {
            break;
        }
    }
    way
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join("src").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        circle(dir.path())
    }

    #[test]
    fn circles_are_found() {
        let lib = (
            "lib.rs",
            "mod a;\nmod b;\nmod c;\npub use c::{C, inner::Other};\n",
        );
        let found = of(&[
            lib,
            ("a.rs", "use crate::{b::{self, x}};"),
            ("b.rs", "use super::c;"),
            ("c.rs", "use crate::a;"),
        ]);
        assert_eq!(found, ["a", "b", "c"]);
        // By what the root exports, and from a file of a folder.
        let found = of(&[
            lib,
            ("a.rs", ""),
            ("b/deep.rs", "use super::super::c::C;"),
            ("c.rs", "fn f(_: crate::b::B) {}"),
        ]);
        assert_eq!(found, ["b", "c"]);
        let found = of(&[
            lib,
            ("b.rs", "fn f(_: crate::Other) {}"),
            ("c/inner.rs", "use crate::b::{x, y};"),
        ]);
        assert_eq!(found, ["b", "c"]);
        // Within a folder, in comments and in tests there is none.
        let none = of(&[
            lib,
            ("a.rs", "use crate::b;\nuse crate::c::{b};\n"),
            (
                "b.rs",
                "// crate::a\n#[cfg(test)]\nmod tests {\n    use crate::a;\n}\n",
            ),
            ("c.rs", "mod inner;\nuse inner::a;\n#[cfg(test)]\nmod other;\n"),
            ("c/inner.rs", "use super::C;\n"),
            ("c/other.rs", "use crate::a::x;"),
        ]);
        assert_eq!(none, [""; 0]);
    }
}
