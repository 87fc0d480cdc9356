//! The command line, the daemon and bad input, without any guest: quick.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod daemon;
mod images;
mod injecting;
mod keeping;
mod order_logs;
mod order_questions;
mod order_words;
mod scripts;
mod site_files;
mod sources;
mod verifying;
mod work_refused;
/// Forms that no tool here writes.
#[path = "../../../images/tests/fixture/writers.rs"]
#[allow(dead_code, reason = "the tests of `images` use the rest")]
mod writers;

use lifeboat_tests::Appliance;

/// A site file that is right, beside a raw disk that is one in form only.
const SITE: &str = r#"[site]
name = "small"

[[network]]
name = "lan"
cidr = "10.20.0.0/24"
gateway = "10.20.0.1"

[[machine]]
name = "one"
memory_mib = 256
volumes = ["disk.raw"]
[[machine.nic]]
network = "lan"
mac = "52:54:00:20:00:10"
address = "10.20.0.10"
[[machine.gate]]
tcp = 53

[[machine]]
name = "two"
memory_mib = 256
volumes = ["disk.raw"]
[[machine.nic]]
network = "lan"
mac = "52:54:00:20:00:20"
address = "10.20.0.20"
"#;

/// An appliance with `site.toml` and `disk.raw` beside its state.
fn with_site(text: &str) -> Appliance {
    let appliance = Appliance::new();
    appliance.write("disk.raw", raw_disk());
    appliance.write("site.toml", text);
    appliance
}

/// Eight MiB with an MBR and one partition that holds nothing.
fn raw_disk() -> Vec<u8> {
    let mut bytes = vec![0_u8; 8 << 20];
    bytes[0] = 0xeb;
    bytes[440..444].copy_from_slice(&0x1234_abcd_u32.to_le_bytes());
    bytes[446 + 4] = 0x83;
    bytes[446 + 8..446 + 12].copy_from_slice(&2048_u32.to_le_bytes());
    bytes[446 + 12..446 + 16].copy_from_slice(&8192_u32.to_le_bytes());
    bytes[510..512].copy_from_slice(b"\x55\xaa");
    bytes
}

#[test]
fn wrong_words_are_wrong_use() {
    let appliance = Appliance::new();
    for words in [
        vec!["recuperate"],
        vec!["test"],
        vec!["test", "a", "b"],
        vec!["session"],
        vec!["session", "burn", "x"],
        vec!["order"],
        vec!["--format", "yaml", "site", "list"],
        vec!["serve", "--listen", "nowhere"],
        vec![],
    ] {
        let outcome = appliance.lifeboat(&words).run();
        outcome.expect_code(2);
        assert_eq!(outcome.stdout, "", "{words:?}");
        assert!(
            outcome.stderr.contains("--help") || outcome.stderr.contains("Usage"),
            "{words:?}: {outcome:?}"
        );
    }
    assert!(!appliance.state().exists(), "wrong words made a state");
}

#[test]
fn help_and_version_are_results() {
    let appliance = Appliance::new();
    for words in [vec!["--help"], vec!["--version"], vec!["test", "--help"]] {
        let outcome = appliance.lifeboat(&words).run();
        outcome.expect_code(0);
        assert!(!outcome.stdout.is_empty() && outcome.stderr.is_empty());
    }
}

#[test]
fn pictures_are_for_orders_only() {
    let appliance = with_site(SITE);
    for format in ["dot", "svg"] {
        let outcome = appliance
            .lifeboat(["--format", format, "site", "list"])
            .run();
        outcome.expect_code(2).expect_one_error();
        outcome.expect_said(&[&format!("--format {format}"), "order"]);
    }
}

#[test]
fn check_says_what_it_found_and_what_to_do() {
    let appliance = Appliance::new();
    let outcome = appliance.lifeboat(["check"]).json().run();
    let found = outcome.json();
    let fit = found["fit"].as_bool().unwrap();
    outcome.expect_code(i32::from(!fit));
    let accelerator = &found["accelerator"];
    assert!(["kvm", "tcg"].contains(&accelerator["accelerator"].as_str().unwrap()));
    assert_ne!(accelerator["reason"].as_str().unwrap(), "");
    for finding in found["findings"].as_array().unwrap() {
        let needs_advice = !finding["fit"].as_bool().unwrap();
        assert!(!needs_advice || finding["advice"].is_string(), "{finding}");
    }
}
