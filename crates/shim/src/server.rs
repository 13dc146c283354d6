//! The server of a sandbox: this process from its first step to its last.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use containerd_shim_protos::shim_async::create_task;
use containerd_shim_protos::ttrpc::asynchronous::Server;
use containerd_shim_protos::ttrpc::asynchronous::transport::Listener;
use isopod_vm::namespaces;
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use crate::args::Args;
use crate::bundle::{read_spec, socket};
use crate::numbers::Numbers;
use crate::oci::spec::Spec;
use crate::oci::{self, NetworkOf};
use crate::publish::Publisher;
use crate::sandbox::{Engine, Sandbox};
use crate::service::Service;
use crate::{cgroup, settings};

/// How long what is still to be sent may take at the end.
const FLUSH: Duration = Duration::from_secs(2);

/// Serves until containerd says that the sandbox is done with.
///
/// # Errors
/// Why it cannot begin.
pub(crate) fn serve(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let mut settings = settings::from_environment()?;
    let cgroups = cgroup::own();
    settings.aside = cgroup::entries(&cgroups);
    let surroundings = Surroundings::enter(args, &std::env::current_dir()?, cgroups)?;
    namespaces::own_mounts()?;
    let address = settings::events_address(args);
    let listener = io::stdin().as_fd().try_clone_to_owned()?;
    // One thread: the VM's processes die with the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let served = runtime.block_on(async {
        let (shutdown, shut) = mpsc::unbounded_channel();
        let numbers = Numbers::default();
        let publisher = Publisher::begin(&args.namespace, address, numbers.clone());
        let sandbox = Sandbox::new(settings, numbers, shutdown);
        sandbox.belongs_to(Engine {
            publisher,
            namespace: args.namespace.clone(),
        });
        answer(&sandbox, listener, shut).await
    });
    runtime.shutdown_background();
    surroundings.leave();
    served
}

/// Where a sandbox's server is: its bundle, the sandbox's network namespace and its cgroup.
pub(crate) struct Surroundings {
    spec: Spec,
    /// Where it came from.
    cgroups: String,
    socket: PathBuf,
}

impl Surroundings {
    /// Goes there; namespaces are left and entered by the process's first thread.
    ///
    /// # Errors
    /// The system's, or the bundle has no container.
    pub(crate) fn enter(
        args: &Args,
        bundle: &Path,
        cgroups: String,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let spec = read_spec(bundle)?;
        match oci::network(&spec) {
            Ok(NetworkOf::Namespace(path)) => namespaces::join_network(&path).map_err(|error| {
                let path = path.display();
                format!("cannot enter the sandbox's network namespace `{path}`: {error}")
            })?,
            Ok(NetworkOf::Own) => namespaces::own_network()?,
            // Refused when the container is created, with the reason.
            Err(_) => {}
        }
        cgroup::join(&spec.linux.cgroups_path);
        Ok(Self {
            socket: socket(args, &args.id),
            spec,
            cgroups,
        })
    }

    /// Removes what was the server's.
    pub(crate) fn leave(self) {
        let _ = std::fs::remove_file(self.socket);
        cgroup::remove(&self.spec.linux.cgroups_path, &self.cgroups);
    }
}

/// Answers containerd until the sandbox is done with.
///
/// # Errors
/// Why it cannot begin.
pub(crate) async fn answer(
    sandbox: &Arc<Sandbox>,
    listener: OwnedFd,
    mut shut: mpsc::UnboundedReceiver<()>,
) -> Result<(), Box<dyn std::error::Error>> {
    let listener = StdListener::from(listener);
    listener.set_nonblocking(true)?;
    let service = create_task(Arc::new(Service(sandbox.clone())));
    let mut server = Server::new()
        .add_listener(Listener::from(UnixListener::from_std(listener)?))
        .register_service(service);
    server.start().await?;
    shut.recv().await;
    // The answer to what ends this process is on its way.
    sandbox.end().await;
    let _ = tokio::time::timeout(FLUSH, server.shutdown()).await;
    sandbox.flush(FLUSH).await;
    Ok(())
}
