//! Prepares one disk and says how long it took.
//!
//!     prepare_disk DISK FORMAT OVERLAY [MAC[=ADDRESS]]...
//!
//! OVERLAY is made with `qemu-img`. `LIFEBOAT_INJECTOR` names the static injector,
//! `LIFEBOAT_KERNEL_DIR` the unpacked kernel package, `LIFEBOAT_MACHINE_DIR` where
//! the machine folder goes (default: OVERLAY.machine), `LIFEBOAT_ACCELERATOR` is
//! `tcg` unless it says `kvm`, `LIFEBOAT_RUN_AS` may be `UID:GID`.

use std::error::Error;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use lifeboat_drivers::{
    Accelerator, Disk, Format, InjectRequest, Layer, MicroVm, NicIdentity, prepare,
};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let mut next: Option<&dyn Error> = Some(error.as_ref());
            while let Some(cause) = next {
                eprintln!("{cause}");
                next = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [disk, format, overlay, nics @ ..] = arguments.as_slice() else {
        return Err("usage: prepare_disk DISK FORMAT OVERLAY [MAC[=ADDRESS]]...".into());
    };
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-b"])
        .arg(std::fs::canonicalize(disk)?)
        .args(["-F", format, overlay])
        .status()?;
    if !made.success() {
        return Err("qemu-img could not make the overlay".into());
    }
    let layers = vec![
        Layer {
            file: File::options().read(true).write(true).open(overlay)?.into(),
            format: Format::Qcow2,
        },
        Layer {
            file: File::open(disk)?.into(),
            format: parse_format(format)?,
        },
    ];
    let request = InjectRequest {
        machine: disk.clone(),
        nics: nics
            .iter()
            .map(|text| parse_nic(text))
            .collect::<Result<_, _>>()?,
        target: Default::default(),
        root: None,
    };
    let out = variable("LIFEBOAT_MACHINE_DIR").unwrap_or_else(|| format!("{overlay}.machine"));
    let report = prepare(
        &micro_vm()?,
        &[Disk { layers }],
        &request,
        &PathBuf::from(out),
    )?;
    println!("{}", serde_json::to_string_pretty(&report)?);
    let good = report.verified.iter().all(|check| check.ok);
    eprintln!(
        "prepared in {:.2} s, {} changes, verified: {}",
        report.seconds,
        report.changes.changes.len(),
        if good { "yes" } else { "NO" }
    );
    Ok(good)
}

fn micro_vm() -> Result<MicroVm, Box<dyn Error>> {
    let kernel_dir =
        variable("LIFEBOAT_KERNEL_DIR").unwrap_or_else(|| "/var/cache/lifeboat/kernel".to_owned());
    let run_as = match variable("LIFEBOAT_RUN_AS") {
        Some(text) => {
            let (user, group) = text
                .split_once(':')
                .ok_or("LIFEBOAT_RUN_AS is not UID:GID")?;
            Some((user.parse()?, group.parse()?))
        }
        None => None,
    };
    Ok(MicroVm {
        qemu: "qemu-system-x86_64".into(),
        kernel_dir: kernel_dir.into(),
        drivers: std::env::var_os("LIFEBOAT_DRIVERS").map(Into::into),
        injector: variable("LIFEBOAT_INJECTOR")
            .ok_or("LIFEBOAT_INJECTOR is not set")?
            .into(),
        accelerator: match variable("LIFEBOAT_ACCELERATOR").as_deref() {
            Some("kvm") => Accelerator::Kvm,
            _ => Accelerator::Tcg,
        },
        memory_mib: 512,
        timeout: Duration::from_secs(300),
        run_as,
    })
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn parse_format(text: &str) -> Result<Format, String> {
    match text {
        "raw" => Ok(Format::Raw),
        "qcow2" => Ok(Format::Qcow2),
        "vmdk" => Ok(Format::Vmdk),
        "vpc" => Ok(Format::Vpc),
        "vhdx" => Ok(Format::Vhdx),
        "vdi" => Ok(Format::Vdi),
        other => Err(format!("unknown format {other}")),
    }
}

fn parse_nic(text: &str) -> Result<NicIdentity, Box<dyn Error>> {
    let (mac, address) = match text.split_once('=') {
        Some((mac, address)) => (mac, Some(address.parse()?)),
        None => (text, None),
    };
    Ok(NicIdentity {
        mac: mac.to_owned(),
        address,
    })
}
