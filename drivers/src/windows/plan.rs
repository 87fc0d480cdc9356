//! All changes to a Windows guest, decided before the first write.

mod choice;
mod loader;

use std::collections::{BTreeMap, BTreeSet};

use lifeboat_hive::{EditError, Edited, Editor};

use self::choice::Chosen;
pub use self::loader::has_loader;
use super::boot_drivers::{self as boot, NET_DEVICES, store_name};
use super::catalogue::{Catalogue, CatalogueError, Package};
use super::hives::{GuestHive, Hives, compared, refusal};
use super::network::{assign, static_interfaces, static_ipv6};
use super::oem::OemNumbers;
use super::report::WindowsRefusal;
use super::system::System;
use super::tree::WindowsTree;
use super::verify::unmeant;
use super::{firstboot, settings};
use crate::refusal::Refusal;
use crate::report::{InjectRequest, NicModel};

/// Room that must be left on the disk of Windows.
const ROOM: u64 = 100 << 20;
const INODES: u64 = 100;
const LOADER: u64 = 16 << 20;

/// Which filesystem a path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volume {
    /// That of Windows.
    System,
    /// The EFI system partition.
    Esp,
}

/// One change to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Give a file this content.
    Write {
        /// Where.
        volume: Volume,
        /// Path in the guest.
        path: String,
        /// The whole content.
        content: Vec<u8>,
    },
    /// Put a hive in the place of another and empty its logs.
    Hive {
        /// Where.
        volume: Volume,
        /// Path in the guest.
        path: String,
        /// The whole content.
        content: Vec<u8>,
        /// Paths of its logs.
        logs: Vec<String>,
    },
}

/// One driver that must be complete afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Its service.
    pub service: String,
    /// Whether the service starts with the machine; otherwise Windows makes it when it finds the
    /// device.
    pub boots: bool,
    /// Files in the guest with their hashes.
    pub files: BTreeMap<String, String>,
    /// Devices that it serves.
    pub devices: Vec<String>,
}

/// All of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In order: what nothing refers to yet comes first, the SYSTEM hive last.
    pub edits: Vec<Edit>,
    /// What differs in each hive from before, by its path.
    pub registry: BTreeMap<String, Vec<Edited>>,
    /// What verification looks for.
    pub expected: Vec<Expected>,
    /// Devices that the machine will have and Windows must know before it starts.
    pub planned_devices: Vec<&'static str>,
    /// Whether the firmware will find a loader without its memory.
    pub fallback_loader: bool,
    /// Odd things.
    pub warnings: Vec<String>,
}

/// Gives the content of files by hash.
pub type Contents<'c> =
    dyn Fn(&BTreeSet<&str>) -> Result<BTreeMap<String, Vec<u8>>, CatalogueError> + 'c;

/// What a plan is made from.
pub struct Input<'i> {
    /// The filesystem of Windows.
    pub tree: &'i WindowsTree<'i>,
    /// The EFI system partition.
    pub esp: Option<&'i WindowsTree<'i>>,
    /// What Windows it is.
    pub system: &'i System,
    /// What is asked for.
    pub request: &'i InjectRequest,
    /// The catalogue of drivers.
    pub catalogue: &'i Catalogue,
    /// Gives the content of files of the catalogue, by hash.
    pub contents: &'i Contents<'i>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The guest is not touched.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The catalogue cannot be read.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

/// Decides everything; reads the guest and writes nothing.
pub fn plan(input: &Input, mut hives: Hives) -> Result<Plan, PlanError> {
    let mut planner = Planner {
        input,
        plan: Plan::default(),
        contents: BTreeMap::new(),
    };
    let mut chosen = planner.choose(&hives)?;
    let files = chosen.packages().flat_map(|package| &package.files);
    let wanted: BTreeSet<&str> = files.map(|file| file.hash.as_str()).collect();
    if !wanted.is_empty() {
        planner.contents = (input.contents)(&wanted)?;
    }
    planner.trust(&mut chosen, &hives)?;
    planner.drivers(&chosen, &mut hives)?;
    planner.settings(&chosen, &mut hives)?;
    planner.boot_loader()?;
    planner.warn(&hives);
    let Hives {
        system,
        software,
        drivers,
    } = hives;
    for hive in drivers.into_iter().chain([software, system]) {
        planner.put_hive(Volume::System, hive)?;
    }
    planner.check_room()?;
    Ok(planner.plan)
}

struct Planner<'i> {
    input: &'i Input<'i>,
    plan: Plan,
    contents: BTreeMap<String, Vec<u8>>,
}

impl<'i> Planner<'i> {
    fn drivers(&mut self, chosen: &Chosen, hives: &mut Hives) -> Result<(), Refusal> {
        let mut numbers = OemNumbers::taken(self.input.tree, &self.root(), hives);
        for package in &chosen.boot {
            let oem = self.stored(package, &mut numbers);
            let mut expected = self.boot_files(package);
            let owner = oem.map(boot::oem_name);
            let editor = &mut hives.system.editor;
            for set in &self.input.system.control_sets {
                let done = boot::add_boot_service(editor, set, package, owner.as_deref());
                done.map_err(|error| refusal(&hives.system.path, &error))?;
            }
            if let Some(oem) = oem {
                expected.extend(self.store(package, oem));
                let done =
                    boot::add_to_database(editor, package, oem, self.signer(package).as_ref());
                done.map_err(|error| refusal(&hives.system.path, &error))?;
            } else {
                for set in &self.input.system.control_sets {
                    let done = boot::add_critical_devices(editor, set, package);
                    done.map_err(|error| refusal(&hives.system.path, &error))?;
                }
            }
            self.expect(package, expected, true);
        }
        self.network_driver(chosen, hives, &mut numbers)?;
        for package in chosen.packages() {
            let folder = settings::package_folder(&package.driver).replace('\\', "/");
            let folder = format!("{}/{folder}", self.root());
            for file in &package.files {
                self.put(format!("{folder}/{}", file.name), &file.hash);
            }
        }
        Ok(())
    }

    /// The card can be found before the first log-in when its driver is known already.
    fn network_driver(
        &mut self,
        chosen: &Chosen,
        hives: &mut Hives,
        numbers: &mut OemNumbers,
    ) -> Result<(), Refusal> {
        let netkvm = chosen
            .rest
            .iter()
            .find(|package| package.driver == "netkvm");
        let (Some(package), Some(drivers)) = (netkvm, hives.drivers.as_mut()) else {
            return Ok(());
        };
        let Some(oem) = self.stored(package, numbers) else {
            return Ok(());
        };
        let signer = self.signer(package);
        let done = boot::add_to_database(&mut drivers.editor, package, oem, signer.as_ref());
        done.map_err(|error| refusal(&drivers.path, &error))?;
        let files = self.store(package, oem);
        self.expect(package, files, false);
        let target = &self.input.request;
        if target.target.nic == NicModel::Virtio && !target.nics.is_empty() {
            self.plan.planned_devices.push(NET_DEVICES[0]);
        }
        Ok(())
    }

    /// The number under which a driver is or will be in Windows's store.
    fn stored(&self, package: &Package, numbers: &mut OemNumbers) -> Option<u32> {
        let has_store = self.input.system.has_driver_database();
        has_store.then(|| numbers.number_of(package))
    }

    /// The program of a driver where its service looks for it.
    fn boot_files(&mut self, package: &Package) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        let program = package.inf.service().map(|(_, program)| program);
        for file in &package.files {
            if program.is_some_and(|program| program.eq_ignore_ascii_case(&file.name)) {
                let path = format!("{}/System32/drivers/{}", self.root(), file.name);
                files.insert(self.put(path, &file.hash), file.hash.clone());
            }
        }
        files
    }

    /// A driver in Windows's own store.
    fn store(&mut self, package: &Package, oem: u32) -> BTreeMap<String, String> {
        let folder = format!(
            "{}/System32/DriverStore/FileRepository/{}",
            self.root(),
            store_name(package)
        );
        let mut files = BTreeMap::new();
        for file in &package.files {
            files.insert(
                self.put(format!("{folder}/{}", file.name), &file.hash),
                file.hash.clone(),
            );
        }
        if let Some(inf) = package.inf_file() {
            let path = format!("{}/INF/{}", self.root(), boot::oem_name(oem));
            files.insert(self.put(path, &inf.hash), inf.hash.clone());
        }
        files
    }

    fn expect(&mut self, package: &Package, files: BTreeMap<String, String>, boots: bool) {
        if let Some((service, _)) = package.inf.service() {
            self.plan.expected.push(Expected {
                service: service.to_owned(),
                boots,
                files,
                devices: package
                    .inf
                    .devices
                    .iter()
                    .map(|device| device.id.clone())
                    .collect(),
            });
        }
    }

    fn settings(&mut self, chosen: &Chosen, hives: &mut Hives) -> Result<(), Refusal> {
        let (input, system) = (self.input, self.input.system);
        let editor = &mut hives.system.editor;
        let interfaces = static_interfaces(editor.hive(), &system.report.control_set);
        let ipv6 = static_ipv6(editor.hive(), &system.report.control_set);
        self.plan.warnings.extend(ipv6.iter().map(|address| {
            format!("the static address {address} of Windows is not set on the new card; set it and its gateway by hand")
        }));
        let assignments = assign(&interfaces, &input.request.nics, &mut self.plan.warnings);
        let mut warnings = Vec::new();
        let mut change = |editor: &mut Editor| -> Result<(), EditError> {
            for set in &system.control_sets {
                settings::adapt(editor, set, system, input.tree, &mut warnings)?;
                for inbox in chosen.inbox.into_iter() {
                    settings::enable_inbox_driver(editor, set, inbox)?;
                }
            }
            firstboot::add_service(editor, &system.report.control_set)
        };
        change(editor).map_err(|error| refusal(&hives.system.path, &error))?;
        warnings.dedup();
        self.plan.warnings.extend(warnings);
        if chosen.packages().next().is_some() {
            let drivers = chosen.packages().map(|package| package.driver.as_str());
            let done = settings::extend_driver_path(&mut hives.software.editor, drivers);
            done.map_err(|error| refusal(&hives.software.path, &error))?;
        }
        for (path, content) in firstboot::scripts(system, &assignments) {
            let path = format!("{}/{path}", self.root());
            self.write(Volume::System, path, content);
        }
        Ok(())
    }

    fn warn(&mut self, hives: &Hives) {
        let root = self.root();
        let recovery = [
            "Recovery/WindowsRE/winre.wim".to_owned(),
            format!("{root}/System32/Recovery/Winre.wim"),
        ];
        if recovery.iter().any(|path| self.input.tree.is_file(path)) {
            let text = "the recovery environment of Windows (winre.wim) keeps its own drivers and will not see virtio disks";
            self.plan.warnings.push(text.to_owned());
        }
        let policies = hives.software.editor.hive().root();
        let restrictions = policies
            .and_then(|key| key.at("Policies\\Microsoft\\Windows\\DeviceInstall\\Restrictions"));
        if restrictions.is_some_and(|key| !key.values().is_empty()) {
            let text = "a policy restricts the installation of devices: drivers beyond those for the disk may be turned away";
            self.plan.warnings.push(text.to_owned());
        }
    }

    fn root(&self) -> String {
        self.input.system.report.system_root.clone()
    }

    /// Plans a file of the catalogue; gives its path.
    fn put(&mut self, path: String, hash: &str) -> String {
        let path = self.input.tree.place(&path);
        let content = self.contents.get(hash).cloned().unwrap_or_default();
        self.write(Volume::System, path.clone(), content);
        path
    }

    /// Plans a file's content unless it is there already.
    fn write(&mut self, volume: Volume, path: String, content: Vec<u8>) {
        let tree = self.tree(volume);
        let path = tree.place(&path);
        let now = tree.root().read(&path, content.len() as u64).ok().flatten();
        if now.as_deref() != Some(content.as_slice()) {
            self.plan.edits.push(Edit::Write {
                volume,
                path,
                content,
            });
        }
    }

    fn put_hive(&mut self, volume: Volume, hive: GuestHive) -> Result<(), Refusal> {
        let GuestHive { path, logs, editor } = hive;
        if !editor.is_changed() {
            self.plan.registry.insert(path, Vec::new());
            return Ok(());
        }
        let (differences, content) = compared(self.tree(volume), &path, editor.finish())?;
        let unmeant = unmeant(&differences);
        if !unmeant.is_empty() {
            let detail = format!(
                "more would change in it than is meant: {}",
                unmeant.join("; ")
            );
            return Err(WindowsRefusal::HiveUnusable { hive: path, detail }.into());
        }
        self.plan.registry.insert(path.clone(), differences);
        self.plan.edits.push(Edit::Hive {
            volume,
            path,
            content,
            logs,
        });
        Ok(())
    }

    fn tree(&self, volume: Volume) -> &'i WindowsTree<'i> {
        match (volume, self.input.esp) {
            (Volume::Esp, Some(esp)) => esp,
            _ => self.input.tree,
        }
    }

    fn check_room(&self) -> Result<(), Refusal> {
        let of = |wanted: Volume| -> u64 {
            let sizes = self.plan.edits.iter().map(|edit| match edit {
                Edit::Write {
                    volume, content, ..
                }
                | Edit::Hive {
                    volume, content, ..
                } if *volume == wanted => content.len() as u64,
                _ => 0,
            });
            sizes.sum()
        };
        let mut volumes = vec![(
            "C:".to_owned(),
            self.input.tree,
            of(Volume::System),
            ROOM,
            INODES,
        )];
        volumes.extend(self.input.esp.map(|esp| {
            (
                "the EFI system partition".to_owned(),
                esp,
                of(Volume::Esp),
                0,
                0,
            )
        }));
        for (path, tree, planned, room, inodes) in volumes {
            if planned == 0 {
                continue;
            }
            let needed = planned + planned / 10 + room;
            let (free, free_inodes) = tree.root().free(".").unwrap_or((0, 0));
            if free < needed || free_inodes < inodes {
                return Err(Refusal::NoSpace { path, needed, free });
            }
        }
        Ok(())
    }
}
