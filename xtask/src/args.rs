//! The command line, by hand: a few commands with two flags. Reads nothing but its arguments.

use crate::failure::Failure;
use crate::packages::Consent;

/// What `cargo xtask --help` prints.
pub(crate) const USAGE: &str = "\
usage: cargo xtask quickstart [--yes]
         install what is missing from the distribution (asks first, unless `--yes`), build, run a pod
       cargo xtask build
         build isopod and its agent, side by side in target/dist
       cargo xtask test [FILTER...]
         install what the tests need, check formatting and lints, run every test
         with filters: run the tests whose names contain one of them, and no other check
       cargo xtask bench boot [--runs N]
         compare `isopod run` with the floor, N times each [default: 5]
       cargo xtask bench import [--runs N]
         compare the import of a Debian image with `skopeo` and `umoci`, and with `podman`; as root
       cargo xtask bench plan
         time and memory of planning, and of writing what rkt's code wrote";

/// How often `bench boot` and `bench import` run each side where `--runs` does not say.
const DEFAULT_RUNS: usize = 5;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Print the usage.
    Help,
    /// From a fresh machine to a pod that ran.
    Quickstart {
        /// Whether packages may be installed unasked.
        consent: Consent,
    },
    /// Build `isopod` and its agent.
    Build,
    /// Run the tests.
    Test {
        /// Run only the tests whose names contain one of these; empty: all, and the other checks too.
        filters: Vec<String>,
    },
    /// Measure a pod's start.
    BenchBoot {
        /// How often each side runs.
        runs: usize,
    },
    /// Compare imports.
    BenchImport {
        /// How often each side runs.
        runs: usize,
    },
    /// Measure planning.
    BenchPlan,
}

/// Reads the words after `cargo xtask`.
pub(crate) fn read(words: impl IntoIterator<Item = String>) -> Result<Task, Failure> {
    let words: Vec<String> = words.into_iter().collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] => Err(Failure::new("no command").hint(USAGE)),
        ["help" | "-h" | "--help", ..] | [_, "-h" | "--help"] => Ok(Task::Help),
        ["quickstart"] => Ok(Task::Quickstart {
            consent: Consent::Ask,
        }),
        ["quickstart", "--yes"] => Ok(Task::Quickstart {
            consent: Consent::Given,
        }),
        ["build"] => Ok(Task::Build),
        ["test", ref filters @ ..] => read_filters(filters),
        ["bench", "boot"] => Ok(Task::BenchBoot { runs: DEFAULT_RUNS }),
        ["bench", "plan"] => Ok(Task::BenchPlan),
        ["bench", "import"] => Ok(Task::BenchImport { runs: DEFAULT_RUNS }),
        ["bench", "boot", "--runs", runs] => Ok(Task::BenchBoot {
            runs: read_runs(runs)?,
        }),
        ["bench", "import", "--runs", runs] => Ok(Task::BenchImport {
            runs: read_runs(runs)?,
        }),
        _ => Err(Failure::new(format!("cannot make sense of `{}`", words.join(" "))).hint(USAGE)),
    }
}

fn read_runs(runs: &str) -> Result<usize, Failure> {
    let count = runs.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| Failure::new(format!("`--runs {runs}` is not a number of runs, such as 5")))
}

fn read_filters(filters: &[&str]) -> Result<Task, Failure> {
    if let Some(flag) = filters.iter().find(|filter| filter.starts_with('-')) {
        let hint = "for the test runner's own flags, call it: `cargo nextest run --workspace ...`";
        return Err(Failure::new(format!(
            "`{flag}` is a flag, and `test` takes parts of test names"
        ))
        .hint(hint));
    }
    Ok(Task::Test {
        filters: filters.iter().map(|&filter| filter.to_owned()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_words(line: &str) -> Result<Task, String> {
        read(line.split_whitespace().map(str::to_owned)).map_err(|failure| failure.to_string())
    }

    #[test]
    fn commands_and_flags() {
        assert_eq!(
            read_words("quickstart"),
            Ok(Task::Quickstart {
                consent: Consent::Ask
            })
        );
        assert_eq!(
            read_words("quickstart --yes"),
            Ok(Task::Quickstart {
                consent: Consent::Given
            })
        );
        assert_eq!(read_words("build"), Ok(Task::Build));
        assert_eq!(read_words("test"), Ok(Task::Test { filters: vec![] }));
        assert_eq!(
            read_words("test a b"),
            Ok(Task::Test {
                filters: vec!["a".into(), "b".into()]
            })
        );
        assert_eq!(
            read_words("bench boot"),
            Ok(Task::BenchBoot { runs: DEFAULT_RUNS })
        );
        assert_eq!(read_words("bench boot --runs 3"), Ok(Task::BenchBoot { runs: 3 }));
        assert_eq!(
            read_words("bench import --runs 2"),
            Ok(Task::BenchImport { runs: 2 })
        );
        assert_eq!(read_words("bench plan"), Ok(Task::BenchPlan));
        assert_eq!(read_words("test --help"), Ok(Task::Help));
    }

    #[test]
    fn faults_name_the_word() {
        assert_eq!(
            read_words("bench boot --runs 0").unwrap_err(),
            "`--runs 0` is not a number of runs, such as 5"
        );
        assert_eq!(
            read_words("quickstart --no").unwrap_err(),
            "cannot make sense of `quickstart --no`"
        );
        assert!(
            read_words("test -E all()")
                .unwrap_err()
                .starts_with("`-E` is a flag")
        );
        assert_eq!(read_words("").unwrap_err(), "no command");
    }
}
