#![no_main]
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use lifeboat_agent::profile::Profile;

// Any text is a profile or an error with a place.
fuzz_target!(|text: &str| {
    if let Err(error) = Profile::parse(Path::new("p.toml"), text) {
        assert!(error.line >= 1);
    }
});
