//! One image of any form, its structure and content: the first byte says which form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_images::Container;
use lifeboat_images::fuzzing::image;

fuzz_target!(|bytes: &[u8]| {
    let Some((form, bytes)) = bytes.split_first() else {
        return;
    };
    let forms = [
        Container::Qcow2,
        Container::Vmdk,
        Container::Vpc,
        Container::Vhdx,
        Container::Vdi,
        Container::SplitRaw,
    ];
    image(forms[usize::from(*form) % forms.len()], &[&[bytes]]);
});
