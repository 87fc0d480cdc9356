//! Finding drivers among the files of an image: the two layouts of virtio-win.

use std::collections::BTreeMap;
use std::io;

use super::{Catalogue, CatalogueError, DriverFile, LARGEST_FILE, Package, doing};
use crate::windows::inf::Inf;

/// Names of Windows in virtio-win.
const SYSTEMS: [&str; 16] = [
    "xp", "2k3", "2k8", "w7", "2k8r2", "w8", "2k12", "w8.1", "2k12r2", "w10", "w11", "2k16",
    "2k19", "2k22", "2k25", "vista",
];
const MOST_FILES: usize = 100_000;

/// The files of an image.
pub trait Files {
    /// Paths with `/` between names, and sizes.
    fn list(&mut self) -> io::Result<Vec<(String, u64)>>;
    /// The content of one.
    fn read(&mut self, path: &str) -> io::Result<Vec<u8>>;
}

/// What was found.
#[derive(Debug, Default)]
pub struct Collected {
    /// The drivers.
    pub catalogue: Catalogue,
    /// Where each different file lies, by hash.
    pub places: BTreeMap<String, String>,
    /// What was left out, and why.
    pub warnings: Vec<String>,
}

/// One folder that holds drivers for one Windows.
type Folder = BTreeMap<String, (String, u64)>;

/// Finds the drivers; `only` names the Windows that are wanted, all when it is empty.
pub fn collect(
    files: &mut dyn Files,
    source: &str,
    only: &[String],
) -> Result<Collected, CatalogueError> {
    let listed = files
        .list()
        .map_err(doing(format!("listing the files of {source}")))?;
    let mut folders: BTreeMap<(String, String, String), Folder> = BTreeMap::new();
    for (path, size) in listed.into_iter().take(MOST_FILES) {
        let Some((os, architecture, folder)) = place_of(&path) else {
            continue;
        };
        let wanted = only.is_empty() || only.iter().any(|name| name.eq_ignore_ascii_case(&os));
        let name = path
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        if wanted && size <= LARGEST_FILE && is_part(&name) {
            let key = (os, architecture, folder);
            folders.entry(key).or_default().insert(name, (path, size));
        }
    }
    let mut collected = Collected::default();
    for ((os, architecture, _), folder) in &folders {
        for inf in folder.keys().filter(|name| name.ends_with(".inf")) {
            match package(
                files,
                folder,
                inf,
                (os, architecture),
                &mut collected.places,
            ) {
                Ok(mut package) => {
                    source.clone_into(&mut package.source);
                    collected.catalogue.take(vec![package]);
                }
                Err(why) => collected.warnings.push(format!("{}: {why}", folder[inf].0)),
            }
        }
    }
    prefer_new_firmware_driver(&mut collected.catalogue);
    if collected.catalogue.packages.is_empty() {
        return Err(CatalogueError::Empty {
            source_name: source.to_owned(),
        });
    }
    Ok(collected)
}

/// `viostor/w10/amd64/viostor.sys` or `.../by-os/amd64/w10/viostor.sys`.
fn place_of(path: &str) -> Option<(String, String, String)> {
    let (folder, _) = path.rsplit_once('/')?;
    let lower = folder.to_ascii_lowercase();
    let names: Vec<&str> = lower.split('/').filter(|name| !name.is_empty()).collect();
    let [.., first, second] = names.as_slice() else {
        return None;
    };
    if names.contains(&"sriov") {
        return None;
    }
    let (os, architecture) = match (architecture(second), architecture(first)) {
        (Some(architecture), _) => (*first, architecture),
        (None, Some(architecture)) => (*second, architecture),
        (None, None) => return None,
    };
    let os = if os == "vista" { "2k8" } else { os };
    SYSTEMS
        .contains(&os)
        .then(|| (os.to_owned(), architecture.to_owned(), lower.clone()))
}

fn architecture(name: &str) -> Option<&'static str> {
    match name {
        "amd64" | "x64" | "x86_64" => Some("amd64"),
        "x86" | "i386" => Some("x86"),
        _ => None,
    }
}

/// Symbols for debugging and the network protocol for bonding with real hardware stay out.
fn is_part(name: &str) -> bool {
    !(name.ends_with(".pdb") || name.starts_with("vioprot."))
}

fn package(
    files: &mut dyn Files,
    folder: &Folder,
    inf_name: &str,
    (os, architecture): (&str, &str),
    places: &mut BTreeMap<String, String>,
) -> Result<Package, String> {
    let read = |files: &mut dyn Files, name: &str| {
        let (path, size) = folder
            .get(&name.to_ascii_lowercase())
            .ok_or(format!("{name} is missing"))?;
        let bytes = files
            .read(path)
            .map_err(|error| format!("reading {name} failed: {error}"))?;
        if bytes.len() as u64 != *size {
            return Err(format!("{name} is cut short"));
        }
        let written = path.rsplit('/').next().unwrap_or_default().to_owned();
        Ok((written, path.clone(), bytes))
    };
    let (_, _, bytes) = read(files, inf_name)?;
    let inf = Inf::parse(&bytes, architecture).map_err(|error| error.to_string())?;
    let mut names = vec![inf_name.to_owned()];
    names.extend((!inf.catalog.is_empty()).then(|| inf.catalog.clone()));
    names.extend(inf.files.iter().cloned());
    let mut parts = Vec::new();
    for name in &names {
        let (written, path, bytes) = read(files, name)?;
        let hash = blake3::hash(&bytes).to_hex().to_string();
        places.entry(hash.clone()).or_insert(path);
        parts.push(DriverFile {
            name: written,
            size: bytes.len() as u64,
            hash,
        });
    }
    Ok(Package {
        driver: inf_name.trim_end_matches(".inf").to_owned(),
        os: os.to_owned(),
        architecture: architecture.to_owned(),
        source: String::new(),
        inf,
        files: parts,
    })
}

/// `qemufwcfg` only marks a device as known; where the real driver is there it would win.
fn prefer_new_firmware_driver(catalogue: &mut Catalogue) {
    let real: Vec<(String, String)> = catalogue
        .packages
        .iter()
        .filter(|package| package.driver == "fwcfg")
        .map(|package| (package.os.clone(), package.architecture.clone()))
        .collect();
    catalogue.packages.retain(|package| {
        let key = (package.os.clone(), package.architecture.clone());
        package.driver != "qemufwcfg" || !real.contains(&key)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_are_known() {
        let place =
            |path: &str| place_of(path).map(|(os, architecture, _)| format!("{os} {architecture}"));
        let found = |text: &str| Some(text.to_owned());
        assert_eq!(place("viostor/w10/amd64/viostor.sys"), found("w10 amd64"));
        assert_eq!(place("/NetKVM/2k12R2/x86/netkvm.inf"), found("2k12r2 x86"));
        assert_eq!(
            place("drivers/by-os/amd64/2k25/viostor.inf"),
            found("2k25 amd64")
        );
        assert_eq!(place("i386/w7/viostor.inf"), found("w7 x86"));
        assert_eq!(place("viostor/w10/ARM64/viostor.sys"), None);
        assert_eq!(place("NetKVM/w10/amd64/sriov/x.inf"), None);
        assert_eq!(place("guest-agent/qemu-ga-x86_64.msi"), None);
        assert_eq!(place("viostor.sys"), None);
    }
}
