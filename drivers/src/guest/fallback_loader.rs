//! What an UEFI guest starts with where the firmware remembers nothing: boot
//! entries live in its memory, which does not travel with the disks.

use super::facts;
use super::plan::Plan;
use super::root::Root;
use crate::refusal::Refusal;
use crate::report::{Firmware, GuestReport};

/// Where the EFI system partition may be mounted.
const MOUNTS: [&str; 3] = ["boot/efi", "efi", "boot"];
/// Largest loader that is copied.
const LARGEST_LOADER: u64 = 16 << 20;
/// Nobody installs more systems; more is a filled directory.
const MOST_DIRECTORIES: usize = 100;

/// Loaders, the best of a directory first: what the firmware starts, what that
/// needs beside it, and what is read from there if it is there.
const LOADERS: [(&str, Option<&str>, Option<&str>); 5] = [
    ("shimx64.efi", Some("grubx64.efi"), None),
    ("shim.efi", Some("grub.efi"), Some("grub.cfg")),
    ("grubx64.efi", None, None),
    ("grub.efi", None, Some("grub.cfg")),
    ("systemd-bootx64.efi", None, None),
];

/// A loader and what goes with it: the names they get, and their paths.
type Files = Vec<(&'static str, String)>;

/// One directory of the EFI system partition with a loader that is known here.
struct Candidate {
    name: String,
    files: Files,
    /// Whether its configuration names a filesystem that is there; nothing
    /// where there is no configuration.
    alive: Option<bool>,
}

/// Whether the guest has a loader that starts without an entry.
pub(super) fn is_there(root: &Root) -> bool {
    let path = |mount| format!("{mount}/EFI/BOOT/BOOTX64.EFI");
    MOUNTS.iter().any(|mount| root.exists(&path(mount)))
}

/// Plans a copy of the guest's own loader, where it has none for that purpose.
pub(super) fn plan(root: &Root, guest: &GuestReport, plan: &mut Plan) -> Result<(), Refusal> {
    if guest.firmware != Firmware::Uefi || is_there(root) {
        return Ok(());
    }
    let mut mounts = MOUNTS.iter().map(|mount| format!("{mount}/EFI"));
    let directory = mounts.find(|directory| root.is_directory(directory));
    let directory = directory.ok_or_else(|| no_loader("nothing"))?;
    let all = candidates(root, &directory, guest);
    let chosen = choose(all, &facts::kinship(root)).map_err(|names| no_loader(&names))?;
    for (name, path) in chosen {
        let content = root.read(&path, LARGEST_LOADER).ok().flatten();
        let content =
            content.ok_or_else(|| no_loader(&format!("/{path}, which cannot be read")))?;
        plan.ensure(root, &format!("{directory}/BOOT/{name}"), &content);
    }
    Ok(())
}

fn no_loader(found: &str) -> Refusal {
    Refusal::NoLoader {
        found: found.to_owned(),
    }
}

fn candidates(root: &Root, directory: &str, guest: &GuestReport) -> Vec<Candidate> {
    let names = root.list(directory).into_iter().map(|(name, _)| name);
    let vendors = names.filter(|name| !name.eq_ignore_ascii_case("boot"));
    let vendors = vendors.take(MOST_DIRECTORIES);
    vendors
        .filter_map(|name| {
            let files = loader_in(root, &format!("{directory}/{name}"))?;
            let text = root.text(&format!("{directory}/{name}/grub.cfg"));
            let alive = (!text.is_empty()).then(|| names_what_is_there(&text, guest));
            Some(Candidate { name, files, alive })
        })
        .collect()
}

fn names_what_is_there(text: &str, guest: &GuestReport) -> bool {
    let identities = guest.partitions.iter().flat_map(|one| &one.uuid);
    let mut identities = identities.chain(std::iter::once(&guest.root.uuid));
    // A file that names nothing at all says nothing against its directory.
    !text.contains("uuid") || identities.any(|uuid| !uuid.is_empty() && text.contains(uuid))
}

fn loader_in(root: &Root, directory: &str) -> Option<Files> {
    // Only those that are chosen are read: a directory costs nothing to fill.
    let there = |name: &str| {
        let path = format!("{directory}/{name}");
        let size = root.size(&path).ok().flatten()?;
        (size <= LARGEST_LOADER).then_some(path)
    };
    LOADERS.iter().find_map(|(first, needed, wanted)| {
        let mut files = vec![("BOOTX64.EFI", there(first)?)];
        if let Some(name) = needed {
            files.push((*name, there(name)?));
        }
        let also = wanted.and_then(|name| Some((name, there(name)?)));
        files.extend(also);
        Some(files)
    })
}

/// The directory of the system itself, of one that it descends from, or the
/// only one; those that are left of systems that are gone count last.
fn choose(mut all: Vec<Candidate>, kinship: &[String]) -> Result<Files, String> {
    let names: Vec<String> = all.iter().map(|one| one.name.clone()).collect();
    if all.iter().any(|one| one.alive != Some(false)) {
        all.retain(|one| one.alive != Some(false));
    }
    let named = |id: &String| {
        let mut all = all.iter();
        all.position(|one| one.name.eq_ignore_ascii_case(id))
    };
    let alive = |one: &Candidate| one.alive == Some(true);
    let place = kinship.iter().find_map(named).or_else(|| {
        let (mut only, mut living) = (all.iter(), all.iter().filter(|one| alive(one)));
        match (only.next(), only.next(), living.next(), living.next()) {
            (Some(_), None, ..) => Some(0),
            (_, _, Some(_), None) => all.iter().position(alive),
            _ => None,
        }
    });
    match place {
        Some(place) => Ok(all.swap_remove(place).files),
        None if names.is_empty() => Err("none that is known here".to_owned()),
        None => Err(format!(
            "one each in {}, and nothing tells which is meant",
            names.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Partition;

    const HERE: &str = "search.fs_uuid 1111-here root\n";
    const GONE: &str = "search.fs_uuid 2222-gone root\n";

    /// What becomes `EFI/BOOT`, by the directory that it comes from.
    fn planned(system: &str, files: &[(&str, &str)]) -> Result<Vec<(String, String)>, Refusal> {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        root.write("etc/os-release", system.as_bytes()).unwrap();
        root.make_parents("boot/efi/EFI/x").unwrap();
        for (path, content) in files {
            let path = format!("boot/efi/EFI/{path}");
            root.write(&path, content.as_bytes()).unwrap();
        }
        let guest = GuestReport {
            firmware: Firmware::Uefi,
            partitions: vec![Partition {
                uuid: Some("1111-here".to_owned()),
                ..Partition::default()
            }],
            ..GuestReport::default()
        };
        let mut made = Plan::default();
        plan(&root, &guest, &mut made)?;
        let all = made.edits.into_iter().map(|edit| match edit {
            super::super::plan::Edit::Write { path, content } => (
                path.trim_start_matches("boot/efi/EFI/BOOT/").to_owned(),
                String::from_utf8(content).unwrap(),
            ),
            other => panic!("{other:?}"),
        });
        Ok(all.collect())
    }

    fn first(system: &str, files: &[(&str, &str)]) -> String {
        let made = planned(system, files).unwrap();
        assert_eq!(made[0].0, "BOOTX64.EFI");
        made[0].1.clone()
    }

    #[test]
    fn the_loader_of_the_system_itself() {
        let two = [
            ("debian/grubx64.efi", "debian"),
            ("ubuntu/grubx64.efi", "ubuntu"),
        ];
        for (system, expected) in [
            ("ID=ubuntu\nID_LIKE=debian\n", "ubuntu"),
            ("ID=debian\n", "debian"),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", "ubuntu"),
        ] {
            assert_eq!(first(system, &two), expected, "{system}");
        }
        let redhat = [
            ("fedora/grubx64.efi", "fedora"),
            ("redhat/grubx64.efi", "redhat"),
        ];
        assert_eq!(first("ID=rhel\nID_LIKE=fedora\n", &redhat), "redhat");
    }

    #[test]
    fn the_loader_that_leads_to_this_system() {
        let files = [
            ("debian/grubx64.efi", "debian"),
            ("debian/grub.cfg", GONE),
            ("proxmox/grubx64.efi", "proxmox"),
            ("proxmox/grub.cfg", HERE),
        ];
        assert_eq!(first("ID=debian\n", &files), "proxmox");
        // Nothing is called like the system: what names its filesystem is meant.
        assert_eq!(first("ID=other\n", &files), "proxmox");
        let unsaid = [files[0], files[2], files[3]];
        assert_eq!(first("ID=other\n", &unsaid), "proxmox");
        // The only one needs no other sign.
        assert_eq!(first("ID=other\n", &files[..2]), "debian");
    }

    #[test]
    fn a_guess_is_no_loader() {
        let files = [
            ("debian/grubx64.efi", "debian"),
            ("ubuntu/grubx64.efi", "ubuntu"),
        ];
        let text = planned("ID=other\n", &files).unwrap_err().to_string();
        assert!(text.contains("one each in debian, ubuntu"), "{text}");
        for files in [
            &[("refind/refind_x64.efi", "x")][..],
            &[],
            &[("debian/shimx64.efi", "shim without what it starts")],
        ] {
            let refusal = planned("ID=debian\n", files).unwrap_err();
            assert!(matches!(refusal, Refusal::NoLoader { .. }), "{refusal}");
        }
    }

    #[test]
    fn what_goes_with_a_loader() {
        let pair = |name: &str, content: &str| (name.to_owned(), content.to_owned());
        let debian = [
            ("debian/shimx64.efi", "shim"),
            ("debian/grubx64.efi", "grub"),
            ("debian/grub.cfg", HERE),
        ];
        let made = planned("ID=debian\n", &debian).unwrap();
        assert_eq!(
            made,
            [pair("BOOTX64.EFI", "shim"), pair("grubx64.efi", "grub")]
        );
        let suse = [
            ("opensuse/shim.efi", "shim"),
            ("opensuse/grub.efi", "grub"),
            ("opensuse/grub.cfg", HERE),
        ];
        let made = planned("ID=opensuse-leap\nID_LIKE=\"suse opensuse\"\n", &suse).unwrap();
        assert_eq!(
            made,
            [
                pair("BOOTX64.EFI", "shim"),
                pair("grub.efi", "grub"),
                pair("grub.cfg", HERE)
            ]
        );
        let systemd = [("systemd/systemd-bootx64.efi", "systemd")];
        assert_eq!(first("ID=arch\n", &systemd), "systemd");
        let there = [debian[0], debian[1], ("BOOT/BOOTX64.EFI", "own")];
        assert_eq!(planned("ID=debian\n", &there).unwrap(), []);
    }
}
