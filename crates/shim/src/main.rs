//! `containerd-shim-isopod-v2`: containerd's way to Isopod's pods. containerd starts one for each sandbox, and speaks with it over
//! ttrpc; it supervises the pod as `isopod run` does, and each container of the sandbox is an app of the pod.
//!
//! ```text
//! args, start     what containerd executes: a server for a sandbox, or the one that it has
//! bundle          what is a sandbox's on the host
//! server          the server's namespaces, cgroup and socket
//! spare           VMs that are up before their sandboxes are known
//! service         containerd's task service; each request is a call of
//! sandbox         the sandbox with its containers, by way of
//!   tasks         which of it may be done when: pure
//!   oci           OCI's words as a pod's: pure
//!   pod           the pod, its supervision, what comes to it
//!   commands      commands in containers
//!   names         name servers of the sandbox's namespace, for the guest
//!   relay         what listens on a guest's loopback interface, in the sandbox's namespace
//!   stdio, rootfs, submounts, hooks, cgroup, metrics
//! publish         events for containerd
//! ```

mod args;
mod bundle;
mod cgroup;
mod commands;
mod hooks;
mod log;
mod metrics;
mod mirror;
mod names;
mod numbers;
mod oci;
mod pod;
mod publish;
mod relay;
mod rootfs;
mod sandbox;
mod server;
mod service;
mod settings;
mod spare;
mod start;
mod stdio;
mod submounts;
mod tasks;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;

use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::Message as _;

use crate::args::{Action, Args};

fn main() -> ExitCode {
    let done = Args::read(std::env::args_os().skip(1))
        .map_err(Into::into)
        .and_then(|args| {
            isopod_vm::launch::close_on_exec()?;
            log::begin(&args);
            execute(&args)
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let words = pod::words(&*error);
            tracing::error!("{words}");
            // containerd shows what `start` and `delete` write there.
            let _ = writeln!(std::io::stderr(), "{words}");
            ExitCode::FAILURE
        }
    }
}

fn execute(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    match args.action {
        Action::Start => {
            let address = start::start(args)?;
            std::io::stdout().write_all(address.as_bytes())?;
        }
        Action::Delete => {
            let bundle = match &args.bundle {
                Some(bundle) => bundle.clone(),
                None => std::env::current_dir()?,
            };
            delete(&bundle)?;
            bundle::remove_socket(args);
        }
        Action::Serve => server::serve(args)?,
        Action::Spare => spare::wait(args)?,
        Action::Version => {
            let line = OsString::from(format!(
                "containerd-shim-isopod-v2 {}\n",
                env!("CARGO_PKG_VERSION")
            ));
            std::io::stdout().write_all(line.as_encoded_bytes())?;
        }
    }
    Ok(())
}

/// Removes what is left of a container whose server was killed, and says how it ended. Its processes and mounts ended with the server.
fn delete(bundle: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    if let Ok(settings) = settings::from_environment() {
        pod::clean(bundle, &settings);
    }
    if let Ok(spec) = bundle::read_spec(bundle) {
        cgroup::remove(&spec.linux.cgroups_path, &cgroup::own());
    }
    rootfs::take_away(&bundle.join("rootfs"));
    let response = DeleteResponse {
        exit_status: tasks::KILLED,
        exited_at: publish::timestamp(SystemTime::now()),
        ..DeleteResponse::default()
    };
    std::io::stdout().write_all(&response.write_to_bytes()?)?;
    Ok(())
}
