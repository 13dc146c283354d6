//! Gathers what `isopod doctor` reports about a host: everything that a pod could need, tried as a pod would.
//!
//! Nothing is decided here: [`isopod_plan::doctor`] says what follows.

use std::fs;
use std::io;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use isopod_contract::in_one_line;
use isopod_guest::Ensured;
use isopod_plan::distribution::Distribution;
use isopod_plan::doctor::{GuestReport, HostReport, KvmReport, RegistryReport, Subordinates, Trouble};
use isopod_plan::facts::{HostUser, Kvm};
use isopod_plan::vm::board;
use isopod_spec::{Architecture, Vm};
use isopod_vm::{kvm, launch, virtiofsd};

use crate::Settings;
use crate::gather::guest::{image, make_readable, wanted};
use crate::gather::{distribution, host as facts};
use crate::networks::addresses::programs;
use crate::programs::{find_program, find_qemu, has_qboot};
use crate::state_dir;
use crate::subordinates;

/// The registry of names without one.
const REGISTRY: (&str, u16) = ("registry-1.docker.io", 443);

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Looks at the host; builds the guest image and tries KVM with it, as a pod's first start does.
#[must_use]
pub fn look(settings: &Settings) -> HostReport {
    let distribution = distribution();
    let user = facts::user();
    let qemu = find_qemu(&settings.search_path, Architecture::HOST);
    let guest = wanted(&Vm::default(), settings).and_then(|choice| image(&choice, settings, &distribution));
    HostReport {
        user,
        kvm: kvm(settings, qemu.as_deref(), guest.as_ref().ok()),
        qemu: qemu.map(|program| {
            let version = version(&program);
            (program, version)
        }),
        passed_over: guest
            .as_ref()
            .map_or_else(|_| Vec::new(), |guest| passed_over(guest, &distribution)),
        guest: guest.map(|guest| report(&guest)).map_err(|fault| Trouble {
            what: in_one_line(&fault),
            fix: fault.hint(),
        }),
        virtiofsd: virtiofsd::find(&settings.search_path, user),
        passt: find_program(&settings.search_path, "passt"),
        network_programs: programs(settings),
        mkfs: facts::mkfs(settings),
        namespaces: facts::namespaces(settings),
        user_namespaces: facts::user_namespaces(),
        subordinates: match user {
            HostUser::Root => Subordinates::NotNeeded,
            HostUser::Ordinary { .. } => subordinates::report(&settings.search_path),
        },
        state_dir: settings.state_dir.clone(),
        free_bytes: facts::free_bytes(&settings.state_dir),
        registry: registry(settings),
        distribution,
    }
}

fn report(guest: &Ensured) -> GuestReport {
    let has = |module: &str| guest.image.modules.contains(module);
    GuestReport {
        release: guest.image.release.clone(),
        virtiofs: has("virtiofs"),
        nine_p: has("9p") && has("9pnet_virtio"),
        systemd_version: guest.image.systemd_version,
    }
}

fn passed_over(guest: &Ensured, distribution: &Distribution) -> Vec<Trouble> {
    let trouble = |passed: &isopod_guest::PassedOver| {
        let denied =
            fs::File::open(&passed.kernel).is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied);
        Trouble {
            what: format!("`{}` cannot be used: {}", passed.kernel.display(), passed.reason),
            fix: denied.then(|| make_readable(&passed.kernel, distribution)),
        }
    };
    guest.passed_over.iter().map(trouble).collect()
}

fn kvm(settings: &Settings, qemu: Option<&Path>, guest: Option<&Ensured>) -> KvmReport {
    let opened = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm");
    match opened.map_err(|error| error.kind()) {
        Err(io::ErrorKind::NotFound) => return KvmReport::Absent,
        Err(io::ErrorKind::PermissionDenied) => return KvmReport::Denied,
        _ => {}
    }
    let (Some(qemu), Some(guest)) = (qemu, guest) else {
        return KvmReport::NotTried;
    };
    let probe = kvm::Guest {
        kernel: &guest.image.kernel,
        initrd: &guest.image.initrd,
        digest: &guest.image.digest,
        firmware: board::firmware(Architecture::HOST, has_qboot(qemu)),
    };
    let found: Kvm = kvm::works(
        &settings.isopod,
        qemu,
        &probe,
        &settings.state_dir.join(state_dir::KVM),
    );
    KvmReport::Tried(found)
}

/// What a program says of its version.
fn version(program: &Path) -> String {
    let output = launch::command(program).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let text = text.unwrap_or_default();
    let number = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
    text.split_whitespace()
        .find(number)
        .unwrap_or_default()
        .to_owned()
}

/// Whether the registry of names without one answers, by a connection to it.
fn registry(settings: &Settings) -> RegistryReport {
    let proxy = ["https_proxy", "HTTPS_PROXY"]
        .iter()
        .find_map(|name| settings.env.get(*name));
    if let Some(proxy) = proxy.filter(|proxy| !proxy.is_empty()) {
        return RegistryReport::Proxy(without_password(proxy));
    }
    let (sender, receiver) = mpsc::channel();
    // A look-up of a name has no deadline of its own.
    std::thread::spawn(move || drop(sender.send(connect())));
    let name = REGISTRY.0.to_owned();
    match receiver.recv_timeout(PATIENCE) {
        Ok(Ok(())) => RegistryReport::Answers(name),
        Ok(Err(error)) => RegistryReport::Silent(name, error.to_string()),
        Err(_) => RegistryReport::Silent(name, format!("not within {} seconds", PATIENCE.as_secs())),
    }
}

fn connect() -> io::Result<()> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in REGISTRY.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A proxy's URL as it may be shown.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        (None, Some((_, host))) => host.to_owned(),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxys_password_is_not_shown() {
        assert_eq!(
            without_password("http://me:secret@proxy:3128/"),
            "http://proxy:3128/"
        );
        assert_eq!(without_password("http://proxy:3128"), "http://proxy:3128");
        assert_eq!(without_password("me:secret@proxy"), "proxy");
    }
}
