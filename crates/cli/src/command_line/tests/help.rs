//! The help, and the examples in it.

use super::*;

#[test]
fn help_shows_pod_flags_app_flags_and_examples() {
    let run = help("run --help");
    for text in [
        "Usage: isopod run [FLAGS] IMAGE [COMMAND [ARG...]]",
        "Pod flags (before the first image):",
        "VM flags (before the first image):",
        "--no-implicit-volumes",
        "App flags (each before the image that it is for):",
        "--cap-drop <CAPABILITY>",
        "Global flags:",
        "Images:",
        "Examples:",
    ] {
        assert!(run.contains(text), "{text}:\n{run}");
    }
    assert!(!run.contains("--blkio-weight"), "{run}");
    for line in ["run oci:a x --- --help", "run --memory 1g --help"] {
        assert_eq!(help(line), run, "{line}");
    }
    let plan = help("plan --help");
    let mut lines = run.lines().chain(plan.lines());
    assert!(lines.all(|line| line.chars().count() <= 100), "{run}{plan}");
    assert!(plan.contains("Plan flags:") && plan.contains("isopod plan --profile rkt"));
    assert!(help("--help").contains("run"));
    assert!(help("--version").starts_with("isopod "));
    assert!(usage("").contains("Usage: isopod"));
}

#[test]
fn the_tables_of_flags_are_sound() {
    root().debug_assert();
    for command in [For::Run, For::Prepare, For::Plan] {
        group(command).debug_assert();
    }
    for part in [PodPart::First, PodPart::Later, PodPart::Command] {
        root_to_complete(part).debug_assert();
    }
}

/// The examples of the help are read as they stand there.
#[test]
fn the_examples_of_the_help_are_right() {
    let mut examples = 0;
    for help in [help("run --help"), help("plan --help")] {
        let joined = help.replace("\\\n", " ");
        for line in joined
            .lines()
            .filter_map(|line| line.trim().strip_prefix("isopod "))
        {
            if line.contains("[FLAGS]") {
                continue;
            }
            let words: Vec<String> = line
                .replace('\'', "")
                .split_whitespace()
                .map(str::to_owned)
                .collect();
            parse_words(words.iter().map(String::as_str)).unwrap_or_else(|error| panic!("{line}: {error:?}"));
            examples += 1;
        }
    }
    assert_eq!(examples, 9);
}
