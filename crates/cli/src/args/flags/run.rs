//! Flags of `run` that say how the command itself goes about it. `plan` takes them too, so that it plans a command line of
//! `run` as it stands.

use isopod_spec::flags;

use super::{ArgFault, Flag, push};
use crate::detach_keys::DetachKeys;

pub(super) const FLAGS: &[Flag] = &[
    Flag::pod_switch(
        "detach",
        "Leave the pod running when its apps have started, and print its UUID; it is kept when it has exited",
        |pod, on| pod.detach = on,
    )
    .short('d'),
    Flag::pod(
        "attach",
        "STREAM",
        "Connect only this standard stream: stdin, stdout or stderr; may be repeated",
        |pod, text| push(&mut pod.attach, flags::read_attach(text)),
    )
    .short('a'),
    Flag::pod(
        "detach-keys",
        "KEYS",
        "The keys that end this command and leave the pod running, where the app's terminal is connected [default: ctrl-p,ctrl-q]",
        |pod, text| {
            let keys = flags::read_text("--detach-keys", text)?;
            pod.detach_keys = DetachKeys::parse(&keys).map_err(ArgFault::DetachKeys)?;
            Ok(())
        },
    ),
    Flag::pod(
        "pidfile",
        "FILE",
        "Write the process ID of the pod's supervisor to FILE; the pod ends with that process",
        |pod, text| {
            pod.pidfile = Some(text.into());
            Ok(())
        },
    )
    .alias("conmon-pidfile"),
    Flag::pod_switch(
        "sig-proxy",
        "Pass signals on to the apps; with =false, Ctrl-C ends this command alone, and the pod continues",
        |pod, on| pod.keeps_signals = !on,
    ),
];
