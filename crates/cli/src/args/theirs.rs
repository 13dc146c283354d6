//! The commands of docker and podman, in the words that they have here: one table, from which come the reading of a command line
//! and the table of docs/docker.md.
//!
//! ```text
//! isopod container ls -a  ->  isopod ps -a          isopod images  ->  isopod image list
//! isopod build .          ->  refused, with what to do instead
//! ```

use std::ffi::OsString;

use super::{ArgFault, group};

/// What a command of theirs is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It is called the same.
    Same,
    /// It is called so.
    Ours(&'static [&'static str]),
    /// There is none; what to do instead.
    Refused(&'static str),
}

use Meaning::{Ours, Refused, Same};

const BUILD: &str =
    "build the image with buildah(1) or docker(1), and run what they write: `isopod run oci-archive:FILE`";
const PUSH: &str = "skopeo(1) sends what `isopod save` writes: `skopeo copy oci-archive:FILE docker://NAME`";
const SWARM: &str = "Isopod runs pods on one host: Kubernetes spreads them over several";
const DAEMON: &str = "there is no daemon, and nothing to be told to it";

/// docker's commands with their groups, and podman's that are met often. One without a group is there with it too.
pub(super) const COMMANDS: &[(&str, Meaning)] = &[
    ("attach", Same),
    ("build", Refused(BUILD)),
    ("builder", Refused(BUILD)),
    ("buildx", Refused(BUILD)),
    ("checkpoint", Refused("no pod is saved while it runs yet")),
    ("commit", Same),
    ("compose", Same),
    ("config", Refused(SWARM)),
    ("container attach", Ours(&["attach"])),
    ("container commit", Ours(&["commit"])),
    ("container cp", Ours(&["cp"])),
    ("container create", Ours(&["create"])),
    ("container diff", Ours(&["diff"])),
    ("container exec", Ours(&["exec"])),
    ("container export", Ours(&["export"])),
    ("container inspect", Ours(&["inspect"])),
    ("container kill", Ours(&["kill"])),
    ("container list", Ours(&["ps"])),
    ("container logs", Ours(&["logs"])),
    ("container ls", Ours(&["ps"])),
    ("container pause", Ours(&["pause"])),
    ("container port", Ours(&["port"])),
    ("container prune", Ours(&["gc", "--grace", "0s"])),
    ("container ps", Ours(&["ps"])),
    ("container rename", Ours(&["rename"])),
    ("container restart", Ours(&["restart"])),
    ("container rm", Ours(&["rm"])),
    ("container run", Ours(&["run"])),
    ("container start", Ours(&["start"])),
    ("container stats", Ours(&["stats"])),
    ("container stop", Ours(&["stop"])),
    ("container top", Ours(&["top"])),
    ("container unpause", Ours(&["unpause"])),
    ("container update", Ours(&["update"])),
    ("container wait", Ours(&["wait"])),
    ("context", Refused(DAEMON)),
    ("cp", Same),
    ("create", Same),
    ("diff", Same),
    ("events", Same),
    ("exec", Same),
    ("export", Same),
    ("history", Ours(&["image", "history"])),
    ("image build", Refused(BUILD)),
    ("image history", Same),
    ("image import", Same),
    ("image inspect", Same),
    ("image load", Same),
    ("image ls", Same),
    ("image prune", Same),
    ("image pull", Same),
    ("image push", Refused(PUSH)),
    ("image rm", Same),
    ("image save", Same),
    ("image tag", Same),
    ("images", Ours(&["image", "list"])),
    ("import", Ours(&["image", "import"])),
    ("info", Same),
    ("inspect", Same),
    ("kill", Same),
    ("load", Ours(&["image", "load"])),
    ("login", Same),
    ("logout", Same),
    ("logs", Same),
    (
        "manifest",
        Refused("skopeo(1) and buildah(1) make indexes of images"),
    ),
    ("network connect", Same),
    ("network create", Same),
    ("network disconnect", Same),
    ("network inspect", Same),
    ("network ls", Same),
    ("network prune", Same),
    ("network rm", Same),
    ("node", Refused(SWARM)),
    ("pause", Same),
    ("plugin", Refused(DAEMON)),
    (
        "pod create",
        Refused("a pod comes with its apps: `isopod prepare IMAGE --- IMAGE`, then `isopod start`"),
    ),
    ("pod inspect", Ours(&["inspect"])),
    ("pod kill", Ours(&["kill"])),
    ("pod list", Ours(&["list"])),
    ("pod logs", Ours(&["logs"])),
    ("pod ls", Ours(&["list"])),
    ("pod pause", Ours(&["pause"])),
    ("pod prune", Ours(&["gc", "--grace", "0s"])),
    ("pod ps", Ours(&["list"])),
    ("pod restart", Ours(&["restart"])),
    ("pod rm", Ours(&["rm"])),
    ("pod start", Ours(&["start"])),
    ("pod stats", Ours(&["stats"])),
    ("pod stop", Ours(&["stop"])),
    ("pod top", Ours(&["top"])),
    ("pod unpause", Ours(&["unpause"])),
    ("port", Same),
    ("ps", Same),
    ("pull", Ours(&["image", "fetch"])),
    ("push", Refused(PUSH)),
    ("rename", Same),
    ("restart", Same),
    ("rm", Same),
    ("rmi", Ours(&["image", "rm"])),
    ("run", Same),
    ("save", Ours(&["image", "save"])),
    (
        "search",
        Refused(
            "registries have pages for that; `skopeo list-tags docker://NAME` lists the tags of an image",
        ),
    ),
    (
        "secret",
        Refused("mount a file: `-v FILE:/run/secrets/NAME:ro`, or write a pod file with a Secret"),
    ),
    ("service", Refused(SWARM)),
    ("stack", Refused(SWARM)),
    ("start", Same),
    ("stats", Same),
    ("stop", Same),
    ("swarm", Refused(SWARM)),
    ("system df", Same),
    ("system events", Ours(&["events"])),
    ("system info", Ours(&["info"])),
    ("system prune", Same),
    ("tag", Ours(&["image", "tag"])),
    ("top", Same),
    (
        "trust",
        Refused("policy.json(5) says whose images are taken; skopeo(1) signs them"),
    ),
    ("unpause", Same),
    ("update", Same),
    ("version", Same),
    ("volume create", Same),
    ("volume inspect", Same),
    ("volume ls", Same),
    ("volume prune", Same),
    ("volume rm", Same),
    ("volume update", Refused(SWARM)),
    ("wait", Same),
];

/// `argv` in the words that its command has here.
///
/// # Errors
/// [`ArgFault::Refused`] where docker or podman have that command, and Isopod has not.
pub(crate) fn in_own_words(mut argv: Vec<OsString>) -> Result<Vec<OsString>, ArgFault> {
    // docker's short form.
    if argv.len() == 2 && argv[1] == "-v" {
        argv[1] = "--version".into();
    }
    let Some(at) = group::command_at(&argv) else {
        return Ok(argv);
    };
    if argv[at] == "help" {
        argv.remove(at);
        argv.push("--help".into());
        return Ok(argv);
    }
    let words: Vec<&str> = argv[at..]
        .iter()
        .take(2)
        .map_while(|word| word.to_str())
        .collect();
    let of_two = words.get(1).map(|second| format!("{} {second}", words[0]));
    let known = |name: &str| COMMANDS.iter().find(|(theirs, _)| *theirs == name);
    let pair = of_two.as_deref().and_then(known).map(|found| (2, found));
    let found = pair.or_else(|| known(words.first()?).map(|found| (1, found)));
    match found {
        Some((count, (_, Ours(ours)))) => {
            argv.splice(at..at + count, ours.iter().map(OsString::from));
        }
        Some((_, (name, Refused(hint)))) => {
            return Err(ArgFault::Refused {
                flag: format!("isopod {name}"),
                hint,
            });
        }
        Some((_, (_, Same))) | None => {}
    }
    Ok(argv)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(line: &str) -> String {
        let argv = line.split(' ').map(OsString::from).collect();
        match in_own_words(argv) {
            Ok(argv) => argv
                .iter()
                .map(|word| word.to_string_lossy())
                .collect::<Vec<_>>()
                .join(" "),
            Err(fault) => fault.to_string(),
        }
    }

    #[test]
    fn commands_have_their_own_words() {
        for (theirs, ours) in [
            ("isopod container ls -a", "isopod ps -a"),
            (
                "isopod --dir container container rm x",
                "isopod --dir container rm x",
            ),
            ("isopod container run -it a ls", "isopod run -it a ls"),
            ("isopod pod ps", "isopod list"),
            ("isopod pod lock f", "isopod pod lock f"),
            ("isopod images", "isopod image list"),
            ("isopod image ls", "isopod image ls"),
            ("isopod run images", "isopod run images"),
            ("isopod build .", "`isopod build` is not supported"),
            ("isopod pod create", "`isopod pod create` is not supported"),
            ("isopod", "isopod"),
            ("isopod -v", "isopod --version"),
            ("isopod help", "isopod --help"),
            ("isopod help volume ls", "isopod volume ls --help"),
        ] {
            assert_eq!(own(theirs), ours);
        }
    }

    #[test]
    fn the_table_is_in_order_and_names_commands_that_are_there() {
        assert!(COMMANDS.is_sorted_by(|one, two| one.0 < two.0));
        let root = crate::command_line::root();
        for (theirs, meaning) in COMMANDS {
            let ours: Vec<&str> = match meaning {
                Same => theirs.split(' ').collect(),
                Ours(words) => words
                    .iter()
                    .copied()
                    .take_while(|word| !word.starts_with('-'))
                    .collect(),
                Refused(_) => continue,
            };
            let found = ours
                .iter()
                .try_fold(&root, |command, word| command.find_subcommand(word));
            assert!(
                found.is_some(),
                "{theirs}: there is no `isopod {}`",
                ours.join(" ")
            );
        }
    }

    #[test]
    fn the_page_about_docker_has_the_table() {
        const BEGIN: &str = "<!-- The table of commands is written by a test. -->\n";
        const END: &str = "<!-- end of the table of commands -->\n";
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/docker.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let (head, rest) = page.split_once(BEGIN).unwrap();
        let (_, tail) = rest.split_once(END).unwrap();
        let mut table = String::from("| command of docker or podman | here |\n|---|---|\n");
        for (theirs, meaning) in COMMANDS {
            let here = match meaning {
                Same => "the same".to_owned(),
                Ours(words) => format!("`isopod {}`", words.join(" ")),
                Refused(hint) => format!("refused: {hint}"),
            };
            table += &format!("| `{theirs}` | {here} |\n");
        }
        let new = format!("{head}{BEGIN}{table}{END}{tail}");
        if std::env::var_os("UPDATE").is_some() {
            return std::fs::write(&path, &new).unwrap();
        }
        assert!(
            page == new,
            "docs/docker.md is stale: `UPDATE=1 cargo test -p isopod-cli page_about_docker`, and commit it"
        );
    }
}
