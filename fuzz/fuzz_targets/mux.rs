//! The multiplexer and the first message of each stream, either side's.

#![no_main]

use isopod_protocol::codec::read_message;
use isopod_contract::message::{GuestStream, HostStream};
use isopod_protocol::mux::{self, Accept, Grant, Limits, Side};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        for (side, incoming) in [(Side::Host, Accept::Total(Grant::of(6))), (Side::Guest, Accept::AtOnce(4))] {
            let port = tokio::io::join(bytes, tokio::io::sink());
            let limits = Limits {
                incoming,
                outgoing: 4,
            };
            let (_opener, mut streams, driver) = mux::start(port, side, limits);
            let _ = driver.run().await;
            while let Some(mut stream) = streams.next().await {
                match side {
                    Side::Host => drop(read_message::<_, GuestStream>(&mut stream).await),
                    Side::Guest => drop(read_message::<_, HostStream>(&mut stream).await),
                }
            }
        }
    });
});
