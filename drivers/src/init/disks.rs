//! The micro-VM's virtio disks and their partitions, from sysfs.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::superblock;
use crate::partition_table::{self, TableEntry};
use crate::report::Partition;

/// The serial number of the result disk; guest disks carry `lifeboat-N`.
pub(crate) const OUTPUT_SERIAL: &str = "lifeboat-out";

/// Everything that is attached.
pub(super) struct Attached {
    /// Guest disks in hardware order.
    pub disks: Vec<String>,
    /// The result disk.
    pub output: PathBuf,
}

/// Waits until all disks are there.
pub(super) fn find(count: usize) -> io::Result<Attached> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        match by_serial(count) {
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
    let mut output = None;
    for entry in fs::read_dir("/sys/block").ok()?.flatten() {
        let name = entry.file_name().into_string().ok()?;
        let serial = fs::read_to_string(entry.path().join("serial")).unwrap_or_default();
        let serial = serial.trim();
        if serial == OUTPUT_SERIAL {
            output = Some(Path::new("/dev").join(&name));
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
        output: output?,
    })
}

/// A partition with its device.
pub(super) struct Found {
    /// What the report says.
    pub partition: Partition,
    /// `/dev/vda1`.
    pub device: PathBuf,
}

/// All partitions of all disks; a disk without any counts as one itself.
pub(super) fn partitions(attached: &Attached) -> io::Result<Vec<Found>> {
    let mut all = Vec::new();
    for (disk, name) in attached.disks.iter().enumerate() {
        let directory = Path::new("/sys/block").join(name);
        let table = partition_table::read(&mut File::open(Path::new("/dev").join(name))?)?;
        let before = all.len();
        for entry in fs::read_dir(&directory)?.flatten() {
            let part = entry.file_name().to_string_lossy().into_owned();
            let Ok(number) = number_in(&entry.path().join("partition")) else {
                continue;
            };
            let sectors = number_in(&entry.path().join("size"))?;
            all.push(describe(disk, number as u32, sectors, &part, &table)?);
        }
        if all.len() == before {
            let sectors = number_in(&directory.join("size"))?;
            all.push(describe(disk, 0, sectors, name, &table)?);
        }
    }
    all.sort_by_key(|found| (found.partition.disk, found.partition.number));
    Ok(all)
}

fn number_in(path: &Path) -> io::Result<u64> {
    fs::read_to_string(path)?
        .trim()
        .parse()
        .map_err(io::Error::other)
}

fn describe(
    disk: usize,
    number: u32,
    sectors: u64,
    name: &str,
    table: &[TableEntry],
) -> io::Result<Found> {
    let device = Path::new("/dev").join(name);
    let entry = table.iter().find(|entry| entry.number == number);
    let bytes = sectors * 512;
    // An extended partition is a few sectors that only hold the logical ones.
    let content =
        superblock::recognise(&beginning(&device)?).filter(|_| number == 0 || bytes > 4096);
    let content = content.unwrap_or_default();
    let partition = Partition {
        disk,
        number,
        bytes,
        filesystem: (!content.kind.is_empty()).then_some(content.kind),
        uuid: content.uuid,
        label: content.label,
        part_uuid: entry.and_then(|entry| entry.part_uuid.clone()),
        efi_system: entry.is_some_and(|entry| entry.efi_system),
    };
    Ok(Found { partition, device })
}

fn beginning(device: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(device)?;
    file.take(superblock::LOOKED_AT as u64)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}
