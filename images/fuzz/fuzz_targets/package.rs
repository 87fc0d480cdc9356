//! OVA archives, OVF descriptors, manifests.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_images::fuzzing::package;

fuzz_target!(|bytes: &[u8]| {
    package(bytes);
});
