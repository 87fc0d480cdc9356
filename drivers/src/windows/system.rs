//! Which Windows a guest is, and whether it may be touched.

use lifeboat_hive::{Hive, Key};

use super::hives::{Hives, open_hives};
use super::network;
use super::report::{WindowsRefusal, WindowsReport};
use super::tree::WindowsTree;
use crate::guest::root::EntryKind;
use crate::refusal::Refusal;
use crate::report::Interface;

/// Enough of a program to see what it is built for.
const PROGRAM: u64 = 64 << 20;

/// Where Windows lies and what it is.
#[derive(Debug)]
pub struct System {
    /// What is reported of it.
    pub report: WindowsReport,
    /// Major and minor version.
    pub version: (u32, u32),
    /// Sets of settings that the next start may use, the current one first.
    pub control_sets: Vec<String>,
    /// Interfaces with static addresses.
    pub interfaces: Vec<Interface>,
}

impl System {
    /// Windows 8 or newer keeps its drivers in a database.
    pub fn has_driver_database(&self) -> bool {
        self.version >= (6, 2)
    }
}

/// The directory of Windows, if there is one.
pub fn system_root(tree: &WindowsTree) -> Option<String> {
    let names = tree.list("/");
    let directories = names
        .iter()
        .filter(|(_, kind)| *kind == EntryKind::Directory);
    let mut roots = directories
        .filter(|(name, _)| ["windows", "winnt"].contains(&name.to_ascii_lowercase().as_str()))
        .map(|(name, _)| name.clone());
    roots.find(|name| tree.is_file(&format!("{name}/System32/config/SYSTEM")))
}

/// Looks at Windows; all hives are opened, their logs applied, and nothing is written.
pub fn identify(tree: &WindowsTree) -> Result<(System, Hives), Refusal> {
    let root = system_root(tree).ok_or_else(|| missing("Windows/System32/config/SYSTEM"))?;
    refuse_hibernated(tree)?;
    let architecture = architecture(tree, &root)?;
    let hives = open_hives(tree, &root)?;
    let current = Hive::root(hives.software.editor.hive())
        .and_then(|key| key.at("Microsoft\\Windows NT\\CurrentVersion"))
        .ok_or_else(|| missing("the version in the SOFTWARE hive"))?;
    let version = version(current).ok_or_else(|| missing("the version in the SOFTWARE hive"))?;
    let text = |name: &str| current.text(name).unwrap_or_default();
    let build = text("CurrentBuildNumber")
        .parse()
        .or_else(|_| text("CurrentBuild").parse());
    let sets = control_sets(hives.system.editor.hive())
        .ok_or_else(|| missing("the current control set in the SYSTEM hive"))?;
    let local_clock = control(
        hives.system.editor.hive(),
        &sets[0],
        "Control\\TimeZoneInformation",
    )
    .map(|key| key.number("RealTimeIsUniversal").unwrap_or(0) == 0);
    let mut report = WindowsReport {
        product: text("ProductName"),
        edition: text("EditionID"),
        installation: text("InstallationType"),
        version: format!("{}.{}", version.0, version.1),
        build: build.unwrap_or(0),
        architecture,
        system_root: root,
        control_set: sets[0].clone(),
        driver_folders: Vec::new(),
        local_clock: local_clock.unwrap_or(true),
        host_name: host_name(hives.system.editor.hive(), &sets[0]),
        replayed: hives.replayed(),
    };
    report.driver_folders = driver_folders(version, &report);
    let interfaces = network::reported(hives.system.editor.hive(), &report.control_set);
    let system = System {
        report,
        version,
        control_sets: sets,
        interfaces,
    };
    Ok((system, hives))
}

fn missing(what: &str) -> Refusal {
    let missing = what.to_owned();
    WindowsRefusal::Incomplete { missing }.into()
}

fn version(current: Key<'_>) -> Option<(u32, u32)> {
    // From Windows 10 on the old value stays at 6.3 for ever.
    if let Some(major) = current.number("CurrentMajorVersionNumber") {
        return Some((
            major,
            current.number("CurrentMinorVersionNumber").unwrap_or(0),
        ));
    }
    let text = current.text("CurrentVersion")?;
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The current set of settings, and the last good one where it is another.
fn control_sets(system: &Hive) -> Option<Vec<String>> {
    let root = system.root()?;
    let select = root.subkey("Select")?;
    let mut sets: Vec<String> = Vec::new();
    for name in ["Current", "Default", "LastKnownGood"] {
        let set = format!("ControlSet{:03}", select.number(name).unwrap_or(0));
        if root.subkey(&set).is_some() && !sets.contains(&set) {
            sets.push(set);
        }
    }
    (!sets.is_empty()).then_some(sets)
}

pub(super) fn control<'h>(hive: &'h Hive, set: &str, path: &str) -> Option<Key<'h>> {
    hive.root()?.at(&format!("{set}\\{path}"))
}

fn host_name(system: &Hive, set: &str) -> String {
    let name =
        control(system, set, "Services\\Tcpip\\Parameters").and_then(|key| key.text("Hostname"));
    let other =
        || control(system, set, "Control\\ComputerName\\ComputerName")?.text("ComputerName");
    name.or_else(other).unwrap_or_default()
}

/// What the command interpreter is built for.
fn architecture(tree: &WindowsTree, root: &str) -> Result<String, Refusal> {
    let path = format!("{root}/System32/cmd.exe");
    let program = tree.read(&path, PROGRAM).ok().flatten();
    let machine = program.as_deref().and_then(program_machine);
    match machine {
        Some(0x8664) => Ok("amd64".to_owned()),
        Some(0x014c) => Ok("x86".to_owned()),
        Some(other) => Err(Refusal::ForeignArchitecture {
            architecture: match other {
                0xaa64 => "ARM64".to_owned(),
                0x0200 => "Itanium".to_owned(),
                other => format!("machine type {other:#06x}"),
            },
        }),
        // Windows may keep its programs compressed in a way that cannot be read here.
        None if tree.find(&path).is_some() && tree.find(&format!("{root}/SysWOW64")).is_some() => {
            Ok("amd64".to_owned())
        }
        None => Err(missing("a readable System32/cmd.exe")),
    }
}

/// The processor that a program (PE) is built for.
pub fn program_machine(program: &[u8]) -> Option<u16> {
    if program.get(..2)? != b"MZ" {
        return None;
    }
    let head = u32::from_le_bytes(program.get(0x3c..0x40)?.try_into().ok()?) as usize;
    if program.get(head..head.checked_add(4)?)? != b"PE\0\0" {
        return None;
    }
    let machine = program.get(head + 4..head + 6)?;
    Some(u16::from_le_bytes(machine.try_into().ok()?))
}

/// Names of folders with drivers, best first: newer clients and servers take older drivers.
fn driver_folders(version: (u32, u32), report: &WindowsReport) -> Vec<String> {
    let is_server = report
        .installation
        .to_ascii_lowercase()
        .starts_with("server")
        || (report.installation.is_empty()
            && report.product.to_ascii_lowercase().contains("server"));
    let all: &[&str] = match (version, is_server) {
        ((5, 1), _) => &["xp"],
        ((5, 2), _) if report.product.to_ascii_lowercase().contains("xp") => &["xp", "2k3"],
        ((5, 2), _) => &["2k3"],
        ((6, 0), _) => &["2k8"],
        ((6, 1), false) => &["w7"],
        ((6, 1), true) => &["2k8r2"],
        ((6, 2), false) => &["w8"],
        ((6, 2), true) => &["2k12"],
        ((6, 3), false) => &["w8.1"],
        ((6, 3), true) => &["2k12r2"],
        ((10, _), false) if report.build >= 22_000 => &["w11", "w10"],
        ((10, _), false) => &["w10"],
        ((10, _), true) if report.build >= 26_000 => &["2k25", "2k22", "2k19", "2k16"],
        ((10, _), true) if report.build >= 20_000 => &["2k22", "2k19", "2k16"],
        ((10, _), true) if report.build >= 17_000 => &["2k19", "2k16"],
        ((10, _), true) => &["2k16"],
        _ => &[],
    };
    all.iter().map(|name| (*name).to_owned()).collect()
}

/// What Windows had in memory belongs to its files: they must not be changed under it.
fn refuse_hibernated(tree: &WindowsTree) -> Result<(), Refusal> {
    let Some(path) = tree.find("hiberfil.sys") else {
        return Ok(());
    };
    let mut head = [0; 4];
    let file = tree.root().open_file(&path).ok().flatten();
    let read = file.map(|mut file| std::io::Read::read_exact(&mut file, &mut head));
    let marks: [&[u8]; 4] = [b"hibr", b"HIBR", b"wake", b"WAKE"];
    match read {
        Some(Ok(())) if marks.contains(&head.as_slice()) => Err(WindowsRefusal::Hibernated.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_by_version_and_edition() {
        let folder = |version, installation: &str, product: &str, build| {
            let report = WindowsReport {
                installation: installation.to_owned(),
                product: product.to_owned(),
                build,
                ..WindowsReport::default()
            };
            driver_folders(version, &report)
                .first()
                .cloned()
                .unwrap_or_default()
        };
        assert_eq!(folder((5, 0), "", "Microsoft Windows 2000", 2195), "");
        assert_eq!(folder((5, 1), "", "Microsoft Windows XP", 2600), "xp");
        assert_eq!(
            folder((5, 2), "", "Microsoft Windows Server 2003", 3790),
            "2k3"
        );
        assert_eq!(folder((6, 0), "", "Windows Server (R) 2008", 6002), "2k8");
        assert_eq!(folder((6, 1), "Client", "Windows 7", 7601), "w7");
        assert_eq!(
            folder((6, 1), "Server", "Windows Server 2008 R2", 7601),
            "2k8r2"
        );
        assert_eq!(folder((6, 2), "Client", "Windows 8", 9200), "w8");
        assert_eq!(folder((6, 2), "Server Core", "", 9200), "2k12");
        assert_eq!(folder((6, 3), "Client", "", 9600), "w8.1");
        assert_eq!(folder((6, 3), "Server", "", 9600), "2k12r2");
        assert_eq!(folder((10, 0), "Client", "", 19_045), "w10");
        assert_eq!(folder((10, 0), "Client", "", 26_100), "w11");
        assert_eq!(folder((10, 0), "Server", "", 14_393), "2k16");
        assert_eq!(folder((10, 0), "Server", "", 17_763), "2k19");
        assert_eq!(folder((10, 0), "Server", "", 20_348), "2k22");
        assert_eq!(folder((10, 0), "Server Core", "", 26_100), "2k25");
    }

    #[test]
    fn the_processor_of_a_program() {
        let mut program = vec![0; 256];
        program[..2].copy_from_slice(b"MZ");
        program[0x3c] = 0x80;
        program[0x80..0x86].copy_from_slice(b"PE\0\0\x64\x86");
        assert_eq!(program_machine(&program), Some(0x8664));
        program[0x3c..0x40].fill(0xff);
        assert_eq!(program_machine(&program), None);
        assert_eq!(program_machine(b"MZ"), None);
    }
}
