//! Flags of `plan` alone.

use std::path::PathBuf;

use super::Flag;
use crate::args::{Hypervisor, PlanFormat, Profile};

/// What they say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::args) struct PlanDraft {
    pub(in crate::args) profile: Profile,
    pub(in crate::args) hypervisor: Hypervisor,
    pub(in crate::args) format: PlanFormat,
    pub(in crate::args) write: Option<PathBuf>,
    pub(in crate::args) verify: bool,
}

pub(super) const FLAGS: &[Flag] = &[
    Flag::pod(
        "profile",
        "PROFILE",
        "Lay the pod out in isopod's own way, or as rkt's kvm flavour did [default: default]",
        |pod, text| {
            pod.plan.profile = match text.to_str() {
                Some("rkt") => Profile::Rkt,
                _ => Profile::Default,
            };
            Ok(())
        },
    )
    .one_of(&["default", "rkt"]),
    Flag::pod(
        "hypervisor",
        "HYPERVISOR",
        "Whose command line to plan [default: qemu]",
        |pod, text| {
            pod.plan.hypervisor = match text.to_str() {
                Some("lkvm") => Hypervisor::Lkvm,
                _ => Hypervisor::Qemu,
            };
            Ok(())
        },
    )
    .one_of(&["qemu", "lkvm"]),
    Flag::pod(
        "format",
        "FORMAT",
        "How to print the plan [default: text]",
        |pod, text| {
            pod.plan.format = match text.to_str() {
                Some("json") => PlanFormat::Json,
                Some("dot") => PlanFormat::Dot,
                Some("svg") => PlanFormat::Svg,
                _ => PlanFormat::Text,
            };
            Ok(())
        },
    )
    .one_of(&["text", "json", "dot", "svg"]),
    Flag::pod("write", "DIR", "Write the pod's files to DIR", |pod, text| {
        pod.plan.write = Some(text.into());
        Ok(())
    }),
    Flag::pod_switch(
        "verify",
        "Let systemd read the units, and compare what it understands with the plan",
        |pod, on| {
            pod.plan.verify = on;
        },
    ),
];
