//! The network of a namespace that somebody else made: the guest has what its interfaces have, by taps that the launcher joins to
//! them (`isopod_vm::netns`).

use std::path::Path;

use isopod_spec::PodSpec;

use super::{MAX_TAPS, PodNetwork, Router};
use crate::facts::NetworkFacts;
use crate::fault::Fault;

/// Decides on it. A notice says that nobody is asked for names, where that is so.
///
/// # Errors
/// The [`Fault`] that the namespace cannot be had.
pub(super) fn network(
    path: &Path,
    host: &NetworkFacts,
    spec: &PodSpec,
    notices: &mut Vec<String>,
) -> Result<PodNetwork, Fault> {
    let fault = |reason: &str, hint: Option<&str>| Fault::Host {
        what: format!("cannot use the network namespace `{}`", path.display()),
        reason: reason.into(),
        hint: hint.unwrap_or("see `ip netns`, and what made it").into(),
    };
    let guest = match &host.namespace {
        Some(Ok(guest)) => guest.clone(),
        Some(Err(found)) => return Err(fault(&found.reason, found.hint.as_deref())),
        None => return Err(fault("it was not read", None)),
    };
    if guest.interfaces.len() > MAX_TAPS {
        let reason = format!(
            "it has {} interfaces with addresses, and {MAX_TAPS} fit",
            guest.interfaces.len()
        );
        return Err(fault(&reason, None));
    }
    // The host's own loopback interface is not the pod's.
    let reached = host.nameservers.iter().filter(|address| !address.is_loopback());
    let nameservers: Vec<_> = reached.copied().collect();
    let asked = spec.resolver.as_ref();
    if nameservers.is_empty() && asked.is_none_or(|resolver| resolver.nameservers.is_empty()) {
        notices.push(
            "the pod finds no names: the host's name servers are on its own loopback interface; name one with `--dns`".into(),
        );
    }
    Ok(PodNetwork {
        router: Router::Namespace(path.to_owned()),
        ports: Vec::new(),
        guest,
        nameservers,
        vhost_net: host.vhost_net,
    })
}
