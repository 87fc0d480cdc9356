//! The machine folder of a Windows guest: event logs and the hives that a boot order is made from.

use std::io;

use lifeboat_hive::Hive;

use super::tree::WindowsTree;
use crate::guest::extract::{Extraction, Limits, Sink};

/// Event logs that the boot order reads; others are large and tell nothing of it.
const LOGS: [&str; 12] = [
    "system.evtx",
    "application.evtx",
    "dns server.evtx",
    "directory service.evtx",
    "dfs replication.evtx",
    "microsoft-windows-grouppolicy%4operational.evtx",
    "microsoft-windows-kernel-boot%4operational.evtx",
    "microsoft-windows-smbclient%4connectivity.evtx",
    "microsoft-windows-diagnostics-performance%4operational.evtx",
    "microsoft-windows-networkprofile%4operational.evtx",
    "microsoft-windows-failoverclustering%4operational.evtx",
    "microsoft-windows-hyper-v-vmms-admin.evtx",
];
/// Passwords lie in SAM and SECURITY: they are never read out.
const HIVES: [&str; 2] = ["system", SOFTWARE];
const SOFTWARE: &str = "software";
const LOG_ENDS: [&str; 4] = ["", ".log", ".log1", ".log2"];

/// Writes the machine folder to a sink; the answer holds warnings. SOFTWARE stays where it is when
/// it holds the password of a log-in.
pub fn extract(
    tree: &WindowsTree,
    system_root: &str,
    software: &Hive,
    limits: Limits,
    sink: &mut dyn Sink,
) -> io::Result<Vec<String>> {
    let mut collector = Extraction::new(tree.root(), limits, sink);
    let secret = holds_password(software);
    let (mut logs, mut hives) = (limits.journals, limits.journals);
    let config = format!("{system_root}/System32/config");
    for (name, _) in tree.list(&config) {
        let lower = name.to_ascii_lowercase();
        let is_hive = HIVES.iter().any(|hive| {
            let is_it = |end: &str| LOG_ENDS.contains(&end);
            lower.strip_prefix(hive).is_some_and(is_it) && !(secret && *hive == SOFTWARE)
        });
        let is_old_log = lower == "sysevent.evt" || lower == "appevent.evt";
        if is_hive || is_old_log {
            collector.one(&format!("{config}/{name}"), limits.journals, &mut hives)?;
        }
    }
    let folder = format!("{system_root}/System32/winevt/Logs");
    for (name, _) in tree.list(&folder) {
        if LOGS.contains(&name.to_ascii_lowercase().as_str()) {
            collector.one(&format!("{folder}/{name}"), limits.journals, &mut logs)?;
        }
    }
    let hosts = tree.find(&format!("{system_root}/System32/drivers/etc/hosts"));
    if let Some(hosts) = hosts {
        let mut left = limits.configuration;
        collector.one(&hosts, limits.file, &mut left)?;
    }
    let mut warnings = collector.into_warnings();
    if secret {
        let text = "the SOFTWARE hive is not read out, because it holds the password of an automatic log-in (DefaultPassword)";
        warnings.push(text.to_owned());
    }
    Ok(warnings)
}

fn holds_password(software: &Hive) -> bool {
    let key = software
        .root()
        .and_then(|root| root.at("Microsoft\\Windows NT\\CurrentVersion\\Winlogon"));
    let password = key.and_then(|key| key.text("DefaultPassword"));
    password.is_some_and(|password| !password.is_empty())
}
