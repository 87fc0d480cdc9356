//! `order --logs`: from a folder of logs to a plan, in three forms.

use lifeboat_tests::{Appliance, Outcome};

/// Three machines of which two say in their configuration whom they use.
pub(crate) fn with_logs() -> Appliance {
    let appliance = Appliance::new();
    for (machine, address) in [
        ("web1", "10.0.0.30"),
        ("data1", "10.0.0.20"),
        ("dir1", "10.0.0.10"),
    ] {
        let interfaces = format!("iface eth0 inet static\n  address {address}/24\n");
        appliance.write(
            &format!("logs/{machine}/etc/hostname"),
            format!("{machine}\n"),
        );
        appliance.write(
            &format!("logs/{machine}/etc/network/interfaces"),
            interfaces,
        );
    }
    let url = "DATABASE_URL=postgres://app:hunter2@10.0.0.20/app\n";
    appliance.write("logs/web1/etc/app.env", url);
    appliance.write("logs/data1/etc/nslcd.conf", "uri ldap://dir1/\n");
    appliance
}

fn order(appliance: &Appliance, format: &str) -> Outcome {
    let outcome = appliance
        .lifeboat(["--format", format, "order", "--logs"])
        .words([appliance.path("logs")])
        .run();
    outcome.expect_code(0);
    assert!(
        !outcome.stdout.contains("hunter2"),
        "a password is shown: {}",
        outcome.stdout
    );
    assert!(
        !appliance.state().exists(),
        "it needs no daemon and no state"
    );
    outcome
}

#[test]
fn as_json() {
    let found = order(&with_logs(), "json").json();
    let plan: Vec<_> = found["plan"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["machine"])
        .collect();
    assert_eq!(plan, ["dir1", "data1", "web1"]);
    let edges = found["edges"].as_array().unwrap();
    assert_eq!(edges.len(), 2);
    for edge in edges {
        assert!(["hard", "soft"].contains(&edge["kind"].as_str().unwrap()));
        assert!((0.0..=1.0).contains(&edge["confidence"].as_f64().unwrap()));
        assert_eq!(edge["source"], "configuration");
        let evidence = &edge["evidence"][0];
        for key in ["machine", "file", "text"] {
            assert!(evidence[key].is_string(), "no `{key}`: {evidence}");
        }
    }
    for key in
        "machines services warnings groups given_up operator prediction ready gates".split(' ')
    {
        assert!(!found[key].is_null(), "no `{key}`");
    }
}

#[test]
fn as_text() {
    let text = order(&with_logs(), "text").stdout;
    let place = |word: &str| {
        text.find(word)
            .unwrap_or_else(|| panic!("no `{word}` in {text}"))
    };
    assert!(
        place("dir1") < place("data1") && place("data1") < place("web1"),
        "{text}"
    );
    assert!(text.contains("etc/nslcd.conf"), "no evidence: {text}");
}

#[test]
fn as_a_graph() {
    let dot = order(&with_logs(), "dot").stdout;
    assert!(
        dot.starts_with("digraph") && dot.trim_end().ends_with('}'),
        "{dot}"
    );
    assert!(dot.contains("\"dir1\" -> \"data1\""), "{dot}");
    assert!(dot.contains("\"data1\" -> \"web1\""), "{dot}");
}

#[test]
fn as_a_picture() {
    let svg = order(&with_logs(), "svg").stdout;
    assert!(
        svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"),
        "{svg}"
    );
    assert!(svg.contains("<title>data1 after dir1:"), "{svg}");
}

#[test]
fn hostile_text_does_not_reach_the_terminal() {
    let appliance = with_logs();
    let hostile = "uri ldap://dir1/\u{1b}]0;owned\u{7}\n";
    appliance.write("logs/data1/etc/nslcd.conf", hostile);
    appliance.write("logs/<b>&\"x/etc/app.env", "URL=postgres://data1/x\n");
    for format in ["text", "dot", "svg"] {
        let shown = order(&appliance, format).stdout;
        assert!(!shown.contains(['\u{1b}', '\u{7}']), "{shown:?}");
        assert!(format != "svg" || !shown.contains("<b>"), "{shown}");
    }
}

#[test]
fn folders_that_hold_no_logs() {
    let appliance = Appliance::new();
    let file = appliance.write("file", "text");
    let empty = appliance.path("empty");
    std::fs::create_dir(&empty).unwrap();
    for (folder, word) in [
        (file, "not a folder"),
        (empty, "no folders"),
        (appliance.path("nowhere"), "not a folder"),
    ] {
        let outcome = appliance
            .lifeboat(["order", "--logs"])
            .words([&folder])
            .run();
        outcome.expect_code(2).expect_one_error();
        outcome.expect_said(&[word, &folder.to_string_lossy()]);
    }
}
