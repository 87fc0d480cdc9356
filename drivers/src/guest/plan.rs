//! What to change in a guest: decided first and whole, carried out after.

use std::collections::BTreeSet;

use super::apply::LARGEST_REPLACED;
use super::arrays::ArrayNames;
use super::boot_loader;
use super::budget::Budget;
use super::config_text::ConfigText;
use super::facts::{self, has_cloud_init};
use super::identity::DeviceMap;
use super::kernels::KernelImage;
use super::network::{Knowledge, links};
use super::root::Root;
use super::table_edit::Edited;
use super::{changeable, fallback_loader, named, rebuilds, room, supplements, volumes};
use crate::initrd::supplement::MARKER;
use crate::refusal::Refusal;
use crate::report::{Firmware, GuestReport, InjectRequest};

/// A file has no more to say than that.
const MOST_NAMES_LEFT: usize = 20;

/// One change to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Add bytes at the end of a file of this size.
    Append {
        /// Path in the guest.
        path: String,
        /// Size before.
        size: u64,
        /// Hashes before and after.
        hashes: (String, String),
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Give a file this content.
    Write {
        /// Path in the guest.
        path: String,
        /// The whole content.
        content: Vec<u8>,
    },
    /// Make a symbolic link.
    Link {
        /// Path in the guest.
        path: String,
        /// Where it points to.
        target: String,
    },
    /// Remove a file.
    Remove {
        /// Path in the guest.
        path: String,
    },
    /// Move a file aside, out of the sight of what reads it.
    Move {
        /// Path in the guest.
        path: String,
        /// Its new path, in the same directory.
        to: String,
    },
}

impl Edit {
    /// Path in the guest of what is changed.
    pub fn path(&self) -> &str {
        match self {
            Self::Append { path, .. }
            | Self::Write { path, .. }
            | Self::Link { path, .. }
            | Self::Remove { path }
            | Self::Move { path, .. } => path,
        }
    }
}

/// All edits of a guest, and warnings that arose on the way.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In order.
    pub edits: Vec<Edit>,
    /// Odd things.
    pub warnings: Vec<String>,
    /// MAC addresses in the order in which the cards are best attached.
    pub cards: Vec<String>,
    /// How much it may be: it is held in memory until it is written.
    pub budget: Budget,
}

/// Units of foreign hypervisors and hardware agents, which only wait or fail here.
const FOREIGN_UNITS: [&str; 21] = [
    "vmtoolsd.service",
    "open-vm-tools.service",
    "vgauth.service",
    "vgauthd.service",
    "vboxadd.service",
    "vboxadd-service.service",
    "xe-daemon.service",
    "xe-linux-distribution.service",
    "hv-kvp-daemon.service",
    "hv-vss-daemon.service",
    "hv-fcopy-daemon.service",
    "hv_kvp_daemon.service",
    "hv_vss_daemon.service",
    "hv_fcopy_daemon.service",
    "hypervkvpd.service",
    "hypervvssd.service",
    "hypervfcopyd.service",
    "prltoolsd.service",
    "hpasmlite.service",
    "hp-health.service",
    "dsm_sa_datamgrd.service",
];

/// Decides everything. Reads the guest and writes nothing.
pub fn plan(
    root: &Root,
    guest: &GuestReport,
    kernels: &[KernelImage],
    request: &InjectRequest,
) -> Result<Plan, Refusal> {
    plan_within(root, guest, kernels, request, Budget::default())
}

/// Like [`plan`], with what the micro-VM has memory for.
pub fn plan_within(
    root: &Root,
    guest: &GuestReport,
    kernels: &[KernelImage],
    request: &InjectRequest,
    budget: Budget,
) -> Result<Plan, Refusal> {
    if guest.firmware == Firmware::Uefi
        && let Some(architecture) = facts::foreign_firmware(root)
    {
        return Err(Refusal::ForeignArchitecture { architecture });
    }
    let mut partitions = guest.partitions.iter();
    if let Some(image) = partitions.find(|one| one.filesystem.as_deref() == Some("hibernation")) {
        let partition = format!("disk {} partition {}", image.disk, image.number);
        return Err(Refusal::Hibernated { partition });
    }
    let mut plan = Plan {
        budget,
        ..Plan::default()
    };
    let links = links::decide(
        &Knowledge::of_guest(root)?,
        &request.nics,
        request.target.nic,
    )?;
    plan.warnings.extend(links.warnings);
    plan.cards = links.cards.iter().map(|(mac, _)| mac.clone()).collect();
    let root_name = boot_loader::name_of_root(root);
    let map = DeviceMap::of_guest(guest, kernels)
        .knowing_root_name(root_name.as_deref())
        .knowing_arrays(ArrayNames::of_guest(root));
    let storage = volumes::Storage::of_guest(root, request.target.disk);
    supplements::plan(
        root,
        kernels,
        request,
        &links.files,
        &map,
        &storage,
        &mut plan,
    )?;
    rebuilds::plan(root, kernels, request.target, &mut plan);
    storage.plan(root, &mut plan);
    plan_identities(root, &map, &mut plan)?;
    judge_identities(root, &map, &mut plan)?;
    for (name, content) in &links.files {
        plan.ensure(
            root,
            &format!("etc/systemd/network/{name}"),
            content.as_bytes(),
        );
    }
    plan_old_rules(root, &links.cards, &mut plan);
    plan_cloud_init(root, &mut plan);
    plan_masks(root, &mut plan);
    fallback_loader::plan(root, guest, &mut plan)?;
    plan.check_size()?;
    changeable::check(root, &plan)?;
    room::check(root, &plan)?;
    Ok(plan)
}

impl Plan {
    /// Plans a file's content unless it is there already.
    pub(super) fn ensure(&mut self, root: &Root, path: &str, content: &[u8]) {
        let now = root.read(path, content.len() as u64).ok().flatten();
        if now.as_deref() != Some(content) {
            self.edits.push(Edit::Write {
                path: path.to_owned(),
                content: content.to_vec(),
            });
        }
    }

    /// Refuses what would be more than can be held.
    pub(super) fn check_size(&self) -> Result<(), Refusal> {
        let written = self.edits.iter().map(|edit| match edit {
            Edit::Append { bytes, .. } => bytes.len() as u64,
            Edit::Write { content, .. } => content.len() as u64,
            Edit::Link { .. } | Edit::Remove { .. } | Edit::Move { .. } => 0,
        });
        match written.sum::<u64>() > self.budget.edits {
            true => Err(Refusal::TooMuch {
                what: "boot files to change".to_owned(),
                limit: self.budget.edits >> 20,
                by_memory: true,
            }),
            false => Ok(()),
        }
    }

    /// Plans the edit of a text file, where there is one.
    pub(super) fn edit(&mut self, root: &Root, path: &str, edit: impl FnOnce(&str) -> Edited) {
        match ConfigText::read(root, path) {
            Ok(Some(file)) => self.edit_text(path, &file, edit),
            Ok(None) => {}
            Err(error) => self.leave(path, &error),
        }
    }

    /// Plans the edit of a text file that counts as empty where there is none.
    pub(super) fn edit_or_create(
        &mut self,
        root: &Root,
        path: &str,
        edit: impl FnOnce(&str) -> String,
    ) {
        let edit = |text: &str| Edited {
            text: edit(text),
            ..Edited::default()
        };
        match ConfigText::read(root, path) {
            Ok(file) => self.edit_text(path, &file.unwrap_or_default(), edit),
            Err(error) => self.leave(path, &error),
        }
    }

    /// The text of a file as it will be.
    fn text_after(&self, root: &Root, path: &str) -> String {
        let written = self.edits.iter().rev().find_map(|edit| match edit {
            Edit::Write {
                path: known,
                content,
            } if known == path => Some(String::from_utf8_lossy(content).into_owned()),
            _ => None,
        });
        written.unwrap_or_else(|| root.text_of(path, LARGEST_REPLACED))
    }

    fn leave(&mut self, path: &str, error: &std::io::Error) {
        self.warnings
            .push(format!("/{path} is left as it is: {error}"));
    }

    fn edit_text(&mut self, path: &str, file: &ConfigText, edit: impl FnOnce(&str) -> Edited) {
        let edited = edit(&file.text);
        let optional = edited.made_optional.into_iter().take(MOST_NAMES_LEFT);
        self.warnings.extend(optional.map(|(mount, device)| {
            format!(
                "/{path}: {mount:?} is on {device:?}, which no captured partition has; \
                 the guest now starts without it (nofail)"
            )
        }));
        let left = edited.left.into_iter().take(MOST_NAMES_LEFT);
        self.warnings
            .extend(left.map(|name| format!("/{path}: {name:?} names no captured partition")));
        if edited.text != file.text {
            self.edits.push(Edit::Write {
                path: path.to_owned(),
                content: file.encode(&edited.text),
            });
        }
    }
}

fn plan_identities(root: &Root, map: &DeviceMap, plan: &mut Plan) -> Result<(), Refusal> {
    plan.edit(root, "etc/fstab", |text| map.edit_fstab(text));
    plan.edit(root, "etc/crypttab", |text| map.edit_crypttab(text));
    for path in boot_loader::argument_files(root) {
        plan.edit(root, &path, |text| boot_loader::edit(map, text));
        plan.check_size()?;
    }
    for path in named::mount_units(root) {
        plan.edit(root, &path, |text| map.edit_arguments(text));
        plan.check_size()?;
    }
    if root.exists("etc/lilo.conf") && !root.is_directory("boot/grub") {
        plan.warnings.push(
            "LILO keeps the name of the root in a map of its own, which cannot be edited; \
             it must not depend on the hardware"
                .to_owned(),
        );
    }
    // Where one is a link to the other, what it leads to is removed: the link
    // is as it was when that comes back.
    let maps = ["boot/grub/device.map", "boot/grub2/device.map"];
    let maps = maps.iter().filter_map(|path| {
        let file = root.open_file(path).ok()??;
        root.real_path(&file)
    });
    let maps: BTreeSet<String> = maps.collect();
    plan.edits
        .extend(maps.into_iter().map(|path| Edit::Remove { path }));
    Ok(())
}

/// Refuses what would not start, while nothing is written yet.
fn judge_identities(root: &Root, map: &DeviceMap, plan: &mut Plan) -> Result<(), Refusal> {
    let judgement = named::judge(root, map, |path| plan.text_after(root, path));
    if let Some(first) = judgement.missing.into_iter().next() {
        let kernel = map.bare_kernel_without_root().filter(|_| map.is_all_bare());
        return Err(match kernel {
            Some(kernel) if first.mount == "/" && first.path != "etc/fstab" => {
                Refusal::RootWithoutName {
                    kernel: kernel.to_owned(),
                    device: first.device,
                }
            }
            _ => Refusal::MissingFilesystem {
                mount: first.mount,
                device: first.device,
            },
        });
    }
    plan.warnings.extend(judgement.warnings);
    if let Some(kernel) = map
        .bare_kernel_without_root()
        .filter(|_| !map.is_all_bare())
    {
        plan.warnings.push(format!(
            "{kernel:?} starts without an initramfs, but the root has no PARTUUID by which it \
             would find it; only the other kernels start"
        ));
    }
    Ok(())
}

/// Guests whose udev wrote rules for each new card know no `.link` files, or
/// would give the names to the next card.
fn plan_old_rules(root: &Root, cards: &[(String, String)], plan: &mut Plan) {
    let generators = [
        "lib/udev/write_net_rules",
        "lib/udev/rules.d/75-persistent-net-generator.rules",
    ];
    if cards.is_empty() || !generators.iter().any(|path| root.exists(path)) {
        return;
    }
    let path = "etc/udev/rules.d/70-persistent-net.rules";
    plan.edit_or_create(root, path, |text| links::persistent_rules(text, cards));
}

/// A changed data source makes cloud-init write the network configuration anew.
fn plan_cloud_init(root: &Root, plan: &mut Plan) {
    if has_cloud_init(root) {
        let content = format!("{MARKER}\nnetwork: {{config: disabled}}\n");
        plan.ensure(
            root,
            "etc/cloud/cloud.cfg.d/99-keep-network.cfg",
            content.as_bytes(),
        );
    }
}

fn plan_masks(root: &Root, plan: &mut Plan) {
    for unit in FOREIGN_UNITS {
        let installed = ["usr/lib/systemd/system", "lib/systemd/system"]
            .iter()
            .any(|directory| root.exists(&format!("{directory}/{unit}")));
        let path = format!("etc/systemd/system/{unit}");
        if installed && root.link_target(&path).is_none() && !root.exists(&path) {
            plan.edits.push(Edit::Link {
                path,
                target: "/dev/null".to_owned(),
            });
        }
    }
}
