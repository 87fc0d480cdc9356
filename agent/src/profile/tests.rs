use std::path::Path;

use proptest::prelude::*;

use super::*;

const SHIPPED: [(&str, &str); 6] = [
    (
        "exchange-2003",
        include_str!("../../profiles/exchange-2003.toml"),
    ),
    (
        "exchange-2016",
        include_str!("../../profiles/exchange-2016.toml"),
    ),
    (
        "exchange-2019-dag",
        include_str!("../../profiles/exchange-2019-dag.toml"),
    ),
    (
        "postfix-dovecot",
        include_str!("../../profiles/postfix-dovecot.toml"),
    ),
    ("postgresql", include_str!("../../profiles/postgresql.toml")),
    ("samba-ad", include_str!("../../profiles/samba-ad.toml")),
];

fn parse(text: &str) -> Result<Profile, ProfileError> {
    Profile::parse(Path::new("p.toml"), text)
}

fn mail() -> String {
    SHIPPED[3].1.to_owned()
}

/// The line, from 1, on which a text stands.
fn line_of(text: &str, part: &str) -> usize {
    let found = text.lines().position(|line| line.contains(part));
    found.expect("it is there") + 1
}

/// Replaces a part of the mail profile and checks what is complained of, and where.
fn complaint(from: &str, to: &str, at: &str, says: &str) {
    let text = mail().replacen(from, to, 1);
    assert_ne!(text, mail(), "`{from}` is there");
    let error = parse(&text).expect_err("a wrong profile");
    assert!(error.to_string().contains(says), "{error}");
    assert_eq!(error.line, line_of(&text, at), "{error}");
}

#[test]
fn every_shipped_profile_is_complete() {
    for (name, text) in SHIPPED {
        let profile = parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(profile.name, name);
        let unproven = profile.unproven.as_deref().unwrap_or_default();
        assert_eq!(
            name.starts_with("exchange"),
            unproven.contains("not proven against Exchange")
        );
        for action in profile.required() {
            assert!(profile.action.contains_key(&action), "{name} {action:?}");
        }
    }
}

#[test]
fn identity_strategies_are_declared() {
    let strategies: Vec<_> = SHIPPED
        .iter()
        .map(|(_, text)| parse(text).expect("good").identity)
        .collect();
    use IdentityStrategy::*;
    assert_eq!(
        strategies,
        [
            Rename,
            DatabasePortability,
            DagMove,
            Rename,
            NamesOnly,
            NamesOnly
        ]
    );
}

#[test]
fn what_is_wrong_is_named_with_file_line_and_key() {
    complaint(
        "[action.reboot]",
        "[action.dance]",
        "[action.dance]",
        "dance",
    );
    complaint("guard = true", "guarded = true", "guarded", "guarded");
    complaint(
        "within_s = 10",
        "within_s = \"ten\"",
        "within_s = \"ten\"",
        "p.toml, line",
    );
    complaint(
        "{ start = \"dovecot\" }",
        "{ start = \"dovecat\" }",
        "dovecat",
        "no service `dovecat`",
    );
    complaint(
        "{ mount = \"mail\" }",
        "{ mount = \"male\" }",
        "male",
        "no store `male`",
    );
    complaint("{ reboot = {} }", "{ explode = {} }", "explode", "explode");
    complaint(
        "rsync://{peer}",
        "rsync://{pear}",
        "{pear}",
        "no parameter `pear`",
    );
    complaint(
        "\"{directory_server}\", \"-U\"",
        "\"{directory_password}\", \"-U\"",
        "{directory_password}\", \"-U\"",
        "a secret",
    );
    complaint(
        "\"/usr/sbin/postqueue\", \"-f\"",
        "\"postqueue\", \"-f\"",
        "\"postqueue\", \"-f\"",
        "not an absolute path",
    );
    complaint(
        "type = \"netbios\"\nabout = \"the name that this host takes at a switch (step 326)\"\ndefault = \"mail\"",
        "type = \"netbios\"\nabout = \"x\"\ndefault = \"a-name-of-16-char\"",
        "a-name-of-16-char",
        "NetBIOS",
    );
}

#[test]
fn a_missing_action_or_fence_is_named() {
    let text = mail().replace("[action.reboot]\nsteps = [{ reboot = {} }]\n", "");
    let error = parse(&text).expect_err("incomplete");
    assert!(error.what.contains("[action.reboot]"), "{error}");
    let text = mail().replace(
        "[action.reboot]\nsteps = [{ reboot = {} }]",
        "[action.reboot]\nsteps = []",
    );
    let error = parse(&text).expect_err("no reason");
    assert!(error.what.contains("because"), "{error}");
}

fn values(pairs: &[(&str, &str)]) -> crate::wire::Values {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn values_are_checked_by_type_and_origin() {
    let profile = parse(&mail()).expect("good");
    let none = values(&[]);
    let sent = |pairs: &[(&str, &str)]| fill(&profile, &none, &none, &values(pairs));
    assert!(matches!(
        sent(&[("colour", "red")]),
        Err(ValueError::Unknown(_))
    ));
    assert!(matches!(
        sent(&[("new_name", "a-name-of-16-char")]),
        Err(ValueError::Wrong { .. })
    ));
    assert!(matches!(
        sent(&[("device", "/dev/../etc")]),
        Err(ValueError::Wrong { .. })
    ));
    assert!(matches!(
        sent(&[("peer", "-oProxyCommand=x")]),
        Err(ValueError::Wrong { .. })
    ));
    assert!(matches!(
        sent(&[("test_password", "x")]),
        Err(ValueError::Secret(_))
    ));
    let filled = fill(
        &profile,
        &none,
        &values(&[("peer", "here"), ("test_password", "x")]),
        &values(&[("peer", "sent")]),
    )
    .expect("good");
    assert_eq!(
        filled.text("rsync://{peer}/{module}/"),
        Ok("rsync://sent/mail/".to_owned())
    );
    assert_eq!(
        filled.text("{device}"),
        Err(ValueError::Missing("device".to_owned()))
    );
    assert_eq!(filled.text("{{ $_ }}"), Ok("{ $_ }".to_owned()));
    assert!(
        filled.text("{").is_err() && filled.text("a}").is_err() && filled.text("{A b}").is_err()
    );
}

proptest! {
    /// Whatever a value holds, it stays inside its argument.
    #[test]
    fn a_value_never_becomes_more_than_one_argument(value in "[^\\p{Cc}{}-][^\\p{Cc}]{0,40}") {
        let profile = parse("name = \"x\"\ntitle = \"x\"\nrole = \"directory\"\n[parameter.v]\ntype = \"text\"\nabout = \"x\"\n[action.remove-name]\nsteps = []\nbecause = \"x\"\n[action.replicate-directory]\nsteps = []\nbecause = \"x\"\n[action.remove-address]\nsteps = []\nbecause = \"x\"\n[action.add-address]\nsteps = []\nbecause = \"x\"\n").expect("good");
        let none = values(&[]);
        let filled = fill(&profile, &none, &none, &values(&[("v", &value)])).expect("a text");
        let argv = filled.all(&["a".to_owned(), "<{v}>".to_owned()]).expect("filled");
        prop_assert_eq!(argv, vec!["a".to_owned(), format!("<{value}>")]);
    }

    /// Any text is a profile or an error with a place, never a panic.
    #[test]
    fn any_text_ends_in_an_answer(text in "\\PC{0,200}", cut in 0usize..4000) {
        let _ = parse(&text);
        let mail = mail();
        if let Err(error) = parse(mail.get(..cut).unwrap_or(&mail)) {
            prop_assert!(error.line >= 1 && error.line <= mail.lines().count() + 1);
        }
    }
}
