//! Faults in a site file: one error with file, line or key, exit code 2.

use lifeboat_tests::Appliance;

use crate::{SITE, with_site};

/// Changes the good site, and expects a refusal that holds these words.
#[track_caller]
fn refused(change: impl Fn(&str) -> String, line: usize, words: &[&str]) {
    let text = change(SITE);
    assert_ne!(text, SITE, "the change changes nothing");
    let appliance = with_site(&text);
    let file = appliance.path("site.toml");
    let outcome = appliance.lifeboat(["site", "show"]).words([&file]).run();
    outcome.expect_code(2).expect_one_error().expect_said(words);
    outcome.expect_said(&[&format!("line {line}"), &file.to_string_lossy()]);
    let sites = appliance.lifeboat(["site", "list"]).json().run().json();
    assert_eq!(
        sites,
        serde_json::json!([]),
        "a refused site was registered"
    );
}

#[track_caller]
fn replaced(from: &str, to: &str, line: usize, words: &[&str]) {
    refused(|site| site.replacen(from, to, 1), line, words);
}

#[test]
fn the_site_without_a_fault_is_taken() {
    let appliance = with_site(SITE);
    let file = appliance.path("site.toml");
    let show = appliance.lifeboat(["site", "show"]).words([&file]);
    let site = show.json().run().json();
    assert_eq!(site["name"], "small");
    assert_eq!(site["machines"].as_array().unwrap().len(), 2);
    // It is known by its name now, and by its folder.
    let by_name = appliance.lifeboat(["site", "show", "small"]).json().run();
    assert_eq!(by_name.json(), site);
    let by_folder = appliance
        .lifeboat(["site", "show"])
        .words([file.parent().unwrap()]);
    assert_eq!(by_folder.json().run().json(), site);
    appliance
        .lifeboat(["site", "remove", "small"])
        .run()
        .expect_code(0);
    let gone = appliance.lifeboat(["site", "show", "small"]).run();
    gone.expect_code(2)
        .expect_said(&["no site is called `small`"]);
    appliance.traces().expect_none();
}

#[test]
fn unknown_keys() {
    replaced("cidr =", "colour = 1\ncidr =", 6, &["colour", "expected"]);
    replaced(
        "memory_mib = 256",
        "memory = 256",
        11,
        &["memory", "memory_mib"],
    );
    replaced("tcp = 53", "tcp = 53\nretries = 3", 19, &["retries"]);
    replaced("[site]", "[site]\nowner = \"me\"", 2, &["owner"]);
}

#[test]
fn text_that_is_not_toml() {
    replaced("[site]", "[site", 1, &[]);
    replaced(
        "memory_mib = 256",
        "memory_mib = \"much\"",
        11,
        &["memory_mib"],
    );
    replaced("name = \"small\"\n", "", 1, &["name"]);
}

#[test]
fn wrong_addresses() {
    let place = "address = \"10.20.0.10\"";
    let address = |text: &str| format!("address = \"{text}\"");
    let key = "machine.nic.address";
    replaced(place, &address("10.20.0.300"), 16, &[key, "10.20.0.300"]);
    replaced(place, &address("10.21.0.10"), 16, &[key, "10.20.0.0/24"]);
    replaced(place, &address("10.20.0.0"), 16, &[key, "host address"]);
    replaced(place, &address("10.20.0.255"), 16, &[key, "host address"]);
    replaced(place, &address("10.20.0.1"), 16, &[key, "gateway"]);
    replaced(place, &address("fe80::1"), 16, &[key, "fe80::1"]);
    replaced("10.20.0.0/24", "10.20.0.0/64", 6, &["network.cidr"]);
    replaced(
        "gateway = \"10.20.0.1\"",
        "gateway = \"10.9.0.1\"",
        7,
        &["network.gateway"],
    );
}

#[test]
fn things_that_are_there_twice() {
    replaced(
        "52:54:00:20:00:20",
        "52:54:00:20:00:10",
        26,
        &["machine.nic.mac", "`one`"],
    );
    replaced(
        "52:54:00:20:00:20",
        "52-54-00-20-00-10",
        26,
        &["machine.nic.mac"],
    );
    replaced(
        "10.20.0.20",
        "10.20.0.10",
        27,
        &["machine.nic.address", "`one`"],
    );
    replaced(
        "name = \"two\"",
        "name = \"one\"",
        21,
        &["machine.name", "`one`"],
    );
    replaced(
        "name = \"two\"",
        "name = \"ONE\"",
        21,
        &["machine.name", "`ONE`"],
    );
}

#[test]
fn names_that_name_nothing() {
    replaced(
        "network = \"lan\"",
        "network = \"wan\"",
        14,
        &["machine.nic.network", "lan"],
    );
    let said = |before: &str, after: &str| {
        format!("{SITE}[[dependency]]\nbefore = \"{before}\"\nafter = \"{after}\"\n")
    };
    refused(
        |_| said("nobody", "two"),
        29,
        &["dependency.before", "`nobody`"],
    );
    refused(
        |_| said("one", "nobody"),
        30,
        &["dependency.after", "`nobody`"],
    );
    refused(|_| said("one", "one"), 30, &["depend on itself"]);
    let turned = said("one", "two") + "[[dependency]]\nbefore = \"two\"\nafter = \"one\"\n";
    refused(|_| turned.clone(), 32, &["contradicts"]);
    replaced("name = \"one\"", "name = \"../one\"", 10, &["machine.name"]);
    replaced("name = \"one\"", "name = \"a\\nb\"", 10, &["machine.name"]);
}

#[test]
fn values_out_of_range() {
    replaced(
        "mac = \"52:54:00:20:00:10\"",
        "mac = \"52:54\"",
        15,
        &["machine.nic.mac"],
    );
    replaced(
        "memory_mib = 256",
        "memory_mib = 3",
        11,
        &["machine.memory_mib", "64"],
    );
    replaced("tcp = 53", "tcp = 70000", 18, &[]);
    replaced("tcp = 53", "tcp = 0", 17, &["machine.gate"]);
    replaced(
        "tcp = 53",
        "tcp = 53\nicmp = true",
        17,
        &["machine.gate", "exactly one"],
    );
    replaced(
        "volumes = [\"disk.raw\"]",
        "volumes = []",
        12,
        &["machine.volumes"],
    );
}

#[test]
fn a_volume_that_is_not_there() {
    replaced(
        "disk.raw",
        "disc.raw",
        12,
        &["machine.volumes", "disc.raw", "does not exist"],
    );
}

#[test]
fn a_site_that_is_not_there() {
    let appliance = with_site(SITE);
    for words in [["site", "show"], ["site", "add"]] {
        let outcome = appliance
            .lifeboat(words)
            .words(["/nowhere/site.toml"])
            .run();
        outcome.expect_code(2).expect_one_error();
        outcome.expect_said(&["/nowhere/site.toml"]);
    }
    for command in ["prepare", "order", "test", "recover"] {
        let outcome = appliance.lifeboat([command, "nobody"]).run();
        outcome.expect_code(2).expect_one_error();
        outcome.expect_said(&["no site is called `nobody`", "site add"]);
    }
}

#[test]
fn ids_and_names_that_name_nothing() {
    let appliance = Appliance::new();
    for words in [
        vec!["session", "show", "20200101T000000-abcdef"],
        vec!["session", "stop", "20200101T000000-abcdef"],
        vec!["report", "20200101T000000-abcdef"],
        vec!["site", "remove", "nobody"],
        vec!["session", "show", "../../etc"],
        vec!["report", "a b"],
    ] {
        let outcome = appliance.lifeboat(&words).run();
        outcome
            .expect_code(2)
            .expect_one_error()
            .expect_said(&[words[words.len() - 1]]);
    }
}
