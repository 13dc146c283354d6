//! Flags of a whole pod.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use isopod_plan::vm::network::GATEWAY;
use isopod_spec::flags::{self, HostAddress, Published, Stream};
use isopod_spec::words::shown;
use isopod_spec::{
    Architecture, FailurePolicy, HostAlias, ImplicitVolumes, Network, PidMode, PodName, PortProtocol,
    PullPolicy, Resolver, Sysctl, UserMapping,
};

use super::{Flag, PlanDraft, extend, keep, push};
use crate::args::{ArgFault, PodFlags};
use crate::detach_keys::DetachKeys;

/// What the flags of a pod say.
#[derive(Clone, Debug, Default)]
pub(in crate::args) struct PodDraft {
    pub(in crate::args) name: Option<PodName>,
    pub(in crate::args) detach: bool,
    pub(in crate::args) remove: bool,
    pub(in crate::args) interactive: bool,
    pub(in crate::args) replace: bool,
    pub(in crate::args) attach: Vec<Stream>,
    pub(in crate::args) detach_keys: DetachKeys,
    /// `--sig-proxy=false`.
    pub(in crate::args) keeps_signals: bool,
    pub(in crate::args) cidfile: Option<PathBuf>,
    pub(in crate::args) pidfile: Option<PathBuf>,
    pub(in crate::args) pull: Option<PullPolicy>,
    pub(in crate::args) stop_timeout: Option<Duration>,
    pub(in crate::args) deadline: Option<Duration>,
    pub(in crate::args) boot_timeout: Option<Duration>,
    pub(in crate::args) silent_kill: Option<Duration>,
    /// What also holds beside a file that describes the pod.
    pub(in crate::args) flags: PodFlags,
    pub(in crate::args) sysctls: Vec<Sysctl>,
    pub(in crate::args) publish_all: bool,
    pub(in crate::args) exposed: Vec<(u16, PortProtocol)>,
    pub(in crate::args) shm_bytes: Option<u64>,
    pub(in crate::args) pid_mode: PidMode,
    pub(in crate::args) user_mapping: UserMapping,
    pub(in crate::args) storage_bytes: Option<u64>,
    pub(in crate::args) held: bool,
    pub(in crate::args) labels: BTreeMap<String, String>,
    pub(in crate::args) label_files: Vec<PathBuf>,
    pub(in crate::args) annotations: BTreeMap<String, String>,
    pub(in crate::args) quiet: bool,
    pub(in crate::args) host_aliases: Vec<HostAlias>,
    pub(in crate::args) resolver: Option<Resolver>,
    pub(in crate::args) files: Vec<PathBuf>,
    pub(in crate::args) ignore_unsupported: bool,
    pub(in crate::args) locked: bool,
    pub(in crate::args) manifest: Option<PathBuf>,
    pub(in crate::args) plan: PlanDraft,
}

/// Those that have no meaning where a file describes the pod.
pub(super) const NOT_BESIDE_FILES: [&str; 13] = [
    "userns",
    "timeout",
    "sysctl",
    "add-host",
    "dns",
    "dns-search",
    "dns-option",
    "shm-size",
    "hold",
    "storage-opt",
    "label",
    "label-file",
    "annotation",
];

pub(super) const FLAGS: &[Flag] = &[
    Flag::pod_switch(
        "rm",
        "Remove the pod when it has exited, as a pod in the foreground without `--name` and `--cidfile` is",
        |pod, on| pod.remove = on,
    ),
    Flag::pod(
        "name",
        "NAME",
        "The pod's name, by which other commands find it",
        |pod, text| keep(&mut pod.name, flags::read_pod_name(text)),
    ),
    Flag::pod_switch(
        "interactive",
        "Give the pod's only app this command's standard input; in the background, what `isopod attach` writes",
        |pod, on| pod.interactive = on,
    )
    .short('i'),
    Flag::pod_switch(
        "replace",
        "Stop and remove the pod of the same name first, once this one has been planned",
        |pod, on| pod.replace = on,
    ),
    Flag::pod("cidfile", "FILE", "Write the pod's UUID to FILE, which must not exist", |pod, text| {
        pod.cidfile = Some(text.into());
        Ok(())
    }),
    Flag::pod(
        "publish",
        "[[IP:][HOST]:]POD[/PROTOCOL]",
        "Forward a host port, or a range of them, to the pod; without HOST a free one is chosen. PROTOCOL is tcp or udp \
         [default: tcp]; NAME:[IP:]HOST forwards to the port that an image calls NAME",
        |pod, text| {
            match flags::read_published(text)? {
                Published::Forwards(ports) => pod.flags.ports.extend(ports),
                Published::Named(port) => pod.flags.named_ports.push(port),
            }
            Ok(())
        },
    )
    .short('p'),
    Flag::pod_switch(
        "publish-all",
        "Forward free host ports to the ports that the images expose, and to those of `--expose`",
        |pod, on| pod.publish_all = on,
    )
    .short('P'),
    Flag::pod(
        "expose",
        "PORT[/PROTOCOL]",
        "A port, or a range of them, that `--publish-all` forwards to; without that it changes nothing",
        |pod, text| extend(&mut pod.exposed, flags::read_expose(text)),
    ),
    Flag::pod(
        "network",
        "NETWORK",
        "`user`: connections through the host, as the user who runs isopod, with `by=passt`, `by=qemu` and `host-loopback=yes` after \
         commas; the name of a network of `isopod network`, with `ip=`, `ip6=`, `mac=` and `alias=`, one or more; `ns:PATH`: \
         `--netns`; `none`: the loopback interface alone \
         [default: user]",
        |pod, text| {
            match flags::read_network(text)? {
                Network::Named { joins, .. } => pod.flags.joins.extend(joins),
                other => pod.flags.net = other,
            }
            Ok(())
        },
    )
    .alias("net"),
    Flag::pod(
        "netns",
        "PATH",
        "Give the pod what is in that network namespace: its interfaces with their addresses, routes and MTU",
        |pod, text| {
            pod.flags.net = flags::read_netns(text)?;
            Ok(())
        },
    ),
    Flag::pod(
        "ip",
        "ADDRESS",
        "The pod's IPv4 address in the network that it joins [default: a free one]",
        |pod, text| keep(&mut pod.flags.in_network.ipv4, flags::read_ip("--ip", text)),
    ),
    Flag::pod(
        "ip6",
        "ADDRESS",
        "Its IPv6 address there",
        |pod, text| keep(&mut pod.flags.in_network.ipv6, flags::read_ip("--ip6", text)),
    ),
    Flag::pod(
        "mac-address",
        "ADDRESS",
        "Its Ethernet address there [default: made from its IP address]",
        |pod, text| keep(&mut pod.flags.in_network.mac, flags::read_mac(text)),
    ),
    Flag::pod(
        "network-alias",
        "NAME",
        "Another name of the pod in its networks, besides its own and its apps' names",
        |pod, text| push(&mut pod.flags.in_network.aliases, flags::read_network_alias(text)),
    ),
    Flag::pod(
        "hostname",
        "NAME",
        "The pod's host name [default: from its first app's name]",
        |pod, text| keep(&mut pod.flags.hostname, flags::read_hostname(text)),
    )
    .short('h'),
    Flag::pod(
        "add-host",
        "NAME:ADDRESS",
        "Add a line to every app's /etc/hosts; `host-gateway` is the host's address",
        |pod, text| {
            let (name, address) = flags::read_add_host(text)?;
            let address = match address {
                HostAddress::Ip(address) => address,
                HostAddress::Gateway => GATEWAY.into(),
            };
            pod.host_aliases.push(HostAlias {
                address,
                names: vec![name],
            });
            Ok(())
        },
    ),
    Flag::pod("dns", "ADDRESS", "Use this name server instead of the host's", |pod, text| {
        push(&mut resolver(pod).nameservers, flags::read_dns(text))
    }),
    Flag::pod(
        "dns-search",
        "DOMAIN",
        "Look for names in this domain too",
        |pod, text| push(&mut resolver(pod).searches, flags::read_word("--dns-search", text)),
    ),
    Flag::pod(
        "dns-option",
        "OPTION",
        "An option of resolv.conf(5), such as ndots:2",
        |pod, text| push(&mut resolver(pod).options, flags::read_word("--dns-option", text)),
    )
    .alias("dns-opt"),
    Flag::pod(
        "sysctl",
        "NAME=VALUE",
        "Set a parameter of the pod's kernel",
        |pod, text| push(&mut pod.sysctls, flags::read_sysctl(text)),
    ),
    Flag::pod(
        "shm-size",
        "SIZE",
        "The most that the apps may keep in /dev/shm, which they share [default: 64m]",
        |pod, text| keep(&mut pod.shm_bytes, flags::read_memory_bytes("--shm-size", text)),
    ),
    Flag::pod(
        "userns",
        "MODE",
        "Who owns the files of host volumes in the guest, without root: `host`: root owns yours; `keep-id[:uid=N,gid=N]`: your \
         own uid and gid do, or these; your subordinate users are the guest's other users [default: all files that the pod writes are \
         yours]",
        |pod, text| {
            pod.user_mapping = flags::read_userns(text)?;
            Ok(())
        },
    ),
    Flag::pod(
        "pid",
        "NAMESPACE",
        "Which processes an app sees: `private`, its own; `pod`, those of all apps; `vm`, systemd's and the kernel's, too \
         [default: private]",
        |pod, text| {
            pod.pid_mode = match text.to_str() {
                Some("pod") => PidMode::Pod,
                Some("private") => PidMode::Private,
                Some("vm") => PidMode::Vm,
                _ => {
                    return Err(ArgFault::Refused {
                        flag: format!("--pid={}", shown(text)),
                        hint: "an app sees its own processes (`private`), those of the apps of its pod (`pod`), or those of the VM (`vm`): \
                               `host` here is `vm`",
                    });
                }
            };
            Ok(())
        },
    ),
    Flag::pod_switch(
        "hold",
        "Keep the pod running when its last app has ended; it waits for apps of `isopod app add`, and needs no IMAGE",
        |pod, given| pod.held = given,
    ),
    Flag::pod(
        "storage-opt",
        "size=SIZE",
        "The most that the apps may keep in their roots and in volumes of their own, together, on the host's disk \
         [default: 10g, or what is free there]",
        |pod, text| keep(&mut pod.storage_bytes, flags::read_storage_opt(text)),
    ),
    Flag::pod(
        "label",
        "NAME[=VALUE]",
        "Give the pod a label; `isopod list --filter label=NAME` finds it",
        |pod, text| {
            pod.labels.extend([flags::read_label("--label", text)?]);
            Ok(())
        },
    )
    .short('l'),
    Flag::pod("label-file", "FILE", "Give the pod the labels in FILE, one per line; `--label` takes precedence", |pod, text| {
        pod.label_files.push(text.into());
        Ok(())
    }),
    Flag::pod("annotation", "NAME[=VALUE]", "Give the pod an annotation, which no filter uses", |pod, text| {
        pod.annotations.extend([flags::read_label("--annotation", text)?]);
        Ok(())
    }),
    Flag::pod_switch("quiet", "Do not show the progress of downloads", |pod, on| pod.quiet = on).short('q'),
    Flag::pod(
        "platform",
        "OS/ARCH",
        "The platform of the images and of the VM, linux/amd64 or linux/arm64; another than the host's is emulated and needs \
         `--guest-root` [default: the host's]",
        |pod, text| {
            pod.flags.vm.architecture = Some(platform("--platform", text)?);
            Ok(())
        },
    ),
    Flag::pod(
        "arch",
        "ARCH",
        "The architecture of the images and of the VM, as in `--platform`",
        |pod, text| {
            pod.flags.vm.architecture = Some(platform("--arch", text)?);
            Ok(())
        },
    ),
    Flag::pod("os", "OS", "The system of the images: linux", |_, text| {
        match text.to_str() {
            Some("linux") => Ok(()),
            _ => Err(refused("--os", text)),
        }
    }),
    Flag::pod(
        "log-driver",
        "DRIVER",
        "json-file, local or k8s-file: the pod's own logs, which `isopod logs` shows",
        |_, text| match text.to_str() {
            Some("json-file" | "local" | "k8s-file") => Ok(()),
            _ => Err(ArgFault::Refused {
                flag: format!("--log-driver={}", shown(text)),
                hint: "a pod keeps its own logs, which `isopod logs` shows: leave it out, and send them on with `isopod logs -f`",
            }),
        },
    ),
    Flag::pod(
        "pull",
        "POLICY",
        "When to ask registries for images, those of volumes too: missing (if the store has none), always, newer (always, but \
         the store's image is used if the registry does not answer) or never [default: missing]",
        |pod, text| {
            pod.pull = Some(match text.to_str() {
                Some("always") => PullPolicy::Always,
                Some("newer") => PullPolicy::Newer,
                Some("never") => PullPolicy::Never,
                _ => PullPolicy::Missing,
            });
            Ok(())
        },
    )
    .one_of(&["missing", "always", "newer", "never"]),
    Flag::pod_switch(
        "no-implicit-volumes",
        "Refuse an image whose declared volumes are not given one each, instead of making empty ones",
        |pod, on| {
            pod.flags.implicit_volumes = match on {
                true => ImplicitVolumes::Refuse,
                false => ImplicitVolumes::Create,
            };
        },
    ),
    Flag::pod(
        "on-app-failure",
        "POLICY",
        "When an app has failed for good, let the others continue or stop them [default: continue]",
        |pod, text| {
            pod.flags.on_failure = match text.to_str() {
                Some("stop") => FailurePolicy::Stop,
                _ => FailurePolicy::Continue,
            };
            Ok(())
        },
    )
    .one_of(&["continue", "stop"]),
    Flag::pod(
        "stop-timeout",
        "SECONDS",
        "How long the apps have to stop [default: 10]",
        |pod, text| keep(&mut pod.stop_timeout, flags::read_seconds("--stop-timeout", 0, text)),
    ),
    Flag::pod(
        "timeout",
        "SECONDS",
        "Stop the pod after this time",
        |pod, text| keep(&mut pod.deadline, flags::read_seconds("--timeout", 1, text)),
    ),
    Flag::pod(
        "file",
        "FILE",
        "Read the pod from a Kubernetes pod file, or several that belong together; `-` is standard input",
        |pod, text| {
            pod.files.push(text.into());
            Ok(())
        },
    )
    .short('f'),
    Flag::pod_switch(
        "ignore-unsupported",
        "Run a pod file without the fields that cannot be honoured, with a warning for each",
        |pod, on| pod.ignore_unsupported = on,
    ),
    Flag::pod_switch(
        "locked",
        "Run exactly the images that `isopod pod lock` wrote to FILE.lock",
        |pod, on| pod.locked = on,
    ),
    Flag::pod(
        "pod-manifest",
        "FILE",
        "Read apps, volumes and ports from an appc pod manifest",
        |pod, text| {
            pod.manifest = Some(text.into());
            Ok(())
        },
    ),
];

fn platform(flag: &str, text: &OsStr) -> Result<Architecture, ArgFault> {
    Architecture::of_platform(&text.to_string_lossy()).ok_or_else(|| refused(flag, text))
}

fn refused(flag: &str, text: &OsStr) -> ArgFault {
    ArgFault::Refused {
        flag: format!("{flag}={}", shown(text)),
        hint: "a VM runs images of linux/amd64 or linux/arm64",
    }
}

/// How the pod finds names, for a flag to change.
fn resolver(pod: &mut PodDraft) -> &mut Resolver {
    pod.resolver.get_or_insert_default()
}
