#![no_main]
use libfuzzer_sys::fuzz_target;
use lifeboat_agent::wire::{Decoder, FromAgent, FromPeer, ToAgent, encode};

// Whatever comes out of a decoder goes into a frame again and comes out the same.
fuzz_target!(|bytes: &[u8]| {
    let mut decoder = Decoder::default();
    decoder.push(bytes);
    while let Ok(Some(message)) = decoder.take::<FromAgent>() {
        let frame = encode(&message).expect("it came out of a frame");
        let mut again = Decoder::default();
        again.push(&frame);
        let message_again = again.take::<FromAgent>().expect("well-formed");
        assert_eq!(format!("{message_again:?}"), format!("{:?}", Some(message)));
    }
    let mut decoder = Decoder::default();
    decoder.push(bytes);
    while let Ok(Some(_)) = decoder.take::<ToAgent>() {}
    let mut decoder = Decoder::default();
    decoder.push(bytes);
    while let Ok(Some(_)) = decoder.take::<FromPeer>() {}
});
