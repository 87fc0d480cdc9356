//! Real hives, hostile hives, and a small hive that the tests write themselves.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;

use lifeboat_hive::Value;

use super::*;

fn data(name: &str) -> Option<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data/registry")
        .join(name);
    let Ok(bytes) = std::fs::read(&path) else {
        eprintln!("SKIPPED: {} is not there", path.display());
        return None;
    };
    if !name.ends_with(".xz") {
        return Some(bytes);
    }
    let mut plain = Vec::new();
    xz2::read::XzDecoder::new(bytes.as_slice())
        .read_to_end(&mut plain)
        .unwrap();
    Some(plain)
}

fn registry(bytes: Vec<u8>) -> Registry {
    let mut registry = Registry::default();
    read_hive(&Hive::open(bytes, &[]).unwrap(), "SYSTEM", &mut registry);
    registry
}

fn tree(hive: &Hive) -> BTreeMap<String, Vec<Value>> {
    let mut tree = BTreeMap::new();
    hive.walk(&mut |path, key| {
        tree.insert(path.to_owned(), key.values());
    });
    tree
}

#[test]
fn a_real_system_hive_of_a_domain_member() {
    let Some(bytes) = data("SYSTEM.xz") else {
        return;
    };
    let registry = registry(bytes);
    assert!(
        registry
            .names
            .contains(&"wks-win732bita.shieldbase.local".to_owned()),
        "{:?}",
        registry.names
    );
    assert_eq!(
        registry.domains.first().map(String::as_str),
        Some("shieldbase.local")
    );
    let has = |target: &str, service: &str| {
        registry
            .references
            .iter()
            .any(|r| r.target == target && r.service.as_deref() == Some(service))
    };
    assert!(has("10.3.58.4", "dns"), "{:?}", registry.references);
    assert!(has("shieldbase.local", "directory"));
    let address = registry.interfaces[0].addresses[0].to_string();
    assert_eq!(address, "10.3.58.5/24", "{:?}", registry.interfaces);
    let declaring = registry.services.iter().filter(|s| !s.depends.is_empty());
    assert_eq!(declaring.count(), 137);
    assert_eq!(
        registry
            .services
            .iter()
            .map(|s| s.depends.len())
            .sum::<usize>(),
        221
    );
    assert!(registry.services.len() > 400);
}

#[test]
fn a_real_system_hive_with_addresses_by_dhcp() {
    let Some(bytes) = data("SYSTEM_WIN_10_1709.xz") else {
        return;
    };
    let registry = registry(bytes);
    assert!(registry.names.contains(&"desktop-2kgm189".to_owned()));
    assert!(
        registry
            .leased
            .iter()
            .all(|a| a.to_string().starts_with("192.168.146.")),
        "{:?}",
        registry.leased
    );
    assert!(!registry.leased.is_empty());
    assert_eq!(
        registry
            .services
            .iter()
            .map(|s| s.depends.len())
            .sum::<usize>(),
        366
    );
    assert!(registry.services.len() > 600);
}

#[test]
fn every_other_hive_is_read_or_refused() {
    for name in [
        "BCD.xz",
        "edge_REORGANIZED_VALUES_TESTS",
        "edge_UNICODE_TESTS",
        "edge_issue22.hive",
        "hivex_minimal",
        "hivex_rlenvalue_test_hive",
        "hivex_special",
        "plaso_100_sub_keys.hiv",
        "plaso_corrupt_sub_key_list.hiv",
    ] {
        let Some(bytes) = data(name) else { return };
        let hive = Hive::open(bytes, &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!tree(&hive).is_empty(), "{name}");
    }
    let Some(bytes) = data("win9x_SYSTEM.DAT") else {
        return;
    };
    assert!(matches!(
        Hive::open(bytes, &[]),
        Err(lifeboat_hive::HiveError::NotAHive)
    ));
    let Some(bytes) = data("plaso_100_sub_keys.hiv") else {
        return;
    };
    assert!(tree(&Hive::open(bytes, &[]).unwrap()).len() > 100);
}

/// Writes hives: the smallest writer that gives keys with text and number values.
pub(super) mod writer {
    pub(crate) struct Node {
        pub name: &'static str,
        pub values: Vec<(&'static str, u32, Vec<u8>)>,
        pub below: Vec<Node>,
    }

    pub(crate) fn key(name: &'static str, below: Vec<Node>) -> Node {
        Node {
            name,
            values: Vec::new(),
            below,
        }
    }

    impl Node {
        pub fn text(mut self, name: &'static str, text: &str) -> Self {
            self.values.push((name, 1, wide(&format!("{text}\0"))));
            self
        }

        pub fn texts(mut self, name: &'static str, texts: &[&str]) -> Self {
            let text: String = texts.iter().map(|text| format!("{text}\0")).collect();
            self.values.push((name, 7, wide(&(text + "\0"))));
            self
        }

        pub fn number(mut self, name: &'static str, number: u32) -> Self {
            self.values.push((name, 4, number.to_le_bytes().to_vec()));
            self
        }
    }

    fn wide(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    pub(crate) fn hive(root: &Node) -> Vec<u8> {
        let mut bins = vec![0; 32];
        let root = put_key(&mut bins, root);
        let mut bytes = vec![0; 4096];
        bytes[..4].copy_from_slice(b"regf");
        bytes[36..40].copy_from_slice(&root.to_le_bytes());
        bytes[40..44].copy_from_slice(&(bins.len() as u32).to_le_bytes());
        let sum = bytes[..508].chunks_exact(4).fold(0, |sum, word| {
            sum ^ u32::from_le_bytes(word.try_into().unwrap())
        });
        bytes[508..512].copy_from_slice(&sum.to_le_bytes());
        bytes.extend(bins);
        bytes
    }

    fn put_cell(bins: &mut Vec<u8>, content: &[u8]) -> u32 {
        let at = bins.len() as u32;
        let size = (content.len() + 4).next_multiple_of(8);
        bins.extend((-(size as i32)).to_le_bytes());
        bins.extend(content);
        bins.resize(at as usize + size, 0);
        at
    }

    fn put_key(bins: &mut Vec<u8>, node: &Node) -> u32 {
        let below: Vec<u32> = node.below.iter().map(|key| put_key(bins, key)).collect();
        let mut list = b"li".to_vec();
        list.extend((below.len() as u16).to_le_bytes());
        list.extend(below.iter().flat_map(|at| at.to_le_bytes()));
        let list = put_cell(bins, &list);
        let values: Vec<u32> = node
            .values
            .iter()
            .map(|(name, kind, data)| {
                let data_at = put_cell(bins, data);
                let mut value = b"vk".to_vec();
                value.extend((name.len() as u16).to_le_bytes());
                value.extend((data.len() as u32).to_le_bytes());
                value.extend(data_at.to_le_bytes());
                value.extend(kind.to_le_bytes());
                value.extend([1, 0, 0, 0]);
                value.extend(name.as_bytes());
                put_cell(bins, &value)
            })
            .collect();
        let values_at = put_cell(
            bins,
            &values
                .iter()
                .flat_map(|at| at.to_le_bytes())
                .collect::<Vec<_>>(),
        );
        let mut key = vec![0; 76];
        key[..2].copy_from_slice(b"nk");
        key[2] = 0x20;
        key[20..24].copy_from_slice(&(below.len() as u32).to_le_bytes());
        key[28..32].copy_from_slice(&list.to_le_bytes());
        key[36..40].copy_from_slice(&(values.len() as u32).to_le_bytes());
        key[40..44].copy_from_slice(&values_at.to_le_bytes());
        key[72..74].copy_from_slice(&(node.name.len() as u16).to_le_bytes());
        key.extend(node.name.as_bytes());
        put_cell(bins, &key)
    }
}

use writer::key;

fn member() -> Vec<u8> {
    let card = key("{A}", vec![])
        .number("EnableDHCP", 0)
        .texts("IPAddress", &["10.0.0.30"])
        .texts("SubnetMask", &["255.255.255.0"])
        .texts("DefaultGateway", &["10.0.0.1"])
        .text("NameServer", "10.0.0.10,10.0.0.11");
    let tcpip = key("Parameters", vec![key("Interfaces", vec![card])])
        .text("NV Hostname", "FILES-OF-THE-SITE")
        .text("NV Domain", "site.example");
    let services = vec![
        key("Tcpip", vec![tcpip]).number("Start", 1),
        key("Netlogon", vec![])
            .number("Start", 2)
            .texts("DependOnService", &["LanmanWorkstation"]),
        key(
            "LanmanServer",
            vec![key("Shares", vec![]).texts("data", &["Path=C:\\data"])],
        )
        .number("Start", 2),
        key("MSSQL$CRM", vec![])
            .number("Start", 2)
            .text("DisplayName", "SQL Server (CRM)"),
        key("W3SVC", vec![])
            .number("Start", 2)
            .texts("DependOnService", &["WAS", "MSSQL$CRM"])
            .texts("DependOnGroup", &["NetGroup"]),
        key("WAS", vec![])
            .number("Start", 3)
            .text("Group", "NetGroup"),
        key("Agent", vec![])
            .number("Start", 2)
            .text("ImagePath", "\\\\data1\\tools\\agent.exe"),
        key("DNS", vec![]).number("Start", 4),
        key(
            "W32Time",
            vec![
                key("Parameters", vec![])
                    .text("Type", "NTP")
                    .text("NtpServer", "dir1.site.example,0x9 time.windows.com,0x8"),
            ],
        )
        .number("Start", 2),
        key(
            "MSiSCSI",
            vec![key("Portal", vec![]).text("TargetPortalAddress", "10.0.0.40 3260")],
        )
        .number("Start", 2),
    ];
    let control = key(
        "Control",
        vec![key(
            "ComputerName",
            vec![key("ComputerName", vec![]).text("ComputerName", "FILES-OF-THE-SI")],
        )],
    );
    writer::hive(&key(
        "ROOT",
        vec![
            key("Select", vec![]).number("Current", 1),
            key("ControlSet001", vec![control, key("Services", services)]),
        ],
    ))
}

#[test]
fn everything_that_a_system_hive_tells() {
    let registry = registry(member());
    assert_eq!(
        registry.names,
        [
            "files-of-the-site.site.example",
            "files-of-the-site",
            "files-of-the-si.site.example",
            "files-of-the-si"
        ]
    );
    assert_eq!(registry.interfaces.len(), 1);
    assert_eq!(registry.interfaces[0].gateway, "10.0.0.1".parse().ok());
    let references: Vec<_> = registry
        .references
        .iter()
        .map(|r| (r.target.as_str(), r.service.as_deref().unwrap_or("")))
        .collect();
    assert_eq!(
        references,
        [
            ("site.example", "directory"),
            ("10.0.0.10", "dns"),
            ("10.0.0.11", "dns"),
            ("dir1.site.example", "time"),
            ("time.windows.com", "time"),
            ("data1", "smb"),
            ("10.0.0.40", "iscsi"),
        ]
    );
    let roles: Vec<_> = registry.roles.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(roles, ["mssql", "smb", "web"]);
    let web = registry
        .services
        .iter()
        .find(|s| s.name == "W3SVC")
        .unwrap();
    let needs: Vec<_> = service::needs(&registry.services, web);
    assert_eq!(
        needs,
        [
            ("MSSQL$CRM", "DependOnService"),
            ("WAS", "DependOnGroup"),
            ("WAS", "DependOnService")
        ]
    );
}

#[test]
fn a_software_hive_names_databases() {
    let dsn = |server: &str, driver: &str| {
        key("crm", vec![])
            .text("Server", server)
            .text("Driver", driver)
    };
    let below = vec![key(
        "ODBC",
        vec![key(
            "ODBC.INI",
            vec![dsn("tcp:sql1,1433", "C:\\Windows\\system32\\sqlncli11.dll")],
        )],
    )];
    let registry = registry(writer::hive(&key("ROOT", below)));
    let found = &registry.references[0];
    assert_eq!(
        (found.target.as_str(), found.service.as_deref()),
        ("sql1", Some("mssql"))
    );
    assert_eq!(found.place(), "key ODBC\\ODBC.INI\\crm");
}

#[test]
fn hives_are_found_wherever_they_lie() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in [
        ("Windows/System32/config/SYSTEM", member()),
        ("Windows/System32/config/RegBack/SYSTEM", member()),
        ("other/export.hiv", writer::hive(&key("ROOT", vec![]))),
        ("other/SYSTEM", b"no hive at all".to_vec()),
        ("config/SOFTWARE", b"regf".to_vec()),
    ] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let mut warnings = Vec::new();
    let registry = read_registry("files", folder.path(), &mut warnings);
    assert_eq!(registry.file, "Windows/System32/config/SYSTEM");
    assert_eq!(registry.interfaces.len(), 1);
    assert_eq!(
        warnings,
        ["files: config/SOFTWARE: the registry hive is damaged: it has no root key"]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damaged_hives_never_panic(places in prop::collection::vec((0_usize..8_192, any::<u8>()), 0..60), cut in 0_usize..9_000) {
        let mut bytes = member();
        for (at, byte) in places {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        bytes.truncate(cut.max(4));
        let logs = vec![bytes.clone()];
        if let Ok(hive) = Hive::open(bytes, &logs) {
            read_hive(&hive, "SYSTEM", &mut Registry::default());
        }
    }

    #[test]
    fn hostile_logs_never_panic(entry in prop::collection::vec(any::<u8>(), 0..600), count in any::<u32>(), size in any::<u32>()) {
        let mut hive = member();
        hive[4] = 9;
        let mut log = hive[..512].to_vec();
        log.extend(b"HvLE");
        log.extend(size.to_le_bytes());
        log.extend([0; 12]);
        log.extend(count.to_le_bytes());
        log.extend(entry);
        let _ = Hive::open(hive, &[log]);
    }
}
