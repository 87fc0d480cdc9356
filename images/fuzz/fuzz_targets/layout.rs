//! Partition tables and superblocks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_images::fuzzing::layout;

fuzz_target!(|bytes: &[u8]| {
    layout(bytes);
});
