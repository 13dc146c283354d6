//! Image references, which mean the same when they are written and read again, and the values of flags.

#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use isopod_spec::flags::{self, ReadApp, VolumeFlag};
use isopod_spec::{ImageReference, Overrides};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = OsStr::from_bytes(bytes);
    if let Ok(reference) = ImageReference::parse(text) {
        let _ = reference.default_app_name();
        if std::str::from_utf8(bytes).is_ok() {
            let written = reference.to_string();
            assert_eq!(
                ImageReference::parse(written.as_ref()).as_ref(),
                Ok(&reference),
                "{written}"
            );
        }
    }
    let _ = flags::read_volume(text);
    let _ = flags::read_mount(text);
    let _ = flags::read_app_mount(text);
    let _ = flags::read_publish(text);
    let _ = flags::read_hostname(text);
    let _ = flags::read_health_cmd(text);
    let _ = flags::read_health_time("--health-interval", text);
    let _ = flags::read_health_on_failure(text);
    let _ = flags::read_depends_on(text);
    let _ = flags::read_restart(text);
    for flag in flags::LIMITS.iter().chain(&flags::PROCESS) {
        if let ReadApp::Text(_, read) = flag.read {
            let _ = read(&mut Overrides::default(), text);
        }
    }
    let _ = flags::read_sysctl(text);
    let _ = flags::read_text("--entrypoint", text);
    let _ = flags::read_word("--user", text);
    let _ = flags::read_app_name(text);
    let _ = flags::read_pod_name(text);
    let _ = flags::read_env(text);
    let _ = flags::read_memory_mib(text);
    let _ = flags::read_cpus(text);
    let _ = flags::read_user(text);
    let _ = flags::read_workdir(text);
    if let Ok(VolumeFlag::Brought(brought)) = flags::read_volume_flag(text) {
        let _ = brought.add_to(&mut Vec::new(), 0);
    }
});
