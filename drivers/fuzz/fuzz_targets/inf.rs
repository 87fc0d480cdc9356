//! What Windows drivers say of themselves: setup information files for both processors, signatures.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_drivers::windows::inf::Inf;
use lifeboat_drivers::windows::signature::{of_catalogue, of_program};

fuzz_target!(|bytes: &[u8]| {
    for architecture in ["amd64", "x86"] {
        if let Ok(inf) = Inf::parse(bytes, architecture) {
            assert!((1..=12).contains(&inf.date.1) && inf.devices.len() <= 1_000);
        }
    }
    for found in [of_program(bytes), of_catalogue(bytes)] {
        assert!(found.len() <= 8 && found.iter().all(|one| one.signer.len() <= 512));
    }
});
