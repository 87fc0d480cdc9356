//! The operator's word on the order: followed, kept for a site, refused with a sentence.

use lifeboat_tests::{Appliance, Outcome};

use crate::order_logs::with_logs;
use crate::{SITE, with_site};

fn of_logs(words: &[&str]) -> Outcome {
    let appliance = with_logs();
    let call = appliance.lifeboat(["order", "--logs"]);
    let outcome = call
        .words([appliance.path("logs")])
        .words(words)
        .json()
        .run();
    assert!(
        !appliance.state().exists(),
        "nothing is kept for a folder of logs"
    );
    outcome
}

#[test]
fn pins_and_rejections_are_followed_and_shown() {
    let outcome = of_logs(&["--pin", "web1:dir1", "--reject", "dir1:data1"]);
    outcome.expect_code(0);
    let found = outcome.json();
    let plan: Vec<_> = found["plan"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["machine"])
        .collect();
    assert_eq!(plan, ["data1", "web1", "dir1"]);
    let edge = found["edges"]
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["after"] == "dir1")
        .unwrap();
    assert_eq!(
        (&edge["source"], &edge["kind"]),
        (&"operator".into(), &"hard".into())
    );
    assert_eq!(found["operator"].as_array().unwrap().len(), 2);
    assert_eq!(
        found["plan"][2]["reasons"][0],
        "after web1: the operator said so"
    );
}

#[test]
fn contradictions_name_flag_and_value() {
    for (words, said) in [
        (&["--pin", "dir1"][..], &["`--pin dir1`", "A:B"][..]),
        (
            &["--pin", "dir1:dir9"],
            &["`--pin dir1:dir9`", "`dir9`", "data1, dir1, web1"],
        ),
        (
            &["--reject", "dir9:dir1"],
            &["`--reject dir9:dir1`", "`dir9`"],
        ),
        (&["--pin", "dir1:dir1"], &["`--pin dir1:dir1`", "itself"]),
        (
            &["--pin", "dir1:web1", "--reject", "dir1:web1"],
            &["`--reject dir1:web1`", "`--pin dir1:web1`"],
        ),
        (
            &["--pin", "dir1:web1", "--pin", "web1:dir1"],
            &["`--pin web1:dir1`", "circle"],
        ),
        (&["--pin", "a:b:c"], &["`--pin a:b:c`", "no machine"]),
    ] {
        let outcome = of_logs(words);
        outcome.expect_code(2).expect_one_error();
        outcome.expect_said(said);
    }
}

fn of_site(appliance: &Appliance, words: &[&str]) -> Outcome {
    let call = appliance.lifeboat(["order"]);
    call.words([appliance.path("site.toml")]).words(words).run()
}

fn kept(appliance: &Appliance) -> Vec<String> {
    let shown = appliance
        .lifeboat(["site", "show"])
        .words([appliance.path("site.toml")])
        .json()
        .run();
    shown.expect_code(0);
    let words = shown.json()["operator"].as_array().unwrap().clone();
    let word = |w: &serde_json::Value| {
        format!("{} {} {}", w["before"], w["after"], w["verdict"]).replace('"', "")
    };
    words.iter().map(word).collect()
}

/// The volume of the site is refused at its import, so that each order fails after its words were
/// kept.
#[test]
fn words_are_kept_for_a_site_until_they_are_taken_back() {
    let appliance = with_site(SITE);
    appliance.write("disk.raw", b"QFI\xfb\0\0\0\x03cut off");
    let outcome = of_site(&appliance, &["--pin", "one:two"]);
    outcome.expect_code(1);
    outcome.expect_said(&["kept for site `small`: one before two: pinned"]);
    assert_eq!(kept(&appliance), ["one two pin"]);
    let circle = of_site(&appliance, &["--pin", "two:one"]);
    circle.expect_code(2).expect_one_error();
    circle.expect_said(&["`--pin two:one`", "circle", "`--forget one:two`"]);
    assert_eq!(
        kept(&appliance),
        ["one two pin"],
        "a refused word changes nothing"
    );
    of_site(&appliance, &["--reject", "one:two"]).expect_code(1);
    assert_eq!(kept(&appliance), ["one two reject"], "the newer word wins");
    of_site(&appliance, &["--forget", "one:two", "--pin", "two:one"]).expect_code(1);
    assert_eq!(kept(&appliance), ["two one pin"]);
    let unknown = of_site(&appliance, &["--forget", "one:two"]);
    unknown.expect_code(2).expect_one_error();
    unknown.expect_said(&["`--forget one:two`", "kept: two:one"]);
    appliance
        .lifeboat(["site", "remove", "small"])
        .run()
        .expect_code(0);
    assert!(kept(&appliance).is_empty(), "words go with their site");
}

#[test]
fn the_site_file_is_the_operators_word_too() {
    let pinned = "\n[[dependency]]\nbefore = \"one\"\nafter = \"two\"\n";
    let appliance = with_site(&format!("{SITE}{pinned}"));
    for (words, said) in [
        (
            &["--reject", "one:two"][..],
            &["`--reject one:two`", "site file"][..],
        ),
        (
            &["--pin", "two:one"],
            &["`--pin two:one`", "circle", "site file"],
        ),
        (
            &["--forget", "one:two"],
            &["`--forget one:two`", "site file"],
        ),
        (&["--without", "three"], &["`--without three`", "one, two"]),
        (
            &["--explain", "one", "three"],
            &["`--explain one three`", "`three`"],
        ),
    ] {
        let outcome = of_site(&appliance, words);
        outcome.expect_code(2).expect_one_error();
        outcome.expect_said(said);
    }
    assert!(kept(&appliance).is_empty());
}
