//! What the parts of a pod know of each other while they are read.

use std::time::Duration;

use super::claims::Bindings;
use super::downward::Downward;
use super::objects::Seen;
use super::workloads::Template;
use crate::RestartPolicy;
use crate::located::Node;

/// What the containers of a pod share while they are read.
pub(super) struct Pod<'a, 'o> {
    pub(super) objects: Seen<'o, 'a>,
    pub(super) downward: &'o Downward<'a, 'o>,
    /// The pod's `securityContext`.
    pub(super) security: Option<Node<'a>>,
    /// The pod's `restartPolicy`.
    pub(super) restart: RestartPolicy,
    /// How long its containers have to stop.
    pub(super) grace: Duration,
    /// Where the pod comes from.
    pub(super) template: &'o Template<'a>,
    /// The volumes that the claims of the files have.
    pub(super) bindings: &'o Bindings<'o, 'a>,
}
