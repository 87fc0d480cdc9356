use super::*;

const GOOD: &str = r#"[site]
name = "small"
[[network]]
name = "lan"
cidr = "10.20.0.0/24"
gateway = "10.20.0.1"
[[machine]]
name = "dc1"
volumes = ["dc1.img"]
[[machine.nic]]
network = "lan"
mac = "52:54:00:20:00:10"
address = "10.20.0.10"
[[machine.gate]]
tcp = 53
[[machine]]
name = "web1"
volumes = ["web1.img"]
[[machine.nic]]
network = "lan"
mac = "52:54:00:20:00:30"
address = "10.20.0.30"
[[machine.gate]]
http = { path = "/index.php", expect = "hello" }
[[dependency]]
before = "dc1"
after = "web1"
"#;

fn parse(text: &str) -> Result<Site, SiteError> {
    let folder = tempfile::tempdir().unwrap();
    for volume in ["dc1.img", "web1.img"] {
        std::fs::write(folder.path().join(volume), b"volume").unwrap();
    }
    Site::parse(&folder.path().join("site.toml"), text)
}

#[track_caller]
fn refused(from: &str, to: &str, line: usize, words: &[&str]) {
    assert!(GOOD.contains(from), "the fixture holds {from:?}");
    let message = parse(&GOOD.replacen(from, to, 1)).unwrap_err().to_string();
    let place = format!("line {line}");
    for word in words.iter().copied().chain([place.as_str()]) {
        assert!(message.contains(word), "{word:?} is missing in: {message}");
    }
}

#[test]
fn a_good_site_is_read_whole() {
    let site = parse(GOOD).unwrap();
    assert_eq!(site.machines.len(), 2);
    assert_eq!(site.machines[0].gates, [Gate::new(GateKind::Tcp(53))]);
    assert_eq!(site.machines[1].gates[0].kind.port(), Some(80));
    assert_eq!(site.dependencies[0].before, "dc1");
}

#[test]
fn unknown_key_names_key_and_line() {
    refused(
        "volumes = [\"dc1.img\"]",
        "volumes = [\"dc1.img\"]\ncolour = 1",
        10,
        &["colour"],
    );
}

#[test]
fn bad_values_name_key_and_line() {
    refused(
        "10.20.0.0/24",
        "10.20.0/24",
        5,
        &["network.cidr", "10.20.0.0/24"],
    );
    refused(
        "gateway = \"10.20.0.1\"",
        "gateway = \"10.9.0.1\"",
        6,
        &["network.gateway", "10.20.0.0/24"],
    );
    refused(
        "address = \"10.20.0.10\"",
        "address = \"10.20.0.300\"",
        13,
        &["machine.nic.address"],
    );
    refused(
        "address = \"10.20.0.10\"",
        "address = \"10.20.0.255\"",
        13,
        &["not a host address"],
    );
    refused(
        "address = \"10.20.0.30\"",
        "address = \"10.20.0.10\"",
        22,
        &["dc1"],
    );
    refused(
        "52:54:00:20:00:30",
        "52:54:00:20:00:10",
        21,
        &["machine.nic.mac", "dc1"],
    );
    refused("52:54:00:20:00:30", "52:54", 21, &["machine.nic.mac"]);
    refused("name = \"web1\"", "name = \"dc1\"", 17, &["used twice"]);
    refused(
        "name = \"web1\"",
        "name = \"../web1\"",
        17,
        &["machine.name"],
    );
    refused(
        "before = \"dc1\"",
        "before = \"dc9\"",
        26,
        &["dependency.before", "dc9"],
    );
    refused(
        "[\"web1.img\"]",
        "[\"absent.img\"]",
        18,
        &["absent.img", "does not exist"],
    );
    refused("tcp = 53", "tcp = 53\nicmp = true", 14, &["machine.gate"]);
}

#[test]
fn opposite_dependencies_are_refused() {
    let text = format!("{GOOD}[[dependency]]\nbefore = \"web1\"\nafter = \"dc1\"\n");
    assert!(
        parse(&text)
            .unwrap_err()
            .to_string()
            .contains("form a circle")
    );
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in ".{0,400}") {
        let _ = Site::parse(Path::new("site.toml"), &text);
    }

    #[test]
    fn no_mutation_of_a_good_site_panics(at in 0usize..600, byte in 32u8..127) {
        let mut bytes = GOOD.as_bytes().to_vec();
        let index = at % bytes.len();
        bytes[index] = byte;
        let _ = Site::parse(Path::new("site.toml"), &String::from_utf8(bytes).unwrap());
    }
}

#[test]
fn what_the_switch_would_refuse_later_is_refused_at_once() {
    refused(
        "10.20.0.0/24",
        "10.20.0.10/31",
        5,
        &["network.cidr", "no room", "at most 30"],
    );
    refused(
        "52:54:00:20:00:30",
        "01:54:00:20:00:30",
        21,
        &["machine.nic.mac", "single NIC"],
    );
    refused(
        "[[machine]]\nname = \"dc1\"",
        "[[network]]\nname = \"wide\"\ncidr = \"10.0.0.0/8\"\n[[machine]]\nname = \"dc1\"",
        9,
        &["network.cidr", "overlaps", "lan"],
    );
}

#[test]
fn gates_that_could_never_be_probed_are_refused() {
    for (gate, words) in [
        ("tcp = 53\naddress = \"10.9.0.9\"", "no network of the site"),
        ("tcp = 53\ntimeout_s = 0", "1 to 86400"),
        ("tcp = 53\ntimeout_s = 9223372036854775807", "1 to 86400"),
        ("http = { path = \"index.php\" }", "must start with `/`"),
    ] {
        let message = parse(&GOOD.replacen("tcp = 53", gate, 1))
            .unwrap_err()
            .to_string();
        assert!(
            message.contains(words),
            "{words:?} is missing in: {message}"
        );
    }
}

#[test]
fn longer_circles_are_refused_too() {
    let third = "[[machine]]\nname = \"db1\"\nvolumes = [\"web1.img\"]\n[[dependency]]\nbefore = \"web1\"\nafter = \"db1\"\n[[dependency]]\nbefore = \"db1\"\nafter = \"dc1\"\n";
    let message = parse(&format!("{GOOD}{third}")).unwrap_err().to_string();
    assert!(message.contains("form a circle"), "{message}");
}

#[test]
fn hardware_is_read_and_checked() {
    let keys = "volumes = [\"dc1.img\"]\nfirmware = \"uefi\"\nsecure_boot = true\ndisk_bus = \"nvme\"\nclock = \"localtime\"\nuuid = \"4C4C4544-0042-3510-8053-b4c04f4d3132\"";
    let text = GOOD.replacen("volumes = [\"dc1.img\"]", keys, 1).replacen(
        "mac = ",
        "model = \"e1000e\"\nmac = ",
        1,
    );
    let machine = parse(&text).unwrap().machines.remove(0);
    assert!(machine.secure_boot);
    assert_eq!(machine.disk_bus, Some(DiskBus::Nvme));
    assert_eq!(machine.clock, Some(Clock::Localtime));
    assert_eq!(machine.nics[0].model, Some(NicModel::E1000e));
    let uuid = "4c4c4544-0042-3510-8053-b4c04f4d3132";
    assert_eq!(machine.uuid.as_deref(), Some(uuid));
    let volumes = "volumes = [\"dc1.img\"]";
    for (line, words) in [
        ("disk_bus = \"ide\"", ["ide", "sata"]),
        ("clock = \"mars\"", ["mars", "localtime"]),
        ("secure_boot = true", ["machine.secure_boot", "uefi"]),
        ("uuid = \"4c4c4544\"", ["machine.uuid", "expected"]),
        (
            "uuid = \"4c4c4544-0042-3510-8053-b4c04f4d313,\"",
            ["machine.uuid", "expected"],
        ),
    ] {
        refused(volumes, &format!("{volumes}\n{line}"), 10, &words);
    }
    refused(
        "mac = ",
        "model = \"rtl8139\"\nmac = ",
        12,
        &["rtl8139", "e1000e"],
    );
}
