//! A VHD over another: the first two bytes say where the parent begins, in sectors.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_images::Container;
use lifeboat_images::fuzzing::image;

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, bytes)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let cut = usize::from(u16::from_le_bytes(*cut)) * 512;
    let (child, parent) = bytes.split_at(cut.min(bytes.len()));
    image(Container::Vpc, &[&[child], &[parent]]);
});
