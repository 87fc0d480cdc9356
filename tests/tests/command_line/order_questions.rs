//! What `order` is asked beside the order: why, what if, the reference method, the host.

use lifeboat_tests::{Appliance, Outcome};
use serde_json::Value;

use crate::order_logs::with_logs;

/// `order --logs` with these words.
fn ask(appliance: &Appliance, words: &[&str]) -> Outcome {
    let call = appliance.lifeboat(["order", "--logs"]);
    call.words([appliance.path("logs")]).words(words).run()
}

#[track_caller]
fn answer(words: &[&str]) -> (String, Value) {
    let appliance = with_logs();
    let text = ask(&appliance, words);
    text.expect_code(0);
    let json = ask(&appliance, &[words, &["--format", "json"]].concat());
    json.expect_code(0);
    (text.stdout.clone(), json.json())
}

#[track_caller]
fn refused(words: &[&str], said: &[&str]) {
    let appliance = with_logs();
    let outcome = ask(&appliance, words);
    outcome.expect_code(2).expect_one_error();
    outcome.expect_said(said);
    assert!(!appliance.state().exists(), "it needs no state");
}

fn names(value: &Value) -> Vec<&str> {
    let machines = value.as_array().into_iter().flatten();
    machines.filter_map(|one| one["machine"].as_str()).collect()
}

#[test]
fn why_and_why_not() {
    let (text, json) = answer(&["--explain", "dir1", "data1"]);
    assert!(text.contains("data1 waits for dir1"), "{text}");
    assert!(text.contains("etc/nslcd.conf line 1"), "{text}");
    let found = &json["explanation"];
    assert_eq!(found["fate"], "edge");
    assert_eq!(found["facts"][0]["estimator"], "configuration");
    assert!(json["plan"].is_array(), "the order is there too");
    let (text, json) = answer(&["--explain", "dir1", "web1"]);
    assert_eq!(json["explanation"]["fate"], "no_fact");
    assert!(text.contains("dir1 -> data1 -> web1"), "{text}");
    let (text, _) = answer(&["--explain", "web1", "data1"]);
    assert!(text.contains("other way round"), "{text}");
    let (text, json) = answer(&["--reject", "dir1:data1", "--explain", "dir1", "data1"]);
    assert_eq!(json["explanation"]["fate"], "rejected");
    assert!(text.contains("dir1 before data1: rejected"), "{text}");
}

#[test]
fn without_a_machine() {
    let (text, json) = answer(&["--without", "data1"]);
    assert_eq!(names(&json["what_if"]["fails"]), ["web1"], "{json:#}");
    assert_eq!(json["what_if"]["unaffected"][0], "dir1");
    assert!(text.contains("PostgreSQL, used by web1"), "{text}");
    let (_, json) = answer(&["--without", "dir1"]);
    assert_eq!(names(&json["what_if"]["waits"]), ["data1"]);
}

#[test]
fn only_a_machine_and_what_it_needs() {
    let (text, json) = answer(&["--only", "data1"]);
    assert_eq!(names(&json["plan"]), ["dir1", "data1"]);
    assert!(!text.contains("1. web1"), "{text}");
}

#[test]
fn the_reference_method_beside() {
    let (text, json) = answer(&["--literal"]);
    assert!(
        text.contains("no correlation reaches the threshold"),
        "{text}"
    );
    assert_eq!(json["literal"]["dependencies"].as_array().unwrap().len(), 0);
    let appliance = with_logs();
    let curve = appliance.write("curve", "0 0\n60 1\n600 0\n");
    // Two machines whose services start a minute apart, three times.
    for (machine, unit, delay) in [("dir1", "slapd", 10), ("data1", "mariadb", 70)] {
        let boots = (1..4).map(|day| {
            format!(
                "2026-03-0{day}T01:00:00Z {machine} kernel: Linux version 6.1\n2026-03-0{day}T01:{:02}:{:02}Z {machine} systemd[1]: Started {unit}.service - It.\n",
                delay / 60, delay % 60
            )
        });
        appliance.write(
            &format!("logs/{machine}/var/log/syslog"),
            boots.collect::<String>(),
        );
    }
    let curve = curve.to_string_lossy().into_owned();
    let words = [
        "--literal",
        "--weighting",
        &curve,
        "--threshold",
        "0.9",
        "--unit",
        "machine",
        "--point-in-time",
        "present",
        "--half-life",
        "7",
    ];
    let outcome = ask(&appliance, &words);
    outcome.expect_code(0);
    assert!(
        outcome.stdout.contains("data1 after dir1  1.00"),
        "{}",
        outcome.stdout
    );
    let strict = ask(&appliance, &["--literal"]);
    assert!(
        !strict.stdout.contains("data1 after dir1"),
        "figure 8 gives a minute no weight"
    );
}

#[test]
fn services_have_the_users_names() {
    let appliance = with_logs();
    let own = "[[service]]\nkey = \"postgresql\"\nname = \"Billing database\"\n";
    let names = appliance
        .write("names.toml", own)
        .to_string_lossy()
        .into_owned();
    let outcome = ask(&appliance, &["--names", &names]);
    outcome.expect_code(0);
    assert!(
        outcome.stdout.contains("Billing database (data1:5432)"),
        "{}",
        outcome.stdout
    );
    appliance.write("names.toml", "[[service]]\nkey = \"x\"\ncolour = 3\n");
    let wrong = ask(&appliance, &["--names", &names]);
    wrong.expect_code(2).expect_one_error();
    wrong.expect_said(&[&format!("`--names {names}`"), "line 3", "colour"]);
}

#[test]
fn what_is_not_understood_is_named() {
    for (words, said) in [
        (
            &["--explain", "dir1", "nobody"][..],
            &["`--explain dir1 nobody`", "`nobody`", "data1, dir1, web1"][..],
        ),
        (
            &["--explain", "dir1", "dir1"],
            &["`--explain dir1 dir1`", "itself"],
        ),
        (&["--without", "dir2"], &["`--without dir2`", "no machine"]),
        (&["--only", "dir2"], &["`--only dir2`", "no machine"]),
        (&["--only", "\u{1b}[2J"], &["--only", "no machine"]),
        (
            &["--literal", "--weighting", "figure9"],
            &["`--weighting figure9`", "lognormal"],
        ),
        (
            &["--literal", "--threshold", "7"],
            &["`--threshold 7`", "0 to 1"],
        ),
        (
            &["--literal", "--point-in-time", "soon"],
            &["`--point-in-time soon`", "past"],
        ),
        (
            &["--literal", "--point-in-time", "past", "--half-life", "-1"],
            &["--half-life"],
        ),
        (
            &["--format", "svg", "--explain", "dir1", "web1"],
            &["--format svg", "--explain"],
        ),
        (
            &["--format", "dot", "--literal"],
            &["--format dot", "--literal"],
        ),
    ] {
        refused(words, said);
    }
}

#[test]
fn flags_that_do_not_go_together() {
    let appliance = with_logs();
    for (words, said) in [
        (&["--memory-mib", "4096"][..], "--memory-mib"),
        (&["--forget", "dir1:web1"], "--forget"),
        (&["--weighting", "figure8"], "--literal"),
        (&["--without", "dir1", "--only", "web1"], "--only"),
        (&["--parallel", "0"], "--parallel"),
        (&["--parallel", "many"], "many"),
        (&["--explain", "dir1"], "--explain"),
    ] {
        let outcome = ask(&appliance, words);
        outcome.expect_code(2);
        outcome.expect_said(&[said]);
        assert_eq!(outcome.stdout, "", "{words:?}");
    }
}
