//! Setup information files of Windows drivers, for both processors.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_drivers::windows::inf::Inf;

fuzz_target!(|bytes: &[u8]| {
    for architecture in ["amd64", "x86"] {
        if let Ok(inf) = Inf::parse(bytes, architecture) {
            assert!((1..=12).contains(&inf.date.1) && inf.devices.len() <= 1_000);
        }
    }
});
