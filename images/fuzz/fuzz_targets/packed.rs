//! Packed disks: the first byte says how.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_images::Container;
use lifeboat_images::fuzzing::packed;

fuzz_target!(|bytes: &[u8]| {
    let Some((form, bytes)) = bytes.split_first() else {
        return;
    };
    let forms = [
        Container::Gzip,
        Container::Xz,
        Container::Zstd,
        Container::Bzip2,
    ];
    packed(forms[usize::from(*form) % forms.len()], bytes);
});
