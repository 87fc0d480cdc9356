//! LVM and multipath: what they remember of the old disks would hide the new ones.

use std::collections::BTreeMap;

use super::plan::{Edit, Plan};
use super::root::Root;
use super::table_edit::Edited;
use crate::initrd::InitrdContents;
use crate::initrd::supplement::MARKER;
use crate::report::Bus;

/// Lists of devices that LVM and blkid keep; both find the disks without them.
const REMEMBERED: [&str; 5] = [
    "etc/lvm/devices/system.devices",
    "etc/lvm/cache/.cache",
    "etc/lvm/.cache",
    "etc/blkid.tab",
    "etc/blkid/blkid.tab",
];
/// Longer than any filter.
const LONGEST_LIST: usize = 64 << 10;
const ASIDE: &str = ".before-lifeboat";
const LOCAL: &str = "etc/lvm/lvmlocal.conf";
const MULTIPATH: &str = "etc/multipath/conf.d/lifeboat.conf";

/// What a guest does with disks before it mounts them.
pub(super) struct Storage {
    /// The names that its disks will have, as a part of a pattern.
    names: &'static str,
    devices_file: bool,
    multipath: bool,
}

impl Storage {
    /// Looks at the guest's configuration.
    pub(super) fn of_guest(root: &Root, disk: Bus) -> Self {
        let multipath = [
            "etc/multipath.conf",
            "etc/multipath/wwids",
            "etc/multipath/bindings",
        ];
        Self {
            names: match disk {
                Bus::VirtioBlk => "vd",
                Bus::VirtioScsi | Bus::Ahci => "sd",
                Bus::Nvme => "nvme",
            },
            devices_file: root.exists(REMEMBERED[0])
                || root.exists(&format!("{}{ASIDE}", REMEMBERED[0])),
            multipath: multipath.iter().any(|path| root.exists(path)),
        }
    }

    /// Plans the files of the root filesystem.
    pub(super) fn plan(&self, root: &Root, plan: &mut Plan) {
        for path in REMEMBERED {
            let to = format!("{path}{ASIDE}");
            if matches!(root.open_file(path), Ok(Some(_))) && !root.exists(&to) {
                plan.edits.push(Edit::Move {
                    path: path.to_owned(),
                    to,
                });
            }
        }
        for path in ["etc/lvm/lvm.conf", LOCAL] {
            plan.edit(root, path, |text| Edited {
                text: self.with_accepted(text),
                ..Edited::default()
            });
        }
        if self.multipath {
            plan.warnings.push(format!(
                "multipath is configured; disks called {}* are kept from it, and other names of \
                 its maps stay as they are",
                self.names
            ));
            plan.ensure(root, MULTIPATH, self.blacklist().as_bytes());
        }
    }

    /// Adds the files of an initramfs, which carries copies of its own.
    pub(super) fn supplement(
        &self,
        contents: &InitrdContents,
        files: &mut BTreeMap<String, Vec<u8>>,
    ) {
        for path in ["etc/lvm/lvm.conf", LOCAL] {
            let Some(before) = contents.file(path) else {
                continue;
            };
            let before = String::from_utf8_lossy(before);
            let text = self.with_accepted(&before);
            if text != before {
                files.insert(contents.resolve(path), text.into_bytes());
            }
        }
        // An empty list would hide every volume: the list is not used instead.
        if self.devices_file || contents.exists(REMEMBERED[0]) {
            let path = contents.resolve(LOCAL);
            let before = files
                .get(&path)
                .map(Vec::as_slice)
                .or(contents.file(LOCAL))
                .unwrap_or_default();
            let text = without_devices_file(&String::from_utf8_lossy(before));
            if contents.file(LOCAL) != Some(text.as_bytes()) {
                files.insert(path, text.into_bytes());
            }
        }
        let carried = [
            "usr/sbin/multipathd",
            "sbin/multipathd",
            "etc/multipath.conf",
        ];
        if carried.iter().any(|path| contents.exists(path)) {
            let text = self.blacklist().into_bytes();
            if contents.file(MULTIPATH) != Some(text.as_slice()) {
                files.insert(contents.resolve(MULTIPATH), text);
            }
        }
    }

    fn blacklist(&self) -> String {
        format!(
            "{MARKER}\nblacklist {{\n\tdevnode \"^{}\"\n}}\n",
            self.names
        )
    }

    /// Filters that reject all disks but some known ones accept the new ones, too.
    fn with_accepted(&self, text: &str) -> String {
        let accept = format!("\"a|^/dev/{}.*|\"", self.names);
        let mut edited = String::new();
        let mut rest = text;
        while let Some(list) = next_filter(rest) {
            let (before, from) = rest.split_at(list.start);
            let inner = &from[..list.length];
            edited.push_str(before);
            if rejects_everything(inner) && !inner.contains(&accept) {
                edited.push_str(&format!(" {accept},"));
            }
            edited.push_str(inner);
            rest = &from[list.length..];
        }
        edited.push_str(rest);
        edited
    }
}

struct FilterList {
    /// Right behind the bracket.
    start: usize,
    length: usize,
}

/// The next list of `filter` or `global_filter` outside comments.
fn next_filter(text: &str) -> Option<FilterList> {
    let mut place = 0;
    for line in text.split_inclusive('\n') {
        let assigned = line.trim_start();
        let key = ["filter", "global_filter"]
            .iter()
            .find_map(|key| assigned.strip_prefix(key));
        let value = key.and_then(|rest| rest.trim_start().strip_prefix('='));
        if let Some(value) = value.and_then(|value| value.trim_start().strip_prefix('[')) {
            let start = place + line.len() - value.len();
            let end = text.bytes().skip(start).take(LONGEST_LIST);
            let length = end.into_iter().position(|byte| byte == b']').unwrap_or(0);
            return Some(FilterList { start, length });
        }
        place += line.len();
    }
    None
}

fn rejects_everything(list: &str) -> bool {
    let mut patterns = list
        .split(',')
        .map(|item| item.trim().trim_matches(['"', '\'']));
    patterns.any(|pattern| {
        let mut letters = pattern.chars();
        letters.next() == Some('r')
            && matches!(
                letters.as_str().trim_matches(['|', '/', '!', '@', '#']),
                ".*" | "^.*" | ".*$" | ""
            )
    })
}

fn without_devices_file(text: &str) -> String {
    if text
        .lines()
        .any(|line| line.trim() == "use_devicesfile = 0")
    {
        return text.to_owned();
    }
    let mut lines: String = text
        .split_inclusive('\n')
        .filter(|line| !line.trim_start().starts_with("use_devicesfile"))
        .collect();
    if !lines.is_empty() && !lines.ends_with('\n') {
        lines.push('\n');
    }
    lines + &format!("{MARKER}\ndevices {{\n\tuse_devicesfile = 0\n}}\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn storage() -> Storage {
        Storage {
            names: "vd",
            devices_file: false,
            multipath: false,
        }
    }

    #[test]
    fn filters_accept_the_new_disks() {
        let storage = storage();
        let cases = [
            (
                "devices {\n filter = [ \"a|/dev/disk/by-id/.*|\", \"r|.*|\" ]\n}\n",
                "devices {\n filter = [ \"a|^/dev/vd.*|\", \"a|/dev/disk/by-id/.*|\", \"r|.*|\" ]\n}\n",
            ),
            (
                "global_filter=[\"a|/dev/mapper/mpath.*|\",\n\"r/.*/\"]",
                "global_filter=[ \"a|^/dev/vd.*|\",\"a|/dev/mapper/mpath.*|\",\n\"r/.*/\"]",
            ),
        ];
        for (before, expected) in cases {
            assert_eq!(storage.with_accepted(before), expected);
            assert_eq!(storage.with_accepted(expected), expected, "once is enough");
        }
        for same in [
            "# filter = [ \"r|.*|\" ]\n",
            "filter = [ \"a|.*|\" ]\n",
            "filter = [ \"r|/dev/cdrom|\" ]\n",
            "filter = [",
            "",
        ] {
            assert_eq!(storage.with_accepted(same), same);
        }
    }

    #[test]
    fn an_initramfs_gets_what_overrides_its_own_copies() {
        let mut contents = InitrdContents::default();
        let mut add = |path: &str, content: &[u8]| {
            contents
                .kinds
                .insert(path.to_owned(), crate::initrd::cpio::Kind::File);
            contents.files.insert(path.to_owned(), content.to_vec());
        };
        add("etc/lvm/devices/system.devices", b"IDTYPE=sys_wwid\n");
        add("etc/lvm/lvmlocal.conf", b"local { extra = 1 }\n");
        add("etc/lvm/lvm.conf", b"filter=[\"r|.*|\"]\n");
        add("etc/multipath.conf", b"defaults {}\n");
        let mut files = BTreeMap::new();
        storage().supplement(&contents, &mut files);
        let text = |path: &str| String::from_utf8(files[path].clone()).unwrap();
        assert_eq!(
            text("etc/lvm/lvmlocal.conf"),
            "local { extra = 1 }\n# added by Lifeboat\ndevices {\n\tuse_devicesfile = 0\n}\n"
        );
        assert!(text("etc/lvm/lvm.conf").contains("a|^/dev/vd.*|"));
        assert!(text(MULTIPATH).contains("devnode \"^vd\""));
        // A second time there is nothing to do.
        for (path, content) in &files {
            contents
                .kinds
                .insert(path.clone(), crate::initrd::cpio::Kind::File);
            contents.files.insert(path.clone(), content.clone());
        }
        let mut again = BTreeMap::new();
        storage().supplement(&contents, &mut again);
        assert!(again.is_empty(), "{again:?}");
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "(filter|global_filter|=|\\[|\\]|\"|r\\|\\.\\*\\||,|#| |\n|ä)*") {
            let once = storage().with_accepted(&text);
            prop_assert_eq!(storage().with_accepted(&once), once.clone());
            without_devices_file(&text);
        }
    }
}
