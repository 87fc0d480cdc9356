//! Where the built programs are, and what else of the host a test needs.

use std::path::{Path, PathBuf};

/// A built program by its name. `LIFEBOAT_PROGRAMS` names their folder;
/// otherwise it is the workspace's release build.
#[track_caller]
pub fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os("LIFEBOAT_PROGRAMS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release"),
        PathBuf::from,
    );
    let program = folder.join(name);
    assert!(
        program.is_file(),
        "`{}` is not built: run `./setup`, or name the folder of the programs in LIFEBOAT_PROGRAMS",
        program.display()
    );
    program.canonicalize().unwrap_or(program)
}

/// Fails unless these tools are installed; `package` says where they are from.
#[track_caller]
pub fn require(tools: &[(&str, &str)]) {
    let missing = missing(tools);
    assert!(missing.is_empty(), "this test needs {}", missing.join(", "));
}

/// What is missing for tests with real guests, a sentence each.
pub fn missing_for_guests() -> Vec<String> {
    let mut missing = missing(&[
        ("qemu-system-x86_64", "qemu-system-x86"),
        ("qemu-img", "qemu-utils"),
        ("virsh", "libvirt-clients"),
        ("mke2fs", "e2fsprogs"),
        ("sha256sum", "coreutils"),
    ]);
    if !nix::unistd::geteuid().is_root() {
        missing.push("root: run it with sudo".into());
    }
    if missing.is_empty() && crate::host::try_domains().is_err() {
        missing.push(
            "a running libvirt: `systemctl start libvirtd`, or without systemd `virtlogd -d && libvirtd -d`".into(),
        );
    }
    missing
}

fn missing(tools: &[(&str, &str)]) -> Vec<String> {
    let sentence = |(tool, package): &(&str, &str)| {
        format!("`{tool}`: install the package {package} (`./test` does)")
    };
    tools
        .iter()
        .filter(|(tool, _)| !is_installed(tool))
        .map(sentence)
        .collect()
}

fn is_installed(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(tool).is_file())
}
