//! Device names that depend on the hardware, replaced by what does not change.

use std::iter::Peekable;
use std::str::Chars;

use crate::report::Partition;

/// Which captured partition a device name of the old hardware meant.
pub struct DeviceMap<'a> {
    partitions: &'a [Partition],
    root: (usize, u32),
    disks: usize,
}

/// What a text edit did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Edited {
    /// The new text.
    pub text: String,
    /// Volatile names that could not be replaced.
    pub left: Vec<String>,
}

impl<'a> DeviceMap<'a> {
    /// A map over all partitions, in captured hardware order.
    pub fn new(partitions: &'a [Partition], root: (usize, u32)) -> Self {
        let disks = partitions
            .iter()
            .map(|partition| partition.disk + 1)
            .max()
            .unwrap_or(0);
        Self {
            partitions,
            root,
            disks,
        }
    }

    /// `UUID=...` for a name that depends on the hardware; nothing for any other.
    pub fn stable_name(&self, device: &str) -> Option<String> {
        let (disk, number) = parse_device(device)?;
        self.uuid_of(disk.or((self.disks == 1).then_some(0))?, number)
    }

    /// Like [`stable_name`](Self::stable_name), for what `root=` says: the root
    /// was found by its content, so that it needs no trust in the order of disks.
    fn stable_root(&self, device: &str) -> Option<String> {
        parse_device(device)?;
        self.uuid_of(self.root.0, self.root.1)
    }

    fn uuid_of(&self, disk: usize, number: u32) -> Option<String> {
        let partition = self
            .partitions
            .iter()
            .find(|known| known.volume.is_none() && (known.disk, known.number) == (disk, number))?;
        Some(format!("UUID={}", partition.uuid.as_ref()?))
    }

    /// Replaces the given field (counted from 0) of each line, as in fstab and crypttab.
    pub fn edit_table(&self, text: &str, field: usize) -> Edited {
        let mut edited = Edited::default();
        for line in text.split_inclusive('\n') {
            let device = line.split_whitespace().nth(field).unwrap_or_default();
            if line.trim_start().starts_with('#') || parse_device(device).is_none() {
                edited.text.push_str(line);
            } else if let Some(stable) = self.stable_name(device) {
                edited.text.push_str(&line.replacen(device, &stable, 1));
            } else {
                edited.left.push(device.to_owned());
                edited.text.push_str(line);
            }
        }
        edited
    }

    /// Replaces the values of `root=` and `resume=`, wherever they stand.
    pub fn edit_arguments(&self, text: &str) -> Edited {
        let mut edited = Edited::default();
        let mut rest = text;
        while let Some((before, key, value, after)) = next_argument(rest) {
            let stable = match key {
                "root=" => self.stable_root(value),
                _ => self.stable_name(value),
            };
            if stable.is_none() && parse_device(value).is_some() {
                edited.left.push(format!("{key}{value}"));
            }
            edited.text.push_str(before);
            edited.text.push_str(key);
            edited.text.push_str(stable.as_deref().unwrap_or(value));
            rest = after;
        }
        edited.text.push_str(rest);
        edited
    }
}

/// Whether a name depends on the hardware's order.
pub fn is_volatile(device: &str) -> bool {
    parse_device(device).is_some()
}

/// The first value of `root=` in a boot loader's configuration.
pub fn root_argument(text: &str) -> Option<String> {
    let mut rest = text;
    while let Some((_, key, value, after)) = next_argument(rest) {
        if key == "root=" && !value.is_empty() {
            return Some(value.to_owned());
        }
        rest = after;
    }
    None
}

/// Splits at the next argument: text before, key, value, text after.
fn next_argument(text: &str) -> Option<(&str, &str, &str, &str)> {
    let mut from = 0;
    loop {
        let (start, key) = ["root=", "resume=", "RESUME="]
            .into_iter()
            .filter_map(|key| Some((from + text[from..].find(key)?, key)))
            .min()?;
        let end = start + key.len();
        let before = text[..start].chars().next_back();
        if before.is_some_and(|letter| letter.is_alphanumeric() || "_-.".contains(letter)) {
            from = end;
            continue;
        }
        let length = text[end..]
            .find(|letter: char| letter.is_whitespace() || "\"'\\;".contains(letter))
            .unwrap_or(text.len() - end);
        let (value, after) = text[end..].split_at(length);
        return Some((&text[..start], &text[start..end], value, after));
    }
}

/// Disk (where the name tells it) and partition number of a volatile name.
fn parse_device(device: &str) -> Option<(Option<usize>, u32)> {
    let name = device.strip_prefix("/dev/")?;
    if let Some(link) = name
        .strip_prefix("disk/by-id/")
        .or(name.strip_prefix("disk/by-path/"))
    {
        // dm- and md- names follow the content, not the hardware.
        if ["dm-", "md-", "lvm-"]
            .iter()
            .any(|stable| link.starts_with(stable))
        {
            return None;
        }
        let number = link
            .rsplit_once("-part")
            .and_then(|(_, number)| number.parse().ok());
        return Some((None, number.unwrap_or(0)));
    }
    for prefix in ["xvd", "sd", "hd", "vd"] {
        if let Some(rest) = name.strip_prefix(prefix) {
            return parse_lettered(rest);
        }
    }
    let (rest, unit) = if let Some(rest) = name.strip_prefix("nvme") {
        (rest, Some('n'))
    } else if let Some(rest) = name.strip_prefix("mmcblk") {
        (rest, None)
    } else {
        (name.strip_prefix("cciss/c")?.split_once('d')?.1, None)
    };
    parse_numbered(rest, unit)
}

fn parse_lettered(rest: &str) -> Option<(Option<usize>, u32)> {
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
    Some((Some(index - 1), number))
}

fn parse_numbered(rest: &str, unit: Option<char>) -> Option<(Option<usize>, u32)> {
    let mut letters = rest.chars().peekable();
    let disk = take_number(&mut letters)? as usize;
    if let Some(unit) = unit {
        letters.next_if_eq(&unit)?;
        take_number(&mut letters)?;
    }
    match letters.next() {
        None => Some((Some(disk), 0)),
        Some('p') => {
            let number = take_number(&mut letters)?;
            letters.next().is_none().then_some((Some(disk), number))
        }
        Some(_) => None,
    }
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

    fn partitions() -> Vec<Partition> {
        let partition = |disk, number, uuid: &str| Partition {
            disk,
            number,
            uuid: Some(uuid.to_owned()),
            ..Partition::default()
        };
        vec![
            partition(0, 1, "aaaa"),
            partition(0, 5, "swap"),
            partition(1, 1, "data"),
        ]
    }

    #[test]
    fn device_names() {
        let cases = [
            ("/dev/sda1", Some((Some(0), 1))),
            ("/dev/sdaa12", Some((Some(26), 12))),
            ("/dev/hdb", Some((Some(1), 0))),
            ("/dev/xvda2", Some((Some(0), 2))),
            ("/dev/nvme1n1p3", Some((Some(1), 3))),
            ("/dev/mmcblk0p1", Some((Some(0), 1))),
            ("/dev/cciss/c0d1p2", Some((Some(1), 2))),
            ("/dev/disk/by-id/ata-X-part3", Some((None, 3))),
            ("/dev/disk/by-uuid/x", None),
            ("/dev/disk/by-id/dm-name-x", None),
            ("/dev/mapper/vg-root", None),
            ("/dev/sr0", None),
            ("UUID=1", None),
            ("/dev/sda1x", None),
        ];
        for (name, expected) in cases {
            assert_eq!(parse_device(name), expected, "{name}");
        }
    }

    #[test]
    fn fstab() {
        let partitions = partitions();
        let map = DeviceMap::new(&partitions, (0, 1));
        let text = "# /dev/sda1 was root\n/dev/sda1 / ext4 defaults 0 1\nLABEL=x /x ext4\n\
                    /dev/sdb1\t/data ext4\n/dev/sdc1 /gone ext4\n/dev/sr0 /cd iso9660";
        let edited = map.edit_table(text, 0);
        assert_eq!(
            edited.text,
            "# /dev/sda1 was root\nUUID=aaaa / ext4 defaults 0 1\nLABEL=x /x ext4\n\
             UUID=data\t/data ext4\n/dev/sdc1 /gone ext4\n/dev/sr0 /cd iso9660"
        );
        assert_eq!(edited.left, ["/dev/sdc1"]);
        assert_eq!(map.edit_table(&edited.text, 0).text, edited.text);
    }

    #[test]
    fn grub_configuration() {
        let partitions = partitions();
        let map = DeviceMap::new(&partitions, (0, 1));
        let text = "set root='hd0,msdos1'\nlinux /boot/vmlinuz root=/dev/sda1 ro resume=/dev/sda5 quiet\n\
                    GRUB_CMDLINE_LINUX=\"root=/dev/sdz9\"\nsearch --set=root x\nnfsroot=/dev/sda1";
        let edited = map.edit_arguments(text);
        assert_eq!(
            edited.text,
            "set root='hd0,msdos1'\nlinux /boot/vmlinuz root=UUID=aaaa ro resume=UUID=swap quiet\n\
             GRUB_CMDLINE_LINUX=\"root=UUID=aaaa\"\nsearch --set=root x\nnfsroot=/dev/sda1"
        );
        assert_eq!(root_argument(text).as_deref(), Some("/dev/sda1"));
    }

    proptest! {
        #[test]
        fn editing_twice_changes_nothing_more(text in "(root=|resume=|/dev/sd[a-c][1-5]|[ \n\"#a-z]){0,20}") {
            let partitions = partitions();
            let map = DeviceMap::new(&partitions, (0, 1));
            for edit in [
                |map: &DeviceMap, text: &str| map.edit_arguments(text).text,
                |map: &DeviceMap, text: &str| map.edit_table(text, 0).text,
            ] {
                let once = edit(&map, &text);
                prop_assert_eq!(edit(&map, &once), once.clone());
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in any::<String>()) {
            let partitions = partitions();
            let map = DeviceMap::new(&partitions, (0, 1));
            map.edit_arguments(&text);
            map.edit_table(&text, 1);
            parse_device(&format!("/dev/{text}"));
        }
    }
}
