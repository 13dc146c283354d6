//! A pod joins a network, or leaves one, whether it runs or not: looked at and decided here, done by its supervisor where it has one.

use std::io;
use std::path::PathBuf;

use isopod_plan::PlanError;
use isopod_plan::fault::Fault;
use isopod_plan::vm::network::named::PodNames;
use isopod_plan::vm::network::named::plugged;
use isopod_spec::{JoinedNetwork, NetworkJoin, NetworkName};

use super::{Addresses, NetworkError};
use crate::Settings;
use crate::control::{ControlError, NetworkChange, Request};
use crate::gather::distribution;
use crate::gather::host::user;
use crate::joining::members;
use crate::pods::files::PodRecord;
use crate::pods::state::Verb;
use crate::pods::{ClaimError, PodEntry, Pods};

/// Why a pod has not joined a network, or not left it.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The pod is only just coming up, has gone, or is another version's.
    #[error("there is no record of the pod")]
    NoRecord,
    /// Networks or pods cannot be looked at.
    #[error(transparent)]
    Networks(#[from] NetworkError),
    /// It may not.
    #[error(transparent)]
    Plan(PlanError),
    /// Somebody else is at the pod.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// It cannot be written down.
    #[error("cannot write to `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// Its supervisor has not done it.
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl From<Fault> for ChangeError {
    fn from(fault: Fault) -> Self {
        Self::Plan(PlanError { faults: vec![fault] })
    }
}

/// Who is asked, and how, where the pod runs.
type Ask<'a> = &'a dyn Fn(&PodEntry, &Request) -> Result<(), ControlError>;

/// The pod of that UUID joins a network.
///
/// # Errors
/// [`ChangeError`]; nothing has changed then.
pub fn connect(
    uuid: &str,
    join: &NetworkJoin,
    pods: &Pods,
    settings: &Settings,
    ask: Ask<'_>,
) -> Result<JoinedNetwork, ChangeError> {
    // Held until what is chosen here is written down.
    let addresses = Addresses::hold(settings)?;
    let pod = pods.entry(uuid).ok_or(ChangeError::NoRecord)?;
    let record = pod.record.as_ref().ok_or(ChangeError::NoRecord)?;
    let what = || format!("cannot join network `{}`", join.network);
    in_networks(record, what)?;
    let names = PodNames {
        hostname: record.hostname.clone(),
        pod: record.name.as_ref().map(ToString::to_string),
        apps: record.present().map(|(_, app)| app.name.to_string()).collect(),
    };
    let joined = plugged::connect(
        join,
        pod.joined(),
        &names,
        user(),
        &distribution(),
        addresses.known(),
    )?;
    let change = NetworkChange::Connect(Box::new(joined.clone()));
    let mut all = pod.joined().to_vec();
    all.push(joined.clone());
    perform(&pod, pods, change, &all, ask)?;
    Ok(joined)
}

/// The pod of that UUID leaves a network.
///
/// # Errors
/// [`ChangeError`]; it is still in it then.
pub fn disconnect(
    uuid: &str,
    network: &NetworkName,
    pods: &Pods,
    settings: &Settings,
    ask: Ask<'_>,
) -> Result<(), ChangeError> {
    let _addresses = Addresses::hold(settings)?;
    let pod = pods.entry(uuid).ok_or(ChangeError::NoRecord)?;
    let record = pod.record.as_ref().ok_or(ChangeError::NoRecord)?;
    in_networks(record, || format!("cannot leave network `{network}`"))?;
    plugged::disconnect(network, pod.joined(), &record.ports)?;
    let mut left = pod.joined().to_vec();
    left.retain(|joined| joined.network.name != *network);
    perform(&pod, pods, NetworkChange::Disconnect(network.clone()), &left, ask)
}

/// That it is a pod which may join others.
fn in_networks(record: &PodRecord, what: impl Fn() -> String) -> Result<(), Fault> {
    let has = match (&record.networks, &record.netns, &record.network) {
        (Some(_), ..) => return Ok(()),
        (None, Some(_), _) => "a network namespace of the host",
        (None, None, Some(_)) => "the host user's network",
        (None, None, None) => "no network",
    };
    Err(Fault::Host {
        what: what(),
        reason: format!("the pod has {has}, to which no network with a name is added"),
        hint: "recreate the pod in a network: `isopod run --replace --network NAME`".into(),
    })
}

fn perform(
    pod: &PodEntry,
    pods: &Pods,
    change: NetworkChange,
    joined: &[JoinedNetwork],
    ask: Ask<'_>,
) -> Result<(), ChangeError> {
    if pod.state.is_live() {
        let unwritten = |source: serde_json::Error| ChangeError::Write {
            path: pod.path.clone(),
            source: source.into(),
        };
        let change = serde_json::to_string(&change).map_err(unwritten)?;
        return Ok(ask(pod, &Request::Network { change })?);
    }
    // Nobody starts it meanwhile.
    let claim = pods.claim(&pod.uuid, Verb::Start)?;
    let path = claim.path();
    members::write(path, joined).map_err(|source| ChangeError::Write {
        path: path.to_owned(),
        source,
    })
}
