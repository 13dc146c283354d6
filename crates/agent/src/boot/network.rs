//! The guest's one interface: its address, and the route to everything else. Nothing is negotiated: QEMU's user mode gives
//! every guest the same addresses, and the planner wrote them down. The loopback interface is systemd's to bring up.
//!
//! A few messages to the kernel: no DHCP client, and no unit to run one.

use std::io;

use isopod_contract::config::GuestNetwork;

use crate::boot::netlink::Netlink;

/// Why the guest has no network.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}")]
pub(crate) struct NetworkError {
    action: String,
    #[source]
    source: io::Error,
}

/// Sets the interface up.
pub(crate) fn set_up(network: &GuestNetwork) -> Result<(), NetworkError> {
    let GuestNetwork {
        interface,
        address,
        prefix_len,
        gateway,
    } = network;
    let failed = |action: String| |source| NetworkError { action, source };
    let netlink = Netlink::open().map_err(failed("speak to the kernel's routing".to_owned()))?;
    let index = netlink
        .index(interface)
        .map_err(failed(format!("find the interface `{interface}`")))?;
    netlink
        .add_address(index, *address, *prefix_len)
        .map_err(failed(format!(
            "give `{interface}` the address {address}/{prefix_len}"
        )))?;
    netlink
        .set_up(index)
        .map_err(failed(format!("bring `{interface}` up")))?;
    netlink
        .add_default_route(index, *gateway)
        .map_err(failed(format!("set the route through {gateway}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_done_is_named() {
        let network = GuestNetwork {
            interface: "isopod-none".to_owned(),
            address: [10, 0, 2, 15].into(),
            prefix_len: 24,
            gateway: [10, 0, 2, 2].into(),
        };
        let error = set_up(&network).unwrap_err();
        assert_eq!(error.to_string(), "cannot find the interface `isopod-none`");
    }
}
