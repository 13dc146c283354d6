//! Network interfaces that come while apps run, and go.
//!
//! ```text
//! add      look for devices ─> the one with that Ethernet address ─> its name, addresses, routes
//! remove   take the device from its driver ─> the host may unplug it
//! ```

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use isopod_contract::arrival::MAX_TEXT_BYTES;
use isopod_contract::config::Identity;
use isopod_contract::in_one_line;
use isopod_contract::network::{GuestInterface, InterfaceAnswer, Mac};
use isopod_protocol::codec::write_message;
use isopod_protocol::mux::MuxStream;
use tokio::io::AsyncWriteExt as _;

use super::questions::SessionHandle;
use crate::boot::{network, setup};

/// The interfaces, by their names (the kernel's Documentation/ABI/testing/sysfs-class-net).
const INTERFACES: &str = "/sys/class/net";

/// Where a device is taken from its driver.
const UNBIND: &str = "/sys/bus/virtio/drivers/virtio_net/unbind";

/// How long a device may take to appear: the kernel looks for it on its own beside this.
const APPEARS: Duration = Duration::from_secs(10);

/// Does it, and says how that went.
pub(super) async fn answer(stream: MuxStream, work: impl FnOnce() -> Result<(), String> + Send + 'static) {
    let done = tokio::task::spawn_blocking(work).await;
    say(stream, done.map_err(|panic| panic.to_string()).flatten()).await;
}

/// Makes the VM another one ([`Identity`] as JSON), and says how that went.
pub(super) async fn identify(stream: MuxStream, session: &SessionHandle, identity: &str) {
    let done = match serde_json::from_str::<Identity>(identity) {
        Ok(identity) => session.identify(identity).await,
        Err(error) => Err(error.to_string()),
    };
    say(stream, done).await;
}

async fn say(mut stream: MuxStream, done: Result<(), String>) {
    let answer = match done {
        Ok(()) => InterfaceAnswer::Done,
        Err(mut text) => {
            text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
            InterfaceAnswer::Failed { text }
        }
    };
    let _ = write_message(&mut stream, &answer).await;
    let _ = stream.shutdown().await;
}

/// Configures an interface whose device was plugged in.
pub(super) fn add(interface: &str) -> Result<(), String> {
    let interface: GuestInterface = serde_json::from_str(interface).map_err(|error| error.to_string())?;
    let mac = interface
        .mac
        .ok_or_else(|| format!("interface `{}` has no Ethernet address", interface.name))?;
    let begun = Instant::now();
    let device = loop {
        setup::find_plugged().map_err(|error| format!("cannot look for devices: {error}"))?;
        match named(Path::new(INTERFACES), mac) {
            Some(device) => break device,
            None if begun.elapsed() > APPEARS => {
                return Err(format!(
                    "the device of interface `{}` does not appear",
                    interface.name
                ));
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    network::set_up_as(&device, &interface).map_err(|error| in_one_line(&error))
}

/// The interface with that Ethernet address.
fn named(interfaces: &Path, mac: Mac) -> Option<String> {
    let wanted = mac.map(|byte| format!("{byte:02x}")).join(":");
    let entries = fs::read_dir(interfaces).ok()?.flatten();
    let has_it =
        |path: &Path| fs::read_to_string(path.join("address")).is_ok_and(|address| address.trim() == wanted);
    let mut found = entries.filter(|entry| entry.path().join("device").exists() && has_it(&entry.path()));
    found.next()?.file_name().into_string().ok()
}

/// Takes the interface from the apps. One that is not there has gone.
pub(super) fn remove(name: &str) -> Result<(), String> {
    if name.contains('/') || name.starts_with('.') {
        return Err("it is not the name of an interface".to_owned());
    }
    let device = match fs::read_link(Path::new(INTERFACES).join(name).join("device")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        device => device.map_err(|error| format!("cannot find the device of `{name}`: {error}"))?,
    };
    let device = device
        .file_name()
        .unwrap_or_default()
        .as_encoded_bytes()
        .to_owned();
    fs::write(UNBIND, device)
        .map_err(|error| format!("cannot take the device of `{name}` from its driver: {error}"))?;
    // So that the kernel heeds that it is unplugged.
    setup::find_plugged().map_err(|error| format!("cannot look for devices: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_found_by_its_ethernet_address() {
        let dir = tempfile::tempdir().unwrap();
        for (name, address, device) in [
            ("lo", "00:00:00:00:00:00", false),
            ("bridge", "02:49:0a:5a:00:02", false),
            ("eth7", "02:49:0a:5a:00:02", true),
        ] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.join(if device { "device" } else { "power" })).unwrap();
            fs::write(path.join("address"), format!("{address}\n")).unwrap();
        }
        assert_eq!(
            named(dir.path(), [2, 0x49, 10, 90, 0, 2]).as_deref(),
            Some("eth7")
        );
        assert_eq!(named(dir.path(), [2, 0x49, 10, 90, 0, 3]), None);
        assert_eq!(named(&dir.path().join("none"), [0; 6]), None);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(add("{").is_err());
        let nameless = serde_json::to_string(&GuestInterface::default()).unwrap();
        assert!(add(&nameless).unwrap_err().contains("no Ethernet address"));
        assert!(remove("../x").is_err());
        remove("isopod-none").unwrap();
    }
}
