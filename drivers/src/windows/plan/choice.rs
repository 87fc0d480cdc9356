//! Which drivers of the catalogue a guest gets, or what else it could boot with.

use std::collections::BTreeSet;

use super::super::boot_drivers::{DISK_DEVICES, NET_DEVICES};
use super::super::catalogue::Package;
use super::super::hives::Hives;
use super::super::report::WindowsRefusal;
use super::super::settings;
use super::super::signature::{Objection, Rules, Signature, of_catalogue, of_program};
use super::super::trust;
use super::Planner;
use crate::refusal::Refusal;
use crate::report::{Bus, Fallback, NicModel};

/// Drivers for the rest of the virtual hardware.
const REST: [&str; 11] = [
    "netkvm",
    "balloon",
    "viorng",
    "vioser",
    "vioinput",
    "pvpanic",
    "pvpanic-pci",
    "qxldod",
    "viogpudo",
    "fwcfg",
    "qemufwcfg",
];

const UNTRUSTED: &str = "Windows would turn away the virtio driver by its signature";
const NOT_THERE: &str = "the driver catalogue has no virtio driver for this Windows";

/// Drivers that were chosen.
#[derive(Default)]
pub(super) struct Chosen<'c> {
    /// Those that Windows starts with.
    pub(super) boot: Vec<&'c Package>,
    /// The others.
    pub(super) rest: Vec<&'c Package>,
    /// A driver of Windows itself.
    pub(super) inbox: Option<&'static str>,
}

impl<'c> Chosen<'c> {
    pub(super) fn packages(&self) -> impl Iterator<Item = &'c Package> {
        self.boot.iter().chain(&self.rest).copied()
    }
}

impl<'i> Planner<'i> {
    /// Decides by names alone; the catalogue's files are not there yet.
    pub(super) fn choose(&mut self, hives: &Hives) -> Result<Chosen<'i>, Refusal> {
        let (input, report) = (self.input, &self.input.system.report);
        let fitting = input
            .catalogue
            .fitting(&report.driver_folders, &report.architecture);
        let target = input.request.target;
        let mut chosen = Chosen::default();
        match DISK_DEVICES.iter().find(|(bus, ..)| *bus == target.disk) {
            Some((_, driver, devices)) => {
                let package = fitting.get(driver).copied();
                package
                    .filter(|package| serves(package, devices[0]))
                    .ok_or_else(|| {
                        self.no_driver(driver, devices[0], self.fallback(hives, NOT_THERE))
                    })?;
                self.plan.planned_devices.push(devices[0]);
                let all = DISK_DEVICES
                    .iter()
                    .filter_map(|(_, name, _)| fitting.get(name));
                chosen.boot = all.copied().collect();
            }
            None => chosen.inbox = Some(self.inbox(hives, target.disk)?),
        }
        chosen.rest = REST
            .iter()
            .filter_map(|name| fitting.get(name).copied())
            .collect();
        if target.nic == NicModel::Virtio && !input.request.nics.is_empty() {
            let netkvm = fitting.get("netkvm").copied();
            let other = Fallback {
                disk: target.disk,
                nic: NicModel::E1000e,
                reason: "the driver catalogue has no netkvm for this Windows".to_owned(),
            };
            netkvm
                .filter(|package| serves(package, NET_DEVICES[0]))
                .ok_or_else(|| self.no_driver("netkvm", NET_DEVICES[0], Some(other)))?;
        }
        let used = chosen
            .packages()
            .find(|package| package.os != report.driver_folders[0]);
        if let Some(package) = used {
            self.plan.warnings.push(format!(
                "the driver catalogue has no folder {} for this Windows; drivers of {} are used",
                report.driver_folders[0], package.os
            ));
        }
        Ok(chosen)
    }

    fn no_driver(&self, driver: &str, device: &str, fallback: Option<Fallback>) -> Refusal {
        let report = &self.input.system.report;
        WindowsRefusal::NoDriver {
            wanted: format!("the driver {driver} for {device}"),
            product: format!(
                "{} build {} {}",
                report.product, report.build, report.architecture
            ),
            folders: report.driver_folders.join(", "),
            fallback,
        }
        .into()
    }

    /// Other hardware for whose disks Windows has a driver itself.
    fn fallback(&self, hives: &Hives, reason: &str) -> Option<Fallback> {
        let (system, tree) = (self.input.system, self.input.tree);
        let editor = &hives.system.editor;
        let mut buses = [Bus::Ahci, Bus::Nvme].into_iter();
        let disk =
            buses.find(|bus| settings::inbox_driver(editor, system, tree, *bus).is_some())?;
        Some(Fallback {
            disk,
            nic: NicModel::E1000e,
            reason: reason.to_owned(),
        })
    }

    fn inbox(&self, hives: &Hives, bus: Bus) -> Result<&'static str, Refusal> {
        let (system, tree) = (self.input.system, self.input.tree);
        let found = settings::inbox_driver(&hives.system.editor, system, tree, bus);
        found.ok_or_else(|| {
            WindowsRefusal::NoInboxDriver {
                product: system.report.product.clone(),
                wanted: format!("{bus:?}"),
                fallback: self.fallback(hives, NOT_THERE),
            }
            .into()
        })
    }

    /// Drivers that the loader of this Windows would turn away (0xc0000428): of those that the
    /// machine needs a refusal, of the others a warning; none of them starts with the machine.
    pub(super) fn trust(&mut self, chosen: &mut Chosen<'i>, hives: &Hives) -> Result<(), Refusal> {
        let (input, software) = (self.input, hives.software.editor.hive());
        let Some(rules) = trust::rules(input.tree, input.system, software) else {
            return Ok(());
        };
        let target = input.request.target;
        let has_cards = target.nic == NicModel::Virtio && !input.request.nics.is_empty();
        let mut left_out = Vec::new();
        for package in chosen.packages() {
            let boots = DISK_DEVICES
                .iter()
                .find(|(_, name, _)| *name == package.driver);
            let Some(why) = rules.objection(&self.signatures(package, boots.is_none())) else {
                continue;
            };
            let fallback = match boots {
                Some((bus, ..)) if *bus == target.disk => self.fallback(hives, UNTRUSTED),
                None if has_cards && package.driver == "netkvm" => Some(Fallback {
                    disk: target.disk,
                    nic: NicModel::E1000e,
                    reason: UNTRUSTED.to_owned(),
                }),
                _ => {
                    left_out.push((package.driver.as_str(), why));
                    continue;
                }
            };
            // Newer Windows asks more or less by its settings, which are not all known here.
            if !rules.attested {
                return Err(self.untrusted(package, &why, fallback));
            }
            left_out.push((package.driver.as_str(), why));
        }
        self.leave_out(chosen, rules, &left_out);
        Ok(())
    }

    fn leave_out(&mut self, chosen: &mut Chosen, rules: Rules, names: &[(&str, Objection)]) {
        if !rules.attested {
            let is_out = |name: &str| names.iter().any(|(other, _)| *other == name);
            chosen.boot.retain(|package| !is_out(&package.driver));
        }
        let reasons: BTreeSet<&Objection> = names.iter().map(|(_, why)| why).collect();
        for reason in reasons {
            let same = names.iter().filter(|(_, why)| why == reason);
            let drivers: Vec<&str> = same.map(|(name, _)| *name).collect();
            self.plan.warnings.push(format!(
                "Windows may turn away the driver {}: {reason}",
                drivers.join(", ")
            ));
        }
    }

    fn untrusted(&self, package: &Package, why: &Objection, fallback: Option<Fallback>) -> Refusal {
        WindowsRefusal::UntrustedDriver {
            product: self.input.system.report.product.clone(),
            driver: format!("{} of {}", package.driver, package.source),
            detail: format!(
                "{why}; take an image with drivers signed for it by `lifeboat drivers add virtio-win.iso --for {}`",
                package.os
            ),
            fallback,
        }
        .into()
    }

    /// What the loader looks at is inside the program; later the catalogue counts as well.
    fn signatures(&self, package: &Package, with_catalogue: bool) -> Vec<Signature> {
        let content = |name: &str| {
            let file = package.file(name)?;
            self.contents.get(&file.hash)
        };
        let program = package.inf.service().and_then(|(_, name)| content(name));
        let mut found = program
            .map(|program| of_program(program))
            .unwrap_or_default();
        if with_catalogue {
            let catalogue = content(&package.inf.catalog);
            found.extend(catalogue.into_iter().flat_map(|bytes| of_catalogue(bytes)));
        }
        found
    }

    /// Who signed a driver, as Windows notes it with a package.
    pub(super) fn signer(&self, package: &Package) -> Option<Signature> {
        let file = package.file(&package.inf.catalog)?;
        of_catalogue(self.contents.get(&file.hash)?)
            .into_iter()
            .next()
    }
}

fn serves(package: &Package, device: &str) -> bool {
    package.inf.devices.iter().any(|other| other.id == device)
}
