use std::path::Path;

use lifeboat_failover::Side;
use lifeboat_failover::process::Actor;

use super::*;

const MAIL: &str = include_str!("../../../agent/profiles/postfix-dovecot.toml");
const DIRECTORY: &str = include_str!("../../../agent/profiles/samba-ad.toml");

const GOOD: &str = r#"
[application]
name = "mail"
profile = "postfix-dovecot.toml"
directory_profile = "samba-ad.toml"
[lease]
length_s = 2.5
[parameters]
device = "/dev/vdb"
realm = "AD.BED.EXAMPLE"
[primary]
host = "mail-a"
address = "10.61.1.20"
[primary.parameters]
peer = "10.62.1.20"
device = "/dev/vdc"
[primary.directory]
host = "dc-a"
address = "10.61.1.10"
[secondary]
host = "mail-b"
address = "10.62.1.20"
[secondary.parameters]
peer = "10.61.1.20"
[secondary.directory]
host = "dc-b"
address = "10.62.1.10"
[identity]
name = "mail"
[names]
zone = "bed.example"
servers = ["10.63.1.11", "10.63.1.12:5353"]
key_file = "tsig.key"
[[names.record]]
name = "mail.bed.example"
kind = "A"
primary = ["10.61.1.20"]
secondary = ["10.62.1.20"]
"#;

fn read(descriptor: &str) -> Result<Application, ApplicationError> {
    let texts = Texts {
        descriptor: descriptor.to_owned(),
        profile: MAIL.to_owned(),
        directory_profile: Some(DIRECTORY.to_owned()),
    };
    Application::parse(Path::new("/etc/lifeboat/mail.toml"), &texts)
}

/// The mail of two sites, with a host name that moves.
pub(crate) fn example() -> Application {
    read(GOOD).expect("good")
}

#[test]
fn a_complete_description_is_understood() {
    let application = read(GOOD).expect("good");
    assert_eq!(application.terms.length, Duration::from_millis(2500));
    assert_eq!(
        application.primary.host.values["device"], "/dev/vdc",
        "the side's own goes first"
    );
    assert_eq!(application.secondary.host.values["device"], "/dev/vdb");
    let names = application.host_names.as_ref().expect("they move");
    assert_eq!(names.temporary, "mailtmp");
    let records = application.names.as_ref().expect("there");
    assert_eq!(records.servers[0].port(), 53);
    assert_eq!(records.servers[1].port(), 5353);
    assert_eq!(records.key_file, Path::new("/etc/lifeboat/tsig.key"));
    assert_eq!(
        application.actor("dc-b"),
        Some(Actor::Directory(Side::Secondary))
    );
    assert_eq!(application.hosts().count(), 4);
    assert!(!application.autopilot.enabled);
}

#[test]
fn every_fault_is_named_with_its_line_and_key() {
    let cases = [
        (
            "name = \"mail\"\nprofile",
            "name = \"Mail!\"\nprofile",
            "3: `application.name`",
        ),
        ("[lease]", "[laese]", "unknown field `laese`"),
        (
            "length_s = 2.5",
            "length_s = 0.1",
            "7: `lease.length_s`: expected 1 to 300",
        ),
        (
            "length_s = 2.5",
            "length_s = \"long\"",
            "mail.toml:7: invalid type",
        ),
        (
            "device = \"/dev/vdb\"",
            "device = \"vdb\"",
            "9: `device`: the value of `device` is not an absolute path",
        ),
        (
            "realm =",
            "kingdom =",
            "10: `kingdom`: the profile has no parameter",
        ),
        (
            "realm = \"AD.BED.EXAMPLE\"",
            "test_password = \"secret\"",
            "set it on the host itself",
        ),
        (
            "address = \"10.61.1.20\"\n[primary.par",
            "address = \"mail\"\n[primary.par",
            "13: `primary.address`: expected an IP address",
        ),
        (
            "host = \"mail-b\"",
            "host = \"mail-a\"",
            "`mail-a` has two parts",
        ),
        (
            "[identity]\nname = \"mail\"",
            "[identity]\nname = \"mailserver-01\"",
            "at most 12 letters",
        ),
        (
            "[identity]\nname = \"mail\"",
            "[identity]\nname = \"mailserver-number-one\"\ntemporary = \"x\"",
            "at most 15 letters",
        ),
        ("[identity]\nname = \"mail\"", "", "add [identity]"),
        ("kind = \"A\"", "kind = \"TXT\"", "`names.record.kind`"),
        (
            "servers = [\"10.63.1.11\", \"10.63.1.12:5353\"]",
            "servers = []",
            "`names.servers`: expected at least one",
        ),
        (
            "secondary = [\"10.62.1.20\"]",
            "secondary = []",
            "`names.record.secondary`",
        ),
    ];
    for (from, to, expected) in cases {
        assert!(GOOD.contains(from), "{from}");
        let error = read(&GOOD.replacen(from, to, 1)).expect_err(to);
        assert!(error.to_string().contains(expected), "{error} / {expected}");
    }
    assert!(read(GOOD).is_ok());
}

#[test]
fn a_long_name_with_a_temporary_one_of_its_own_is_good() {
    let named = "name = \"mailserver-01\"\ntemporary = \"mail-away\"";
    let text = GOOD.replacen(
        "[identity]\nname = \"mail\"",
        &format!("[identity]\n{named}"),
        1,
    );
    let names = read(&text).expect("good").host_names.expect("they move");
    assert_eq!(names.temporary, "mail-away");
}
