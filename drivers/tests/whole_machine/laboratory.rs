//! Guests built once for each recipe, and a directory for each test.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lifeboat_drivers::{Accelerator, MicroVm};
use nix::fcntl::{Flock, FlockArg};

/// Debian's user and group `nobody` and `nogroup`.
const NOBODY: (u32, u32) = (65534, 65534);

/// All that the tests need.
pub struct Laboratory {
    kernel_dir: PathBuf,
    injector: PathBuf,
    cache: PathBuf,
    scratch: tempfile::TempDir,
}

impl Laboratory {
    /// Says what is missing and gives nothing when the tests cannot run here.
    pub fn open(test: &str) -> Option<Self> {
        let kernel_dir = PathBuf::from(variable(
            "LIFEBOAT_KERNEL_DIR",
            "/var/cache/lifeboat/kernel",
        ));
        let mut missing = Vec::new();
        if !nix::unistd::geteuid().is_root() {
            missing.push("root".to_owned());
        }
        for program in [
            "qemu-system-x86_64",
            "qemu-img",
            "mmdebstrap",
            "grub-mkimage",
            "sfdisk",
            "mke2fs",
        ] {
            if !on_path(program) {
                missing.push(program.to_owned());
            }
        }
        if !Path::new("/usr/lib/grub/i386-pc/boot.img").exists() {
            missing.push("grub-pc-bin".to_owned());
        }
        if !kernel_dir.join("boot").is_dir() {
            let kernel_dir = kernel_dir.display();
            missing.push(format!(
                "an unpacked kernel package in {kernel_dir} (LIFEBOAT_KERNEL_DIR)"
            ));
        }
        if !missing.is_empty() {
            say(&format!(
                "SKIPPED whole_machine {test}: missing {}",
                missing.join(", ")
            ));
            return None;
        }
        let cache = PathBuf::from(variable("LIFEBOAT_CACHE_DIR", "/var/cache/lifeboat"));
        let cache = cache.join("test-guests");
        std::fs::create_dir_all(&cache).unwrap();
        let scratch = tempfile::Builder::new()
            .prefix("scratch-")
            .tempdir_in(&cache)
            .unwrap();
        Some(Self {
            kernel_dir,
            injector: injector(),
            cache,
            scratch,
        })
    }

    /// Says something that the test harness does not keep back.
    pub fn say(&self, text: &str) {
        say(text);
    }

    /// The micro-VM as the appliance runs it: unprivileged.
    pub fn micro_vm(&self) -> MicroVm {
        MicroVm {
            qemu: "/usr/bin/qemu-system-x86_64".into(),
            kernel_dir: self.kernel_dir.clone(),
            drivers: None,
            injector: self.injector.clone(),
            accelerator: Accelerator::Tcg,
            memory_mib: 512,
            timeout: Duration::from_secs(300),
            run_as: Some(NOBODY),
        }
    }

    /// A directory that outlives the test.
    pub fn cache_of(&self, what: &str) -> PathBuf {
        let path = self.cache.with_file_name(what);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// A program of the micro-VM's kit, on this host.
    pub fn kit_program(&self, name: &str) -> Command {
        let kit = self.scratch.path().join("kit");
        if !kit.exists() {
            let archive = File::open(self.kernel_dir.join("kit.tar")).unwrap();
            tar::Archive::new(archive).unpack(&kit).unwrap();
        }
        let mut command = Command::new(kit.join("lib/ld-linux-x86-64.so.2"));
        command
            .arg("--library-path")
            .arg(kit.join("lib"))
            .arg(kit.join("bin").join(name));
        command
    }

    /// The captured disk of a guest, built when its recipe is new.
    pub fn guest(&self, kind: &str) -> PathBuf {
        let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/guests/build-guest");
        let hash = blake3::hash(&std::fs::read(&recipe).unwrap()).to_hex();
        let path = self.cache.join(format!("{kind}-{}.raw", &hash[..16]));
        let lock = File::create(self.cache.join(format!("{kind}.lock"))).unwrap();
        let _lock = Flock::lock(lock, FlockArg::LockExclusive).unwrap();
        if !path.exists() {
            say(&format!("building the guest {}", path.display()));
            let built = Command::new(recipe).arg(kind).arg(&path).output().unwrap();
            let log = String::from_utf8_lossy(&built.stderr);
            assert!(built.status.success(), "building the guest failed:\n{log}");
        }
        path
    }

    /// A new overlay.
    pub fn overlay(&self, base: &Path, name: &str) -> PathBuf {
        let path = self.scratch.path().join(format!("{name}.qcow2"));
        let made = Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
            .args([base, &path])
            .status()
            .unwrap();
        assert!(made.success());
        path
    }

    /// Gives an overlay the EFI system partition of another one; `base` has the
    /// table of both.
    pub fn copy_efi_system(&self, base: &Path, from: &Path, to: &Path) {
        let (start, size) = efi_system(base);
        let file = self.scratch.path().join("efi-system.raw");
        let _ = std::fs::remove_file(&file);
        let read = Command::new("qemu-img")
            .args(["dd", "-f", "qcow2", "-O", "raw", "bs=1M"])
            .arg(format!("skip={}", start >> 20))
            .arg(format!("count={}", size >> 20))
            .args([paired("if=", from), paired("of=", &file)])
            .status();
        assert!(read.unwrap().success());
        let written = Command::new("qemu-io")
            .args(["-f", "qcow2", "-c"])
            .arg(format!("write -s {} {start} {size}", file.display()))
            .arg(to)
            .output()
            .unwrap();
        assert!(written.status.success(), "{written:?}");
    }

    /// Where `overlay{number}` is.
    pub fn overlay_path(&self, number: usize) -> PathBuf {
        self.scratch.path().join(format!("overlay{number}.qcow2"))
    }

    /// A raw disk with some bytes in it.
    pub fn bytes(&self, name: &str, size: u64, offset: u64, content: &[u8]) -> PathBuf {
        let path = self.scratch.path().join(format!("{name}.raw"));
        let file = File::create(&path).unwrap();
        file.set_len(size).unwrap();
        file.write_all_at(content, offset).unwrap();
        path
    }

    /// A new directory.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.scratch.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }
}

fn paired(key: &str, path: &Path) -> String {
    format!("{key}{}", path.display())
}

/// Start and size of the EFI system partition in bytes, whole MiB.
fn efi_system(disk: &Path) -> (u64, u64) {
    let table = Command::new("/usr/sbin/sfdisk")
        .arg("--json")
        .arg(disk)
        .output()
        .unwrap();
    let table: serde_json::Value = serde_json::from_slice(&table.stdout).unwrap();
    let partitions = table["partitiontable"]["partitions"].as_array().unwrap();
    let system = partitions
        .iter()
        .find(|one| one["type"] == "C12A7328-F81F-11D2-BA4B-00A0C93EC93B")
        .unwrap();
    let [start, size] = ["start", "size"].map(|key| system[key].as_u64().unwrap() * 512);
    assert!(start.is_multiple_of(1 << 20) && size.is_multiple_of(1 << 20));
    (start, size)
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "\n{text}");
}

fn variable(name: &str, default: &str) -> String {
    std::env::var(name)
        .ok()
        .filter(|value| !value.is_empty())
        .unwrap_or_else(|| default.to_owned())
}

fn on_path(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    let directories = path.split(':').chain(["/usr/sbin", "/sbin"]);
    directories
        .into_iter()
        .any(|directory| Path::new(directory).join(program).exists())
}

/// The static injector: given, or built into the directory of this build.
fn injector() -> PathBuf {
    if let Ok(path) = std::env::var("LIFEBOAT_INJECTOR") {
        return path.into();
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--release",
            "--target",
            "x86_64-unknown-linux-gnu",
        ])
        .args([
            "-p",
            "lifeboat-drivers",
            "--bin",
            "lifeboat-injector",
            "--target-dir",
        ])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .status()
        .unwrap();
    assert!(built.success(), "building the static injector failed");
    target.join("x86_64-unknown-linux-gnu/release/lifeboat-injector")
}
