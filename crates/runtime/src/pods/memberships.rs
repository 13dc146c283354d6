//! A pod's record, with the networks that it has joined or left since it was prepared.

use std::path::Path;

use isopod_plan::vm::network::named;

use super::files::PodRecord;
use crate::joining::members;
use crate::resolver;

/// Has the record of the pod at `dir` name the networks that the pod is in.
pub(super) fn apply_to_record(dir: &Path, record: &mut PodRecord) {
    let (Some(networks), Some(joined)) = (&mut record.networks, members::read(dir)) else {
        return;
    };
    if let Some((guest, nameservers)) = &mut record.network {
        guest.interfaces = named::interfaces(&joined);
        *nameservers = named::nameservers(&joined, &resolver::of_host());
    }
    networks.joined = joined;
}
