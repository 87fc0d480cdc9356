//! Software RAID: which devices belong together, and putting them together.
//!
//! Arrays start so that nothing is written before the plan is made, and a
//! resynchronisation never begins here: it would copy the whole disk into the
//! overlay. The guest goes on with it when it boots.

use std::fs;
use std::path::{Path, PathBuf};

use super::disks::{self, Found};
use super::mounts::name;
use super::raid_superblock::{RaidMember, raid_uuid};
use super::tools::Tools;
use crate::refusal::Refusal;
use crate::report::Partition;

/// Devices that belong to one array.
struct Array<'a> {
    member: &'a RaidMember,
    devices: Vec<&'a Found>,
}

/// Arrays of this micro-VM, to be stopped in the end.
#[derive(Default)]
pub(super) struct Arrays(Vec<PathBuf>);

/// Starts every array that is complete enough; gives what they hold, and why
/// the others were left alone.
pub(super) fn assemble(
    found: &[Found],
    tools: &Tools,
    problems: &mut Vec<Refusal>,
    warnings: &mut Vec<String>,
) -> (Arrays, Vec<Found>) {
    let mut started = Arrays::default();
    let mut new = Vec::new();
    for (index, array) in arrays(found).iter().enumerate() {
        let device = PathBuf::from(format!("/dev/md{index}"));
        match start(array, &device, tools, warnings) {
            Ok(()) => {
                new.extend(contents(array, &device));
                started.0.push(device);
            }
            Err(refusal) => problems.push(refusal),
        }
    }
    (started, new)
}

impl Arrays {
    /// Stops all arrays, which marks them clean.
    pub(super) fn stop(&self, tools: &Tools) {
        for device in self.0.iter().rev() {
            // A filesystem that could not be unmounted keeps it; it is only less clean.
            let _ = tools
                .kit
                .run("mdadm", &["--stop", &device.to_string_lossy()]);
        }
    }
}

fn arrays(found: &[Found]) -> Vec<Array<'_>> {
    let mut arrays: Vec<Array> = Vec::new();
    for each in found {
        let Some(member) = &each.raid else { continue };
        match arrays
            .iter_mut()
            .find(|array| array.member.set == member.set)
        {
            Some(array) => array.devices.push(each),
            None => arrays.push(Array {
                member,
                devices: vec![each],
            }),
        }
    }
    arrays
}

fn start(
    array: &Array,
    device: &Path,
    tools: &Tools,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    let first = name(&array.devices[0].partition);
    let needed = array.member.disks as usize;
    let members = array.devices.iter().filter_map(|each| each.raid.as_ref());
    let present = members.filter(|member| member.active).count();
    let partial = !is_complete_enough(array.member, present);
    let refuse = |detail: String| Refusal::Raid {
        partition: first.clone(),
        detail,
        partial,
    };
    if partial {
        return Err(refuse(format!(
            "of the {needed} disks of the {} {present} were given; give all of them, in hardware order",
            array.member.level_name()
        )));
    }
    tools
        .load("raid")
        .map_err(|error| refuse(error.to_string()))?;
    // Read-only until something is written.
    let _ = fs::write("/sys/module/md_mod/parameters/start_ro", "1");
    let target = device.to_string_lossy();
    let devices = array
        .devices
        .iter()
        .map(|each| each.device.to_string_lossy());
    let devices: Vec<_> = devices.collect();
    let mut arguments = vec!["--assemble", "--run"];
    if !tools.writable() {
        arguments.push("--readonly");
    }
    arguments.push(&target);
    arguments.extend(devices.iter().map(|device| &**device));
    let _ = fs::create_dir_all("/run/mdadm");
    tools
        .kit
        .run("mdadm", &arguments)
        .map_err(|error| error.refusal(&first, "raid"))?;
    freeze(device);
    warnings.extend(shortfall(array.member, &first, present, degraded(device)));
    Ok(())
}

/// How many members the kernel goes without.
fn degraded(device: &Path) -> usize {
    let kernel_name = device.file_name().unwrap_or_default();
    let state = Path::new("/sys/block")
        .join(kernel_name)
        .join("md/degraded");
    let text = fs::read_to_string(state).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// What the operator must know of an array that is not whole.
fn shortfall(member: &RaidMember, first: &str, present: usize, without: usize) -> Option<String> {
    let (needed, level) = (member.disks as usize, member.level_name());
    if present < needed {
        return Some(format!(
            "of the {needed} halves of the {level} on {first} only {present} was given, and nothing tells whether it is the newest: the machine starts from it alone"
        ));
    }
    (without > 0).then(|| {
        format!(
            "{without} of the {needed} members of the {level} on {first} hold an older state and were left out: the machine starts from the newest"
        )
    })
}

/// One half of a mirror holds everything; of any other array all disks are needed.
fn is_complete_enough(member: &RaidMember, present: usize) -> bool {
    present >= member.disks as usize || member.level == 1 && present > 0
}

/// Keeps the kernel from resynchronising.
fn freeze(device: &Path) {
    let kernel_name = device.file_name().unwrap_or_default();
    let control = Path::new("/sys/block")
        .join(kernel_name)
        .join("md/sync_action");
    // Arrays without redundancy have no such file.
    let _ = fs::write(control, "frozen");
}

/// The array itself, or the partitions on it.
fn contents(array: &Array, device: &Path) -> Vec<Found> {
    let kernel_name = device.file_name().unwrap_or_default().to_string_lossy();
    let directory = Path::new("/sys/block").join(&*kernel_name);
    let mut new = Vec::new();
    for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
        let part = entry.file_name().to_string_lossy().into_owned();
        if let Some(number) = part.strip_prefix(&format!("{kernel_name}p"))
            && entry.path().join("partition").exists()
        {
            let names = names(array, &format!("p{number}"));
            new.extend(describe(array, &part, names));
        }
    }
    if new.is_empty() {
        new.extend(describe(array, &kernel_name, names(array, "")));
    }
    new
}

fn describe(array: &Array, kernel_name: &str, names: Vec<String>) -> Option<Found> {
    let first = &array.devices[0].partition;
    let place = Partition {
        disk: first.disk,
        number: first.number,
        volume: names.first().cloned(),
        names,
        ..Partition::default()
    };
    disks::volume(place, kernel_name).ok()
}

/// How the guest may call the array.
fn names(array: &Array, part: &str) -> Vec<String> {
    let short = &array.member.name;
    let mut names = Vec::new();
    if !short.is_empty() {
        if short.bytes().all(|letter| letter.is_ascii_digit()) {
            names.push(format!("/dev/md{short}{part}"));
        }
        names.push(format!("/dev/md/{short}{part}"));
    }
    let part = part
        .strip_prefix('p')
        .map(|number| format!("-part{number}"));
    names.push(format!(
        "/dev/disk/by-id/md-uuid-{}{}",
        raid_uuid(&array.member.set),
        part.unwrap_or_default()
    ));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(level: i32, disks: u32) -> RaidMember {
        RaidMember {
            set: [7; 16],
            level,
            disks,
            name: "0".into(),
            active: true,
        }
    }

    #[test]
    fn only_a_mirror_starts_from_a_part_of_its_disks() {
        for (level, disks, present, enough) in [
            (1, 2, 0, false),
            (1, 2, 1, true),
            (1, 2, 2, true),
            (0, 2, 1, false),
            (0, 2, 2, true),
            (5, 3, 2, false),
            (5, 3, 3, true),
            (10, 4, 3, false),
        ] {
            let verdict = is_complete_enough(&member(level, disks), present);
            assert_eq!(verdict, enough, "RAID{level}, {present} of {disks}");
        }
    }

    #[test]
    fn an_array_that_is_not_whole_is_told_of() {
        let mirror = member(1, 2);
        assert_eq!(shortfall(&mirror, "x", 2, 0), None);
        let older = shortfall(&mirror, "x", 2, 1).unwrap();
        assert!(older.contains("older state"), "{older}");
        let alone = shortfall(&mirror, "x", 1, 1).unwrap();
        assert!(alone.contains("only 1 was given"), "{alone}");
    }

    #[test]
    fn devices_are_grouped_by_their_set() {
        let found = |disk, set| Found {
            partition: Partition {
                disk,
                ..Partition::default()
            },
            device: PathBuf::new(),
            raid: Some(RaidMember {
                set,
                ..member(1, 2)
            }),
        };
        let all = [found(0, [1; 16]), found(1, [2; 16]), found(2, [1; 16])];
        let arrays = arrays(&all);
        let sizes: Vec<usize> = arrays.iter().map(|array| array.devices.len()).collect();
        assert_eq!(sizes, [2, 1]);
        assert_eq!(
            names(&arrays[0], "p1"),
            [
                "/dev/md0p1",
                "/dev/md/0p1",
                "/dev/disk/by-id/md-uuid-01010101:01010101:01010101:01010101-part1"
            ]
        );
    }
}
