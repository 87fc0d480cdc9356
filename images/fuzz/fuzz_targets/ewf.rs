//! E01 images of one segment or two: the first byte says where the second begins.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_images::Container;
use lifeboat_images::fuzzing::image;

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, bytes)) = bytes.split_first() else {
        return;
    };
    let (first, second) = bytes.split_at(bytes.len() * usize::from(*cut) / 255);
    if second.is_empty() {
        image(Container::Ewf, &[&[first]]);
    } else {
        image(Container::Ewf, &[&[first, second]]);
    }
});
