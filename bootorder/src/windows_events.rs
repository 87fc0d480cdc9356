//! What records of Windows logs mean, by provider and event id: texts are in any language.
//!
//! The other party (domain, domain controller, queried name, server) is among the values in the
//! message, where the estimators look for it.

use crate::classify::{Failure, What};
use crate::event::Record;

const DIRECTORY: What = What::Failure(Failure::Directory);
const RESOLUTION: What = What::Failure(Failure::Resolution);
const UNREACHABLE: What = What::Failure(Failure::Unreachable);

/// Providers (without "Microsoft-Windows-", case does not matter; `*` ends a prefix), ids, meaning.
const TABLE: &[(&[&str], &[u32], What)] = &[
    // Who starts and stops.
    (&["EventLog"], &[6005], What::BootDone),
    (&["EventLog"], &[6006], What::Stopping),
    (&["Kernel-General"], &[13], What::Stopping),
    (&["Kernel-Power"], &[109, 187], What::Stopping),
    (&["User32"], &[1074], What::Stopping),
    // Services.
    (
        &["Service Control Manager"],
        &[
            7000, 7001, 7009, 7011, 7022, 7023, 7024, 7031, 7034, 7038, 7041,
        ],
        What::UnitFailed,
    ),
    // The directory: members.
    (&["NETLOGON"], &[5719, 5783, 3210, 5721], DIRECTORY),
    (&["NETLOGON"], &[5781, 5774], RESOLUTION),
    (
        &["GroupPolicy", "Userenv"],
        &[1006, 1030, 1053, 1054, 1055, 1058, 1110, 1126, 1129],
        DIRECTORY,
    ),
    (&["GroupPolicy"], &[7017, 7320, 7326], DIRECTORY),
    (
        &["GroupPolicy"],
        &[1500, 1501, 1502, 1503, 5308, 5326],
        What::Cleared,
    ),
    (&["LSASRV", "LsaSrv"], &[40960, 40961], DIRECTORY),
    (&["DFSR", "DFS Replication"], &[1202], DIRECTORY),
    (&["DFSR", "DFS Replication"], &[1206], What::Cleared),
    (&["DfsSvc", "DfsSvr"], &[14550, 14548], DIRECTORY),
    (&["DfsSvc", "DfsSvr"], &[14530, 14531, 14533], What::Ready),
    (&["CertificationAuthority"], &[91, 94, 100], DIRECTORY),
    (&["CertificationAuthority"], &[26], What::Ready),
    (&["DhcpServer", "DHCP-Server"], &[1059, 1046], DIRECTORY),
    (&["DhcpServer", "DHCP-Server"], &[1044, 1037], What::Ready),
    (&["ADWS", "ADWS Events"], &[1202], DIRECTORY),
    (&["ADWS", "ADWS Events"], &[1200], What::Ready),
    (
        &["MSExchange ADAccess", "MSExchangeDSAccess"],
        &[2102, 2103, 2104, 2110, 2114, 2120, 2130, 2142, 2501, 2604],
        DIRECTORY,
    ),
    (
        &["MSExchange ADAccess", "MSExchangeDSAccess"],
        &[2080, 2081, 2085],
        What::Cleared,
    ),
    // The directory: controllers.
    (
        &[
            "ActiveDirectory_DomainService",
            "NTDS General",
            "NTDS ISAM",
            "NTDS",
        ],
        &[1000, 1394],
        What::Ready,
    ),
    (
        &[
            "ActiveDirectory_DomainService",
            "NTDS General",
            "NTDS Replication",
        ],
        &[1126, 1308, 1566, 1655, 1925, 2092],
        DIRECTORY,
    ),
    (
        &["ActiveDirectory_DomainService", "NTDS Replication"],
        &[2087, 2088],
        RESOLUTION,
    ),
    (
        &["ActiveDirectory_DomainService", "NTDS General"],
        &[1119, 1869],
        What::Cleared,
    ),
    (&["NtFrs"], &[13508], UNREACHABLE),
    (&["NtFrs"], &[13509], What::Cleared),
    (&["NtFrs"], &[13516], What::Ready),
    (
        &["DFSR", "DFS Replication"],
        &[5002, 5008, 5012, 5014],
        UNREACHABLE,
    ),
    (&["DFSR", "DFS Replication"], &[5004, 4604], What::Cleared),
    // Names.
    (&["DNS-Client"], &[1014], RESOLUTION),
    (
        &["DnsApi", "DNS-Client"],
        &[8015, 8016, 8017, 8019, 11163, 11164, 11165, 11166],
        RESOLUTION,
    ),
    // A server that keeps its zones in the directory waits for it.
    (
        &["DNS-Server-Service", "DNS", "DNS Server"],
        &[4013, 4000, 4007, 4015],
        DIRECTORY,
    ),
    (
        &["DNS-Server-Service", "DNS", "DNS Server"],
        &[2],
        What::Started,
    ),
    (
        &["DNS-Server-Service", "DNS", "DNS Server"],
        &[4],
        What::Ready,
    ),
    // Time: 35 and 37 name the source that answers.
    (&["Time-Service", "W32Time"], &[134, 17, 131], RESOLUTION),
    (
        &["Time-Service", "W32Time"],
        &[24, 47, 129, 130],
        UNREACHABLE,
    ),
    (&["Time-Service", "W32Time"], &[35, 37, 138], What::Cleared),
    // Files and disks of others.
    (&["SMBClient"], &[30803, 30804, 30807, 30809], UNREACHABLE),
    (&["SMBClient"], &[30806, 30808, 30810], What::Cleared),
    (
        &["iScsiPrt", "MSiSCSI"],
        &[1, 5, 7, 9, 10, 20, 70, 103, 113],
        UNREACHABLE,
    ),
    (&["iScsiPrt"], &[34], What::Cleared),
    // Applications.
    (&["MSSQLSERVER", "MSSQL$*"], &[17126], What::Ready),
    (
        &["MSSQLSERVER", "MSSQL$*"],
        &[26011, 35250, 35206, 976],
        UNREACHABLE,
    ),
    (&["MSSQLSERVER", "MSSQL$*"], &[35202], What::Cleared),
    (&["SQLSERVERAGENT", "SQLAgent$*"], &[101], What::Ready),
    (
        &["MSExchangeIS*", "MSExchange Store*", "MSExchangeRepl"],
        &[1001, 9523, 40008, 3156],
        What::Ready,
    ),
    (&["MSExchangeTransport"], &[7001], What::Ready),
    (&["W3SVC", "IIS-W3SVC", "WAS"], &[5211], What::Ready),
    (&["FailoverClustering"], &[1135, 1177, 1126], UNREACHABLE),
    (&["FailoverClustering"], &[1062, 1201], What::Ready),
];

/// The state "running" as the service control manager writes it, by language.
const RUNNING: &[&str] = &[
    "running",
    "wird ausgeführt",
    "ausgeführt",
    "en cours d'exécution",
    "en cours d’exécution",
    "en ejecución",
    "in esecuzione",
    "em execução",
    "actief",
    "wordt uitgevoerd",
    "körs",
    "kører",
    "kjører",
    "spuštěno",
    "uruchomiona",
    "работает",
    "実行中",
    "正在运行",
    "실행",
];

/// What a record of a Windows log says, or `None` when it does not matter.
pub(crate) fn windows(record: &Record<'_>) -> Option<What> {
    let provider = record.identifier.trim_start_matches("Microsoft-Windows-");
    if record.code == 7036 && provider == "Service Control Manager" {
        let state = record.message.rsplit(", ").next()?.trim();
        return RUNNING.contains(&state).then_some(What::Started);
    }
    TABLE
        .iter()
        .find(|(providers, codes, _)| {
            codes.contains(&record.code) && providers.iter().any(|name| is_called(provider, name))
        })
        .map(|(_, _, what)| *what)
}

fn is_called(provider: &str, name: &str) -> bool {
    match name.strip_suffix('*') {
        Some(prefix) => provider
            .get(..prefix.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(prefix)),
        None => provider.eq_ignore_ascii_case(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(identifier: &str, code: u32, message: &str, expected: Option<What>) {
        let record = Record {
            identifier,
            code,
            message,
            ..Record::default()
        };
        assert_eq!(windows(&record), expected, "{identifier} {code}");
    }

    #[test]
    fn records_are_told_by_provider_and_id() {
        let started = Some(What::Started);
        check("NETLOGON", 5719, "event 5719: EXAMPLE", Some(DIRECTORY));
        check(
            "Microsoft-Windows-GroupPolicy",
            1129,
            "event 1129: 1, 5",
            Some(DIRECTORY),
        );
        check(
            "Microsoft-Windows-DNS-Client",
            1014,
            "event 1014: dir1.site",
            Some(RESOLUTION),
        );
        check(
            "Service Control Manager",
            7036,
            "event 7036: DNS Server, running",
            started,
        );
        check(
            "Service Control Manager",
            7036,
            "event 7036: DNS-Server, wird ausgeführt",
            started,
        );
        check(
            "Service Control Manager",
            7036,
            "event 7036: DNS Server, stopped",
            None,
        );
        check(
            "Service Control Manager",
            7001,
            "event 7001: A, B, %%1068",
            Some(What::UnitFailed),
        );
        check(
            "Microsoft-Windows-DNS-Server-Service",
            4013,
            "event 4013: ",
            Some(DIRECTORY),
        );
        check("DNS", 4, "event 4: ", Some(What::Ready));
        check(
            "Microsoft-Windows-ActiveDirectory_DomainService",
            1000,
            "",
            Some(What::Ready),
        );
        check(
            "Microsoft-Windows-Time-Service",
            35,
            "event 35: dir1.site",
            Some(What::Cleared),
        );
        check(
            "Microsoft-Windows-Time-Service",
            134,
            "event 134: dir1",
            Some(RESOLUTION),
        );
        check("MSSQL$CRM", 17126, "", Some(What::Ready));
        check("User32", 1074, "", Some(What::Stopping));
        check("Disk", 7, "event 7: the connection was refused", None);
        check("Microsoft-Windows-Kernel-Power", 41, "", None);
    }

    #[test]
    fn no_record_has_two_meanings() {
        for (at, (providers, codes, _)) in TABLE.iter().enumerate() {
            for (others, other_codes, _) in &TABLE[at + 1..] {
                let shared = codes.iter().find(|code| other_codes.contains(code));
                let same = providers.iter().find(|name| others.contains(name));
                assert!(shared.is_none() || same.is_none(), "{same:?} {shared:?}");
            }
        }
    }
}
