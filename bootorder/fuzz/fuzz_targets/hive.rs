//! Registry hives, the second half of the input being a transaction log of the first.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_bootorder::survey_hive;

fuzz_target!(|bytes: &[u8]| {
    let (hive, log) = bytes.split_at(bytes.len() / 2);
    let alone = survey_hive(bytes.to_vec(), &[]);
    let with_log = survey_hive(hive.to_vec(), &[log.to_vec()]);
    for survey in [alone, with_log].into_iter().flatten() {
        assert!(survey.references.len() <= 1_000);
    }
});
