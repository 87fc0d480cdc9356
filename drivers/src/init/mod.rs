//! What runs inside the micro-VM as its first and only process.

mod disks;
mod kernel_log;
mod kit;
pub mod lvm;
#[cfg(feature = "host")]
pub(crate) use disks::{DRIVERS_SERIAL, KIT_SERIAL, OUTPUT_SERIAL};
mod mounts;
mod output;
mod raid;
pub mod raid_superblock;
mod root_search;
mod soundness;
pub mod superblock;
mod tools;
mod volumes;
mod windows;
mod work;

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::kmod::{ModuleInitFlags, finit_module, init_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};

use crate::report::{Outcome, Task};
use crate::{Described, describe};

/// Does the task and switches the machine off; never returns normally.
pub fn main() -> ! {
    if let Err(error) = run() {
        eprintln!("lifeboat-injector: {}", crate::cause_chain(&error));
    }
    nix::unistd::sync();
    // With `-no-reboot` QEMU ends on a reset, whatever firmware there is.
    let _ = reboot(RebootMode::RB_AUTOBOOT);
    std::process::exit(1)
}

fn run() -> Result<(), Described> {
    mount_kernel_filesystems().map_err(describe("mounting /proc, /sys and /dev"))?;
    let text = fs::read("/task.json").map_err(describe("reading /task.json"))?;
    let task: Task = serde_json::from_slice(&text)
        .map_err(|error| describe("understanding /task.json")(io::Error::other(error)))?;
    for module in &task.modules {
        load_module(module).map_err(describe(format!("loading the module {module}")))?;
    }
    let attached =
        disks::find(task.disks, task.kit, task.drivers).map_err(describe("finding the disks"))?;
    let mut output = output::Output::open(&attached.output, task.output_bytes)
        .map_err(describe("opening the output disk"))?;
    let outcome = work::perform(&task, &attached, &mut output).unwrap_or_else(|stop| match stop {
        work::Stop::Refused(refusal) => Outcome::Refused(refusal),
        work::Stop::Failed(error) => Outcome::Failed {
            message: crate::cause_chain(&error),
        },
    });
    output
        .finish(&outcome)
        .map_err(describe("writing the report"))
}

fn mount_kernel_filesystems() -> nix::Result<()> {
    for (kind, path) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        // The directories may be there already.
        let _ = fs::create_dir(path);
        match mount(Some(kind), path, Some(kind), MsFlags::empty(), None::<&str>) {
            // devtmpfs may have been mounted by the kernel.
            Ok(()) | Err(nix::errno::Errno::EBUSY) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn load_module(path: &str) -> io::Result<()> {
    let file = File::open(Path::new("/modules").join(path))?;
    let result = if path.ends_with(".ko") {
        finit_module(file.as_fd(), c"", ModuleInitFlags::empty())
    } else {
        let unpacked = crate::module_file::unpack(path, io::BufReader::new(file))?;
        init_module(&unpacked, c"")
    };
    match result {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
