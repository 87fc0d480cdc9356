//! The micro-VM's answer as the host reads it: nothing leaves its folder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::Write;

use lifeboat_drivers::host::read_answer;

fuzz_target!(|bytes: &[u8]| {
    let around = tempfile::tempdir().expect("a directory");
    let folder = around.path().join("folder");
    std::fs::create_dir(&folder).expect("the folder");
    let mut stream = tempfile::tempfile().expect("a file");
    stream.write_all(bytes).expect("the stream");
    let _ = read_answer(stream, Some(&folder), 1 << 20);
    let outside = std::fs::read_dir(around.path())
        .expect("the directory")
        .count();
    assert_eq!(outside, 1);
});
