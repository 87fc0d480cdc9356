//! Mounting the guest's filesystems below one directory, read-only at first.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::disks::Found;
use super::kernel_log;
use super::root_search::{self, RootPlace};
use super::tools::Tools;
use crate::guest::arrays::ArrayNames;
use crate::guest::boot_loader;
use crate::guest::fstab::{is_called, starts_without};
use crate::guest::identity::{DeviceMap, named_by_uuid};
use crate::guest::root::Root;
use crate::refusal::Refusal;
use crate::report::Partition;

const GUEST: &str = "/guest";
/// Nothing in a guest is run or used as a device.
const HARMLESS: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);
/// Where the files that matter may lie on filesystems of their own.
const MOUNTED: [&str; 8] = [
    "/usr",
    "/boot",
    "/boot/efi",
    "/efi",
    "/etc",
    "/var",
    "/var/log",
    "/var/lib",
];

/// Those of them without which nothing can be prepared.
const ESSENTIAL: [&str; 3] = ["/usr", "/boot", "/etc"];

/// The mounted guest.
pub(super) struct Guest {
    /// Index of the root among all partitions.
    pub root: usize,
    mounts: Vec<Mount>,
}

struct Mount {
    device: PathBuf,
    target: PathBuf,
    kind: String,
    options: String,
}

/// Finds the root filesystem and mounts all that belongs to it.
pub(super) fn mount_guest(
    found: &[Found],
    problems: &[Refusal],
    tools: &Tools,
    warnings: &mut Vec<String>,
) -> Result<Guest, Refusal> {
    let _ = fs::create_dir(GUEST);
    let RootPlace {
        index: root,
        options,
        ..
    } = root_search::find(found, problems, tools, warnings)?;
    let mut guest = Guest {
        root,
        mounts: Vec::new(),
    };
    let partition = &found[root].partition;
    let target = PathBuf::from(GUEST);
    guest
        .add(&found[root], target, &options, tools, warnings)
        .map_err(|error| Refusal::UnsupportedFilesystem {
            partition: name(partition),
            filesystem: partition.filesystem.clone().unwrap_or_default(),
            detail: error.to_string(),
        })?;
    guest.mount_by_fstab(found, tools, warnings)?;
    Ok(guest)
}

impl Guest {
    /// The guest's root directory.
    pub(super) fn open(&self) -> io::Result<Root> {
        Root::open(Path::new(GUEST))
    }

    /// Makes every mount writable.
    pub(super) fn make_writable(&self) -> io::Result<()> {
        for each in &self.mounts {
            each.remount(HARMLESS)?;
        }
        Ok(())
    }

    /// Writes everything out, lets go, and mounts again for looking only.
    pub(super) fn mount_again(&self) -> io::Result<()> {
        self.unmount()?;
        for each in &self.mounts {
            each.mount(HARMLESS | MsFlags::MS_RDONLY)?;
        }
        Ok(())
    }

    /// Writes everything out and lets go.
    pub(super) fn unmount(&self) -> io::Result<()> {
        nix::unistd::sync();
        for each in self.mounts.iter().rev() {
            umount2(&each.target, MntFlags::empty())?;
        }
        Ok(())
    }

    /// Mounts something for a look at it.
    pub(super) fn probe(found: &Found, options: &str, tools: &Tools) -> io::Result<Self> {
        let mut probe = Self {
            root: 0,
            mounts: Vec::new(),
        };
        probe.add(found, PathBuf::from(GUEST), options, tools, &mut Vec::new())?;
        Ok(probe)
    }

    fn add(
        &mut self,
        found: &Found,
        target: PathBuf,
        options: &str,
        tools: &Tools,
        warnings: &mut Vec<String>,
    ) -> io::Result<()> {
        let kind =
            driver(&found.partition).ok_or_else(|| io::Error::other("unknown filesystem"))?;
        tools.load(kind)?;
        let mut new = Mount {
            device: found.device.clone(),
            target,
            kind: kind.to_owned(),
            options: options.to_owned(),
        };
        if let Err(error) = new.mount(HARMLESS | MsFlags::MS_RDONLY) {
            let error = with_kernel_message(error, &new.device);
            // A journal can only be replayed where it can be written.
            let without_replay = match kind {
                "ext4" if !tools.writable() => "noload",
                "xfs" if !tools.writable() => "norecovery",
                _ => return Err(error),
            };
            new.options = [options, without_replay]
                .join(",")
                .trim_matches(',')
                .to_owned();
            new.mount(HARMLESS | MsFlags::MS_RDONLY)
                .map_err(|_| error)?;
            warnings.push(format!(
                "{} was not unmounted cleanly and is read without its journal",
                name(&found.partition)
            ));
        }
        self.mounts.push(new);
        Ok(())
    }

    fn mount_by_fstab(
        &mut self,
        found: &[Found],
        tools: &Tools,
        warnings: &mut Vec<String>,
    ) -> Result<(), Refusal> {
        let Ok(root) = self.open() else {
            return Ok(());
        };
        let fstab = root.text("etc/fstab");
        let entries: Vec<Vec<&str>> = fstab
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|fields| fields.len() >= 3)
            .collect();
        let root_of = (
            found[self.root].partition.disk,
            found[self.root].partition.number,
        );
        let partitions: Vec<Partition> = found.iter().map(|each| each.partition.clone()).collect();
        let name_of_root = boot_loader::name_of_root(&root);
        let map = DeviceMap::new(&partitions, root_of).knowing_root_name(name_of_root.as_deref());
        let named = named_by_uuid(&fstab);
        let arrays = ArrayNames::of_guest(&root);
        for wanted in MOUNTED {
            let Some(fields) = entries
                .iter()
                .find(|fields| fields[1].trim_end_matches('/') == wanted)
            else {
                continue;
            };
            let Some(partition) = by_line(found, fields, &map, &named, &arrays) else {
                if ESSENTIAL.contains(&wanted) && !starts_without(fields) {
                    return Err(Refusal::MissingFilesystem {
                        mount: wanted.to_owned(),
                        device: fields[0].to_owned(),
                    });
                }
                warnings.push(format!(
                    "{wanted} of the guest is on {}, which is on no captured partition",
                    fields[0]
                ));
                continue;
            };
            let options = fields.get(3).copied().unwrap_or_default();
            let options: Vec<&str> = options
                .split(',')
                .filter(|option| option.starts_with("subvol"))
                .collect();
            // The directory is resolved inside the guest: a link cannot lead out.
            let Some(target) = directory_inside(&root, wanted) else {
                continue;
            };
            if let Err(error) = self.add(partition, target, &options.join(","), tools, warnings) {
                warnings.push(unmounted(wanted, &partition.partition, &error)?);
            }
        }
        self.mount_efi_system(&root, found, tools, warnings);
        Ok(())
    }

    /// Some guests mount it by what it is, without a line in fstab.
    fn mount_efi_system(
        &mut self,
        root: &Root,
        found: &[Found],
        tools: &Tools,
        warnings: &mut Vec<String>,
    ) {
        let disk = found[self.root].partition.disk;
        let mut all = found.iter().filter(|each| each.partition.efi_system);
        let Some(system) = all.find(|each| each.partition.disk == disk) else {
            return;
        };
        if self
            .mounts
            .iter()
            .any(|known| known.device == system.device)
        {
            return;
        }
        let mut places = ["boot/efi", "efi"].into_iter();
        let place = places.find(|place| root.is_directory(place) && root.list(place).is_empty());
        let Some(target) = place.and_then(|place| directory_inside(root, place)) else {
            return;
        };
        if let Err(error) = self.add(system, target, "", tools, warnings) {
            warnings.push(format!(
                "the EFI system partition cannot be mounted: {error}"
            ));
        }
    }
}

/// What to say of a filesystem that is there and cannot be mounted. Where files
/// matter, those below its mount point would be taken for the guest's.
fn unmounted(mount: &str, partition: &Partition, error: &io::Error) -> Result<String, Refusal> {
    if ESSENTIAL.contains(&mount) {
        return Err(Refusal::UnsupportedFilesystem {
            partition: format!("{} ({mount} of the guest)", name(partition)),
            filesystem: partition.filesystem.clone().unwrap_or_default(),
            detail: error.to_string(),
        });
    }
    Ok(format!("{mount} of the guest cannot be mounted: {error}"))
}

impl Mount {
    fn mount(&self, flags: MsFlags) -> io::Result<()> {
        let options = (!self.options.is_empty()).then_some(self.options.as_str());
        Ok(mount(
            Some(&self.device),
            &self.target,
            Some(self.kind.as_str()),
            flags,
            options,
        )?)
    }

    fn remount(&self, flags: MsFlags) -> io::Result<()> {
        let flags = flags | MsFlags::MS_REMOUNT;
        Ok(mount(
            None::<&str>,
            &self.target,
            None::<&str>,
            flags,
            None::<&str>,
        )?)
    }
}

fn directory_inside(root: &Root, path: &str) -> Option<PathBuf> {
    let real = root.real_directory(path)?;
    Some(Path::new(GUEST).join(real))
}

/// Whether a device is mounted anywhere.
pub(super) fn is_mounted(device: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mut devices = mounts.lines().filter_map(|line| line.split(' ').next());
    devices.any(|mounted| Path::new(mounted) == device)
}

/// `disk 0 partition 1`, for people.
pub(super) fn name(partition: &Partition) -> String {
    if let Some(volume) = &partition.volume {
        return volume.clone();
    }
    match partition.number {
        0 => format!("disk {}", partition.disk),
        number => format!("partition {number} of disk {}", partition.disk),
    }
}

/// The kernel tells its log, and nobody else, what it does not like.
fn with_kernel_message(error: io::Error, device: &Path) -> io::Error {
    let name = fs::canonicalize(device).unwrap_or_else(|_| device.to_owned());
    let name = name.file_name().unwrap_or_default().to_string_lossy();
    match kernel_log::last_about(&name) {
        Some(message) => io::Error::new(error.kind(), format!("{error}: {message}")),
        None => error,
    }
}

/// The driver that mounts a filesystem.
pub(super) fn driver(partition: &Partition) -> Option<&'static str> {
    match partition.filesystem.as_deref()? {
        "ext2" | "ext3" | "ext4" => Some("ext4"),
        "xfs" => Some("xfs"),
        "btrfs" => Some("btrfs"),
        "vfat" => Some("vfat"),
        _ => None,
    }
}

/// The partition that a line of fstab means.
fn by_line<'a>(
    found: &'a [Found],
    fields: &[&str],
    map: &DeviceMap,
    named: &BTreeSet<&str>,
    arrays: &ArrayNames,
) -> Option<&'a Found> {
    let stable = map.meant_by_line(fields, named);
    let specification = stable.as_deref().unwrap_or(fields[0]).replace('"', "");
    let names = found.iter().map(|each| each.partition.names.as_slice());
    if let Some(volume) = arrays.meant(&specification, names) {
        return found.get(volume);
    }
    let mut all = found.iter();
    all.find(|each| is_called(&each.partition, &specification))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_fstab_mean_partitions_and_volumes() {
        let partition = |number, label: &str, names: &[&str]| Found {
            partition: Partition {
                number,
                part_label: Some(label.to_owned()),
                names: names.iter().map(|name| (*name).to_owned()).collect(),
                ..Partition::default()
            },
            device: PathBuf::new(),
            raid: None,
        };
        let id = "/dev/disk/by-id/md-uuid-1:2:3:4";
        let found = [
            partition(1, "Boot disk", &[]),
            partition(2, "boot disk", &["/dev/md/x", id]),
        ];
        let arrays = ArrayNames::parse("ARRAY /dev/md/usr UUID=1:2:3:4");
        let meant = |device: &str| {
            let map = DeviceMap::new(&[], (0, 0));
            let fields = [device, "/usr", "ext4"];
            by_line(&found, &fields, &map, &BTreeSet::new(), &arrays)
                .map(|each| each.partition.number)
        };
        assert_eq!(meant("PARTLABEL=Boot\\040disk"), Some(1));
        assert_eq!(meant("/dev/disk/by-partlabel/boot\\x20disk"), Some(2));
        assert_eq!(meant("PARTLABEL=other"), None);
        for array in ["/dev/md127", "/dev/md/usr", "/dev/md/x", "/dev/md/host:x"] {
            assert_eq!(meant(array), Some(2), "{array}");
        }
        assert_eq!(meant("/dev/md/other"), None);
    }

    #[test]
    fn old_files_below_a_mount_point_are_not_taken_for_the_guests() {
        let partition = Partition {
            number: 1,
            filesystem: Some("f2fs".to_owned()),
            ..Partition::default()
        };
        let error = io::Error::other("unknown");
        for mount in ESSENTIAL {
            let refusal = unmounted(mount, &partition, &error).unwrap_err();
            let text = refusal.to_string();
            assert!(text.starts_with("partition 1 of disk 0 ("), "{text}");
        }
        assert!(unmounted("/var/log", &partition, &error).is_ok());
    }
}
