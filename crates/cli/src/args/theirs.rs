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
const SAVED: &str = "a running pod cannot be saved yet";
const IN_THE_VM: &str =
    "the files are in the VM: `isopod cp POD:PATH DIR` copies them out, `isopod export POD` all of them";
const IMAGE_MOUNT: &str = "mount it in an app: `--mount type=image,source=IMAGE,target=DIR`";
const ANOTHER: &str =
    "`isopod generate kube POD` writes what it is, of which `isopod run -f` makes another under another name";
const VOLUME_PATH: &str =
    "its files are at `isopod volume inspect -f '{{.Mountpoint}}' NAME`: tar(1) packs and unpacks them there";
const SEARCH: &str =
    "registries have pages for that; `skopeo list-tags docker://NAME` lists the tags of an image";
const TRUST: &str = "policy.json(5) decides which images are accepted; skopeo(1) signs them";
const UNTAG: &str = "`isopod rmi NAME` removes one of several names";
const INIT: &str = "`isopod start POD` makes the VM and starts the apps";
const MACHINE: &str = "each pod comes with a VM of its own: leave it out";
const QUADLET: &str = "`isopod generate systemd POD` writes a unit";
const DAEMON: &str = "there is no daemon that it could configure";

/// docker's and podman's commands with their groups. A group that is refused is so with all that is in it; a command without a
/// group is there with it too.
pub(super) const COMMANDS: &[(&str, Meaning)] = &[
    (
        "artifact",
        Refused("oras(1) and skopeo(1) fetch artifacts that are not images"),
    ),
    ("attach", Same),
    (
        "auto-update",
        Refused("fetch the image and recreate the pod: `isopod pull IMAGE`, then `isopod run --replace ...`"),
    ),
    ("build", Refused(BUILD)),
    ("builder", Refused(BUILD)),
    ("buildx", Refused(BUILD)),
    ("checkpoint", Refused(SAVED)),
    ("commit", Same),
    ("compose", Same),
    ("config", Refused(SWARM)),
    ("container attach", Ours(&["attach"])),
    ("container checkpoint", Refused(SAVED)),
    (
        "container cleanup",
        Refused("a pod's supervisor cleans up after it: leave it out"),
    ),
    ("container clone", Refused(ANOTHER)),
    ("container commit", Ours(&["commit"])),
    ("container cp", Ours(&["cp"])),
    ("container create", Ours(&["create"])),
    ("container diff", Ours(&["diff"])),
    ("container exec", Ours(&["exec"])),
    ("container exists", Ours(&["exists", "pod"])),
    ("container export", Ours(&["export"])),
    ("container init", Refused(INIT)),
    ("container inspect", Ours(&["inspect"])),
    ("container kill", Ours(&["kill"])),
    ("container list", Ours(&["ps"])),
    ("container logs", Ours(&["logs"])),
    ("container ls", Ours(&["ps"])),
    ("container mount", Refused(IN_THE_VM)),
    ("container pause", Ours(&["pause"])),
    ("container port", Ours(&["port"])),
    ("container prune", Ours(&["gc", "--grace", "0s"])),
    ("container ps", Ours(&["ps"])),
    ("container rename", Ours(&["rename"])),
    ("container restart", Ours(&["restart"])),
    ("container restore", Refused(SAVED)),
    ("container rm", Ours(&["rm"])),
    ("container run", Ours(&["run"])),
    (
        "container runlabel",
        Refused("the command is a label: `isopod image inspect -f '{{json .Config.Labels}}' IMAGE`"),
    ),
    ("container start", Ours(&["start"])),
    ("container stats", Ours(&["stats"])),
    ("container stop", Ours(&["stop"])),
    ("container top", Ours(&["top"])),
    ("container unmount", Refused(IN_THE_VM)),
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
    ("farm", Refused(BUILD)),
    ("generate kube", Same),
    (
        "generate spec",
        Refused("`isopod plan` shows all that a pod will be"),
    ),
    ("generate systemd", Same),
    (
        "healthcheck run",
        Refused(
            "`isopod status POD` shows what the checks found; `isopod exec POD COMMAND` runs one by hand",
        ),
    ),
    ("history", Ours(&["image", "history"])),
    ("image build", Refused(BUILD)),
    (
        "image diff",
        Refused(
            "`isopod diff POD` shows what an app changed; of two images compare what `isopod export` writes of pods",
        ),
    ),
    ("image exists", Ours(&["exists", "image"])),
    ("image history", Same),
    ("image import", Same),
    ("image inspect", Same),
    ("image list", Same),
    ("image load", Same),
    ("image ls", Same),
    ("image mount", Refused(IMAGE_MOUNT)),
    ("image prune", Same),
    ("image pull", Same),
    ("image push", Refused(PUSH)),
    ("image rm", Same),
    ("image save", Same),
    ("image scp", Refused("`isopod save IMAGE | ssh HOST isopod load`")),
    ("image search", Refused(SEARCH)),
    ("image sign", Refused(TRUST)),
    ("image tag", Same),
    ("image tree", Refused("`isopod history IMAGE` shows its layers")),
    ("image trust", Refused(TRUST)),
    ("image unmount", Refused(IMAGE_MOUNT)),
    ("image untag", Refused(UNTAG)),
    ("images", Ours(&["image", "list"])),
    ("import", Ours(&["image", "import"])),
    ("info", Same),
    ("init", Refused(INIT)),
    ("inspect", Same),
    ("kill", Same),
    (
        "kube apply",
        Refused("`isopod generate kube POD | kubectl apply -f -`"),
    ),
    ("kube down", Same),
    ("kube generate", Ours(&["generate", "kube"])),
    ("kube play", Same),
    ("load", Ours(&["image", "load"])),
    ("login", Same),
    ("logout", Same),
    ("logs", Same),
    ("machine", Refused(MACHINE)),
    (
        "manifest",
        Refused("skopeo(1) and buildah(1) make indexes of images"),
    ),
    ("mount", Refused(IN_THE_VM)),
    ("network connect", Same),
    ("network create", Same),
    ("network disconnect", Same),
    ("network exists", Ours(&["exists", "network"])),
    ("network inspect", Same),
    ("network ls", Same),
    ("network prune", Same),
    (
        "network reload",
        Refused("a pod's rules are made when it starts: `isopod restart POD`"),
    ),
    ("network rm", Same),
    (
        "network update",
        Refused("create it again: `isopod network rm NAME`, `isopod network create ...`"),
    ),
    ("node", Refused(SWARM)),
    ("pause", Same),
    ("play kube", Ours(&["kube", "play"])),
    ("plugin", Refused(DAEMON)),
    ("pod clone", Refused(ANOTHER)),
    (
        "pod create",
        Refused("a pod comes with its apps: `isopod prepare IMAGE --- IMAGE`, then `isopod start`"),
    ),
    ("pod exists", Ours(&["exists", "pod"])),
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
    ("quadlet", Refused(QUADLET)),
    ("rename", Same),
    ("restart", Same),
    ("rm", Same),
    ("rmi", Ours(&["image", "rm"])),
    ("run", Same),
    ("save", Ours(&["image", "save"])),
    ("search", Refused(SEARCH)),
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
    (
        "system check",
        Refused("`isopod image verify` looks for damage, `isopod gc` removes what is left over"),
    ),
    ("system connection", Refused(DAEMON)),
    ("system df", Same),
    ("system events", Ours(&["events"])),
    ("system info", Ours(&["info"])),
    ("system migrate", Refused("pods need no migration: leave it out")),
    ("system prune", Same),
    (
        "system renumber",
        Refused("pods have no numbers of locks: leave it out"),
    ),
    (
        "system reset",
        Refused(
            "remove pods, images and volumes: `isopod rm -f POD...`, `isopod system prune --all`, `isopod volume prune --all`",
        ),
    ),
    ("system service", Refused(DAEMON)),
    ("tag", Ours(&["image", "tag"])),
    ("top", Same),
    ("trust", Refused(TRUST)),
    ("unmount", Refused(IN_THE_VM)),
    ("unpause", Same),
    (
        "unshare",
        Refused("unshare(1) has the same: `unshare --map-auto --map-root-user COMMAND`"),
    ),
    ("untag", Refused(UNTAG)),
    ("update", Same),
    ("version", Same),
    ("volume create", Same),
    ("volume exists", Ours(&["exists", "volume"])),
    ("volume export", Refused(VOLUME_PATH)),
    ("volume import", Refused(VOLUME_PATH)),
    ("volume inspect", Same),
    ("volume ls", Same),
    ("volume mount", Refused(VOLUME_PATH)),
    ("volume prune", Same),
    (
        "volume reload",
        Refused("volumes are known by their directories: leave it out"),
    ),
    ("volume rm", Same),
    ("volume unmount", Refused(VOLUME_PATH)),
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
            // What follows a command that has none of its own is its argument.
            let found = ours.iter().try_fold(&root, |command, word| {
                let inner = command.find_subcommand(word);
                inner.or_else(|| (!command.has_subcommands()).then_some(command))
            });
            assert!(
                found.is_some(),
                "{theirs}: there is no `isopod {}`",
                ours.join(" ")
            );
        }
    }

    /// Each of theirs has its line, by itself or by its group.
    #[test]
    fn all_commands_of_docker_and_podman_are_in_the_table() {
        let lists = [
            include_str!("docker-commands.txt"),
            include_str!("podman-commands.txt"),
        ];
        let lines = lists.iter().flat_map(|list| list.lines());
        let commands: Vec<&str> = lines.filter(|line| !line.starts_with('#')).collect();
        assert!(commands.len() > 300, "{}", commands.len());
        let known = |name: &str| COMMANDS.iter().find(|(theirs, _)| *theirs == name);
        let missing: Vec<&&str> = commands
            .iter()
            .filter(|command| {
                let groups = command.match_indices(' ').map(|(end, _)| &command[..end]);
                let mut groups = groups.filter_map(known);
                known(command).is_none() && !groups.any(|(_, meaning)| matches!(meaning, Refused(_)))
            })
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
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
