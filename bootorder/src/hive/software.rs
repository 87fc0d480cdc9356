//! SOFTWARE and user hives: data sources, SQL aliases, update server, drives.

use super::{Facts, Key, host_of_share, storage};
use crate::facts::{Weight, host_and_port, url_parts};
use crate::services;

const MAX_SOURCES: usize = 200;

pub(super) fn read(root: Key<'_>, facts: &mut Facts<'_>) {
    for place in [
        "ODBC\\ODBC.INI",
        "Wow6432Node\\ODBC\\ODBC.INI",
        "Software\\ODBC\\ODBC.INI",
    ] {
        data_sources(root, place, facts);
    }
    for place in [
        "Microsoft\\MSSQLServer\\Client\\ConnectTo",
        "Wow6432Node\\Microsoft\\MSSQLServer\\Client\\ConnectTo",
    ] {
        sql_aliases(root, place, facts);
    }
    drives(root, facts);
    policies(root, facts);
    let initiator = "Microsoft\\Windows NT\\CurrentVersion\\iSCSI";
    if let Some(key) = root.at(initiator) {
        storage::portals(key, initiator, facts);
    }
}

fn data_sources(root: Key<'_>, place: &str, facts: &mut Facts<'_>) {
    let sources = root.at(place).map(|key| key.subkeys()).unwrap_or_default();
    for source in sources.into_iter().take(MAX_SOURCES) {
        let server = ["Server", "ServerName", "Host", "HostName", "DBQ"]
            .iter()
            .find_map(|name| source.text(name));
        let Some(server) = server else { continue };
        let driver = source.text("Driver").unwrap_or_default();
        let place = format!("{place}\\{}", source.name());
        refer_to_database(&place, ("Server", &server), &driver, facts);
    }
}

/// The value of an alias is "DBMSSOCN,sql1,1433".
fn sql_aliases(root: Key<'_>, place: &str, facts: &mut Facts<'_>) {
    let aliases = root.at(place).map(|key| key.values()).unwrap_or_default();
    for alias in aliases.into_iter().take(MAX_SOURCES) {
        let text = alias.text();
        if let Some((_, server)) = text.split_once(',') {
            refer_to_database(place, (&alias.name, server), "sqlsrv32", facts);
        }
    }
}

fn refer_to_database(
    place: &str,
    (name, server): (&str, &str),
    driver: &str,
    facts: &mut Facts<'_>,
) {
    let driver = driver.to_ascii_lowercase();
    let is_microsoft = ["sqlsrv", "sqlncli", "msodbcsql", "sql server"]
        .iter()
        .any(|word| driver.contains(word));
    let service = match services::by_word(&driver.replace(['\\', '.', '_'], " ")) {
        _ if is_microsoft => "mssql",
        _ if driver.contains("psqlodbc") => "postgresql",
        _ if driver.contains("myodbc") || driver.contains("maodbc") => "mysql",
        Some(known) => known.key.as_str(),
        None => "",
    };
    // "tcp:sql1,1433", "sql1\INSTANCE", "host:1521/service"
    let host = server
        .trim()
        .trim_start_matches("tcp:")
        .split([',', '\\', '/'])
        .next();
    let host = host.map_or("", |host| host_and_port(host).0);
    if !["(local)", ".", "localhost", ""].contains(&host) {
        facts.refer(
            place,
            &format!("{name} = {server}"),
            host,
            service,
            Weight::Normal,
        );
    }
}

/// Drives of a user matter when somebody logs on, not when the machine starts.
fn drives(root: Key<'_>, facts: &mut Facts<'_>) {
    let drives = root
        .subkey("Network")
        .map(|key| key.subkeys())
        .unwrap_or_default();
    for drive in drives.into_iter().take(100) {
        let path = drive.text("RemotePath").unwrap_or_default();
        if let Some(host) = host_of_share(&path) {
            let place = format!("Network\\{}", drive.name());
            facts.refer(
                &place,
                &format!("RemotePath = {path}"),
                host,
                "smb",
                Weight::Weak,
            );
        }
    }
}

fn policies(root: Key<'_>, facts: &mut Facts<'_>) {
    let place = "Policies\\Microsoft\\Windows\\WindowsUpdate";
    let update = root.at(place).and_then(|key| key.text("WUServer"));
    if let Some(url) = update
        && let Some((_, host, _)) = url_parts(&url)
    {
        facts.refer(
            place,
            &format!("WUServer = {url}"),
            host,
            "web",
            Weight::Weak,
        );
    }
    let place = "Microsoft\\Windows\\CurrentVersion\\Group Policy\\History";
    let controller = root.at(place).and_then(|key| key.text("DCName"));
    if let Some(name) = controller {
        let host = name.trim_start_matches('\\').to_owned();
        facts.refer(
            place,
            &format!("DCName = {name}"),
            &host,
            "directory",
            Weight::Normal,
        );
    }
}
