//! The whole way on a directory as the guest's root: no VM, no NTFS.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::Path;

use lifeboat_drivers::guest::root::Root;
use lifeboat_drivers::windows::apply::{Volumes, apply};
use lifeboat_drivers::windows::catalogue::{Catalogue, contents};
use lifeboat_drivers::windows::plan::{Edit, Expected, Input, Plan, PlanError, plan};
use lifeboat_drivers::windows::report::WindowsRefusal;
use lifeboat_drivers::windows::system::{System, identify};
use lifeboat_drivers::windows::tree::WindowsTree;
use lifeboat_drivers::windows::verify::verify;
use lifeboat_drivers::{Bus, InjectRequest, Manifest, NicModel, Refusal, Target};
use lifeboat_hive::{Hive, kind};

use crate::fixture::*;

/// A guest in a directory and a catalogue of drivers.
pub struct Bench {
    pub guest: tempfile::TempDir,
    catalogue: Catalogue,
    archive: Vec<u8>,
}

impl Bench {
    pub fn new(kind: Kind) -> Option<Self> {
        Self::with_drivers(kind, &|_| ())
    }

    /// With an image of drivers that was changed.
    pub fn with_drivers(kind: Kind, change: &dyn Fn(&Path)) -> Option<Self> {
        let guest = tempfile::tempdir().unwrap();
        fill(guest.path(), kind)?;
        let drivers = tempfile::tempdir().unwrap();
        virtio_win(drivers.path(), Layout::Iso, "100.95.104.26200");
        change(drivers.path());
        let (catalogue, archive) = catalogue(drivers.path());
        Some(Self {
            guest,
            catalogue,
            archive,
        })
    }

    pub fn path(&self, path: &str) -> std::path::PathBuf {
        self.guest.path().join(path)
    }

    pub fn hive(&self, name: &str) -> Vec<u8> {
        self.read(&format!("Windows/System32/config/{name}"))
    }

    fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.path(path)).unwrap()
    }

    pub fn plan(&self, request: &InjectRequest) -> Result<(System, Plan), Refusal> {
        let root = Root::open(self.guest.path()).unwrap();
        let tree = WindowsTree::new(&root);
        let esp_path = self.path("esp");
        let esp = esp_path.is_dir().then(|| Root::open(&esp_path).unwrap());
        let esp = esp.as_ref().map(WindowsTree::new);
        let (system, hives) = identify(&tree)?;
        let read = |wanted: &BTreeSet<&str>| contents(Cursor::new(&self.archive), wanted);
        let input = Input {
            tree: &tree,
            esp: esp.as_ref(),
            system: &system,
            request,
            catalogue: &self.catalogue,
            contents: &read,
        };
        match plan(&input, hives) {
            Ok(plan) => Ok((system, plan)),
            Err(PlanError::Refused(refusal)) => Err(refusal),
            Err(other) => panic!("{other}"),
        }
    }

    /// Injects and looks again; every check must hold.
    pub fn inject(&self, request: &InjectRequest) -> (System, Plan, Manifest) {
        let (system, plan) = self
            .plan(request)
            .unwrap_or_else(|refusal| panic!("{refusal}"));
        let root = Root::open(self.guest.path()).unwrap();
        let esp_path = self.path("esp");
        let esp = esp_path.is_dir().then(|| Root::open(&esp_path).unwrap());
        let volumes = Volumes {
            system: &root,
            esp: esp.as_ref(),
        };
        let manifest = apply(volumes, &plan).unwrap();
        let esp = esp.as_ref().map(WindowsTree::new);
        let checks = verify(&WindowsTree::new(&root), esp.as_ref(), &system, &plan);
        for check in &checks {
            assert!(check.ok, "{}: {}", check.what, check.detail);
        }
        assert!(checks.len() >= 4);
        (system, plan, manifest)
    }
}

pub fn virtio() -> InjectRequest {
    request(
        &[("00:0c:29:f3:ff:de", Some("10.3.58.5"))],
        Target::default(),
    )
}

/// Every file with its bytes.
pub fn snapshot(root: &Path) -> Vec<(String, Vec<u8>)> {
    use lifeboat_drivers::windows::catalogue::collect::Files;
    let mut files = Directory(root.to_owned());
    let names = files.list().unwrap();
    names
        .into_iter()
        .map(|(name, _)| (name.clone(), files.read(&name).unwrap()))
        .collect()
}

/// What differs: added keys and values may be anything, the others are named.
fn changed(before: &Tree, after: &Tree) -> Vec<String> {
    let mut changes = Vec::new();
    for (path, values) in before {
        let Some(now) = after.get(path) else {
            changes.push(format!("-{path}"));
            continue;
        };
        for value in values {
            if !now.contains(value) {
                changes.push(format!("{path}:{}", value.name));
            }
        }
    }
    changes.sort();
    changes
}

#[test]
fn windows_10_gets_its_drivers_as_if_it_had_taken_them_up_itself() {
    let Some(bench) = Bench::new(WINDOWS_10) else {
        return;
    };
    let (system_before, software_before) = (bench.hive("SYSTEM"), bench.hive("SOFTWARE"));
    let (system, plan, manifest) = bench.inject(&virtio());
    assert_eq!(system.report.driver_folders, ["w10"]);
    assert_eq!(system.report.architecture, "amd64");
    assert_eq!(system.report.host_name, "DESKTOP-2KGM189");
    let (before, after) = (hive_tree(system_before), hive_tree(bench.hive("SYSTEM")));
    // The export: additions, and these changes and no others.
    let set = "ControlSet001";
    assert_eq!(
        changed(&before, &after),
        [
            "-ControlSet001\\Services\\stornvme\\StartOverride",
            "ControlSet001\\Control\\CrashControl:AutoReboot",
            "ControlSet001\\Control\\Session Manager\\Power:HiberbootEnabled",
            "ControlSet001\\Services\\vmci:Start",
            "ControlSet001\\Services\\vsock:Start",
            "DriverDatabase:OemInfMap",
        ]
    );
    let software = changed(
        &hive_tree(software_before),
        &hive_tree(bench.hive("SOFTWARE")),
    );
    assert_eq!(software, ["Microsoft\\Windows\\CurrentVersion:DevicePath"]);
    assert_eq!(
        recorded(&plan.registry["Windows/System32/config/SYSTEM"]),
        differences(&before, &after)
    );
    driver_database(&bench);
    let service = &after[&format!("{set}\\Services\\viostor")];
    let value = |name: &str| service.iter().find(|value| value.name == name).unwrap();
    assert_eq!(value("Start").number(), Some(0));
    assert_eq!(value("ImagePath").text(), "System32\\drivers\\viostor.sys");
    let installed = bench.read("Windows/System32/drivers/viostor.sys");
    let package = bench.catalogue.fitting(&["w10".to_owned()], "amd64")["viostor"];
    assert_eq!(
        blake3::hash(&installed).to_hex().as_str(),
        package.file("viostor.sys").unwrap().hash
    );
    assert!(manifest.changes.len() > 20 && !plan.edits.is_empty());
    assert!(matches!(plan.edits.last(), Some(Edit::Hive { path, .. }) if path.ends_with("SYSTEM")));
}

/// What Windows itself would have written on `pnputil`.
fn driver_database(bench: &Bench) {
    let hive = Hive::open(bench.hive("SYSTEM"), &[]).unwrap();
    let database = hive.root().unwrap().at("DriverDatabase").unwrap();
    // In this hive twelve numbers are taken, oem0 to oem11.
    assert_eq!(database.value("OemInfMap").unwrap().data, [0xff, 0xfc]);
    let id = database
        .at("DeviceIds\\PCI\\VEN_1AF4&DEV_1042&SUBSYS_11001AF4&REV_01")
        .unwrap();
    let names: Vec<String> = id.values().into_iter().map(|value| value.name).collect();
    assert_eq!(names, ["oem12.inf"]);
    let oem = &names[0];
    assert_eq!(id.value(oem).unwrap().data, [1, 0xff, 0, 0]);
    let short = database.at("DeviceIds\\PCI\\VEN_1AF4&DEV_1042").unwrap();
    assert_eq!(short.value(oem).unwrap().data, [2, 0xff, 0, 0]);
    let class = database
        .at("DeviceIds\\{4d36e97b-e325-11ce-bfc1-08002be10318}")
        .unwrap();
    assert_eq!(class.value(oem).unwrap().kind, kind::NONE);
    let store = database
        .at(&format!("DriverInfFiles\\{oem}"))
        .unwrap()
        .text("Active")
        .unwrap();
    assert!(
        store.starts_with("viostor.inf_amd64_") && store.len() == 18 + 16,
        "{store}"
    );
    let package = database.at(&format!("DriverPackages\\{store}")).unwrap();
    assert_eq!(package.text(""), Some(oem.clone()));
    assert_eq!(package.text("Catalog").as_deref(), Some("viostor.cat"));
    assert_eq!(package.number("SignerScore"), Some(0x0d00_0005));
    assert_eq!(
        package.text("SignerName").as_deref(),
        Some(crate::signing::TESTED)
    );
    assert_eq!(
        package
            .at("Strings")
            .unwrap()
            .text("device.desc")
            .as_deref(),
        Some("Test viostor device")
    );
    let descriptor = package.at("Descriptors\\PCI\\VEN_1AF4&DEV_1001").unwrap();
    assert_eq!(
        descriptor.text("Description").as_deref(),
        Some("%device.desc%")
    );
    assert_eq!(
        descriptor.text("Configuration").as_deref(),
        Some("scsi_inst")
    );
    for file in ["viostor.inf", "viostor.cat", "viostor.sys"] {
        let path = format!("Windows/System32/DriverStore/FileRepository/{store}/{file}");
        assert!(bench.path(&path).is_file(), "{path}");
    }
    assert!(bench.path(&format!("Windows/INF/{oem}")).is_file());
}

#[test]
fn windows_7_gets_critical_devices_on_every_control_set() {
    let Some(bench) = Bench::new(WINDOWS_7) else {
        return;
    };
    let before = hive_tree(bench.hive("SYSTEM"));
    let (system, ..) = bench.inject(&virtio());
    assert_eq!(system.report.driver_folders, ["w7"]);
    let after = hive_tree(bench.hive("SYSTEM"));
    assert!(system.control_sets.len() >= 2, "{:?}", system.control_sets);
    for set in &system.control_sets {
        let path = format!("{set}\\Control\\CriticalDeviceDatabase\\PCI#VEN_1AF4&DEV_1042");
        let device = &after[&path];
        assert!(
            device
                .iter()
                .any(|value| value.name == "Service" && value.text() == "viostor")
        );
        assert!(
            device
                .iter()
                .any(|value| value.text() == "{4D36E97B-E325-11CE-BFC1-08002BE10318}")
        );
    }
    let allowed =
        |change: &String| change.ends_with("CrashControl:AutoReboot") || change.ends_with(":Start");
    let changes = changed(&before, &after);
    assert!(changes.iter().all(allowed), "{changes:?}");
    assert!(!bench.path("Windows/System32/DriverStore").exists());
    // One folder for each package, and each where Windows looks.
    let software = Hive::open(bench.hive("SOFTWARE"), &[]).unwrap();
    let current = software
        .root()
        .unwrap()
        .at("Microsoft\\Windows\\CurrentVersion");
    let searched = current.unwrap().text("DevicePath").unwrap();
    for package in ["netkvm", "viostor", "balloon"] {
        let folder = format!("Windows/Drivers/VirtIO/{package}");
        let lies = bench.path(&format!("{folder}/{package}.inf")).is_file();
        assert!(lies, "{folder}");
        let known = format!("%SystemRoot%\\Drivers\\VirtIO\\{package}");
        assert!(searched.split(';').any(|part| part == known), "{searched}");
    }
    assert!(!bench.path("Windows/Drivers/VirtIO/netkvm.inf").exists());
    // The address of old goes to the card that the machine gets for it.
    let script = std::fs::read_to_string(bench.path("Windows/Lifeboat/firstboot.ps1")).unwrap();
    assert!(script.contains("Find-Card '00:0C:29:F3:FF:DE'"), "{script}");
    assert!(script.contains("address=10.3.58.5 mask=255.255.255.0 gateway=10.3.58.1 gwmetric=1"));
    assert!(script.contains("set dnsservers name=\"$name\" source=static address=10.3.58.4"));
    assert!(script.contains("Clear-Old '{698E50A9-4F58-4D86-B61D-F42E58DCACF6}'"));
}

#[test]
fn a_second_run_changes_nothing() {
    for kind in [WINDOWS_7, WINDOWS_10] {
        let Some(bench) = Bench::new(kind) else {
            return;
        };
        bench.inject(&virtio());
        let once = snapshot(bench.guest.path());
        let (_, plan, manifest) = bench.inject(&virtio());
        assert_eq!(plan.edits, [], "{}", kind.product);
        assert!(manifest.changes.is_empty());
        assert!(snapshot(bench.guest.path()) == once);
    }
}

#[test]
fn a_clean_guest_and_a_dirty_one_with_its_logs_end_equal() {
    let (Some(clean), Some(dirty)) = (Bench::new(WINDOWS_10), Bench::new(WINDOWS_10)) else {
        return;
    };
    let (hive, log) = dirty_with_log(&clean.hive("SYSTEM"));
    let config = dirty.path("Windows/System32/config");
    std::fs::write(config.join("SYSTEM"), &hive).unwrap();
    let why = dirty.plan(&virtio()).unwrap_err().to_string();
    assert!(
        why.contains("SYSTEM") && why.contains("transaction logs do not hold"),
        "{why}"
    );
    std::fs::write(config.join("SYSTEM.LOG1"), &log).unwrap();
    // The other log may have held more; the empty one without a number is none of the two.
    std::fs::remove_file(config.join("SYSTEM.LOG2")).unwrap();
    std::fs::write(config.join("SYSTEM.LOG"), b"").unwrap();
    let why = dirty.plan(&virtio()).map(|_| ()).unwrap_err().to_string();
    assert!(why.contains("transaction logs do not hold"), "{why}");
    std::fs::remove_file(config.join("SYSTEM.LOG")).unwrap();
    std::fs::write(config.join("SYSTEM.LOG2"), b"").unwrap();
    let (system, ..) = dirty.inject(&virtio());
    assert_eq!(system.report.replayed, ["Windows/System32/config/SYSTEM"]);
    clean.inject(&virtio());
    assert!(snapshot(clean.guest.path()) == snapshot(dirty.guest.path()));
    assert_eq!(std::fs::read(config.join("SYSTEM.LOG1")).unwrap(), b"");
}

#[test]
fn without_a_driver_windows_is_offered_its_own() {
    let Some(mut bench) = Bench::new(WINDOWS_10) else {
        return;
    };
    bench.catalogue = Catalogue::default();
    let before = snapshot(bench.guest.path());
    let refusal = bench.plan(&virtio()).unwrap_err();
    let text = refusal.to_string();
    assert!(
        text.contains("lifeboat drivers add") && text.contains("AHCI"),
        "{text}"
    );
    let target = refusal.fallback().unwrap().target();
    assert_eq!(
        target,
        Target {
            disk: Bus::Ahci,
            nic: NicModel::E1000e
        }
    );
    assert!(snapshot(bench.guest.path()) == before);
    let other = request(&[("52:54:00:00:00:01", None)], target);
    bench.inject(&other);
    let hive = Hive::open(bench.hive("SYSTEM"), &[]).unwrap();
    let service = hive
        .root()
        .unwrap()
        .at("ControlSet001\\Services\\storahci")
        .unwrap();
    assert_eq!(service.number("Start"), Some(0));
    assert!(service.subkey("StartOverride").is_none());
}

#[test]
fn windows_7_starts_its_own_ahci_driver() {
    let Some(bench) = Bench::new(WINDOWS_7) else {
        return;
    };
    let target = Target {
        disk: Bus::Ahci,
        nic: NicModel::E1000e,
    };
    bench.inject(&request(&[], target));
    let hive = Hive::open(bench.hive("SYSTEM"), &[]).unwrap();
    let service = hive
        .root()
        .unwrap()
        .at("ControlSet001\\services\\msahci")
        .unwrap();
    assert_eq!(service.number("Start"), Some(0), "it was 3");
    let nvme = Target {
        disk: Bus::Nvme,
        nic: NicModel::E1000e,
    };
    let refusal = bench.plan(&request(&[], nvme)).unwrap_err();
    assert!(
        matches!(
            refusal,
            Refusal::Windows {
                why: WindowsRefusal::NoInboxDriver { .. }
            }
        ),
        "{refusal}"
    );
}

#[test]
fn refusals_come_before_the_first_write() {
    type Change = fn(&Bench);
    let cases: [(&str, Change, &str); 5] = [
        (
            "hibernated",
            |bench| std::fs::write(bench.path("hiberfil.sys"), b"hibr0000").unwrap(),
            "fast startup",
        ),
        (
            "woken",
            |bench| std::fs::write(bench.path("HIBERFIL.SYS"), b"wake0000").unwrap(),
            "fast startup",
        ),
        (
            "damaged",
            |bench| {
                let mut bytes = bench.hive("SOFTWARE");
                bytes[4096..4100].copy_from_slice(b"xxxx");
                std::fs::write(bench.path("Windows/System32/config/SOFTWARE"), bytes).unwrap();
            },
            "damaged",
        ),
        (
            "foreign",
            |bench| {
                std::fs::write(bench.path("Windows/System32/cmd.exe"), program(0xaa64, "")).unwrap()
            },
            "ARM64",
        ),
        (
            "empty",
            |bench| std::fs::remove_file(bench.path("Windows/System32/config/SOFTWARE")).unwrap(),
            "SOFTWARE is not there",
        ),
    ];
    for (name, change, expected) in cases {
        let Some(bench) = Bench::new(WINDOWS_10) else {
            return;
        };
        bench
            .plan(&virtio())
            .unwrap_or_else(|refusal| panic!("before {name}: {refusal}"));
        change(&bench);
        let before = snapshot(bench.guest.path());
        let refusal = bench.plan(&virtio()).unwrap_err().to_string();
        assert!(refusal.contains(expected), "{name}: {refusal}");
        assert!(!refusal.contains('\n'));
        assert!(snapshot(bench.guest.path()) == before, "{name}");
    }
}

#[test]
fn a_guest_stopped_in_the_middle_starts_as_before_and_is_completed_by_a_second_run() {
    let (Some(bench), Some(whole)) = (Bench::new(WINDOWS_10), Bench::new(WINDOWS_10)) else {
        return;
    };
    whole.inject(&virtio());
    let system = bench.hive("SYSTEM");
    let (_, plan) = bench.plan(&virtio()).unwrap();
    let count = plan.edits.len();
    for stop in [0, 1, count / 2, count - 1] {
        let part = Plan {
            edits: plan.edits[..stop].to_vec(),
            ..Plan::default()
        };
        let root = Root::open(bench.guest.path()).unwrap();
        apply(
            Volumes {
                system: &root,
                esp: None,
            },
            &part,
        )
        .unwrap();
        assert!(
            bench.hive("SYSTEM") == system,
            "without SYSTEM nothing of it is used"
        );
    }
    bench.inject(&virtio());
    assert!(snapshot(bench.guest.path()) == snapshot(whole.guest.path()));
}

#[test]
fn the_loader_and_the_boot_configuration_of_uefi() {
    let Some(bench) = Bench::new(WINDOWS_10) else {
        return;
    };
    let Some(bcd) = real_hive("BCD.xz") else {
        return;
    };
    let boot = bench.path("esp/EFI/Microsoft/Boot");
    std::fs::create_dir_all(&boot).unwrap();
    std::fs::write(boot.join("bootmgfw.efi"), b"loader").unwrap();
    let mut editor = lifeboat_hive::Editor::open(as_if_clean(bcd), &[]).unwrap();
    let root = editor.hive().root().unwrap();
    let objects = root.subkey("Objects").unwrap().subkeys();
    let object = format!("Objects\\{}", objects[0].name());
    editor
        .set(
            &format!("{object}\\Elements\\16000046"),
            "Element",
            kind::BINARY,
            &[1],
        )
        .unwrap();
    std::fs::write(boot.join("BCD"), editor.finish()).unwrap();
    bench.inject(&virtio());
    assert_eq!(bench.read("esp/EFI/Boot/bootx64.efi"), b"loader");
    let tree = hive_tree(std::fs::read(boot.join("BCD")).unwrap());
    assert!(tree.keys().all(|path| !path.ends_with("16000046")));
    assert!(tree.contains_key(&format!("{object}\\Elements")));
}

#[test]
fn a_foreign_filter_goes_only_when_its_program_is_gone_and_those_of_windows_stay() {
    let class = "ControlSet001\\Control\\Class\\{4d36e967-e325-11ce-bfc1-08002be10318}";
    for is_there in [true, false] {
        let Some(bench) = Bench::new(WINDOWS_10) else {
            return;
        };
        let mut editor = lifeboat_hive::Editor::open(bench.hive("SYSTEM"), &[]).unwrap();
        let filters =
            lifeboat_drivers::windows::boot_drivers::wide_list(["partmgr", "prl_strg", "unknown"]);
        editor
            .set(class, "UpperFilters", kind::TEXTS, &filters)
            .unwrap();
        let path = bench.path("Windows/System32");
        std::fs::write(path.join("config/SYSTEM"), editor.finish()).unwrap();
        std::fs::remove_file(path.join("drivers/partmgr.sys")).unwrap();
        if is_there {
            std::fs::write(path.join("drivers/prl_strg.sys"), b"x").unwrap();
        }
        bench.inject(&virtio());
        let hive = Hive::open(bench.hive("SYSTEM"), &[]).unwrap();
        let left = hive
            .root()
            .unwrap()
            .at(class)
            .unwrap()
            .texts("UpperFilters");
        let expected: &[&str] = match is_there {
            true => &["partmgr", "prl_strg", "unknown"],
            false => &["partmgr", "unknown"],
        };
        assert_eq!(left, expected);
    }
}

#[test]
fn verification_sees_logs_that_were_not_emptied_and_a_card_without_a_driver() {
    let Some(bench) = Bench::new(WINDOWS_10) else {
        return;
    };
    // A hive of its own for the drivers that do not start the machine.
    let drivers = bench.path("Windows/System32/config/DRIVERS");
    std::fs::write(drivers, bench.hive("SYSTEM")).unwrap();
    let (system, plan, _) = bench.inject(&virtio());
    let failed = |plan: &Plan| -> Vec<String> {
        let root = Root::open(bench.guest.path()).unwrap();
        let esp_root = Root::open(&bench.path("esp")).ok();
        let esp = esp_root.as_ref().map(WindowsTree::new);
        let checks = verify(&WindowsTree::new(&root), esp.as_ref(), &system, plan);
        let failed = checks.into_iter().filter(|check| !check.ok);
        failed.map(|check| check.detail).collect()
    };
    assert_eq!(failed(&plan), Vec::<String>::new());
    assert!(plan.planned_devices.contains(&"PCI\\VEN_1AF4&DEV_1041"));
    let card = |expected: &Expected| expected.service.eq_ignore_ascii_case("netkvm");
    assert!(plan.expected.iter().any(card));
    let log = bench.path("Windows/System32/config/SYSTEM.LOG1");
    std::fs::write(log, b"left").unwrap();
    let mut unknown = Plan::default();
    unknown.planned_devices.push("PCI\\VEN_1AF4&DEV_9999");
    assert_eq!(failed(&unknown).len(), 1);
    let seen = failed(&plan);
    assert_eq!(seen, ["Windows/System32/config/SYSTEM.LOG1 is not empty"]);
}
