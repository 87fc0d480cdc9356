//! `lifeboat check`: is this host fit, and what to do if not.

use serde::Serialize;

use crate::accelerator::{Accelerator, Verdict};
use crate::host::{Host, QemuUser};
use crate::hypervisor::Hypervisor;

/// One fact about the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// Whether a session can run with it.
    pub fit: bool,
    /// What was found.
    pub found: String,
    /// What to do, when it is not fit or not good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// Everything that was found.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Fitness {
    /// Sessions can run.
    pub fit: bool,
    /// What guests will use.
    pub accelerator: Verdict,
    /// The facts.
    pub findings: Vec<Finding>,
}

/// Looks at the host.
pub async fn check(host: &Host, verdict: Verdict) -> Fitness {
    let findings = vec![
        root(),
        accelerator(&verdict),
        libvirt().await,
        qemu_user(),
        programs(host),
        kernel(host),
        secure_boot(),
        memory(host),
        disk(host),
    ];
    Fitness {
        fit: findings.iter().all(|finding| finding.fit),
        accelerator: verdict,
        findings,
    }
}

/// The facts as lines.
pub fn to_text(fitness: &Fitness) -> String {
    let mut lines: Vec<String> = Vec::new();
    for finding in &fitness.findings {
        let mark = if finding.fit { "ok  " } else { "FAIL" };
        lines.push(format!("{mark}  {:<12} {}", finding.what, finding.found));
        lines.extend(
            finding
                .advice
                .iter()
                .map(|advice| format!("      -> {advice}")),
        );
    }
    lines.push(if fitness.fit {
        "this host can run sessions".into()
    } else {
        "this host cannot run sessions yet".into()
    });
    lines.join("\n") + "\n"
}

fn good(what: &'static str, found: String) -> Finding {
    Finding {
        what,
        fit: true,
        found,
        advice: None,
    }
}

fn bad(what: &'static str, found: String, advice: &str) -> Finding {
    Finding {
        what,
        fit: false,
        found,
        advice: Some(advice.into()),
    }
}

fn root() -> Finding {
    match nix::unistd::geteuid().is_root() {
        true => good("user", "root".into()),
        false => bad(
            "user",
            "not root".into(),
            "run it with sudo: Lifeboat uses libvirt's system connection and network namespaces",
        ),
    }
}

fn accelerator(verdict: &Verdict) -> Finding {
    match verdict.accelerator {
        Accelerator::Kvm => good("accelerator", format!("kvm: {}", verdict.reason)),
        Accelerator::Tcg => Finding {
            what: "accelerator",
            fit: true,
            found: format!("tcg: {}", verdict.reason),
            advice: Some(
                "guests run emulated: many times slower, and without isolation by hardware".into(),
            ),
        },
    }
}

async fn libvirt() -> Finding {
    match Hypervisor::start().capabilities().await {
        // Disks are handed over as descriptors, which libvirt learned in 9.0.
        Ok(found) if major(&found.libvirt_version) < 9 => bad(
            "libvirt",
            found.libvirt_version,
            "libvirt 9.0 or newer is needed; on Debian 12 take it from bookworm-backports",
        ),
        Ok(found) => good(
            "libvirt",
            format!("{} with QEMU {}", found.libvirt_version, found.qemu_version),
        ),
        Err(error) => {
            let error = anyhow::Error::from(error);
            bad(
                "libvirt",
                crate::events::chain(&error).join(": "),
                "start it: `systemctl start libvirtd`, or without systemd `virtlogd -d && libvirtd -d`",
            )
        }
    }
}

fn major(version: &str) -> u32 {
    version
        .split('.')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

fn qemu_user() -> Finding {
    match QemuUser::find() {
        Some(user) => good("qemu user", format!("uid {}, gid {}", user.uid, user.gid)),
        None => bad(
            "qemu user",
            "neither `libvirt-qemu` nor `qemu` exists".into(),
            "install the package libvirt-daemon-system",
        ),
    }
}

fn programs(host: &Host) -> Finding {
    let missing: Vec<_> = [
        "lifeboat-switch",
        "lifeboat-injector",
        "lifeboat-image-reader",
    ]
    .into_iter()
    .filter(|name| !host.program(name).is_file())
    .collect();
    match missing.is_empty() {
        true => good("programs", host.program_dir.display().to_string()),
        false => bad(
            "programs",
            format!(
                "missing in `{}`: {}",
                host.program_dir.display(),
                missing.join(", ")
            ),
            "build them with `./setup`",
        ),
    }
}

fn kernel(host: &Host) -> Finding {
    match crate::accelerator::find_kernel(&host.kernel_dir) {
        Some(kernel) => good("micro-VM", kernel.display().to_string()),
        None => bad(
            "micro-VM",
            format!("no kernel in `{}`", host.kernel_dir.display()),
            "run `./setup`, or set LIFEBOAT_KERNEL_DIR to an unpacked kernel package",
        ),
    }
}

/// Only machines that ask for it need it, so that its absence is no fault.
fn secure_boot() -> Finding {
    match crate::firmware::secure_boot() {
        Some(code) => good("secure boot", code.display().to_string()),
        None => Finding {
            what: "secure boot",
            fit: true,
            found: "machines with `secure_boot` cannot be started".into(),
            advice: Some(crate::firmware::SECURE_BOOT_MISSING.into()),
        },
    }
}

fn memory(host: &Host) -> Finding {
    let mib = host.memory_for_guests_mib();
    match mib {
        0..512 => bad(
            "memory",
            format!("{mib} MiB for guests"),
            "free some memory: a small guest needs about 512 MiB",
        ),
        _ => good("memory", format!("{mib} MiB for guests")),
    }
}

fn disk(host: &Host) -> Finding {
    let existing = host
        .state_dir
        .ancestors()
        .find(|folder| folder.is_dir())
        .unwrap_or(&host.state_dir);
    let mib = Host {
        state_dir: existing.to_path_buf(),
        ..host.clone()
    }
    .free_disk_mib();
    let found = format!("{mib} MiB free in `{}`", existing.display());
    match mib {
        0..1_024 => bad(
            "disk",
            found,
            "free some space or choose another --state-dir: prepared images and run overlays go there",
        ),
        _ => good("disk", found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_that_is_not_fit_says_what_to_do() {
        let host = Host {
            state_dir: "/nowhere/state".into(),
            run_dir: "/nowhere/run".into(),
            kernel_dir: "/nowhere/kernel".into(),
            program_dir: "/nowhere/programs".into(),
            imports: Vec::new(),
            limits: lifeboat_images::ConversionLimits::default(),
        };
        for finding in [programs(&host), kernel(&host)] {
            assert!(!finding.fit && finding.advice.is_some(), "{finding:?}");
        }
    }
}
