//! Results on standard output.

use std::fmt::Write as _;

use lifeboat_bootorder::OperatorWord;
use serde::Serialize;

use super::Format;
use crate::daemon::WrongUse;
use crate::integrity::VolumeStatus;
use crate::prepare::PreparedMachine;
use crate::report::printable;
use crate::site::Site;
use crate::store::{SessionRecord, SiteRecord};

/// Prints a result in the asked format.
pub fn print(
    format: Format,
    value: &impl Serialize,
    text: impl FnOnce() -> String,
) -> anyhow::Result<bool> {
    match format {
        Format::Text => write_out(&text())?,
        Format::Json => write_out(&(serde_json::to_string_pretty(value)? + "\n"))?,
        Format::Dot => {
            return Err(WrongUse("`--format dot` is for `lifeboat order` only".into()).into());
        }
        Format::Svg => {
            return Err(WrongUse("`--format svg` is for `lifeboat order` only".into()).into());
        }
    }
    Ok(true)
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no
/// failure.
pub fn write_out(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::from(error).context("failed to write to standard output"))
        }
        _ => Ok(()),
    }
}

pub fn sites(sites: &[SiteRecord]) -> String {
    sites.iter().fold(String::new(), |mut out, site| {
        let _ = writeln!(out, "{:<20} {}", site.name, site.file.display());
        out
    })
}

pub fn site(site: &Site, words: &[OperatorWord], captured: &[VolumeStatus]) -> String {
    let mut out = format!("site {}  ({})\n", site.name, site.file.display());
    for network in &site.networks {
        let gateway = network
            .gateway
            .map(|gateway| format!("  gateway {gateway}"))
            .unwrap_or_default();
        let _ = writeln!(
            out,
            "  network {:<12} {}{gateway}",
            network.name, network.cidr
        );
    }
    for machine in &site.machines {
        let _ = writeln!(
            out,
            "  machine {:<12} {} MiB, {} vcpus",
            machine.name, machine.memory_mib, machine.vcpus
        );
        for nic in &machine.nics {
            let address = nic
                .address
                .map(|address| address.to_string())
                .unwrap_or_default();
            let _ = writeln!(out, "      nic {} on {} {address}", nic.mac, nic.network);
        }
        for volume in &machine.volumes {
            let known = captured.iter().find(|status| status.volume == *volume);
            let known = known.map_or_else(
                || format!("{}  (not imported yet)", volume.display()),
                super::image::status_text,
            );
            let _ = writeln!(out, "      volume {known}");
        }
    }
    for word in words {
        let _ = writeln!(out, "  operator {word}");
    }
    out
}

pub fn prepared(machines: &[PreparedMachine]) -> String {
    machines.iter().fold(String::new(), |mut out, machine| {
        let _ = writeln!(
            out,
            "{:<16} prepared in {:.1} s  {}  {} files changed, {} checks passed; boots on {}",
            machine.machine,
            machine.inject_s,
            printable(&machine.operating_system),
            machine.changed_files,
            machine.checks_passed,
            machine.hardware.describe()
        );
        if let Some(warning) = machine.hardware.warning() {
            let _ = writeln!(out, "    {}", printable(&warning));
        }
        out
    })
}

pub fn sessions(sessions: &[SessionRecord]) -> String {
    sessions.iter().fold(String::new(), |mut out, session| {
        let detail = session.detail.as_deref().map(printable).unwrap_or_default();
        let _ = writeln!(
            out,
            "{:<24} {:<16} {:<9} {:<12} {detail}",
            session.id,
            session.site,
            session.mode.word(),
            format!("{:?}", session.state).to_lowercase()
        );
        out
    })
}
