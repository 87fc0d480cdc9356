//! systemd journals.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_bootorder::survey_bytes;

fuzz_target!(|bytes: &[u8]| {
    let log = survey_bytes("fuzz.journal", bytes.to_vec());
    assert!(log.beginnings <= log.boots);
    assert!(log.kept as u64 <= log.records);
});
