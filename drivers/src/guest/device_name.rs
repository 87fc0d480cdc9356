//! Names of disks and partitions that depend on the hardware.

use std::iter::Peekable;
use std::str::Chars;

/// Drivers count their disks each from the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// `sd`, `hd`, `xvd`, `vd`.
    Letters(&'static str),
    /// `nvme0n1`.
    Nvme,
    /// `mmcblk0`.
    Mmc,
    /// `cciss/c0d0`.
    Cciss,
}

/// A name that depends on the hardware: the disk, where it says it, and the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Volatile {
    /// Where the name says it.
    pub disk: Option<(Family, usize)>,
    /// 0 for a whole disk.
    pub number: u32,
}

/// Disk (where the name tells it) and partition number of a volatile name;
/// nothing for a name that follows the content.
pub(super) fn parse_device(device: &str) -> Option<Volatile> {
    let name = device.strip_prefix("/dev/")?;
    if let Some(link) = name
        .strip_prefix("disk/by-id/")
        .or(name.strip_prefix("disk/by-path/"))
    {
        return parse_link(link);
    }
    if let Some(name) = name.strip_prefix("mapper/") {
        return parse_multipath(name);
    }
    for prefix in ["xvd", "sd", "hd", "vd"] {
        if let Some(rest) = name.strip_prefix(prefix) {
            return parse_lettered(Family::Letters(prefix), rest);
        }
    }
    if let Some(rest) = name.strip_prefix("nvme") {
        parse_numbered(Family::Nvme, rest, Some('n'))
    } else if let Some(rest) = name.strip_prefix("mmcblk") {
        parse_numbered(Family::Mmc, rest, None)
    } else {
        let (_, rest) = name.strip_prefix("cciss/c")?.split_once('d')?;
        parse_numbered(Family::Cciss, rest, None)
    }
}

/// A link below `by-id` or `by-path`.
fn parse_link(link: &str) -> Option<Volatile> {
    // dm- and md- names follow the content, not the hardware.
    let stable = ["dm-", "md-", "lvm-"];
    if stable.iter().any(|stable| link.starts_with(stable)) {
        return None;
    }
    let number = match link.rsplit_once("-part") {
        Some((_, number)) => number.parse().ok()?,
        None => 0,
    };
    Some(Volatile { disk: None, number })
}

/// `mpatha2`, `mpatha-part2`, or the same with a WWID: a map that belongs to
/// the old storage. Any other name belongs to LVM or LUKS and stays.
fn parse_multipath(name: &str) -> Option<Volatile> {
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (stem, number) = match name.rsplit_once("-part") {
        Some((stem, number)) => (stem, number),
        None => name.split_at(name.len() - digits),
    };
    let is_wwid = |stem: &str| {
        (17..=33).contains(&stem.len()) && stem.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let is_friendly = |stem: &str| {
        let letters = stem.strip_prefix("mpath").unwrap_or_default();
        let letters = letters.trim_end_matches('p');
        (1..=3).contains(&letters.len()) && letters.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    let known = is_friendly(stem) || name.contains("-part") && is_wwid(stem);
    let number = if number.is_empty() {
        Some(0)
    } else {
        number.parse().ok()
    };
    known.then_some(Volatile {
        disk: None,
        number: number?,
    })
}

fn parse_lettered(family: Family, rest: &str) -> Option<Volatile> {
    let letters = rest.len()
        - rest
            .trim_start_matches(|c: char| c.is_ascii_lowercase())
            .len();
    if !(1..=2).contains(&letters) {
        return None;
    }
    let index = rest[..letters].bytes().fold(0usize, |index, letter| {
        index * 26 + usize::from(letter - b'a') + 1
    });
    let number = &rest[letters..];
    let number = if number.is_empty() {
        0
    } else {
        number.parse().ok()?
    };
    Some(Volatile {
        disk: Some((family, index - 1)),
        number,
    })
}

fn parse_numbered(family: Family, rest: &str, unit: Option<char>) -> Option<Volatile> {
    let mut letters = rest.chars().peekable();
    let disk = take_number(&mut letters)? as usize;
    if let Some(unit) = unit {
        letters.next_if_eq(&unit)?;
        take_number(&mut letters)?;
    }
    let number = match letters.next() {
        None => 0,
        Some('p') => take_number(&mut letters).filter(|_| letters.next().is_none())?,
        Some(_) => return None,
    };
    Some(Volatile {
        disk: Some((family, disk)),
        number,
    })
}

fn take_number(letters: &mut Peekable<Chars>) -> Option<u32> {
    let mut digits = String::new();
    while let Some(digit) = letters.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn device_names() {
        let letters = Family::Letters;
        let cases = [
            ("/dev/sda1", Some((Some((letters("sd"), 0)), 1))),
            ("/dev/sdaa12", Some((Some((letters("sd"), 26)), 12))),
            ("/dev/hdb", Some((Some((letters("hd"), 1)), 0))),
            ("/dev/xvda2", Some((Some((letters("xvd"), 0)), 2))),
            ("/dev/nvme1n1p3", Some((Some((Family::Nvme, 1)), 3))),
            ("/dev/mmcblk0p1", Some((Some((Family::Mmc, 0)), 1))),
            ("/dev/cciss/c0d1p2", Some((Some((Family::Cciss, 1)), 2))),
            ("/dev/disk/by-id/ata-X-part3", Some((None, 3))),
            (
                "/dev/disk/by-path/pci-0000:00:10.0-scsi-0:0:0:0",
                Some((None, 0)),
            ),
            ("/dev/mapper/mpatha2", Some((None, 2))),
            ("/dev/mapper/mpathap2", Some((None, 2))),
            (
                "/dev/mapper/3600508b400105e210000900000490000-part1",
                Some((None, 1)),
            ),
            ("/dev/disk/by-uuid/x", None),
            ("/dev/disk/by-id/dm-name-x", None),
            ("/dev/mapper/vg-root", None),
            ("/dev/mapper/mpath", None),
            ("/dev/mapper/rhel-root-part1", None),
            ("/dev/vg0/root", None),
            ("/dev/md0", None),
            ("/dev/sr0", None),
            ("UUID=1", None),
            ("/dev/sda1x", None),
        ];
        for (name, expected) in cases {
            let expected = expected.map(|(disk, number)| Volatile { disk, number });
            assert_eq!(parse_device(name), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_names_never_panic(name in any::<String>(), known in "(sd|nvme|mapper/mpath|disk/by-id/|-part|[0-9a-fp])*") {
            parse_device(&format!("/dev/{name}"));
            parse_device(&format!("/dev/{known}"));
        }
    }
}
