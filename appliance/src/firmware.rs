//! UEFI firmware of this host, by the descriptions that distributions install
//! beside it and libvirt chooses from.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Where descriptions lie; the same places as libvirt's.
const PLACES: [&str; 2] = ["/etc/qemu/firmware", "/usr/share/qemu/firmware"];

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Description {
    interface_types: Vec<String>,
    mapping: Mapping,
    targets: Vec<Target>,
    features: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mapping {
    executable: Option<Executable>,
    nvram_template: Option<Executable>,
}

#[derive(Deserialize)]
struct Executable {
    filename: PathBuf,
}

#[derive(Deserialize)]
struct Target {
    architecture: String,
}

impl Description {
    fn enforces_secure_boot(&self) -> bool {
        let has = |feature: &str| self.features.iter().any(|known| known == feature);
        self.interface_types.iter().any(|kind| kind == "uefi")
            && self
                .targets
                .iter()
                .any(|target| target.architecture == "x86_64")
            && has("secure-boot")
            && has("enrolled-keys")
            && has("requires-smm")
    }

    fn files(&self) -> Option<[&Path; 2]> {
        let (Some(code), Some(variables)) =
            (&self.mapping.executable, &self.mapping.nvram_template)
        else {
            return None;
        };
        Some([&code.filename, &variables.filename])
    }
}

/// The firmware that starts only what is signed by well-known keys, when this
/// host has it.
pub fn secure_boot() -> Option<PathBuf> {
    PLACES
        .iter()
        .find_map(|place| secure_boot_in(Path::new(place)))
}

/// What to do without it, in one sentence.
pub const SECURE_BOOT_MISSING: &str = "no UEFI firmware with Secure Boot and Microsoft's keys is installed: install the package ovmf (Debian, Ubuntu) or edk2-ovmf (Fedora), or remove `secure_boot` from the site file";

fn secure_boot_in(place: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(place).ok()?;
    let descriptions = entries.flatten().filter_map(|entry| {
        let text = std::fs::read(entry.path()).ok()?;
        serde_json::from_slice::<Description>(&text).ok()
    });
    descriptions
        .filter(Description::enforces_secure_boot)
        .find_map(|description| {
            let [code, variables] = description.files()?;
            (code.is_file() && variables.is_file()).then(|| code.to_path_buf())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(folder: &Path, features: &str) {
        let (code, variables) = (folder.join("code.fd"), folder.join("vars.fd"));
        let text = serde_json::json!({
            "description": "a firmware", "interface-types": ["uefi"],
            "mapping": {"device": "flash",
                "executable": {"filename": code, "format": "raw"},
                "nvram-template": {"filename": variables, "format": "raw"}},
            "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}],
            "features": features.split(' ').collect::<Vec<_>>(), "tags": [],
        });
        std::fs::write(folder.join("50.json"), text.to_string()).unwrap();
    }

    #[test]
    fn only_firmware_with_keys_whose_files_exist_counts() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(secure_boot_in(folder), None);
        description(folder, "secure-boot enrolled-keys requires-smm");
        assert_eq!(secure_boot_in(folder), None, "its files are missing");
        std::fs::write(folder.join("code.fd"), "").unwrap();
        std::fs::write(folder.join("vars.fd"), "").unwrap();
        assert_eq!(secure_boot_in(folder), Some(folder.join("code.fd")));
        description(folder, "secure-boot requires-smm");
        assert_eq!(secure_boot_in(folder), None, "it has no keys");
        std::fs::write(folder.join("50.json"), "{").unwrap();
        assert_eq!(secure_boot_in(folder), None);
    }
}
