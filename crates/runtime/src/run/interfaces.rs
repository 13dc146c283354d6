//! The networks that a pod joins while it runs, and leaves: one change after the other, each whole or undone.
//!
//! ```text
//! connect      netavark makes the interface, a tap takes it over ─> QEMU plugs in a device ─> the guest configures it ─> answered
//! disconnect   the guest lets it go ─> QEMU unplugs the device ─> netavark takes the interface away ─> answered
//! ```
//!
//! What the pod joined or left in an earlier life is done again first. The client that asked may go at any time: what was begun is ended.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use isopod_contract::in_one_line;
use isopod_contract::message::HostStream;
use isopod_contract::network::InterfaceAnswer;
use isopod_plan::vm::network::named;
use isopod_plan::vm::network::named::plugged::{self, Plug};
use isopod_protocol::codec::read_message;
use isopod_spec::words::shown;
use isopod_spec::{JoinedNetwork, NetworkName, PortForward};
use isopod_vm::agent::Agent;
use isopod_vm::netns::vhost_net;
use isopod_vm::qmp::{Qmp, QmpError};
use serde_json::json;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, spawn_blocking};

use crate::control::{Done, NetworkChange, Refusal};
use crate::joining::NetworksError;
use crate::networks::{Live, Memberships};
use crate::pods::files::PodRecord;
use crate::resolver;

/// How long the agent may take: a device that appears, and what is configured on it.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// How long QEMU may take for a command.
const MONITOR_DEADLINE: Duration = Duration::from_secs(20);

/// Changes that wait for those before them.
const QUEUE: usize = 16;

/// QEMU's monitor, which has said nothing yet or is spoken with.
pub(super) enum Monitor {
    New(UnixStream),
    Ready(Box<Qmp>),
}

/// Where changes go to. Ends with this.
pub(super) struct Interfaces {
    wanted: Option<mpsc::Sender<(NetworkChange, Done)>>,
    task: Option<AbortHandle>,
}

impl Interfaces {
    /// Those of a pod which is in networks; `monitor` is its VM's.
    pub(super) fn begin(
        record: &PodRecord,
        begun: Option<Memberships>,
        monitor: Option<Monitor>,
        restored: bool,
        agent: &Agent,
    ) -> Self {
        let Some((live, later, left)) = begun else {
            return Self {
                wanted: None,
                task: None,
            };
        };
        let (wanted, mut to_do) = mpsc::channel(QUEUE);
        let added = record.template.as_ref().filter(|_| restored);
        let mut keeper = InterfaceKeeper {
            live,
            monitor,
            agent: agent.clone(),
            ports: record.ports.clone(),
            nameservers: record
                .network
                .as_ref()
                .map_or_else(Vec::new, |(_, nameservers)| nameservers.clone()),
            vhost_net: record.vhost_net,
            taken: added.map_or_else(Vec::new, |template| plugged::taken_ports(&template.added)),
            plugged: Vec::new(),
        };
        let task = tokio::spawn(async move {
            keeper.again(later, left).await;
            while let Some((change, done)) = to_do.recv().await {
                let done: Done = done;
                let changed = keeper.change(change).await;
                if changed.is_ok() {
                    keeper.renew_nameservers().await;
                }
                done.answer(changed);
            }
        });
        Self {
            wanted: Some(wanted),
            task: Some(task.abort_handle()),
        }
    }

    /// Queues a change, whose answer comes when it is done.
    pub(super) fn want(&self, change: NetworkChange, done: Done) {
        let Some(wanted) = &self.wanted else {
            let why = "it is in no networks with names";
            return done.answer(Err(why.to_owned().into()));
        };
        if let Err(error) = wanted.try_send((change, done)) {
            let (_, done) = error.into_inner();
            done.answer(Err("too many changes of its networks are waiting"
                .to_owned()
                .into()));
        }
    }
}

impl Drop for Interfaces {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

struct InterfaceKeeper {
    live: Live,
    monitor: Option<Monitor>,
    agent: Agent,
    ports: Vec<PortForward>,
    /// The name servers that the apps ask.
    nameservers: Vec<IpAddr>,
    /// Whether the host's kernel serves the taps.
    vhost_net: bool,
    /// The VM's ports for devices that have some.
    taken: Vec<String>,
    /// The devices that were plugged in, by their networks, with their ports.
    plugged: Vec<(NetworkName, String, Plug)>,
}

impl From<QmpError> for Refusal {
    fn from(error: QmpError) -> Self {
        in_one_line(&error).into()
    }
}

impl From<NetworksError> for Refusal {
    fn from(error: NetworksError) -> Self {
        Self::Reason(in_one_line(&error), error.hint())
    }
}

impl InterfaceKeeper {
    /// Does again what was done in an earlier life.
    async fn again(&mut self, later: Vec<(JoinedNetwork, OwnedFd)>, left: Vec<String>) {
        for interface in left {
            if let Err(why) = self.remove(interface.clone()).await {
                tracing::warn!(
                    "the guest keeps the interface `{interface}` of a network that the pod has left: {why}"
                );
            }
        }
        for (joined, tap) in later {
            let name = joined.network.name.clone();
            if let Err(why) = self.plug(&joined, tap).await {
                tracing::warn!("the pod is not in network `{name}`, which it has joined before: {why}");
                self.leave(name).await.unwrap_or_else(not_taken_away);
            }
        }
        self.renew_nameservers().await;
    }

    /// Has the apps ask the name servers of the networks that the pod is in now. A pod is not kept from a network because they do not.
    async fn renew_nameservers(&mut self) {
        let host = resolver::of_host();
        let after = named::nameservers(&self.live.joined(), &host);
        if after == self.nameservers {
            return;
        }
        let header = HostStream::Nameservers {
            before: self.nameservers.clone(),
            after: after.clone(),
        };
        match self.ask(header).await {
            Ok(()) => self.nameservers = after,
            Err(why) => tracing::warn!("the apps keep their name servers: {why}"),
        }
    }

    async fn change(&mut self, change: NetworkChange) -> Result<(), Refusal> {
        match change {
            NetworkChange::Connect(joined) => self.connect(*joined).await,
            NetworkChange::Disconnect(name) => self.disconnect(name).await,
        }
    }

    async fn connect(&mut self, joined: JoinedNetwork) -> Result<(), Refusal> {
        let is_other = |other: &JoinedNetwork| {
            other.network.name != joined.network.name && other.interface != joined.interface
        };
        // Planned on what was then: not the same any more.
        if !self.live.joined().iter().all(is_other) {
            return Err(Refusal::Outdated);
        }
        if self.monitor.is_none() || plugged::free_port(&self.taken).is_none() {
            return Err("its VM has no place for one more device".to_owned().into());
        }
        let (live, wanted) = (self.live.clone(), joined.clone());
        let tap = blocking(move || live.connect(&wanted)).await?;
        if let Err(refusal) = self.plug(&joined, tap).await {
            let left = self.leave(joined.network.name.clone()).await;
            left.unwrap_or_else(not_taken_away);
            return Err(refusal);
        }
        Ok(())
    }

    async fn disconnect(&mut self, name: NetworkName) -> Result<(), Refusal> {
        let joined = self.live.joined();
        plugged::disconnect(&name, &joined, &self.ports)?;
        if let Some(gone) = joined.iter().find(|joined| joined.network.name == name) {
            self.remove(gone.interface.clone()).await?;
        }
        self.unplug(&name).await?;
        self.leave(name).await
    }

    /// Takes the interface on the host away.
    async fn leave(&self, name: NetworkName) -> Result<(), Refusal> {
        let live = self.live.clone();
        blocking(move || live.disconnect(&name)).await
    }

    /// Gives the VM a device for the interface, and has the guest configure it. What was plugged in is unplugged where it does not.
    async fn plug(&mut self, joined: &JoinedNetwork, tap: OwnedFd) -> Result<(), Refusal> {
        let port = plugged::free_port(&self.taken);
        let port = port.ok_or_else(|| "its VM has no place for one more device".to_owned())?;
        let plug = Plug::new(joined.mac, &port, self.vhost_net);
        let vhost = plug.vhost_id.as_ref().map(|_| vhost_net()).transpose();
        let vhost = vhost.map_err(|error| format!("cannot open /dev/vhost-net: {error}"))?;
        let monitor = self.monitor().await?;
        let plugging = async {
            monitor.give(&plug.netdev_id, tap).await?;
            if let (Some(name), Some(vhost)) = (&plug.vhost_id, vhost) {
                monitor.give(name, vhost).await?;
            }
            monitor.execute("netdev_add", plug.netdev.clone()).await?;
            let added = monitor.execute("device_add", plug.device.clone()).await;
            if added.is_err() {
                let id = json!({ "id": plug.netdev_id });
                let _ = monitor.execute("netdev_del", id).await;
            }
            added
        };
        within(MONITOR_DEADLINE, plugging).await?;
        let name = joined.network.name.clone();
        self.taken.push(port.clone());
        self.plugged.push((name.clone(), port, plug));
        let all = self.live.joined();
        let interface = named::interfaces(&all)
            .into_iter()
            .find(|one| one.name == joined.interface);
        let interface =
            serde_json::to_string(&interface.unwrap_or_default()).map_err(|error| error.to_string())?;
        let configured = self.ask(HostStream::AddInterface { interface }).await;
        if configured.is_err() {
            self.unplug(&name).await.unwrap_or_else(not_taken_away);
        }
        configured
    }

    /// Takes the device of a network away, where it was plugged in.
    async fn unplug(&mut self, name: &NetworkName) -> Result<(), Refusal> {
        let Some(at) = self.plugged.iter().position(|(network, ..)| network == name) else {
            return Ok(());
        };
        let (_, port, plug) = self.plugged[at].clone();
        let monitor = self.monitor().await?;
        let unplugging = async {
            let id = json!({ "id": plug.device_id });
            monitor.execute("device_del", id).await?;
            // The guest has to let it go.
            let is_it = |data: &serde_json::Map<String, serde_json::Value>| {
                data.get("device").is_some_and(|id| *id == plug.device_id)
            };
            monitor.event("DEVICE_DELETED", is_it).await?;
            monitor
                .execute("netdev_del", json!({ "id": plug.netdev_id }))
                .await
        };
        within(MONITOR_DEADLINE, unplugging).await?;
        self.plugged.remove(at);
        self.taken.retain(|taken| *taken != port);
        Ok(())
    }

    /// Has the guest take an interface from its apps.
    async fn remove(&self, name: String) -> Result<(), Refusal> {
        self.ask(HostStream::RemoveInterface { name }).await
    }

    async fn monitor(&mut self) -> Result<&mut Qmp, Refusal> {
        let ready = match self.monitor.take() {
            None => return Err("its VM has no monitor".to_owned().into()),
            Some(Monitor::Ready(monitor)) => monitor,
            Some(Monitor::New(stream)) => Box::new(within(MONITOR_DEADLINE, Qmp::begin(stream)).await?),
        };
        match self.monitor.insert(Monitor::Ready(ready)) {
            Monitor::Ready(monitor) => Ok(monitor),
            Monitor::New(_) => Err("its VM has no monitor".to_owned().into()),
        }
    }

    /// Asks the agent, whose words are the guest's: they are escaped.
    async fn ask(&self, header: HostStream) -> Result<(), Refusal> {
        let stream = self.agent.open(&header).await;
        let mut stream = stream.map_err(|error| format!("cannot ask the agent in the guest: {error}"))?;
        match tokio::time::timeout(ANSWER_DEADLINE, read_message(&mut stream)).await {
            Ok(Ok(Some(InterfaceAnswer::Done))) => Ok(()),
            Ok(Ok(Some(InterfaceAnswer::Failed { text }))) => Err(shown(text).into()),
            Ok(Ok(None)) => Err("the agent in the guest did not answer".to_owned().into()),
            Ok(Err(error)) => {
                Err(format!("cannot read the answer of the agent in the guest: {error}").into())
            }
            Err(_) => Err(format!(
                "the agent in the guest did not answer within {} s",
                ANSWER_DEADLINE.as_secs()
            )
            .into()),
        }
    }
}

fn not_taken_away(why: Refusal) {
    tracing::warn!("cannot take away the pod's interface to a network: {why}");
}

async fn within<T>(
    deadline: Duration,
    work: impl Future<Output = Result<T, QmpError>>,
) -> Result<T, Refusal> {
    match tokio::time::timeout(deadline, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(format!("QEMU did not answer within {} s", deadline.as_secs()).into()),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NetworksError> + Send + 'static,
) -> Result<T, Refusal> {
    let done = spawn_blocking(work).await.map_err(|panic| panic.to_string())?;
    Ok(done?)
}
