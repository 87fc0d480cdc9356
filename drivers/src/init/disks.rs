//! The micro-VM's virtio disks and their partitions, from sysfs.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::raid_superblock::{self, RaidMember};
use super::superblock;
use crate::partition_table::{self, TableEntry};
use crate::report::Partition;

/// The serial number of the result disk; guest disks carry `lifeboat-N`.
pub(crate) const OUTPUT_SERIAL: &str = "lifeboat-out";

/// The serial number of the disk with the catalogue of Windows drivers.
pub(crate) const DRIVERS_SERIAL: &str = "lifeboat-drivers";

/// The serial number of the disk with the kit of tools.
pub(crate) const KIT_SERIAL: &str = "lifeboat-kit";

/// Everything that is attached.
pub(super) struct Attached {
    /// Guest disks in hardware order.
    pub disks: Vec<String>,
    /// The disk with the kit of tools.
    pub kit: Option<PathBuf>,
    /// The disk with the catalogue of Windows drivers.
    pub drivers: Option<PathBuf>,
    /// The result disk.
    pub output: PathBuf,
}

/// Waits until all disks are there.
pub(super) fn find(count: usize, kit: bool, drivers: bool) -> io::Result<Attached> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let expected = |attached: &Attached| {
            attached.kit.is_some() == kit && attached.drivers.is_some() == drivers
        };
        match by_serial(count).filter(expected) {
            Some(attached) => return Ok(attached),
            None if Instant::now() > end => {
                return Err(io::Error::other(format!(
                    "not all of {count} disks appeared"
                )));
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn by_serial(count: usize) -> Option<Attached> {
    let mut disks = vec![None; count];
    let (mut output, mut kit, mut drivers) = (None, None, None);
    for entry in fs::read_dir("/sys/block").ok()?.flatten() {
        let name = entry.file_name().into_string().ok()?;
        let serial = fs::read_to_string(entry.path().join("serial")).unwrap_or_default();
        let serial = serial.trim();
        if serial == OUTPUT_SERIAL {
            output = Some(Path::new("/dev").join(&name));
        } else if serial == KIT_SERIAL {
            kit = Some(Path::new("/dev").join(&name));
        } else if serial == DRIVERS_SERIAL {
            drivers = Some(Path::new("/dev").join(&name));
        } else if let Some(number) = serial.strip_prefix("lifeboat-") {
            let place = number
                .parse::<usize>()
                .ok()
                .and_then(|number| disks.get_mut(number));
            if let Some(place) = place {
                *place = Some(name);
            }
        }
    }
    Some(Attached {
        disks: disks.into_iter().collect::<Option<Vec<_>>>()?,
        kit,
        drivers,
        output: output?,
    })
}

/// A partition with its device.
pub(super) struct Found {
    /// What the report says.
    pub partition: Partition,
    /// `/dev/vda1`.
    pub device: PathBuf,
    /// What it says of the array that it belongs to.
    pub raid: Option<RaidMember>,
}

/// All partitions of all disks; a disk without any counts as one itself.
pub(super) fn partitions(attached: &Attached) -> io::Result<Vec<Found>> {
    let mut all = Vec::new();
    for (disk, name) in attached.disks.iter().enumerate() {
        add_disk(disk, name, &mut all)?;
    }
    all.sort_by_key(|found| (found.partition.disk, found.partition.number));
    Ok(all)
}

fn add_disk(disk: usize, name: &str, all: &mut Vec<Found>) -> io::Result<()> {
    let whole = recognise(
        Partition {
            disk,
            ..Partition::default()
        },
        name,
    )?;
    // Partitions of a disk that is a member of an array are the array's.
    if whole.raid.is_some() {
        all.push(whole);
        return Ok(());
    }
    let table = partition_table::read(&mut File::open(&whole.device)?)?;
    let before = all.len();
    for entry in fs::read_dir(Path::new("/sys/block").join(name))?.flatten() {
        let part = entry.file_name().to_string_lossy().into_owned();
        if let Ok(number) = number_in(&entry.path().join("partition")) {
            all.push(partition(disk, number as u32, &part, &table)?);
        }
    }
    if all.len() == before {
        all.push(whole);
    }
    Ok(())
}

fn number_in(path: &Path) -> io::Result<u64> {
    fs::read_to_string(path)?
        .trim()
        .parse()
        .map_err(io::Error::other)
}

fn partition(disk: usize, number: u32, name: &str, table: &[TableEntry]) -> io::Result<Found> {
    let entry = table.iter().find(|entry| entry.number == number);
    let place = Partition {
        disk,
        number,
        part_uuid: entry.and_then(|entry| entry.part_uuid.clone()),
        part_label: entry.and_then(|entry| entry.part_label.clone()),
        efi_system: entry.is_some_and(|entry| entry.efi_system),
        ..Partition::default()
    };
    let mut found = recognise(place, name)?;
    // What a volume manager of Windows holds may look like a filesystem and be only a part of one.
    if let Some(manager) = entry.and_then(|entry| entry.managed) {
        found.partition.filesystem = Some(manager.to_owned());
    }
    // An extended partition is a few sectors that only hold the logical ones.
    if found.partition.bytes <= 4096 {
        (found.partition.filesystem, found.raid) = (None, None);
    }
    Ok(found)
}

/// A volume made of partitions: an array or a logical volume.
pub(super) fn volume(place: Partition, name: &str) -> io::Result<Found> {
    recognise(place, name)
}

/// Looks at what the device holds.
fn recognise(mut partition: Partition, name: &str) -> io::Result<Found> {
    let device = Path::new("/dev").join(name);
    let mut file = File::open(&device)?;
    let bytes = file.seek(SeekFrom::End(0))?;
    let beginning = read_at(&mut file, 0, superblock::LOOKED_AT as u64)?;
    let tail = bytes.saturating_sub(raid_superblock::TAIL);
    let tail = read_at(&mut file, tail, raid_superblock::TAIL)?;
    let raid = raid_superblock::raid_member(&beginning, &tail, bytes);
    let content = superblock::recognise(&beginning).unwrap_or_default();
    partition.bytes = bytes;
    partition.filesystem = (!content.kind.is_empty()).then_some(content.kind);
    (partition.uuid, partition.label) = (content.uuid, content.label);
    if raid.is_some() {
        // With its superblock at the end a member looks like what the array holds.
        partition.filesystem = Some("raid".to_owned());
        (partition.uuid, partition.label) = (None, None);
    }
    Ok(Found {
        partition,
        device,
        raid,
    })
}

fn read_at(file: &mut File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(offset))?;
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}
