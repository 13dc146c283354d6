//! A copy out of an app or into one: an archive, and what it may learn about its target.

#![no_main]

use isopod_archive::{Keep, unpack};
use isopod_fuzz::{Jail, seal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((how, bytes)) = bytes.split_first() else {
        return;
    };
    let mut archive = bytes.to_vec();
    seal(&mut archive);
    let jail = Jail::new();
    let keep = match how & 1 {
        0 => Keep::Plain,
        _ => Keep::Everything,
    };
    let target = match how >> 1 & 3 {
        0 => jail.inside(),
        1 => jail.inside().join("new"),
        2 => jail.inside().join("."),
        _ => jail.inside().join("missing/new"),
    };
    let tree = (how & 8 != 0).then_some("tree".as_ref());
    let _ = unpack(&target, &mut &*archive, keep, tree);
    jail.assert_nothing_outside();
});
