//! Every message, from any bytes.

#![no_main]

use isopod_protocol::codec::{decode, read_message};
use isopod_contract::copy::Frame;
use isopod_protocol::copy;
use isopod_contract::exec::{FromCommand, ToCommand};
use isopod_protocol::exec;
use isopod_contract::message::{GuestMessage, GuestStream, HostMessage, HostStream};
use isopod_contract::stats::Stats;
use isopod_contract::hotplug::VolumeAnswer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = decode::<HostStream>(bytes);
    let _ = decode::<GuestStream>(bytes);
    let _ = decode::<HostMessage>(bytes);
    let _ = decode::<GuestMessage>(bytes);
    let _ = decode::<ToCommand>(bytes);
    let _ = decode::<FromCommand>(bytes);
    let _ = decode::<Frame>(bytes);
    let _ = decode::<Stats>(bytes);
    let _ = decode::<VolumeAnswer>(bytes);
    futures::executor::block_on(async {
        let _ = read_message::<_, GuestMessage>(&mut &*bytes).await;
        let _ = copy::receive(&mut &*bytes, &mut Vec::new()).await;
        let (_client, mut answers) = exec::client(tokio::io::join(bytes, tokio::io::sink()));
        while let Ok(exec::Answer::Stdout(_) | exec::Answer::Stderr(_)) = answers.next().await {}
    });
});
