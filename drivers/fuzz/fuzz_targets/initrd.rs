//! An initramfs of any kind.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_drivers::initrd::supplement::{generator, present_modules};
use lifeboat_drivers::initrd::{scan, scan_onto};

fuzz_target!(|bytes: &[u8]| {
    let Ok(contents) = scan(bytes) else { return };
    generator(&contents);
    for version in contents.kernel_versions() {
        present_modules(&contents, &version);
    }
    for path in contents.kinds.keys() {
        let real = contents.resolve(path);
        assert!(!real.starts_with('/') && !real.split('/').any(|part| part == ".."));
    }
    // What is known of the beginning is kept when the rest is read.
    let again = scan_onto(contents.clone(), &[][..]).expect("nothing more to read");
    assert_eq!(again.kinds, contents.kinds);
});
