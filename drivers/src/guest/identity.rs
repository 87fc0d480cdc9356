//! Device names that depend on the hardware, replaced by what does not change.

use std::collections::BTreeSet;

use super::arguments::arguments;
use super::arrays::{ArrayNames, is_array_name};
use super::device_name::{Family, parse_device};
use super::fstab::{NEEDED, identity, mount_point, starts_without};
use super::kernels::{Form, KernelImage};
use super::table_edit::{Edited, Replaced, edit_lines};
use crate::report::{GuestReport, Partition};

/// Partitions for firmware, of reserved room and the like are not larger.
const LARGEST_WITHOUT_CONTENT: u64 = 128 << 20;

/// Which captured partition a device name of the old hardware meant.
pub struct DeviceMap<'a> {
    partitions: &'a [Partition],
    root: (usize, u32),
    disks: usize,
    /// The disk that the guest's own name for its root counts as, and its kind.
    root_name: Option<(Family, usize)>,
    root_uuid: Option<&'a str>,
    /// File names of the kernels that start without an initramfs.
    bare: Vec<String>,
    /// Whether no kernel has an initramfs.
    all_bare: bool,
    arrays: ArrayNames,
    closed_volumes: bool,
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
            root_name: None,
            root_uuid: None,
            bare: Vec::new(),
            all_bare: false,
            arrays: ArrayNames::default(),
            closed_volumes: false,
        }
    }

    /// A map of an inspected guest.
    pub fn of_guest(guest: &'a GuestReport, kernels: &[KernelImage]) -> Self {
        Self::new(&guest.partitions, guest.root.partition)
            .knowing_root_uuid(&guest.root.uuid)
            .knowing_kernels(kernels)
            .knowing_closed_volumes(guest.closed_volumes)
    }

    /// Takes into account that a captured volume could not be opened.
    pub fn knowing_closed_volumes(mut self, some: bool) -> Self {
        self.closed_volumes = some;
        self
    }

    /// Takes the UUID of the root, which may be a volume on the partition.
    pub fn knowing_root_uuid(mut self, uuid: &'a str) -> Self {
        self.root_uuid = (!uuid.is_empty()).then_some(uuid);
        self
    }

    /// Takes into account what the guest calls its arrays.
    pub fn knowing_arrays(mut self, arrays: ArrayNames) -> Self {
        self.arrays = arrays;
        self
    }

    /// Takes into account which kernels start without an initramfs: these find
    /// their root by the partition table only.
    pub fn knowing_kernels(mut self, kernels: &[KernelImage]) -> Self {
        let bare = kernels.iter().filter(|kernel| kernel.form == Form::Absent);
        let names = bare.filter_map(|kernel| kernel.report.initrd.rsplit('/').next());
        self.bare = names.map(str::to_owned).collect();
        self.all_bare = !kernels.is_empty() && self.bare.len() == kernels.len();
        self
    }

    /// Takes into account what the guest itself calls its root. Where that is
    /// another disk than the order of the captured disks says, names are
    /// counted from there, and names of other drivers are not guessed at.
    pub fn knowing_root_name(mut self, name: Option<&str>) -> Self {
        self.root_name = name.and_then(parse_device).and_then(|name| name.disk);
        self
    }

    /// `UUID=...` for a name that depends on the hardware; nothing for any other.
    pub fn stable_name(&self, device: &str) -> Option<String> {
        stable(self.partition_of(device)?)
    }

    fn partition_of(&self, device: &str) -> Option<&'a Partition> {
        let name = parse_device(device)?;
        let numbered = |disk: usize| {
            let mut all = self.plain_partitions();
            all.find(|known| (known.disk, known.number) == (disk, name.number))
        };
        match name.disk {
            Some(disk) => numbered(self.captured_disk(disk)?),
            None if self.disks == 1 => numbered(0),
            None => self.only_one_numbered(name.number),
        }
    }

    fn captured_disk(&self, (family, index): (Family, usize)) -> Option<usize> {
        match self.root_name {
            Some((known, of_root)) if known == family && of_root != self.root.0 => {
                (index == of_root).then_some(self.root.0)
            }
            Some((known, _)) if known != family && self.disks > 1 => None,
            _ => Some(index),
        }
    }

    /// A link of a disk does not say which one: there must be no choice.
    fn only_one_numbered(&self, number: u32) -> Option<&'a Partition> {
        let mut all = self
            .plain_partitions()
            .filter(|known| known.number == number && known.uuid.is_some());
        all.next().filter(|_| number > 0 && all.next().is_none())
    }

    /// Like [`stable_name`](Self::stable_name), for what `root=` says: the root
    /// was found by its content, so that it needs no trust in the order of disks.
    fn stable_root(&self, device: &str, bare: bool) -> Option<String> {
        let unfit = is_volatile(device) || self.is_ambiguous(device);
        if !unfit && !self.is_beyond_kernel(device, bare) {
            return None;
        }
        match self.root_for_bare_kernels() {
            Some(name) if !self.bare.is_empty() => Some(name),
            _ if self.all_bare => None,
            _ => self.root_by_content(),
        }
    }

    fn root_by_content(&self) -> Option<String> {
        match self.root_uuid {
            Some(uuid) => Some(format!("UUID={uuid}")),
            None => stable(self.root_partition()?),
        }
    }

    fn root_partition(&self) -> Option<&'a Partition> {
        let mut all = self.plain_partitions();
        all.find(|known| (known.disk, known.number) == self.root)
    }

    /// `PARTUUID=...` of the root, where it lies on a plain partition.
    pub(super) fn root_for_bare_kernels(&self) -> Option<String> {
        let root = self.root_partition()?;
        let plain = self.root_uuid.is_none_or(|uuid| same(&root.uuid, uuid));
        let part_uuid = root.part_uuid.as_ref().filter(|_| plain)?;
        Some(format!("PARTUUID={part_uuid}"))
    }

    /// Whether a line starts a kernel that has no initramfs.
    pub(super) fn is_for_bare_kernel(&self, line: &str) -> bool {
        let mut words = line.split(|letter: char| letter.is_whitespace() || "\"'".contains(letter));
        !self.bare.is_empty()
            && words.any(|word| {
                let name = word.rsplit('/').next().unwrap_or_default();
                self.bare.iter().any(|known| known == name)
            })
    }

    /// Whether `root=` needs an initramfs to be understood, which its kernel has
    /// not, while another name would do.
    pub(super) fn is_beyond_kernel(&self, device: &str, bare: bool) -> bool {
        let by_content = device.starts_with("/dev/disk/")
            || matches!(identity(device), Some(("UUID" | "LABEL", _)));
        by_content && (self.all_bare || bare && self.root_for_bare_kernels().is_some())
    }

    /// Whether the root has no name that the guest's kernels understand.
    pub(super) fn bare_kernel_without_root(&self) -> Option<&str> {
        let lost = self.root_for_bare_kernels().is_none();
        self.bare.first().filter(|_| lost).map(String::as_str)
    }

    /// Whether all kernels start without an initramfs.
    pub(super) fn is_all_bare(&self) -> bool {
        self.all_bare
    }

    /// What is wrong with a name; nothing for one that will be there, and for
    /// one of which nobody can tell.
    pub(super) fn problem(&self, device: &str) -> Option<&'static str> {
        if is_volatile(device) {
            return Some("which depends on the hardware");
        }
        if is_array_name(device) {
            return self.problem_of_array(device);
        }
        let (key, value) = identity(device)?;
        let mut partitions = self.partitions.iter();
        let found = match key {
            "UUID" => {
                let root = self.root_uuid;
                root.is_some_and(|root| root.eq_ignore_ascii_case(&value))
                    || partitions.any(|known| same(&known.uuid, &value))
            }
            "PARTUUID" => partitions.any(|known| same(&known.part_uuid, &value)),
            "LABEL" => partitions.any(|known| known.label.as_ref() == Some(&value)),
            _ => partitions.any(|known| known.part_label.as_ref() == Some(&value)),
        };
        (!found).then_some("which no captured partition has")
    }

    /// What an array is called follows its superblock and the guest's own
    /// configuration, so that with several of them a number may mean any.
    fn problem_of_array(&self, device: &str) -> Option<&'static str> {
        let names = self.partitions.iter().map(|known| known.names.as_slice());
        let is_known = self.arrays.meant(device, names.clone()).is_some();
        let may_be_meant = names.flatten().any(|name| is_array_name(name));
        (!is_known && !may_be_meant).then_some("which no captured partition is part of")
    }

    /// Whether a captured partition may hold what cannot be seen before the
    /// guest has opened it: what is mounted from there must be waited for.
    fn hides_something(&self) -> bool {
        let mut all = self.partitions.iter();
        self.closed_volumes
            || all.any(|known| match known.filesystem.as_deref() {
                Some("luks") => true,
                None => known.bytes > LARGEST_WITHOUT_CONTENT,
                Some(_) => false,
            })
    }

    /// Volumes have names of their own, which do not depend on the hardware.
    fn plain_partitions(&self) -> impl Iterator<Item = &'a Partition> {
        self.partitions
            .iter()
            .filter(|known| known.volume.is_none())
    }

    /// A label that several filesystems or partitions carry.
    pub fn is_ambiguous(&self, device: &str) -> bool {
        let Some((key, label)) = identity(device) else {
            return false;
        };
        let carries = |known: &&Partition| match key {
            "LABEL" => known.label.as_ref() == Some(&label),
            "PARTLABEL" => known.part_label.as_ref() == Some(&label),
            _ => false,
        };
        self.partitions.iter().filter(carries).count() > 1
    }

    /// Replaces the first field of each line of fstab. A guest would wait for
    /// what nothing here is called, and then give up: it starts without.
    pub fn edit_fstab(&self, text: &str) -> Edited {
        let named = named_by_uuid(text);
        edit_lines(text, 0, |device, fields| {
            let mount = mount_point(fields);
            let needless = NEEDED.contains(&mount) || starts_without(fields);
            if !is_volatile(device) && !self.is_ambiguous(device) {
                return match self.problem(device) {
                    Some(_) if !needless && !self.hides_something() => Replaced::Optional,
                    _ => Replaced::Kept,
                };
            }
            let found = if mount == "/" {
                self.root_by_content()
            } else {
                self.meant_by_line(fields, &named)
            };
            match found {
                Some(name) => Replaced::By(name),
                None if is_volatile(device) && !needless => Replaced::Optional,
                None => Replaced::Unknown,
            }
        })
    }

    /// `UUID=...` for a line of fstab with a name that depends on the hardware;
    /// `named` is what other lines name.
    pub fn meant_by_line(&self, fields: &[&str], named: &BTreeSet<&str>) -> Option<String> {
        let partition = self.partition_of(fields.first()?)?;
        stable(partition).filter(|_| self.fits(partition, fields, named))
    }

    /// Whether a partition can be what a line of fstab means: another kind of
    /// filesystem, or one that is named elsewhere already, is another partition.
    fn fits(&self, partition: &Partition, fields: &[&str], named: &BTreeSet<&str>) -> bool {
        let written = fields.get(2).copied().unwrap_or("auto");
        let known = partition.filesystem.as_deref().unwrap_or("auto");
        let alike = |kind: &str| match kind {
            "ext2" | "ext3" => "ext4".to_owned(),
            "msdos" | "fat" => "vfat".to_owned(),
            other => other.to_owned(),
        };
        let any = |kind| matches!(kind, "auto" | "none");
        let kind_fits = any(written) || any(known) || alike(written) == alike(known);
        let shared = known == "btrfs" || written == "none";
        let taken = (partition.disk, partition.number) == self.root
            || stable(partition).is_some_and(|name| named.contains(name.as_str()));
        kind_fits && (shared || !taken)
    }

    /// Replaces the second field of each line of crypttab.
    pub fn edit_crypttab(&self, text: &str) -> Edited {
        edit_lines(text, 1, |device, _| {
            if !is_volatile(device) {
                return Replaced::Kept;
            }
            self.stable_name(device)
                .map_or(Replaced::Unknown, Replaced::By)
        })
    }

    /// Replaces the values of `root=`, `resume=` and `What=`, wherever they stand.
    pub fn edit_arguments(&self, text: &str) -> Edited {
        let mut edited = Edited::default();
        for line in text.split_inclusive('\n') {
            self.edit_line(line, &mut edited);
        }
        edited
    }

    fn edit_line(&self, line: &str, edited: &mut Edited) {
        let bare = self.is_for_bare_kernel(line);
        let mut done = 0;
        for (key, value) in arguments(line) {
            let (name, device) = (&line[key], &line[value.clone()]);
            let stable = match name {
                "root" => self.stable_root(device, bare),
                _ => self.stable_name(device),
            };
            if stable.is_none() && is_volatile(device) {
                edited.left.push(format!("{name}={device}"));
            }
            edited.text.push_str(&line[done..value.start]);
            edited.text.push_str(stable.as_deref().unwrap_or(device));
            done = value.end;
        }
        edited.text.push_str(&line[done..]);
    }
}

/// The filesystems that a table names by their UUID.
pub fn named_by_uuid(text: &str) -> BTreeSet<&str> {
    let devices = text
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    devices
        .filter(|device| device.starts_with("UUID="))
        .collect()
}

fn same(known: &Option<String>, value: &str) -> bool {
    let known = known.as_deref();
    known.is_some_and(|known| known.eq_ignore_ascii_case(value))
}

fn stable(partition: &Partition) -> Option<String> {
    Some(format!("UUID={}", partition.uuid.as_ref()?))
}

/// Whether a name depends on the hardware's order.
pub fn is_volatile(device: &str) -> bool {
    parse_device(device).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::arguments::root_argument;
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
    fn what_the_guest_calls_its_root_counts() {
        let partitions = partitions();
        let map = |name| DeviceMap::new(&partitions, (0, 1)).knowing_root_name(Some(name));
        let uuid = |uuid: &str| Some(format!("UUID={uuid}"));
        // The root's disk is called sdb: a disk before it was not captured.
        let shifted = map("/dev/sdb1");
        assert_eq!(shifted.stable_name("/dev/sdb5"), uuid("swap"));
        assert_eq!(shifted.stable_name("/dev/sda1"), None);
        // sda is the first disk of another driver, not the first captured one.
        let other = map("/dev/nvme0n1p1");
        assert_eq!(other.stable_name("/dev/nvme0n1p5"), uuid("swap"));
        assert_eq!(other.stable_name("/dev/sda1"), None);
        assert_eq!(map("UUID=aaaa").stable_name("/dev/sda1"), uuid("aaaa"));
        // Links do not name the disk: where only one can be meant, it is.
        let path = "/dev/disk/by-path/pci-0000:00:10.0-scsi-0:0:0:0-part";
        let map = DeviceMap::new(&partitions, (0, 1));
        assert_eq!(map.stable_name(&format!("{path}5")), uuid("swap"));
        assert_eq!(map.stable_name(&format!("{path}1")), None);
    }

    #[test]
    fn lines_that_cannot_mean_a_partition_are_left() {
        let mut partitions = partitions();
        partitions[2].filesystem = Some("xfs".to_owned());
        let map = DeviceMap::new(&partitions, (0, 1));
        let text = "UUID=aaaa / ext4\n/dev/sda1 /home ext4\n/dev/sdb1 /data ext4\n";
        let edited = map.edit_fstab(text);
        assert_eq!(
            edited.text,
            "UUID=aaaa / ext4\n/dev/sda1 /home ext4 defaults,nofail\n/dev/sdb1 /data ext4 defaults,nofail\n"
        );
        let optional = edited.made_optional.iter().map(|(mount, _)| mount.as_str());
        assert_eq!(optional.collect::<Vec<_>>(), ["/home", "/data"]);
        let named = BTreeSet::new();
        let meant = |line: &[&str]| map.meant_by_line(line, &named);
        assert_eq!(meant(&["/dev/sdb1", "/usr", "ext4"]), None);
        assert_eq!(
            meant(&["/dev/sdb1", "/usr", "xfs"]).as_deref(),
            Some("UUID=data")
        );
        let edited = map.edit_fstab("/dev/sdb1 /data xfs\n");
        assert_eq!(edited.text, "UUID=data /data xfs\n");
    }

    #[test]
    fn a_label_that_two_partitions_carry() {
        let mut partitions = partitions();
        for partition in &mut partitions {
            partition.label = Some("disk".to_owned());
        }
        let map = DeviceMap::new(&partitions, (0, 1));
        let edited = map.edit_fstab("LABEL=disk / ext4\nLABEL=disk /data ext4\nLABEL=x /x ext4\n");
        assert_eq!(
            edited.text,
            "UUID=aaaa / ext4\nLABEL=disk /data ext4\nLABEL=x /x ext4 defaults,nofail\n"
        );
        assert_eq!(edited.left, ["LABEL=disk"]);
        assert_eq!(
            map.edit_arguments("root=LABEL=disk ro").text,
            "root=UUID=aaaa ro"
        );
        partitions.truncate(1);
        let map = DeviceMap::new(&partitions, (0, 1));
        assert_eq!(
            map.edit_arguments("root=LABEL=disk ro").text,
            "root=LABEL=disk ro"
        );
    }

    #[test]
    fn names_that_nothing_captured_has() {
        let mut partitions = partitions();
        partitions[1].part_label = Some("my swap".to_owned());
        let problem = |partitions: &[Partition], device: &str| {
            DeviceMap::new(partitions, (0, 1)).problem(device).is_some()
        };
        let is_wrong = |device: &str| problem(&partitions, device);
        assert!(!is_wrong("PARTLABEL=my\\040swap") && is_wrong("PARTLABEL=other"));
        assert!(!is_wrong("/dev/disk/by-partlabel/my\\x20swap"));
        for array in ["/dev/md127", "/dev/md/root", "/dev/md0p1"] {
            assert!(is_wrong(array), "{array}");
            let mut partitions = partitions.clone();
            partitions[0].names = vec!["/dev/md/x".to_owned()];
            assert!(!problem(&partitions, array), "{array} may be that array");
        }
    }

    #[test]
    fn names_of_volumes_stay() {
        let partitions = partitions();
        let map = DeviceMap::new(&partitions, (0, 1));
        let text =
            "linux /vmlinuz root=/dev/mapper/rhel-root resume=/dev/vg0/swap rd.lvm.lv=rhel/root\n";
        assert_eq!(map.edit_arguments(text).text, text);
        assert!(map.edit_arguments(text).left.is_empty());
    }

    /// Megabytes of arguments take a moment, not minutes.
    #[test]
    fn large_files_are_edited_in_linear_time() {
        let partitions = partitions();
        let map = DeviceMap::new(&partitions, (0, 1));
        let text = "root=/dev/sda1 ".repeat(200_000);
        let start = std::time::Instant::now();
        let edited = map.edit_arguments(&text);
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
        assert_eq!(edited.text.matches("UUID=aaaa").count(), 200_000);
        let text = "/dev/sdb1 /x auto\n".repeat(200_000);
        assert_eq!(
            map.edit_fstab(&text).text.matches("UUID=data").count(),
            200_000
        );
    }

    #[test]
    fn fstab() {
        let partitions = partitions();
        let map = DeviceMap::new(&partitions, (0, 1));
        let text = "# /dev/sda1 was root\n/dev/sda1 / ext4 defaults 0 1\nLABEL=x /x ext4\n\
                    /dev/sdb1\t/data ext4\n/dev/sdc1 /gone ext4\n/dev/sr0 /cd iso9660";
        let edited = map.edit_fstab(text);
        assert_eq!(
            edited.text,
            "# /dev/sda1 was root\nUUID=aaaa / ext4 defaults 0 1\nLABEL=x /x ext4 defaults,nofail\n\
             UUID=data\t/data ext4\n/dev/sdc1 /gone ext4 defaults,nofail\n/dev/sr0 /cd iso9660"
        );
        let gone = |mount: &str, device: &str| (mount.to_owned(), device.to_owned());
        assert_eq!(
            edited.made_optional,
            [gone("/x", "LABEL=x"), gone("/gone", "/dev/sdc1")]
        );
        assert_eq!(map.edit_fstab(&edited.text).text, edited.text);
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
                |map: &DeviceMap, text: &str| map.edit_fstab(text).text,
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
            map.edit_crypttab(&text);
        }
    }
}
