//! `cargo xtask bench cri`: what a kubelet waits for, with Isopod and with runc, on Debian's containerd. It is a test that is ignored
//! otherwise, since the tests have the client: `tests/tests/cri/benchmark.rs`.

use crate::build::{self, Profile};
use crate::command::{self, command};
use crate::failure::Failure;
use crate::packages::{self, Consent, Purpose};
use crate::place;

/// Measures, and prints the table.
pub(crate) fn cri() -> Result<(), Failure> {
    packages::ensure(Purpose::Test, Consent::Given)?;
    let isopod = build::isopod(Profile::Release)?;
    let words = [
        "test",
        "--workspace",
        "--test",
        "vms",
        "--",
        "--ignored",
        "--nocapture",
        "cri::benchmark",
    ];
    let mut bench = command("cargo", words);
    bench
        .env("ISOPOD_BIN", place::absolute(&isopod))
        .env("PATH", place::search_path());
    command::run(&mut bench)
}
