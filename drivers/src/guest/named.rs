//! Which filesystems the guest's tables and its boot loader name, and what
//! becomes of the guest where one is not there: one judgement, which is made
//! of the texts as they will be, and again of the texts as they are.

use super::arguments::line_arguments;
use super::boot_loader;
use super::fstab::{NEEDED, identity, mount_point, starts_without};
use super::identity::{DeviceMap, is_volatile};
use super::root::Root;

/// More is a filled directory.
const MOST_MOUNT_UNITS: usize = 200;
/// More lines say nothing more.
const MOST_FINDINGS: usize = 20;

/// A name of something that is not there, or that will not be there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// The file that names it.
    pub path: String,
    /// Where it is mounted.
    pub mount: String,
    /// As the guest writes it.
    pub device: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// What stands against the start of a guest, and what only is worth a word.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Judgement {
    /// With these the guest does not start.
    pub missing: Vec<Named>,
    /// The guest starts, but lacks something.
    pub warnings: Vec<String>,
}

/// Judges all files; `text` gives the text of each.
pub(super) fn judge(root: &Root, map: &DeviceMap, text: impl Fn(&str) -> String) -> Judgement {
    let mut judgement = Judgement::default();
    judgement.fstab(map, &text("etc/fstab"));
    judgement.crypttab(map, &text("etc/crypttab"));
    judgement.boot_loader(root, map, &text);
    for path in mount_units(root) {
        judgement.unit(map, &path, &text(&path));
    }
    judgement.missing.truncate(MOST_FINDINGS);
    judgement.warnings.truncate(MOST_FINDINGS);
    judgement
}

/// Mount units that the administrator wrote.
pub(super) fn mount_units(root: &Root) -> Vec<String> {
    let units = root.list("etc/systemd/system").into_iter();
    let mounts = units.filter(|(name, _)| name.ends_with(".mount"));
    mounts
        .take(MOST_MOUNT_UNITS)
        .map(|(name, _)| format!("etc/systemd/system/{name}"))
        .collect()
}

impl Judgement {
    fn fstab(&mut self, map: &DeviceMap, text: &str) {
        for line in text.lines() {
            let fields: Vec<&str> = line.split_whitespace().take(8).collect();
            let Some(device) = fields.first().filter(|device| !device.starts_with('#')) else {
                continue;
            };
            let Some(why) = map.problem(device) else {
                continue;
            };
            let mount = mount_point(&fields);
            let needed = NEEDED.contains(&mount) || is_volatile(device);
            if mount == "/" || needed && !starts_without(&fields) {
                self.missing("etc/fstab", mount, device, why);
            } else if !is_volatile(device) && !starts_without(&fields) {
                self.warn("etc/fstab", device, why);
            }
        }
    }

    fn crypttab(&mut self, map: &DeviceMap, text: &str) {
        for line in text.lines() {
            let mut fields = line.split_whitespace();
            let named = fields.next().filter(|name| !name.starts_with('#'));
            let Some(device) = named.and_then(|_| fields.next()) else {
                continue;
            };
            if let Some(why) = map.problem(device).filter(|_| !is_volatile(device)) {
                self.warn("etc/crypttab", device, why);
            }
        }
    }

    /// Entries for systems on other disks are nothing to stop for, as long as
    /// one entry names what is there.
    fn boot_loader(&mut self, root: &Root, map: &DeviceMap, text: impl Fn(&str) -> String) {
        let mut known = false;
        let mut unknown = Vec::new();
        for path in boot_loader::argument_files(root) {
            let text = text(&path);
            let read = ["boot/", "efi/", "extlinux.conf"]
                .iter()
                .any(|place| path.starts_with(place));
            for line in text.lines() {
                let bare = map.is_for_bare_kernel(line);
                for (key, device) in line_arguments(line) {
                    let why = map.problem(device);
                    match why {
                        _ if key != "root" => self.resume(&path, device, why),
                        _ if map.is_beyond_kernel(device, bare) => {
                            let why = "which a kernel without an initramfs cannot find";
                            self.missing(&path, "/", device, why);
                        }
                        Some(why) if is_volatile(device) => {
                            self.missing(&path, "/", device, why);
                        }
                        Some(why) if read => unknown.push((path.clone(), device.to_owned(), why)),
                        Some(why) => self.warn(&path, device, why),
                        None => known |= identity(device).is_some() || device.starts_with("/dev/"),
                    }
                    if unknown.len() > MOST_FINDINGS {
                        unknown.truncate(MOST_FINDINGS);
                    }
                }
            }
        }
        for (path, device, why) in unknown {
            if known {
                self.warn(&path, &device, why);
            } else {
                self.missing(&path, "/", &device, why);
            }
        }
    }

    fn resume(&mut self, path: &str, device: &str, why: Option<&'static str>) {
        if let Some(why) = why.filter(|_| !is_volatile(device)) {
            self.warn(path, device, why);
        }
    }

    fn unit(&mut self, map: &DeviceMap, path: &str, text: &str) {
        for (_, device) in text.lines().flat_map(line_arguments) {
            self.resume(path, device, map.problem(device));
        }
    }

    fn missing(&mut self, path: &str, mount: &str, device: &str, why: &'static str) {
        if self.missing.len() < MOST_FINDINGS {
            self.missing.push(Named {
                path: path.to_owned(),
                mount: mount.to_owned(),
                device: device.to_owned(),
                why,
            });
        }
    }

    fn warn(&mut self, path: &str, device: &str, why: &str) {
        let warning = format!("/{path} names {device:?}, {why}");
        if self.warnings.len() < MOST_FINDINGS && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}
