//! The server of a sandbox: this process from its first step to its last.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use containerd_shim_protos::shim_async::create_task;
use containerd_shim_protos::ttrpc::asynchronous::Server;
use containerd_shim_protos::ttrpc::asynchronous::transport::Listener;
use isopod_vm::namespaces;
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use crate::args::Args;
use crate::numbers::Numbers;
use crate::oci::{self, NetworkOf};
use crate::publish::Publisher;
use crate::sandbox::Sandbox;
use crate::service::Service;
use crate::start::{read_spec, socket};
use crate::{cgroup, settings};

/// How long what is still to be sent may take at the end.
const FLUSH: Duration = Duration::from_secs(2);

/// Serves until containerd says that the sandbox is done with.
///
/// # Errors
/// Why it cannot begin.
pub(crate) fn serve(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let bundle = std::env::current_dir()?;
    let spec = read_spec(&bundle)?;
    let mut settings = settings::from_environment()?;
    // Namespaces are left and entered by the process's only thread.
    match oci::network(&spec) {
        Ok(NetworkOf::Namespace(path)) => namespaces::join_network(&path)?,
        Ok(NetworkOf::Own) => namespaces::own_network()?,
        // Refused when the container is created, with the reason.
        Err(_) => {}
    }
    namespaces::own_mounts()?;
    let cgroups = cgroup::own();
    cgroup::join(&spec.linux.cgroups_path);
    settings.aside = cgroup::entries(&cgroups);
    let address =
        std::env::var("TTRPC_ADDRESS").unwrap_or_else(|_| format!("{}.ttrpc", args.address.display()));
    let listener = listener()?;
    // One thread: the VM's processes die with the thread that started them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let served = runtime.block_on(async {
        let numbers = Numbers::default();
        let publisher = Publisher::begin(&args.namespace, address, numbers.clone());
        let (shutdown, mut shut) = mpsc::unbounded_channel();
        let sandbox = Sandbox::new(
            settings,
            publisher.clone(),
            args.namespace.clone(),
            numbers,
            shutdown,
        );
        let service = create_task(Arc::new(Service(sandbox.clone())));
        let mut server = Server::new()
            .add_listener(Listener::from(UnixListener::from_std(listener)?))
            .register_service(service);
        server.start().await?;
        shut.recv().await;
        // The answer to what ends this process is on its way.
        sandbox.end().await;
        let _ = tokio::time::timeout(FLUSH, server.shutdown()).await;
        publisher.flush(FLUSH).await;
        Ok(())
    });
    runtime.shutdown_background();
    let _ = std::fs::remove_file(socket(args, &args.id));
    cgroup::remove(&spec.linux.cgroups_path, &cgroups);
    served
}

/// The socket that was made for this process.
fn listener() -> io::Result<std::os::unix::net::UnixListener> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let listener = std::os::unix::net::UnixListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(listener)
}
