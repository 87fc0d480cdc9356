//! Looking again after an injection, at the filesystem as it is then.

use lifeboat_hive::{Action, Edited, Hive};

use super::hives::{Hives, open_hives};
use super::plan::{Edit, Expected, Plan, Volume};
use super::settings::program_path;
use super::system::{System, control};
use super::tree::WindowsTree;
use crate::report::Check;

/// Values that may change: a part of their key, its end, and their name or any.
const CHANGEABLE: [(&str, &str, &str); 13] = [
    ("", "\\control\\crashcontrol", "autoreboot"),
    ("", "\\session manager\\power", "hiberbootenabled"),
    ("", "\\partmgr\\parameters", "sanpolicy"),
    ("", "\\windows\\currentversion", "devicepath"),
    ("", "driverdatabase", "oeminfmap"),
    ("\\control\\class\\", "", "upperfilters"),
    ("\\control\\class\\", "", "lowerfilters"),
    ("\\services\\", "", "start"),
    ("", "\\services\\viostor", ANY),
    ("", "\\services\\vioscsi", ANY),
    ("\\services\\vio", "\\parameters", "bustype"),
    ("\\services\\vio", "\\pnpinterface", "5"),
    ("", "\\services\\lifeboatfirstboot", ANY),
];
/// Keys that may go, with what is in them.
const REMOVABLE: [&str; 2] = ["\\startoverride", "\\16000046"];
const ANY: &str = "*";
/// More names say nothing more.
const MOST_NAMED: usize = 10;

/// Proves that Windows will find what it needs.
pub fn verify(
    tree: &WindowsTree,
    esp: Option<&WindowsTree>,
    system: &System,
    plan: &Plan,
) -> Vec<Check> {
    let mut checks = vec![files_as_planned(tree, esp, plan), registry_additions(plan)];
    let hives = match open_hives(tree, &system.report.system_root) {
        Ok(hives) => hives,
        Err(why) => {
            checks.push(check("the hives are whole", vec![why.to_string()], ""));
            return checks;
        }
    };
    checks.push(hives_clean(&hives, tree, esp, plan));
    for expected in &plan.expected {
        checks.push(driver_complete(expected, tree, &hives, system));
    }
    checks.push(devices_known(plan, &hives, system));
    if let Some(esp) = esp.filter(|_| plan.fallback_loader) {
        let missing = (!esp.is_file("EFI/Boot/bootx64.efi"))
            .then(|| "EFI/Boot/bootx64.efi is missing".to_owned());
        checks.push(check(
            "the EFI fallback loader exists",
            missing.into_iter().collect(),
            "it does",
        ));
    }
    checks
}

fn check(what: &str, problems: Vec<String>, good: &str) -> Check {
    let ok = problems.is_empty();
    Check {
        what: what.to_owned(),
        ok,
        detail: if ok {
            good.to_owned()
        } else {
            problems.join("; ")
        },
    }
}

fn files_as_planned(tree: &WindowsTree, esp: Option<&WindowsTree>, plan: &Plan) -> Check {
    let mut problems = Vec::new();
    for edit in &plan.edits {
        let (Edit::Write {
            volume,
            path,
            content,
        }
        | Edit::Hive {
            volume,
            path,
            content,
            ..
        }) = edit;
        let tree = match volume {
            Volume::System => Some(tree),
            Volume::Esp => esp,
        };
        let hash = tree.and_then(|tree| tree.root().hash(path).ok().flatten());
        if hash.as_deref() != Some(blake3::hash(content).to_hex().as_str()) {
            problems.push(format!("{path} has another content"));
        }
    }
    let good = format!("{} files", plan.edits.len());
    check("every file is as planned", problems, &good)
}

/// Nothing is taken away or changed but what this crate means to: by what
/// differs between the hives before and those that were read back.
fn registry_additions(plan: &Plan) -> Check {
    let mut problems = Vec::new();
    let mut added = 0;
    for (hive, differences) in &plan.registry {
        let additions = differences.iter().filter(|one| one.action == Action::Added);
        added += additions.count();
        let unmeant = unmeant(differences);
        problems.extend(unmeant.iter().map(|what| format!("{hive}: {what}")));
    }
    let all: usize = plan.registry.values().map(Vec::len).sum();
    check(
        "the registry has additions and the known changes only",
        problems,
        &format!("{added} additions, {} known changes", all - added),
    )
}

/// What is no addition and none of the changes that an injection means.
pub(super) fn unmeant(differences: &[Edited]) -> Vec<String> {
    let others = differences
        .iter()
        .filter(|one| one.action != Action::Added && !may_change(one));
    let names = others.map(|one| match &one.value {
        Some(value) => format!("{}, value {value:?}", one.path),
        None => one.path.clone(),
    });
    names.take(MOST_NAMED).collect()
}

fn may_change(edit: &Edited) -> bool {
    let path = edit.path.to_ascii_lowercase();
    if REMOVABLE.iter().any(|end| path.ends_with(end)) {
        return edit.action == Action::Removed;
    }
    let Some(value) = edit.value.as_deref().map(str::to_ascii_lowercase) else {
        return false;
    };
    CHANGEABLE.iter().any(|(part, end, name)| {
        (*name == value || *name == ANY) && path.contains(part) && path.ends_with(end)
    })
}

fn hives_clean(hives: &Hives, tree: &WindowsTree, esp: Option<&WindowsTree>, plan: &Plan) -> Check {
    let mut problems: Vec<String> = hives
        .replayed()
        .iter()
        .map(|path| format!("{path} is not clean"))
        .collect();
    for edit in &plan.edits {
        let Edit::Hive { volume, logs, .. } = edit else {
            continue;
        };
        let tree = match volume {
            Volume::System => Some(tree),
            Volume::Esp => esp,
        };
        let size = |log: &str| tree.and_then(|tree| tree.root().size(log).ok().flatten());
        let full = logs.iter().filter(|log| size(log) != Some(0));
        problems.extend(full.map(|log| format!("{log} is not empty")));
    }
    check(
        "the hives are whole and clean, their logs empty",
        problems,
        "they are",
    )
}

fn driver_complete(
    expected: &Expected,
    tree: &WindowsTree,
    hives: &Hives,
    system: &System,
) -> Check {
    let mut problems = Vec::new();
    for (path, hash) in &expected.files {
        if tree.root().hash(path).ok().flatten().as_ref() != Some(hash) {
            problems.push(format!("{path} is not the file of the catalogue"));
        }
    }
    for set in system.control_sets.iter().filter(|_| expected.boots) {
        let key = control(
            hives.system.editor.hive(),
            set,
            &format!("Services\\{}", expected.service),
        );
        let image = key
            .and_then(|key| key.text("ImagePath"))
            .unwrap_or_default();
        let path = tree.place(&program_path(&image, &system.report.system_root));
        if !expected.files.contains_key(&path) {
            problems.push(format!(
                "{set}: the service starts {path}, which is not the driver's"
            ));
        }
        if key.and_then(|key| key.number("Start")) != Some(0)
            || key.is_some_and(|key| key.subkey("StartOverride").is_some())
        {
            problems.push(format!(
                "{set}: the service does not start with the machine"
            ));
        }
    }
    let what = format!(
        "{} {}, and its files are those of the catalogue",
        expected.service,
        if expected.boots {
            "starts"
        } else {
            "is stored"
        }
    );
    check(&what, problems, &format!("{} files", expected.files.len()))
}

/// The devices that the machine will have lead to a driver.
fn devices_known(plan: &Plan, hives: &Hives, system: &System) -> Check {
    let hive = hives.system.editor.hive();
    let drivers = hives.drivers.as_ref().map(|drivers| drivers.editor.hive());
    let mut problems = Vec::new();
    for device in &plan.planned_devices {
        let known = if system.has_driver_database() {
            let path = format!("DriverDatabase\\DeviceIds\\{device}");
            let leads = |hive: &Hive| {
                let key = hive.root().and_then(|root| root.at(&path));
                key.is_some_and(|key| !key.values().is_empty())
            };
            leads(hive) || drivers.is_some_and(leads)
        } else {
            let path = format!(
                "Control\\CriticalDeviceDatabase\\{}",
                device.replace('\\', "#")
            );
            control(hive, &system.report.control_set, &path)
                .is_some_and(|key| key.text("Service").is_some())
        };
        if !known {
            problems.push(format!("{device} leads to no driver"));
        }
    }
    check(
        "the planned devices are known",
        problems,
        &plan.planned_devices.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_additions_and_known_changes_are_meant() {
        let one = |action, path: &str, value: Option<&str>| Edited {
            action,
            path: path.to_owned(),
            value: value.map(str::to_owned),
        };
        let services = "ControlSet001\\Services";
        let meant = [
            one(Action::Added, "Anything", None),
            one(Action::Changed, &format!("{services}\\vmci"), Some("Start")),
            one(
                Action::Removed,
                &format!("{services}\\stornvme\\StartOverride"),
                None,
            ),
            one(
                Action::Removed,
                &format!("{services}\\stornvme\\StartOverride"),
                Some("0"),
            ),
            one(Action::Changed, "DriverDatabase", Some("OemInfMap")),
        ];
        assert_eq!(unmeant(&meant), [""; 0]);
        let others = [
            one(
                Action::Changed,
                &format!("{services}\\stornvme\\StartOverride"),
                Some("0"),
            ),
            one(Action::Removed, &format!("{services}\\Tcpip"), None),
            one(
                Action::Changed,
                "ControlSet001\\Control\\Lsa",
                Some("Start"),
            ),
            one(
                Action::Changed,
                "ControlSet001\\Enum\\x\\Parameters",
                Some("BusType"),
            ),
            one(
                Action::Changed,
                &format!("{services}\\disk"),
                Some("ImagePath"),
            ),
        ];
        assert_eq!(unmeant(&others).len(), others.len());
    }
}
