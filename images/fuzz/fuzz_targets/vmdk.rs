//! A descriptor of extents, up to the first zero byte, and one extent for all of its names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_images::Container;
use lifeboat_images::fuzzing::image;

fuzz_target!(|bytes: &[u8]| {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    let (text, extent) = bytes.split_at(end);
    let extent = extent.get(1..).unwrap_or_default();
    image(Container::Vmdk, &[&[text, extent, extent, extent]]);
});
