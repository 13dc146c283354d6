//! Flags that `podman run` has and docker does not, and that cannot be had, each with what to do instead.

use super::{Flag, Read, Value};

const fn refused(long: &'static str, hint: &'static str) -> Flag {
    Flag::new(long, Value::Text("VALUE"), hint, Read::Refused(hint))
}

const fn refused_switch(long: &'static str, hint: &'static str) -> Flag {
    Flag::new(long, Value::Switch, hint, Read::Refused(hint))
}

const USERS: &str = "a pod has a kernel of its own, whose users are not the host's: leave it out";
const HOSTS: &str =
    "a pod writes its apps' /etc/hosts and /etc/hostname: mount a file over them, `-v FILE:/etc/hosts:ro`";
const STARTUP: &str = "say how long the app may take at first: `--health-start-period`";
const HEALTH_LOG: &str = "`isopod events` has what health checks found: leave it out";
const ENV: &str = "set the variable to nothing: `-e NAME=`";
const INTEL: &str = "classes of Intel's resource director are the host's: run the command within one";
const RETRY: &str = "downloads are retried as they are: leave it out";
const NOT_SYSTEMD: &str =
    "the guest's systemd starts the apps; an app does not run a systemd of its own: leave it out";

pub(super) const REFUSED: &[Flag] = &[
    refused(
        "authfile",
        "name it by the variable: `REGISTRY_AUTH_FILE=FILE isopod run ...`",
    ),
    refused(
        "cert-dir",
        "add the registry's certificate to those that the host trusts",
    ),
    refused(
        "cgroup-conf",
        "limit the app with `--memory`, `--cpus` and `--pids-limit`",
    ),
    refused("cgroups", "each app has a cgroup in the guest: leave it out"),
    refused(
        "chrootdirs",
        "mount what the directory needs of /etc: `-v FILE:DIR/etc/hosts:ro`",
    ),
    refused("creds", "log in first: `isopod login`"),
    refused("decryption-key", "decrypt the image first, with skopeo(1)"),
    refused_switch(
        "env-host",
        "name the variables: `-e NAME`, or all: `--env-file <(env)`",
    ),
    refused("env-merge", "name the whole value: `-e NAME=VALUE`"),
    refused("gidmap", USERS),
    refused("uidmap", USERS),
    refused("subgidname", USERS),
    refused("subuidname", USERS),
    refused("hostuser", USERS),
    refused("group-entry", "mount the file: `-v FILE:/etc/group:ro`"),
    refused("passwd-entry", "mount the file: `-v FILE:/etc/passwd:ro`"),
    refused_switch("passwd", "the image's /etc/passwd stays as it is: leave it out"),
    refused("health-log-destination", HEALTH_LOG),
    refused("health-max-log-count", HEALTH_LOG),
    refused("health-max-log-size", HEALTH_LOG),
    refused("health-startup-cmd", STARTUP),
    refused("health-startup-interval", STARTUP),
    refused("health-startup-retries", STARTUP),
    refused("health-startup-success", STARTUP),
    refused("health-startup-timeout", STARTUP),
    refused("hosts-file", HOSTS),
    refused_switch("no-hosts", HOSTS),
    refused_switch("no-hostname", HOSTS),
    refused_switch(
        "http-proxy",
        "apps get no variables of the host: pass those of proxies with `-e http_proxy`",
    ),
    refused(
        "image-volume",
        "an image's mount points get volumes; `--no-implicit-volumes` refuses them, `--tmpfs` has them in memory",
    ),
    refused(
        "init-ctr",
        "start it before the others: `--depends-on APP=succeeded`",
    ),
    refused("init-path", "the guest's first process is isopod's: leave it out"),
    refused("intel-rdt-closid", INTEL),
    refused("rdt-class", INTEL),
    refused("personality", "run the command with setarch(8)"),
    refused(
        "pod",
        "apps of one pod come in one command line: `isopod run IMAGE --- IMAGE`",
    ),
    refused(
        "pod-id-file",
        "name the pod (`--name`), or let its UUID be written: `--cidfile FILE`",
    ),
    refused(
        "preserve-fd",
        "an app has three standard streams: use those, or a volume",
    ),
    refused(
        "preserve-fds",
        "an app has three standard streams: use those, or a volume",
    ),
    refused_switch(
        "read-only-tmpfs",
        "name what is to be written to: `--tmpfs /tmp --tmpfs /run`",
    ),
    refused("requires", "put both into one pod: `--depends-on APP`"),
    refused("retry", RETRY),
    refused("retry-delay", RETRY),
    refused_switch("rmi", "remove the image afterwards: `isopod rmi IMAGE`"),
    refused("sdnotify", "let the app report when it is ready: `--notify`"),
    refused(
        "seccomp-policy",
        "name the profile: `--security-opt seccomp=FILE`",
    ),
    refused(
        "secret",
        "mount the file: `-v FILE:/run/secrets/NAME:ro`, or write a pod file with a Secret",
    ),
    refused("shm-size-systemd", NOT_SYSTEMD),
    refused("systemd", NOT_SYSTEMD),
    refused_switch(
        "tls-verify",
        "name the registry in registries.conf(5), with `insecure = true`",
    ),
    refused("tz", "set the variable: `-e TZ=Europe/Paris`"),
    refused(
        "umask",
        "set it in the command: `sh -c 'umask 077; exec COMMAND'`",
    ),
    refused("unsetenv", ENV),
    refused_switch("unsetenv-all", ENV),
    refused(
        "variant",
        "of an image's variants the one is taken that the processor can run: leave it out",
    ),
];
