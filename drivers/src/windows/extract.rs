//! The machine folder of a Windows guest: event logs and the hives that a boot order is made from.

use std::io;

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
const HIVES: [&str; 2] = ["system", "software"];
const LOG_ENDS: [&str; 4] = ["", ".log", ".log1", ".log2"];

/// Writes the machine folder to a sink; the answer holds warnings.
pub fn extract(
    tree: &WindowsTree,
    system_root: &str,
    limits: Limits,
    sink: &mut dyn Sink,
) -> io::Result<Vec<String>> {
    let mut collector = Extraction::new(tree.root(), limits, sink);
    let (mut logs, mut hives) = (limits.journals, limits.journals);
    let config = format!("{system_root}/System32/config");
    for (name, _) in tree.list(&config) {
        let lower = name.to_ascii_lowercase();
        let is_hive = HIVES.iter().any(|hive| {
            lower
                .strip_prefix(hive)
                .is_some_and(|end| LOG_ENDS.contains(&end))
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
    Ok(collector.into_warnings())
}
