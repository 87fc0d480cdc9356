//! The micro-VM's kernel and the initramfs made for it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::kernel_image::startable;
use super::program::loaded_part;
use super::{MicroVmError, host, launch};
use crate::initrd::cpio::Writer;
use crate::initrd::modules::{is_module, module_name};
use crate::module_file;
use crate::report::Task;

/// What the virtual hardware needs.
const HARDWARE: [&str; 2] = ["virtio_pci", "virtio_blk"];
/// What each filesystem, and each other part of the kernel that some volumes
/// need, wants beyond what the kernel has built in.
const FILESYSTEMS: [(&str, &[&str]); 7] = [
    ("ext4", &["ext4"]),
    ("xfs", &["xfs"]),
    ("btrfs", &["btrfs"]),
    (
        "vfat",
        &[
            "vfat",
            "nls_cp437",
            "nls_ascii",
            "nls_iso8859_1",
            "nls_utf8",
        ],
    ),
    ("device-mapper", &["dm_mod"]),
    (
        "raid",
        &["md_mod", "raid0", "raid1", "raid10", "raid456", "linear"],
    ),
    ("fuse", &["fuse"]),
];
/// The kit of storage tools, beside the kernel.
const KIT: &str = "kit.tar";

/// A distribution's kernel package, unpacked but not installed.
pub(super) struct KernelPackage {
    kit: PathBuf,
    image: PathBuf,
    /// Module files by module name; those built in are not among them.
    modules: BTreeMap<String, PathBuf>,
}

impl KernelPackage {
    /// Finds the image and all modules; the newest version if there are several.
    pub(super) fn open(directory: &Path) -> Result<Self, MicroVmError> {
        let missing = |missing: &str| MicroVmError::KernelMissing {
            path: directory.to_owned(),
            missing: missing.to_owned(),
        };
        let names = fs::read_dir(directory.join("boot")).map_err(|_| missing("directory boot"))?;
        let mut versions: Vec<String> = names
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                name.strip_prefix("vmlinuz-").map(str::to_owned)
            })
            .collect();
        versions.sort();
        let version = versions.pop().ok_or_else(|| missing("boot/vmlinuz-*"))?;
        let mut modules = BTreeMap::new();
        for parent in ["lib/modules", "usr/lib/modules"] {
            collect_modules(
                &directory.join(parent).join(&version).join("kernel"),
                &mut modules,
            );
        }
        for name in HARDWARE {
            if !modules.contains_key(name) {
                return Err(missing(&format!("module {name} for {version}")));
            }
        }
        Ok(Self {
            kit: directory.join(KIT),
            image: directory.join("boot").join(format!("vmlinuz-{version}")),
            modules,
        })
    }

    /// The kit of storage tools, if it is there. A volume that needs it says so.
    pub(super) fn kit(&self) -> Result<Option<File>, MicroVmError> {
        match File::open(&self.kit) {
            Ok(kit) => Ok(Some(kit)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(host(format!("opening {}", self.kit.display()))(error)),
        }
    }

    /// The kernel, unpacked where QEMU can start it so, readable for an unprivileged QEMU.
    pub(super) fn image(&self) -> Result<OwnedFd, MicroVmError> {
        let attempted = format!("reading {}", self.image.display());
        let image = fs::read(&self.image).map_err(host(attempted.clone()))?;
        launch::in_memory("lifeboat-kernel", &startable(image)).map_err(host(attempted))
    }

    /// The initramfs: the injector and modules, then the task as a second segment.
    pub(super) fn initramfs(
        &self,
        injector: &Path,
        mut task: Task,
    ) -> Result<Vec<u8>, MicroVmError> {
        let program = fs::read(injector)
            .map_err(host(format!("reading the injector {}", injector.display())))?;
        let mut writer = Writer::new();
        for directory in ["dev", "proc", "sys", "guest", "modules"] {
            writer.directory(directory);
        }
        writer.file("init", 0o755, &loaded_part(program));
        let mut added = BTreeMap::new();
        task.modules = self.add_modules(&HARDWARE, &mut added)?;
        for (kind, names) in FILESYSTEMS {
            let loaded = self.add_modules(names, &mut added)?;
            task.filesystems.insert(kind.to_owned(), loaded);
        }
        for (name, content) in &added {
            writer.file(&format!("modules/{name}"), 0o644, content);
        }
        let mut bytes = writer.finish();
        let text = serde_json::to_vec(&task)
            .map_err(|error| host("writing the task")(std::io::Error::other(error)))?;
        let mut request = Writer::new();
        request.file("task.json", 0o644, &text);
        bytes.extend(request.finish());
        Ok(bytes)
    }

    /// Adds modules with all they need; gives their names in loading order.
    fn add_modules(
        &self,
        names: &[&str],
        added: &mut BTreeMap<String, Vec<u8>>,
    ) -> Result<Vec<String>, MicroVmError> {
        let mut order = Vec::new();
        for name in names {
            self.add_module(name, &mut order, added)?;
        }
        Ok(order)
    }

    fn add_module(
        &self,
        name: &str,
        order: &mut Vec<String>,
        added: &mut BTreeMap<String, Vec<u8>>,
    ) -> Result<(), MicroVmError> {
        let file = format!("{name}.ko");
        // A module that does not exist is built in, or the kernel says so itself.
        let Some(path) = self.modules.get(name) else {
            return Ok(());
        };
        if order.contains(&file) {
            return Ok(());
        }
        let reading = || format!("reading {}", path.display());
        let packed = File::open(path).map_err(host(reading()))?;
        let content = module_file::unpack(&path.to_string_lossy(), BufReader::new(packed))
            .map_err(host(reading()))?;
        for need in module_file::needs(&content) {
            self.add_module(&need, order, added)?;
        }
        order.push(file.clone());
        added.insert(file, content);
        Ok(())
    }
}

fn collect_modules(directory: &Path, modules: &mut BTreeMap<String, PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect_modules(&path, modules);
        } else if let Some(name) = path.to_str().filter(|name| is_module(name)) {
            modules.insert(module_name(name), path.clone());
        }
    }
}
