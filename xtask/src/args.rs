//! The command line, by hand: a few commands with two flags. Reads nothing but its arguments.

use std::path::PathBuf;

use crate::failure::Failure;
use crate::hosts::{More, SUITES};
use crate::kvm_check::Accel;
use crate::packages::Consent;

/// What `cargo xtask --help` prints.
pub(crate) const USAGE: &str = "\
usage: cargo xtask quickstart [--yes]
         install what is missing from the distribution (asks first, unless `--yes`), build, run a pod
       cargo xtask build [--foreign]
         build isopod and its agent, side by side in target/dist; with `--foreign` also the agent for guests of the other
         architecture (arm64 on amd64), by a cross compiler (gcc-aarch64-linux-gnu, libc6-dev-arm64-cross)
       cargo xtask test [FILTER...]
         install what the tests need, check formatting and lints, run every test
         with filters: run the tests whose names contain one of them, and no other check
       cargo xtask bench boot [--binaries DIR] [--runs N]
         compare `isopod run` with the floor, N times each [default: 5]
       cargo xtask bench import [--runs N]
         compare the import of a Debian image with `skopeo` and `umoci`, and with `podman`; as root
       cargo xtask bench cri
         pods of Kubernetes' beside runc's, on one containerd
       cargo xtask bench network
       cargo xtask bench disk
       cargo xtask bench pods
         time and memory of pods that run: commands, 1,000 pods listed, 20 at once, logs
       cargo xtask docs
         write docs/cli.md, and the man pages and the shells' completions to target/docs
       cargo xtask package [--binaries DIR]
         make a .deb and a tarball in target/package, of a release build or of the binaries in DIR
       cargo xtask hosts [--binaries DIR] [--bench N] [--source] [SUITE...]
         install that package in bare roots of Debian and run pods there; as root [default: bookworm trixie sid]
         with `--bench` also `bench boot` with N rounds; with `--source` also the quickstart, from this checkout's last commit
       cargo xtask kvm-check [--accel tcg] [--binaries DIR]
         what differs between KVM and emulation, tried in pods on a host with KVM, in some minutes; with `--accel tcg` the same
         checks under emulation
       cargo xtask soak [--lives N | --sandboxes N] [--seed N]
         end lives of pods by a SIGKILL at random moments, and look at what is left [default: 200 lives]; with `--sandboxes`,
         as root, those of Kubernetes' sandboxes on Debian's containerd
       cargo xtask bench plan
         time and memory of planning, and of writing what rkt's code wrote";

/// How often `bench boot` and `bench import` run each side where `--runs` does not say.
const DEFAULT_RUNS: usize = 5;

/// How many lives a soak has where `--lives` does not say.
const DEFAULT_LIVES: u64 = 200;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Print the usage.
    Help,
    /// From a fresh VM to a pod that ran.
    Quickstart {
        /// Whether packages may be installed unasked.
        consent: Consent,
    },
    /// Build `isopod` and its agent.
    Build {
        /// Whether also the agent for guests of the other architecture.
        foreign: bool,
    },
    /// Run the tests.
    Test {
        /// Run only the tests whose names contain one of these; empty: all, and the other checks too.
        filters: Vec<String>,
    },
    /// Measure a pod's start.
    BenchBoot {
        /// How often each side runs.
        runs: usize,
        /// The directory of the binaries; a release build, where it is not said.
        binaries: Option<PathBuf>,
    },
    /// Compare imports.
    BenchImport {
        /// How often each side runs.
        runs: usize,
    },
    /// Write what the definitions of the commands say.
    Docs,
    /// Make packages.
    Package {
        /// The directory of the binaries; a release build, where it is not said.
        binaries: Option<PathBuf>,
    },
    /// Try the package in roots of Debian.
    Hosts {
        /// The directory of the binaries; a release build, where it is not said.
        binaries: Option<PathBuf>,
        /// What is done beside running a few pods.
        more: More,
        /// Debian's releases.
        suites: Vec<String>,
    },
    /// Try KVM.
    KvmCheck {
        /// What runs the guests.
        accel: Accel,
        /// The directory of the binaries; a release build, where it is not said.
        binaries: Option<PathBuf>,
    },
    /// Measure planning.
    BenchPlan,
    /// Measure pods of Kubernetes.
    BenchCri,
    /// Measure a pod's network.
    BenchNetwork,
    /// Measure what an app's writing takes.
    BenchDisk,
    /// Measure pods that run.
    BenchPods,
    /// Kill what belongs to pods.
    Soak {
        /// How many lives, and of what.
        lives: Lives,
        /// Where the randomness begins; the time, where it is not said.
        seed: Option<u64>,
    },
}

/// The lives of a soak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lives {
    /// Of pods of `isopod run`.
    Pods(u64),
    /// Of sandboxes of containerd.
    Sandboxes(u64),
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
        ["build"] => Ok(Task::Build { foreign: false }),
        ["build", "--foreign"] => Ok(Task::Build { foreign: true }),
        ["test", ref filters @ ..] => read_filters(filters),
        ["bench", "boot", ref words @ ..] => {
            let (binaries, rest) = take_binaries(words)?;
            let runs = match rest[..] {
                [] => DEFAULT_RUNS,
                ["--runs", runs] => read_runs("--runs", runs)?,
                _ => {
                    return Err(
                        Failure::new(format!("cannot make sense of `{}`", rest.join(" "))).hint(USAGE)
                    );
                }
            };
            Ok(Task::BenchBoot { runs, binaries })
        }
        ["bench", "cri"] => Ok(Task::BenchCri),
        ["bench", "network"] => Ok(Task::BenchNetwork),
        ["bench", "disk"] => Ok(Task::BenchDisk),
        ["bench", "plan"] => Ok(Task::BenchPlan),
        ["bench", "pods"] => Ok(Task::BenchPods),
        ["docs"] => Ok(Task::Docs),
        ["package", ref words @ ..] => {
            let (binaries, rest) = take_binaries(words)?;
            match rest[..] {
                [] => Ok(Task::Package { binaries }),
                _ => Err(Failure::new(format!("cannot make sense of `{}`", rest.join(" "))).hint(USAGE)),
            }
        }
        ["hosts", ref words @ ..] => {
            let (binaries, words) = take_binaries(words)?;
            let (mut more, mut suites) = (More::default(), Vec::new());
            let mut words = words.into_iter();
            while let Some(word) = words.next() {
                match word {
                    "--bench" => more.bench = Some(read_runs(word, words.next().unwrap_or_default())?),
                    "--source" => more.source = true,
                    suite if SUITES.contains(&suite) => suites.push(suite),
                    other => {
                        let known = SUITES.join(", ");
                        return Err(Failure::new(format!("`{other}` is not one of {known}")).hint(USAGE));
                    }
                }
            }
            if suites.is_empty() {
                suites = SUITES.to_vec();
            }
            let suites = suites.into_iter().map(str::to_owned).collect();
            Ok(Task::Hosts {
                binaries,
                more,
                suites,
            })
        }
        ["kvm-check", ref words @ ..] => {
            let (binaries, rest) = take_binaries(words)?;
            let accel = match rest[..] {
                [] => Accel::Kvm,
                ["--accel", "tcg"] => Accel::Tcg,
                _ => {
                    return Err(
                        Failure::new(format!("cannot make sense of `{}`", rest.join(" "))).hint(USAGE)
                    );
                }
            };
            Ok(Task::KvmCheck { accel, binaries })
        }
        ["soak", ref flags @ ..] => read_soak(flags),
        ["bench", "import"] => Ok(Task::BenchImport { runs: DEFAULT_RUNS }),
        ["bench", "import", "--runs", runs] => Ok(Task::BenchImport {
            runs: read_runs("--runs", runs)?,
        }),
        _ => Err(Failure::new(format!("cannot make sense of `{}`", words.join(" "))).hint(USAGE)),
    }
}

/// `--binaries DIR`, wherever it stands, and the other words.
fn take_binaries<'w>(words: &[&'w str]) -> Result<(Option<PathBuf>, Vec<&'w str>), Failure> {
    let mut rest = words.to_vec();
    let Some(at) = words.iter().position(|word| *word == "--binaries") else {
        return Ok((None, rest));
    };
    let dir = words
        .get(at + 1)
        .ok_or_else(|| Failure::new("`--binaries` names no directory").hint(USAGE))?;
    rest.drain(at..at + 2);
    Ok((Some(PathBuf::from(dir)), rest))
}

fn read_runs(flag: &str, runs: &str) -> Result<usize, Failure> {
    let count = runs.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| Failure::new(format!("`{flag} {runs}` is not a number of runs, such as 5")))
}

fn read_soak(flags: &[&str]) -> Result<Task, Failure> {
    let (mut lives, mut seed) = (None, None);
    for flag in flags.chunks(2) {
        let number = |value: &str| value.parse::<u64>().ok();
        let count = |value: &str| number(value).filter(|count| *count > 0);
        let read = match *flag {
            ["--lives", value] if lives.is_none() => {
                lives = count(value).map(Lives::Pods);
                lives.is_some()
            }
            ["--sandboxes", value] if lives.is_none() => {
                lives = count(value).map(Lives::Sandboxes);
                lives.is_some()
            }
            ["--seed", value] => {
                seed = number(value);
                seed.is_some()
            }
            _ => false,
        };
        if !read {
            return Err(Failure::new(format!("cannot make sense of `{}`", flag.join(" "))).hint(USAGE));
        }
    }
    let lives = lives.unwrap_or(Lives::Pods(DEFAULT_LIVES));
    Ok(Task::Soak { lives, seed })
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
        assert_eq!(read_words("build"), Ok(Task::Build { foreign: false }));
        assert_eq!(read_words("build --foreign"), Ok(Task::Build { foreign: true }));
        assert_eq!(read_words("test"), Ok(Task::Test { filters: vec![] }));
        assert_eq!(
            read_words("test a b"),
            Ok(Task::Test {
                filters: vec!["a".into(), "b".into()]
            })
        );
        assert_eq!(
            read_words("bench boot"),
            Ok(Task::BenchBoot {
                runs: DEFAULT_RUNS,
                binaries: None
            })
        );
        assert_eq!(
            read_words("bench boot --runs 3"),
            Ok(Task::BenchBoot {
                runs: 3,
                binaries: None
            })
        );
        assert_eq!(
            read_words("bench import --runs 2"),
            Ok(Task::BenchImport { runs: 2 })
        );
        let (accel, binaries) = (Accel::Tcg, Some("dist".into()));
        assert_eq!(
            read_words("kvm-check --accel tcg --binaries dist"),
            Ok(Task::KvmCheck { accel, binaries })
        );
        assert!(read_words("kvm-check --accel kvm tcg").is_err());
        assert_eq!(read_words("bench plan"), Ok(Task::BenchPlan));
        assert_eq!(read_words("bench network"), Ok(Task::BenchNetwork));
        assert_eq!(read_words("bench disk"), Ok(Task::BenchDisk));
        assert_eq!(read_words("bench cri"), Ok(Task::BenchCri));
        assert_eq!(read_words("docs"), Ok(Task::Docs));
        let binaries = Some(PathBuf::from("d"));
        let package = Task::Package {
            binaries: binaries.clone(),
        };
        assert_eq!(read_words("package --binaries d"), Ok(package));
        let suites = vec!["sid".to_owned()];
        for line in [
            "hosts --binaries d --bench 3 --source sid",
            "hosts --source --bench 3 --binaries d sid",
        ] {
            assert_eq!(
                read_words(line),
                Ok(Task::Hosts {
                    binaries: binaries.clone(),
                    more: More {
                        bench: Some(3),
                        source: true,
                    },
                    suites: suites.clone()
                })
            );
        }
        assert!(read_words("hosts etch").is_err() && read_words("package now").is_err());
        assert_eq!(read_words("test --help"), Ok(Task::Help));
        assert_eq!(read_words("bench pods"), Ok(Task::BenchPods));
        let soak = |lives, seed| Ok(Task::Soak { lives, seed });
        assert_eq!(read_words("soak"), soak(Lives::Pods(200), None));
        assert_eq!(
            read_words("soak --seed 7 --lives 12"),
            soak(Lives::Pods(12), Some(7))
        );
        assert_eq!(
            read_words("soak --sandboxes 100"),
            soak(Lives::Sandboxes(100), None)
        );
        for line in [
            "soak --lives 0",
            "soak --seed x",
            "soak --lives",
            "soak now",
            "soak --lives 1 --sandboxes 1",
        ] {
            assert!(read_words(line).is_err(), "{line}");
        }
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
