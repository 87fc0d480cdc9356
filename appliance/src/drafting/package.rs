//! OVF packages in drafts.

use std::path::{Path, PathBuf};

use lifeboat_images::{Package, disk_files, read_package, require_manifest};

use super::examine;
use crate::accelerator::Verdict;
use crate::confined;
use crate::events::Events;
use crate::host::Host;
use crate::leftovers::Drafting;
use crate::prepare::file_name;
use crate::site::draft::{FoundMachine, of_package};

/// The machines of an OVF package. Its manifest is checked, and the disks of
/// an archive become files in the state directory, once.
pub(super) fn machines(
    host: &Host,
    verdict: &Verdict,
    drafting: &Drafting,
    path: &Path,
    events: &Events,
) -> anyhow::Result<Vec<FoundMachine>> {
    let name = file_name(path);
    let package = read_package(&confined::launcher(), path)?;
    package
        .warnings
        .iter()
        .for_each(|warning| events.warning(warning.clone()));
    let hear = |done, total| events.progress("check the manifest", &name, done, total);
    require_manifest(path, &package, &hear)?;
    let hear = |done, total| events.progress("unpack", &name, done, total);
    let (folder, reserve) = (folder(host, path)?, host.limits.reserve);
    let files = disk_files(path, &package, &folder, reserve, &hear)?;
    for volume in files.iter().flatten() {
        drafting.name(volume, None)?;
    }
    let look = |volumes| examine(host, verdict, drafting, volumes);
    Ok(found(&look, &package, files, events))
}

fn found(
    look: &dyn Fn(Vec<PathBuf>) -> anyhow::Result<FoundMachine>,
    package: &Package,
    files: Vec<Vec<PathBuf>>,
    events: &Events,
) -> Vec<FoundMachine> {
    let mut machines = Vec::new();
    for (machine, volumes) in package.machines.iter().zip(files) {
        // The descriptor tells enough for a draft without the guest's word.
        let guest = match look(volumes.clone()) {
            Ok(guest) => Some(guest),
            Err(error) => {
                let why = crate::events::chain(&error).join(": ");
                events.warning(format!(
                    "machine `{}`: its disks were not looked into ({why})",
                    machine.name
                ));
                None
            }
        };
        machines.push(of_package(machine, volumes, guest));
    }
    machines
}

/// Where the disks of an archive go: another archive of the same name has
/// another place.
fn folder(host: &Host, path: &Path) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let metadata = path.metadata()?;
    let identity = (
        std::fs::canonicalize(path)?,
        metadata.len(),
        metadata.mtime_nsec(),
        metadata.mtime(),
    );
    let hash = blake3::hash(format!("{identity:?}").as_bytes()).to_hex();
    Ok(host.unpacked_dir().join(&hash[..16]))
}
