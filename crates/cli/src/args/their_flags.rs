//! Flags that docker's and podman's commands have and Isopod's have not: what to do instead. Those of `run` are rows of
//! [`flags`](super::flags).

#[cfg(test)]
mod table;

use super::flags;

/// Flags, each as `--LONG`, of one of Isopod's commands, and what to do instead.
struct Refused {
    command: &'static str,
    flags: &'static [&'static str],
    hint: &'static str,
}

const fn refused(command: &'static str, flags: &'static [&'static str], hint: &'static str) -> Refused {
    Refused { command, flags, hint }
}

const LATEST: &str = "name the pod: `$(isopod ps -lq)` is the one that was made last";
const PODS_OF_FILES: &str = "`isopod run -d -f FILE` has the flags of a pod: write it so";
const CREDENTIALS: &str = "log in first: `isopod login`";
const AUTHFILE: &str = "name it by the variable: `REGISTRY_AUTH_FILE=FILE isopod ...`";
const CERTIFICATES: &str = "add the registry's certificate to those that the host trusts";
const TLS: &str = "name the registry in registries.conf(5), with `insecure = true`";
const HEADING: &str = "a template prints no header: `--format '{{.Name}}'`";
const SORTED: &str = "sort(1) sorts what a template prints: `--format '{{.CreatedAt}} {{.ID}}' | sort`";
const ALL_OF_THEM: &str = "name them all: `$(isopod volume ls -q)`";
const UNIT: &str = "other settings of a unit go into a drop-in file: `systemctl edit UNIT`";
const CLUSTER: &str = "a named volume is a directory of this host, and of no cluster: leave it out";
const COUNTED: &str = "what it uses is counted by the VM, and shown once: leave it out";
const ADDRESSES: &str =
    "a network gives the lowest address that is free: name a pod's own, `isopod run --ip ADDRESS`";

const TABLE: &[Refused] = &[
    refused("attach", &["--latest"], LATEST),
    refused(
        "commit",
        &["--include-volumes"],
        "an image has no files of volumes: `isopod cp POD:DIR -` writes them to an archive",
    ),
    refused(
        "commit",
        &["--squash"],
        "`isopod export POD | isopod import -` makes an image of one layer",
    ),
    refused(
        "cp",
        &["--overwrite"],
        "a directory replaces no file, nor a file a directory: remove it first",
    ),
    refused("diff", &["--latest"], LATEST),
    refused("exec", &["--latest"], LATEST),
    refused(
        "exec",
        &["--preserve-fds"],
        "a command has three standard streams: use those, or a volume",
    ),
    refused(
        "exists",
        &["--external"],
        "no other program keeps containers here: leave it out",
    ),
    refused("generate kube", &["--filename"], "write what it prints: `> FILE`"),
    refused(
        "generate kube",
        &["--service"],
        "`kubectl expose -f FILE` makes a Service of what it prints",
    ),
    refused("generate systemd", &["--files"], "write what it prints: `> FILE`"),
    refused(
        "generate systemd",
        &["--new"],
        "give it a pod file, of which its unit makes the pod each time: `isopod generate kube POD > FILE`, `isopod generate \
         systemd ./FILE`",
    ),
    refused(
        "generate systemd",
        &["--name", "--container-prefix", "--pod-prefix", "--separator"],
        "a unit is called as its file is: `isopod generate systemd POD > NAME.service`",
    ),
    refused(
        "generate systemd",
        &[
            "--after",
            "--env",
            "--format",
            "--no-header",
            "--requires",
            "--restart-policy",
            "--restart-sec",
            "--start-timeout",
            "--stop-timeout",
            "--template",
            "--wants",
        ],
        UNIT,
    ),
    refused(
        "image fetch",
        &["--all-tags"],
        "name the tags: `skopeo list-tags docker://NAME` lists them",
    ),
    refused(
        "image fetch",
        &["--disable-content-trust"],
        "policy.json(5) decides which images are accepted: leave it out",
    ),
    refused("image fetch", &["--authfile"], AUTHFILE),
    refused("image fetch", &["--cert-dir"], CERTIFICATES),
    refused("image fetch", &["--creds"], CREDENTIALS),
    refused("image fetch", &["--tls-verify"], TLS),
    refused(
        "image fetch",
        &["--variant"],
        "of an image's variants the one is taken that the processor can run: leave it out",
    ),
    refused(
        "image gc",
        &["--external"],
        "no other program keeps containers here: leave it out",
    ),
    refused(
        "image import",
        &["--arch", "--os", "--variant"],
        "write it as one: `--platform linux/ARCH`",
    ),
    refused(
        "image list",
        &["--history"],
        "no record is kept of an image's earlier names: leave it out",
    ),
    refused("image list", &["--noheading"], HEADING),
    refused("image list", &["--sort"], SORTED),
    refused(
        "image list",
        &["--tree"],
        "a name has one platform here, and `isopod image inspect NAME` says which: leave it out",
    ),
    refused(
        "image rm",
        &["--all"],
        "`isopod image prune -a` removes all that no pod uses",
    ),
    refused(
        "image save",
        &["--compress", "--uncompressed"],
        "layers are kept as they were fetched: leave it out",
    ),
    refused("inspect", &["--latest"], LATEST),
    refused("kube play", &["--authfile"], AUTHFILE),
    refused("kube play", &["--cert-dir"], CERTIFICATES),
    refused("kube play", &["--creds"], CREDENTIALS),
    refused("kube play", &["--tls-verify"], TLS),
    refused(
        "kube play",
        &["--build", "--context-dir"],
        "build the image first, with buildah(1), and name it in the file: `oci-archive:FILE`",
    ),
    refused(
        "kube play",
        &["--configmap"],
        "name the file beside the others: `isopod kube play POD.yaml CONFIGMAP.yaml`",
    ),
    refused(
        "kube play",
        &["--start"],
        "`isopod prepare -f FILE` makes the pods and does not start them",
    ),
    refused(
        "kube play",
        &["--ip", "--mac-address", "--network", "--quiet"],
        PODS_OF_FILES,
    ),
    refused(
        "kube play",
        &["--annotation"],
        "write it in the file, below `metadata.annotations`",
    ),
    refused(
        "kube play",
        &["--log-driver", "--log-opt"],
        "the logs of an app are files of `isopod logs`: leave it out",
    ),
    refused(
        "kube play",
        &["--no-hosts"],
        "a pod writes its apps' /etc/hosts: mount a file over it",
    ),
    refused(
        "kube play",
        &["--seccomp-profile-root"],
        "localhost profiles are files below the file's own directory: leave it out",
    ),
    refused(
        "kube play",
        &["--userns"],
        "a pod has a kernel of its own: `hostUsers` in the file has no effect here: leave it out",
    ),
    refused(
        "list",
        &["--ctr-ids", "--ctr-names", "--ctr-status"],
        "`isopod status POD` shows each app",
    ),
    refused("list", &["--latest"], LATEST),
    refused("list", &["--noheading"], HEADING),
    refused(
        "list",
        &["--ns"],
        "a pod has a kernel of its own, and no namespace of the host: leave it out",
    ),
    refused("list", &["--sort"], SORTED),
    refused("login", &["--authfile"], AUTHFILE),
    refused("login", &["--cert-dir"], CERTIFICATES),
    refused(
        "login",
        &["--get-login"],
        "the credentials are in auth.json (containers-auth.json(5)), which `isopod login` names",
    ),
    refused("login", &["--tls-verify"], TLS),
    refused(
        "login",
        &["--verbose"],
        "the file that has them is printed as it is: leave it out",
    ),
    refused("logout", &["--all"], "name each registry"),
    refused("logout", &["--authfile"], AUTHFILE),
    refused(
        "logs",
        &["--color"],
        "of several apps each line begins with its app's name: leave it out",
    ),
    refused("logs", &["--latest"], LATEST),
    refused(
        "logs",
        &["--names"],
        "of several apps each line begins with its app's name: leave it out",
    ),
    refused(
        "network connect",
        &["--driver-opt"],
        "a network's options are its own: `isopod network create --opt NAME=VALUE`",
    ),
    refused(
        "network connect",
        &["--gw-priority"],
        "the first network of a pod is its way out: name that first when the pod is made",
    ),
    refused(
        "network connect",
        &["--link"],
        "give it another name there: `--alias NAME`",
    ),
    refused(
        "network connect",
        &["--link-local-ip"],
        "the guest makes link-local addresses itself: leave it out",
    ),
    refused(
        "network create",
        &["--ip-range", "--aux-address", "--ipam-opt"],
        ADDRESSES,
    ),
    refused(
        "network create",
        &["--config-from", "--config-only", "--ingress"],
        "a network belongs to this host only: give it its own options",
    ),
    refused("network ls", &["--noheading"], HEADING),
    refused(
        "network rm",
        &["--time"],
        "stop the network's pods first: `isopod stop -t SECONDS POD`",
    ),
    refused(
        "port",
        &["--all"],
        "name each pod: `for pod in $(isopod ps -q); do isopod port $pod; done`",
    ),
    refused("port", &["--latest"], LATEST),
    refused(
        "ps",
        &["--external", "--sync"],
        "no other program keeps containers here: leave it out",
    ),
    refused("ps", &["--noheading"], HEADING),
    refused(
        "prepare",
        &["--pidfile", "--conmon-pidfile"],
        "a pod that was not started has no process: `isopod inspect -f '{{.State.Pid}}' POD` has the number once it runs",
    ),
    refused(
        "prepare",
        &["--attach"],
        "attach when it is started: `isopod start -a POD`",
    ),
    refused(
        "ps",
        &["--ns"],
        "a pod has a kernel of its own, and no namespace of the host: leave it out",
    ),
    refused("ps", &["--pod"], "each line is a pod: leave it out"),
    refused("ps", &["--sort"], SORTED),
    refused("ps", &["--watch"], "watch(1) does it: `watch isopod ps`"),
    refused("rm", &["--depend"], "no pod depends on another: leave it out"),
    refused(
        "rm",
        &["--link"],
        "pods have no links: `isopod network disconnect NETWORK POD`",
    ),
    refused(
        "start",
        &["--checkpoint", "--checkpoint-dir"],
        "a running pod cannot be saved yet: leave it out",
    ),
    refused("stats", &["--interval", "--no-reset"], COUNTED),
    refused("stats", &["--latest"], LATEST),
    refused(
        "stop",
        &["--signal"],
        "send it first: `isopod kill -s SIGNAL POD`; `isopod run --stop-signal` sets it for good",
    ),
    refused(
        "restart",
        &["--signal"],
        "send it first: `isopod kill -s SIGNAL POD`; `isopod run --stop-signal` sets it for good",
    ),
    refused("top", &["--latest"], LATEST),
    refused(
        "update",
        &["--cpu-period", "--cpu-quota"],
        "write `--cpus N`, which is quota by period",
    ),
    refused(
        "update",
        &["--memory-swap"],
        "the guest has no swap space: a memory limit is all that an app has",
    ),
    refused(
        "update",
        &["--memory-reservation"],
        "what an app keeps is decided when it starts: `isopod run --replace --memory-reservation SIZE`",
    ),
    refused(
        "volume create",
        &[
            "--availability",
            "--group",
            "--limit-bytes",
            "--required-bytes",
            "--scope",
            "--secret",
            "--sharing",
            "--topology-preferred",
            "--topology-required",
            "--type",
        ],
        CLUSTER,
    ),
    refused(
        "volume create",
        &["--opt"],
        "a named volume is a directory of the host: mount what it is to be there, and share it, `-v SOURCE:TARGET`",
    ),
    refused("volume inspect", &["--all"], ALL_OF_THEM),
    refused("volume list", &["--cluster"], CLUSTER),
    refused("volume list", &["--noheading"], HEADING),
    refused("volume rm", &["--all"], ALL_OF_THEM),
    refused(
        "volume rm",
        &["--time"],
        "stop the volume's pods first: `isopod stop -t SECONDS POD`",
    ),
    refused(
        "wait",
        &["--interval"],
        "the end of a pod is seen within 50 ms: leave it out",
    ),
];

/// What to do instead of a flag `--LONG` that docker's or podman's command has, and Isopod's `command` has not.
pub(super) fn hint(command: &str, flag: &str) -> Option<&'static str> {
    let own = TABLE
        .iter()
        .find(|row| row.command == command && row.flags.contains(&flag));
    match own {
        Some(row) => Some(row.hint),
        // Its flags are limits that `run` has.
        None if command == "update" => flags::refusal(flag.strip_prefix("--")?),
        None => None,
    }
}

/// The flag that a letter stands for which docker's or podman's command has, and Isopod's `command` has not.
pub(super) fn long_of(command: &str, letter: char) -> Option<&'static str> {
    LETTERS
        .iter()
        .find(|(of, short, _)| *of == command && *short == letter)
        .map(|(.., long)| *long)
}

/// The letters of flags that are refused: command, letter, flag.
const LETTERS: &[(&str, char, &str)] = &[
    ("attach", 'l', "--latest"),
    ("commit", 's', "--squash"),
    ("diff", 'l', "--latest"),
    ("exec", 'l', "--latest"),
    ("generate kube", 'f', "--filename"),
    ("generate kube", 's', "--service"),
    ("generate systemd", 'e', "--env"),
    ("generate systemd", 'f', "--files"),
    ("generate systemd", 'n', "--name"),
    ("image fetch", 'a', "--all-tags"),
    ("image list", 'n', "--noheading"),
    ("image rm", 'a', "--all"),
    ("inspect", 'l', "--latest"),
    ("kube play", 'q', "--quiet"),
    ("list", 'l', "--latest"),
    ("login", 'v', "--verbose"),
    ("logout", 'a', "--all"),
    ("logs", 'l', "--latest"),
    ("network rm", 't', "--time"),
    ("port", 'a', "--all"),
    ("port", 'l', "--latest"),
    ("prepare", 'a', "--attach"),
    ("ps", 'p', "--pod"),
    ("ps", 'w', "--watch"),
    ("restart", 's', "--signal"),
    ("stats", 'i', "--interval"),
    ("stats", 'l', "--latest"),
    ("stop", 's', "--signal"),
    ("top", 'l', "--latest"),
    ("volume create", 'o', "--opt"),
    ("volume inspect", 'a', "--all"),
    ("volume rm", 'a', "--all"),
    ("volume rm", 't', "--time"),
    ("wait", 'i', "--interval"),
];
