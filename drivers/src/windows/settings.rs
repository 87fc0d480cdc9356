//! Settings of Windows that matter on other hardware.

use lifeboat_hive::{EditError, Editor, Key};

use super::boot_drivers::{below, remove_overrides};
use super::system::{System, control};
use super::tree::WindowsTree;
use crate::report::Bus;

/// Where the packages of drivers lie, one folder each, below the directory of Windows.
pub const DRIVER_FOLDER: &str = "Drivers\\VirtIO";

/// Drivers of other virtual hardware that start with the machine: name, or its beginning before `*`.
const FOREIGN: [&str; 12] = [
    "rhelscsi",
    "rhelfltr",
    "prl_*",
    "vmci",
    "vsock",
    "pvscsi",
    "vboxguest",
    "xenbus",
    "xenvbd",
    "xenfilt",
    "xenpci",
    "xeniface",
];
/// Filters of other virtual hardware and of multipath software, which uninstalling may leave behind.
const FOREIGN_FILTERS: [&str; 6] = [
    "prl_strg", "xenfilt", "mpspfltr", "emcpbase", "emcpmpx", "vxdmp",
];
/// Classes of devices that lie between the machine and its disks.
const DISK_CLASSES: [&str; 5] = [
    "{4d36e967-e325-11ce-bfc1-08002be10318}",
    "{4d36e96a-e325-11ce-bfc1-08002be10318}",
    "{4d36e97b-e325-11ce-bfc1-08002be10318}",
    "{4d36e97d-e325-11ce-bfc1-08002be10318}",
    "{71a27cdd-812a-11d0-bec7-08002be2092f}",
];
const DISABLED: u32 = 4;

/// Settings of one control set, whatever the hardware.
pub fn adapt(
    editor: &mut Editor,
    set: &str,
    system: &System,
    tree: &WindowsTree,
    warnings: &mut Vec<String>,
) -> Result<(), EditError> {
    remove_overrides(editor, set)?;
    // A machine that fails must stand still, so that its screen says why.
    below(editor, format!("{set}\\Control\\CrashControl")).number("AutoReboot", 0)?;
    if system.has_driver_database() {
        below(editor, format!("{set}\\Control\\Session Manager\\Power"))
            .number("HiberbootEnabled", 0)?;
    }
    if system.version >= (6, 0) {
        // New disks would stay offline on servers.
        below(editor, format!("{set}\\Services\\partmgr\\Parameters")).number("SanPolicy", 1)?;
    }
    remove_dead_filters(editor, set, system, tree)?;
    disable_foreign(editor, set, warnings)
}

/// Drivers of other virtual hardware stay away, except where Windows would miss them.
fn disable_foreign(
    editor: &mut Editor,
    set: &str,
    warnings: &mut Vec<String>,
) -> Result<(), EditError> {
    let services = control(editor.hive(), set, "Services");
    let starting = services
        .into_iter()
        .flat_map(|key| key.subkeys())
        .filter(is_boot_start);
    let names: Vec<String> = starting
        .map(|key| key.name())
        .filter(|name| is_foreign(name))
        .collect();
    for name in names {
        if is_filter(editor, set, &name) {
            warnings.push(format!(
                "the driver {name} of other virtual hardware filters disks and stays as it is"
            ));
        } else {
            below(editor, format!("{set}\\Services\\{name}")).number("Start", DISABLED)?;
        }
    }
    Ok(())
}

fn is_boot_start(service: &Key) -> bool {
    service.number("Start") == Some(0)
}

fn is_foreign(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    FOREIGN
        .iter()
        .any(|foreign| match foreign.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == *foreign,
        })
}

fn filters(editor: &Editor, set: &str) -> Vec<(String, &'static str, Vec<String>)> {
    let mut found = Vec::new();
    for class in DISK_CLASSES {
        let path = format!("Control\\Class\\{class}");
        let Some(key) = control(editor.hive(), set, &path) else {
            continue;
        };
        for name in ["UpperFilters", "LowerFilters"] {
            let filters = key.texts(name);
            if !filters.is_empty() {
                found.push((format!("{set}\\{path}"), name, filters));
            }
        }
    }
    found
}

fn is_filter(editor: &Editor, set: &str, service: &str) -> bool {
    let mut all = filters(editor, set)
        .into_iter()
        .flat_map(|(_, _, names)| names);
    all.any(|name| name.eq_ignore_ascii_case(service))
}

/// A foreign filter whose program is not there would keep every disk from starting. Windows's own
/// are never touched.
fn remove_dead_filters(
    editor: &mut Editor,
    set: &str,
    system: &System,
    tree: &WindowsTree,
) -> Result<(), EditError> {
    for (key, name, services) in filters(editor, set) {
        let lives = |service: &&String| {
            let lower = service.to_ascii_lowercase();
            !FOREIGN_FILTERS.contains(&lower.as_str())
                || program_exists(editor, set, service, system, tree)
        };
        let living: Vec<String> = services.iter().filter(lives).cloned().collect();
        if living.len() == services.len() {
            continue;
        }
        if living.is_empty() {
            editor.remove_value(&key, name)?;
        } else {
            below(editor, key).texts(name, living.iter().map(String::as_str))?;
        }
    }
    Ok(())
}

/// Whether the program of a driver lies where its service says.
pub fn program_exists(
    editor: &Editor,
    set: &str,
    service: &str,
    system: &System,
    tree: &WindowsTree,
) -> bool {
    let image = control(editor.hive(), set, &format!("Services\\{service}"))
        .and_then(|key| key.text("ImagePath"));
    let image = image.unwrap_or_else(|| format!("System32\\drivers\\{service}.sys"));
    // A file that Windows keeps compressed is there, and cannot be read here.
    tree.find(&program_path(&image, &system.report.system_root))
        .is_some()
}

/// The path in the guest of a driver's program.
pub fn program_path(image: &str, system_root: &str) -> String {
    let path = image.trim_matches('"').replace('\\', "/");
    let lower = path.to_ascii_lowercase();
    for beginning in [
        "/systemroot/",
        "%systemroot%/",
        "/??/c:/windows/",
        "c:/windows/",
    ] {
        if lower.starts_with(beginning) {
            return format!("{system_root}/{}", &path[beginning.len()..]);
        }
    }
    format!("{system_root}/{}", path.trim_start_matches('/'))
}

/// Drivers that Windows brings along for hardware that Lifeboat can offer, best first.
fn inbox_drivers(bus: Bus) -> &'static [&'static str] {
    match bus {
        Bus::Ahci => &["storahci", "msahci"],
        Bus::Nvme => &["stornvme"],
        Bus::VirtioBlk | Bus::VirtioScsi => &[],
    }
}

/// The driver of Windows for a bus, when its service and program are there.
pub fn inbox_driver(
    editor: &Editor,
    system: &System,
    tree: &WindowsTree,
    bus: Bus,
) -> Option<&'static str> {
    let set = system.control_sets.first()?;
    inbox_drivers(bus).iter().copied().find(|service| {
        let key = control(editor.hive(), set, &format!("Services\\{service}"));
        key.is_some() && program_exists(editor, set, service, system, tree)
    })
}

/// Starts a driver of Windows with the machine.
pub fn enable_inbox_driver(editor: &mut Editor, set: &str, service: &str) -> Result<(), EditError> {
    let key = format!("{set}\\Services\\{service}");
    if control(editor.hive(), set, &format!("Services\\{service}")).is_none() {
        return Ok(());
    }
    below(editor, key).number("Start", 0)
}

/// Makes Windows look for drivers where they were put: it does not look below
/// the folders that it knows.
pub fn extend_driver_path<'n>(
    software: &mut Editor,
    packages: impl Iterator<Item = &'n str>,
) -> Result<(), EditError> {
    const KEY: &str = "Microsoft\\Windows\\CurrentVersion";
    let now = software
        .hive()
        .root()
        .and_then(|root| root.at(KEY)?.text("DevicePath"));
    let now = now.unwrap_or_else(|| "%SystemRoot%\\inf".to_owned());
    let mut path = now.clone();
    for package in packages {
        let folder = format!("%SystemRoot%\\{}", package_folder(package));
        let mut known = path.split(';');
        if !known.any(|known| known.eq_ignore_ascii_case(&folder)) {
            path = format!("{path};{folder}");
        }
    }
    if path == now {
        return Ok(());
    }
    below(software, KEY).expandable("DevicePath", &path)
}

/// The folder of one driver's package, below the directory of Windows.
pub fn package_folder(driver: &str) -> String {
    format!("{DRIVER_FOLDER}\\{driver}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_drivers() {
        let path = |image: &str| program_path(image, "Windows");
        let expected = "Windows/System32/drivers/a.sys";
        assert_eq!(path("System32\\drivers\\a.sys"), expected);
        assert_eq!(path("\\SystemRoot\\System32\\drivers\\a.sys"), expected);
        assert_eq!(path("%SystemRoot%\\System32\\drivers\\a.sys"), expected);
        assert_eq!(
            path("\\??\\C:\\Windows\\System32\\drivers\\a.sys"),
            expected
        );
    }

    #[test]
    fn foreign_drivers_by_name() {
        assert!(is_foreign("PRL_strg") && is_foreign("VMCI") && is_foreign("xenbus"));
        assert!(!is_foreign("vmbus") && !is_foreign("disk") && !is_foreign("prlx"));
    }
}
