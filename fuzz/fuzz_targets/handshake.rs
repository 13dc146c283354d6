//! The greeting, either side's.

#![no_main]

use isopod_protocol::handshake::{self, NONCE_BYTES};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let port = || tokio::io::join(bytes, tokio::io::sink());
    futures::executor::block_on(async {
        let _ = handshake::host(&mut port(), [1; NONCE_BYTES], || 7).await;
        let _ = handshake::guest(&mut port(), [1; NONCE_BYTES]).await;
    });
});
