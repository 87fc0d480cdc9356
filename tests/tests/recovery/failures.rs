//! Machines that do not become ready.

use std::path::Path;

use lifeboat_tests::seconds_on_this_host;

use crate::bench::{Bench, machine, words};
use crate::whole::files_are_there;

/// A port that no machine of the example serves.
const CLOSED: &str = "[[gate]]\ntcp = 4711\ntimeout_s = 45\n";

pub fn a_failed_machine_blocks_only_hard_dependents(bench: &Bench) {
    // The operator's word is hard; what web1's journal says of dir1 is soft,
    // because each time it came right after dir1 was there.
    let site = bench.figure4.site().named("blocked").gates("dir1", CLOSED);
    let site = site
        .dependency("dir1", "data1")
        .gates("web1", "")
        .without_address("web1");
    let outcome = bench.session("test", &site).json().run();
    outcome.expect_code(1);
    let report = outcome.json();
    assert_eq!(report["ok"], false);
    let (dir1, data1, web1) = (
        machine(&report, "dir1"),
        machine(&report, "data1"),
        machine(&report, "web1"),
    );
    assert_eq!(dir1["outcome"], "failed", "{dir1:#}");
    assert!(
        dir1["reason"].as_str().unwrap().contains("gate tcp 4711"),
        "{dir1:#}"
    );
    assert!(!words(&dir1["console_tail"]).is_empty(), "{dir1:#}");
    assert_eq!(data1["outcome"], "blocked", "{data1:#}");
    assert!(
        data1["reason"].as_str().unwrap().contains("`dir1`"),
        "{data1:#}"
    );
    assert!(
        data1["started_s"].is_null(),
        "a blocked machine was started"
    );
    assert_eq!(
        web1["outcome"], "ready",
        "a soft dependent was not started: {web1:#}"
    );
    let problems = words(&report["problems"]);
    assert_eq!(problems.len(), 2, "{problems:?}");
    let folder = Path::new(report["folder"].as_str().unwrap());
    assert!(
        !folder.join("data1.log").exists(),
        "a blocked machine has a console"
    );
}

/// Without those it needs, web1 boots and asks: the report shows for whom.
pub fn web1_alone_shows_whom_it_asked_for(bench: &Bench) {
    let timeout_s = seconds_on_this_host(75);
    let gates = format!(
        "[[gate]]\ntcp = 80\ntimeout_s = {timeout_s}\n[[gate]]\n\
         http = {{ path = \"/index.php\", expect = \"lifeboat-row-42\" }}\ntimeout_s = {timeout_s}\n"
    );
    let site = bench
        .figure4
        .site()
        .named("alone")
        .only(&["web1"])
        .gates("web1", &gates);
    let file = bench.appliance.path("alone.json");
    let outcome = bench
        .session("test", &site)
        .words(["--report"])
        .words([&file])
        .run();
    outcome.expect_code(1);
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(report["ok"], false);
    let web1 = machine(&report, "web1");
    assert_eq!(
        (&web1["outcome"], &web1["ok"]),
        (&"failed".into(), &false.into())
    );
    assert!(
        web1["reason"].as_str().unwrap().contains("gate http 80"),
        "{web1:#}"
    );
    assert!(!words(&web1["console_tail"]).is_empty(), "{web1:#}");
    files_are_there(&report);
    let unanswered = report["network"]["unanswered"].as_array().unwrap();
    eprintln!("    unanswered: {}", report["network"]["unanswered"]);
    let dns = unanswered
        .iter()
        .find(|asked| asked["to"] == "10.20.0.10" && asked["port"] == 53);
    let dns = dns.unwrap_or_else(|| panic!("nobody asked for dir1's DNS: {unanswered:#?}"));
    assert_eq!(
        (&dns["from"], &dns["protocol"]),
        (&"web1".into(), &"udp".into())
    );
    assert!(dns["count"].as_u64().unwrap() > 0);
    let table = &outcome.stdout;
    assert!(table.starts_with("NOT OK"), "{table}");
    for word in [
        "FAILED",
        "PROBLEM",
        "unanswered  web1 asked for 10.20.0.10 udp port 53",
        "    | ",
    ] {
        assert!(table.contains(word), "no `{word}`:\n{table}");
    }
}
