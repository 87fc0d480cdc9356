//! Superblocks of software RAID, at a device's beginning or end.

/// How many bytes from a device's end are looked at.
pub const TAIL: u64 = 128 << 10;

const MAGIC: u32 = 0xa92b_4efc;
/// Metadata 0.90 lies on this boundary, at least as far from the end.
const OLD_PLACE: u64 = 64 << 10;
/// From here on roles are no places in the array: journal, failed, spare.
const LEAST_SPECIAL_ROLE: u16 = 0xfffd;
/// Active and in sync, in the state of a device of metadata 0.90.
const IN_USE: u32 = 0b110;

/// What one member says of its array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaidMember {
    /// Names the array.
    pub set: [u8; 16],
    /// 0, 1, 5...; -1 for linear.
    pub level: i32,
    /// How many devices the whole array has.
    pub disks: u32,
    /// Its name without the host's.
    pub name: String,
    /// Whether it holds a part of the content; a spare or a failed one does not.
    pub active: bool,
}

impl RaidMember {
    /// The array's kind, for people.
    pub fn level_name(&self) -> String {
        match self.level {
            -1 => "linear array".to_owned(),
            level => format!("RAID{level}"),
        }
    }
}

/// Reads the superblock of a device of `size` bytes from its first bytes and
/// its last [`TAIL`] ones.
pub fn raid_member(beginning: &[u8], tail: &[u8], size: u64) -> Option<RaidMember> {
    // 1.1 and 1.2 at the beginning, 1.0 and 0.90 at the end.
    let at_beginning = [0, 4096]
        .into_iter()
        .find_map(|offset| version_1(beginning.get(offset as usize..)?, offset / 512));
    at_beginning.or_else(|| {
        let from_tail = |offset: u64| {
            let start = offset.checked_sub(size.checked_sub(tail.len() as u64)?)?;
            tail.get(usize::try_from(start).ok()?..)
        };
        let sector = (size / 512).checked_sub(16)? & !7;
        let newer = from_tail(sector * 512).and_then(|bytes| version_1(bytes, sector));
        newer.or_else(|| {
            let offset = (size & !(OLD_PLACE - 1)).checked_sub(OLD_PLACE)?;
            version_0(from_tail(offset)?)
        })
    })
}

/// As mdadm and udev write it.
pub fn raid_uuid(set: &[u8; 16]) -> String {
    let words = set.chunks(4).map(|word| {
        word.iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    });
    words.collect::<Vec<_>>().join(":")
}

fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn version_1(bytes: &[u8], sector: u64) -> Option<RaidMember> {
    if word(bytes, 0)? != MAGIC || word(bytes, 4)? != 1 {
        return None;
    }
    // It says itself where it is: on a disk whose last partition is a member
    // the disk's end holds the partition's superblock.
    let place = bytes.get(144..152)?;
    if u64::from_le_bytes(place.try_into().ok()?) != sector {
        return None;
    }
    let name = bytes.get(32..64)?;
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(32);
    let name = String::from_utf8_lossy(&name[..end]);
    Some(RaidMember {
        set: bytes.get(16..32)?.try_into().ok()?,
        level: word(bytes, 72)? as i32,
        disks: word(bytes, 92)?,
        name: plain(name.rsplit(':').next().unwrap_or_default()),
        active: role(bytes).is_none_or(|role| role < LEAST_SPECIAL_ROLE),
    })
}

/// The place of this device in the array.
fn role(bytes: &[u8]) -> Option<u16> {
    let at = (word(bytes, 160)? as usize)
        .checked_mul(2)?
        .checked_add(256)?;
    let role = bytes.get(at..at.checked_add(2)?)?;
    Some(u16::from_le_bytes(role.try_into().ok()?))
}

fn version_0(bytes: &[u8]) -> Option<RaidMember> {
    if word(bytes, 0)? != MAGIC || word(bytes, 4)? != 0 {
        return None;
    }
    let words = [20, 52, 56, 60].map(|offset| word(bytes, offset).unwrap_or(0).to_be_bytes());
    Some(RaidMember {
        set: words.concat().try_into().ok()?,
        level: word(bytes, 28)? as i32,
        disks: word(bytes, 40)?,
        // What it was called when it was made: md_minor of mdp_superblock_s.
        name: word(bytes, 44)?.to_string(),
        active: word(bytes, 3984).is_none_or(|state| state & IN_USE == IN_USE),
    })
}

/// A name that may stand in a path.
fn plain(name: &str) -> String {
    let allowed = |letter: &char| letter.is_ascii_alphanumeric() || "-_.".contains(*letter);
    name.chars().filter(allowed).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn superblock(sector: u64) -> Vec<u8> {
        let mut bytes = vec![0; 256];
        bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4] = 1;
        bytes[16..32].copy_from_slice(&[5; 16]);
        bytes[32..40].copy_from_slice(b"host:sys");
        bytes[72] = 1;
        bytes[92] = 2;
        bytes[144..152].copy_from_slice(&sector.to_le_bytes());
        bytes
    }

    #[test]
    fn each_place() {
        let size = 1 << 20;
        let expected = RaidMember {
            set: [5; 16],
            level: 1,
            disks: 2,
            name: "sys".into(),
            active: true,
        };
        for offset in [0, 4096, size - 8192] {
            let mut device = vec![0; size];
            device[offset..offset + 256].copy_from_slice(&superblock(offset as u64 / 512));
            let tail = &device[size - TAIL as usize..];
            let member = raid_member(&device[..8192], tail, size as u64);
            assert_eq!(member.as_ref(), Some(&expected), "{offset}");
            // A superblock of something else that only happens to end here.
            device[offset + 144] ^= 1;
            let tail = &device[size - TAIL as usize..];
            assert_eq!(raid_member(&device[..8192], tail, size as u64), None);
        }
    }

    #[test]
    fn spares_and_failed_devices_are_no_members() {
        for (role, active) in [(0_u16, true), (1, true), (0xffff, false), (0xfffe, false)] {
            let mut bytes = superblock(0);
            bytes[160] = 3;
            bytes.resize(512, 0xff);
            bytes[262..264].copy_from_slice(&role.to_le_bytes());
            let member = raid_member(&bytes, &[], 1 << 20).unwrap();
            assert_eq!(member.active, active, "{role:#x}");
        }
    }

    #[test]
    fn the_old_metadata() {
        let mut tail = vec![0; TAIL as usize];
        let mut words = [0u32; 16];
        // Words 4 to 12: gvalid, set, ctime, level, size, disks, RAID disks, minor, not persistent.
        words[4..13].copy_from_slice(&[0, 0x0102_0304, 0, 1, 0, 2, 2, 3, 0]);
        words[0] = MAGIC;
        (words[13], words[14], words[15]) = (0x0506_0708, 0x090a_0b0c, 0x0d0e_0f10);
        for (place, word) in tail[OLD_PLACE as usize..].chunks_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let state = OLD_PLACE as usize + 3984;
        tail[state] = 0;
        assert!(
            !raid_member(&[], &tail, 10 << 20).unwrap().active,
            "a spare"
        );
        tail[state] = 0b110;
        let member = raid_member(&[], &tail, 10 << 20).unwrap();
        assert!(member.active);
        assert_eq!(
            (member.level, member.disks, member.name.as_str()),
            (1, 2, "3")
        );
        assert_eq!(
            raid_uuid(&member.set),
            "01020304:05060708:090a0b0c:0d0e0f10"
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..600),
            size in any::<u64>(),
        ) {
            if bytes.len() > 8 {
                bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
                let version = bytes[8] & 1;
                bytes[4..8].copy_from_slice(&[version, 0, 0, 0]);
            }
            raid_member(&bytes, &bytes, size);
        }
    }
}
