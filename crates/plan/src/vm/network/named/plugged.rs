//! Networks that a pod joins while it runs, and leaves: which it may, what it has there, and where its VM gets the device.
//!
//! Only a VM that is in networks already can join another: it has empty ports for devices, as every VM has that was restored
//! ([`template`](crate::vm::template)), and a monitor, by which they are plugged in.

use isopod_spec::{JoinedNetwork, MacAddress, NetworkJoin, NetworkName, PortForward};
use serde_json::{Value, json};

use super::{MAX_TAPS, PodNames, fault, interface, lacking, of_join, publishing};
use crate::distribution::Distribution;
use crate::facts::{HostUser, NamedNetworks};
use crate::fault::Fault;
use crate::vm::template::{PORTS, port};

/// What the pod has in the network that it is to join, where it has `current` of others.
///
/// # Errors
/// A [`Fault`], where it cannot join it.
pub fn connect(
    join: &NetworkJoin,
    current: &[JoinedNetwork],
    names: &PodNames,
    user: HostUser,
    distribution: &Distribution,
    known: &NamedNetworks,
) -> Result<JoinedNetwork, Fault> {
    if let Some(lacking) = lacking(user, distribution, known, std::slice::from_ref(join)) {
        return Err(lacking);
    }
    if current.iter().any(|joined| joined.network.name == join.network) {
        return Err(fault(
            join,
            "the pod is already in it",
            "`isopod network disconnect` first, for another address",
        ));
    }
    if current.len() >= MAX_TAPS {
        let reason = format!("it is in {MAX_TAPS} networks, which is the most");
        return Err(fault(
            join,
            &reason,
            "let it leave one: `isopod network disconnect`",
        ));
    }
    let is_free = |name: &String| current.iter().all(|joined| joined.interface != *name);
    let name = (0..).map(interface).find(is_free).unwrap_or_default();
    of_join(join, &name, names, known)
}

/// Whether a pod that has `current` may leave the network of that name, with these ports of the host that lead into it.
///
/// # Errors
/// A [`Fault`], where it may not.
pub fn disconnect(name: &NetworkName, current: &[JoinedNetwork], ports: &[PortForward]) -> Result<(), Fault> {
    let fault = |reason: &str, hint: String| Fault::Host {
        what: format!("cannot leave network `{name}`"),
        reason: reason.into(),
        hint,
    };
    let names = || {
        let names = current.iter().map(|joined| format!("`{}`", joined.network.name));
        names.collect::<Vec<_>>().join(", ")
    };
    if current.iter().all(|joined| joined.network.name != *name) {
        let hint = match current.is_empty() {
            true => "it is in none".to_owned(),
            false => format!("it is in {}", names()),
        };
        return Err(fault("the pod is not in it", hint));
    }
    if publishing(current).is_some_and(|joined| joined.network.name == *name) && !ports.is_empty() {
        let ports: Vec<String> = ports.iter().map(|port| format!("`{port}`")).collect();
        return Err(fault(
            &format!(
                "ports of the host lead into the pod through it: {}",
                ports.join(", ")
            ),
            "recreate the pod without it: `isopod run --replace`".into(),
        ));
    }
    Ok(())
}

/// The port for a device of a VM that has devices at the ports `taken`.
#[must_use]
pub fn free_port(taken: &[String]) -> Option<String> {
    (0..PORTS).map(port).find(|port| !taken.contains(port))
}

/// The ports at which a VM has devices that got these (the arguments of QMP's `device_add`) before it went on.
#[must_use]
pub fn taken_ports(added: &[Value]) -> Vec<String> {
    let bus = |device: &Value| Some(device.get("bus")?.as_str()?.to_owned());
    added.iter().filter_map(bus).collect()
}

/// An interface's device and its other end, as QEMU's monitor gets them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plug {
    /// How QEMU knows the tap's descriptor, and its end of the interface.
    pub netdev_id: String,
    /// How it knows that of `/dev/vhost-net`, where the host's kernel is to serve the tap.
    pub vhost_id: Option<String>,
    /// How QEMU knows the device.
    pub device_id: String,
    /// The arguments of `netdev_add`.
    pub netdev: Value,
    /// The arguments of `device_add`.
    pub device: Value,
}

impl Plug {
    /// That of an interface with this Ethernet address, at that port; `vhost_net`: whether the host's kernel is to serve its tap.
    #[must_use]
    pub fn new(mac: MacAddress, port: &str, vhost_net: bool) -> Self {
        let (netdev_id, device_id) = (format!("net-{port}"), format!("nic-{port}"));
        let vhost_id = vhost_net.then(|| format!("vhost-{port}"));
        let mut netdev = json!({ "type": "tap", "id": netdev_id, "fd": netdev_id });
        if let Some(vhost_id) = &vhost_id {
            netdev["vhost"] = true.into();
            netdev["vhostfd"] = vhost_id.as_str().into();
        }
        Self {
            netdev,
            device: json!({
                "driver": "virtio-net-pci", "id": device_id, "bus": port, "addr": "0x0", "netdev": netdev_id,
                "mac": mac, "romfile": "",
            }),
            netdev_id,
            vhost_id,
            device_id,
        }
    }
}
