//! Decompressors, modules and unified kernel images.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::{Cursor, Read};

use lifeboat_drivers::guest::unified::UnifiedImage;
use lifeboat_drivers::initrd::{lz4_legacy, xz};
use lifeboat_drivers::module_file;

fuzz_target!(|bytes: &[u8]| {
    let mut unpacked = Vec::new();
    let _ = lz4_legacy::Decoder::new(bytes)
        .take(8 << 20)
        .read_to_end(&mut unpacked);
    let packed = lz4_legacy::encode(bytes);
    let mut back = Vec::new();
    lz4_legacy::Decoder::new(packed.as_slice())
        .read_to_end(&mut back)
        .expect("our own stream");
    assert_eq!(back, bytes);
    if let Ok(stream) = xz2::stream::Stream::new_stream_decoder(64 << 20, 0) {
        let _ = xz::Decoder::new(bytes, stream)
            .take(8 << 20)
            .read_to_end(&mut unpacked);
    }
    for ending in ["a.ko", "a.ko.xz", "a.ko.gz", "a.ko.zst"] {
        if let Ok(module) = module_file::unpack(ending, bytes) {
            module_file::needs(&module);
        }
    }
    let _ = UnifiedImage::read(&mut Cursor::new(bytes));
});
