//! `--device PATH[:PATH][:rwm]`: a device of the guest, in docker's words.

use std::ffi::OsStr;

use super::{FlagFault, InvalidFlag};
use crate::Device;
use crate::words::shown;

/// Reads `--device`: one of the guest's devices, at its own path. A permission to read alone, or none to make a node, says
/// no more than docker's default, which holds.
///
/// # Errors
/// [`InvalidFlag`] for another device, another path in the app, and permissions that are none.
pub(crate) fn read_device(text: &OsStr) -> Result<Device, InvalidFlag> {
    let invalid = |fault| InvalidFlag::new("--device", text, fault);
    let form = |fault, hint| invalid(FlagFault::Form { fault, hint });
    let words = text.to_string_lossy();
    let mut words = words.split(':');
    let path = words.next().unwrap_or_default();
    let device = Device::ALL.into_iter().find(|device| device.path() == path);
    let device = device.ok_or_else(|| {
        invalid(FlagFault::Unknown {
            what: "device",
            name: shown(path),
            hint: "the guest has `/dev/net/tun` and `/dev/fuse` for single apps, and `--privileged` gives all that it has; \
                   devices of the host are not passed to it"
                .to_owned(),
        })
    })?;
    for word in words {
        let permissions = !word.is_empty() && word.bytes().all(|byte| b"rwm".contains(&byte));
        if word.starts_with('/') && word != path {
            let hint = "leave the second path out, and make a link in the app";
            return Err(form("the device has another path in the app", Some(hint)));
        }
        if permissions && !(word.contains('r') && word.contains('w')) {
            let hint = "leave the permissions out, or write `rwm`";
            return Err(form(
                "a device is given for reading and writing, or not at all",
                Some(hint),
            ));
        }
        if !permissions && !word.starts_with('/') {
            return Err(form(
                "what follows its path is not a permission",
                Some("say `rwm`"),
            ));
        }
    }
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_the_guests() {
        let read = |text: &str| read_device(OsStr::new(text)).map_err(|error| error.fault.to_string());
        for text in [
            "/dev/net/tun",
            "/dev/net/tun:/dev/net/tun",
            "/dev/net/tun:/dev/net/tun:rwm",
            "/dev/net/tun:rw",
        ] {
            assert_eq!(read(text), Ok(Device::Tun), "{text}");
        }
        assert_eq!(read("/dev/fuse"), Ok(Device::Fuse));
        for (text, fault) in [
            ("/dev/kvm", "unknown device `/dev/kvm`"),
            ("", "unknown device ``"),
            ("/dev/fuse:/dev/other", "the device has another path in the app"),
            (
                "/dev/fuse:r",
                "a device is given for reading and writing, or not at all",
            ),
            (
                "/dev/fuse:/dev/fuse:x",
                "what follows its path is not a permission",
            ),
        ] {
            assert_eq!(read(text), Err(fault.to_owned()), "{text}");
        }
    }
}
