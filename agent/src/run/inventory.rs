//! What the host consists of, for change detection. Contents of files stay here: only their hashes
//! are told.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::digest::{Context, SHA256};

use super::actions::{is_running, mounts, starts_at_boot};
use super::clock;
use super::command::{Given, run};
use super::config::Loaded;
use super::log::Chain;
use crate::profile::{Filled, Listing};
use crate::wire::{
    Configuration, Inventory, Listener, Object, Package, ServiceState, Volume, hexadecimal,
};

/// Bounds: an inventory fits into one frame.
const PACKAGES: usize = 8000;
const FILES: usize = 2000;
const FILE: u64 = 16 * 1024 * 1024;
const LISTENERS: usize = 1000;
const OBJECTS: usize = 2000;
const LENGTH: usize = 200;

/// Takes an inventory.
pub(crate) async fn take(loaded: Option<&Loaded>, values: &Filled) -> Inventory {
    let mut inventory = Inventory {
        time: clock::unix(),
        ..Inventory::default()
    };
    let wanted: Vec<String> = loaded
        .map(|loaded| loaded.profile.configuration.clone())
        .unwrap_or_default();
    match values.all(&wanted) {
        Ok(paths) => {
            let read = tokio::task::spawn_blocking(move || from_files(&paths)).await;
            match read {
                Ok(read) => {
                    inventory = Inventory {
                        time: inventory.time,
                        ..read
                    }
                }
                Err(error) => inventory.gaps.push(error.to_string()),
            }
        }
        Err(error) => inventory.gaps.push(error.to_string()),
    }
    if inventory.packages.is_empty() {
        match rpm().await {
            Ok(packages) => inventory.packages = packages,
            Err(why) => inventory.gaps.push(why),
        }
    }
    for service in loaded
        .map(|loaded| loaded.profile.service.iter())
        .into_iter()
        .flatten()
    {
        match is_running(service, values).await {
            Ok(running) => inventory.services.push(ServiceState {
                name: service.name.clone(),
                running,
                starts_at_boot: starts_at_boot(service).await,
            }),
            Err(why) => inventory
                .gaps
                .push(format!("service {}: {why}", service.name)),
        }
    }
    for listing in loaded.iter().flat_map(|loaded| &loaded.profile.listing) {
        match listed(listing, values).await {
            Ok(objects) => inventory.objects.extend(objects),
            Err(why) => inventory
                .gaps
                .push(format!("listing {}: {why}", listing.name)),
        }
    }
    inventory.objects.sort();
    if inventory.objects.len() > OBJECTS {
        inventory.objects.truncate(OBJECTS);
        let gap = format!("listings: only {OBJECTS} lines are told");
        inventory.gaps.push(gap);
    }
    inventory.packages.sort();
    inventory.packages.truncate(PACKAGES);
    inventory.services.sort();
    inventory
}

fn from_files(configuration: &[String]) -> Inventory {
    let mut inventory = Inventory {
        system: system(),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim()
            .to_owned(),
        ..Inventory::default()
    };
    if let Ok(status) = fs::read_to_string("/var/lib/dpkg/status") {
        inventory.packages = dpkg(&status);
    }
    let mut files = BTreeSet::new();
    for path in configuration {
        list(Path::new(path), &mut files, &mut inventory.gaps);
    }
    inventory.configuration = files.iter().map(|path| examine(path)).collect();
    match volumes() {
        Ok(volumes) => inventory.volumes = volumes,
        Err(error) => inventory.gaps.push(format!("volumes: {error}")),
    }
    inventory.listeners = listeners();
    inventory
}

fn system() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.unwrap_or_default().trim_matches('"').to_owned()
}

/// Installed packages of dpkg's own file.
fn dpkg(status: &str) -> Vec<Package> {
    let field = |entry: &str, name: &str| {
        let line = entry.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim().to_owned())
    };
    let installed = status.split("\n\n").filter(|entry| {
        field(entry, "Status:").is_some_and(|status| status.ends_with(" installed"))
    });
    installed
        .filter_map(|entry| {
            let architecture = field(entry, "Architecture:").unwrap_or_default();
            Some(Package {
                name: format!("{}:{architecture}", field(entry, "Package:")?),
                version: field(entry, "Version:")?,
            })
        })
        .collect()
}

/// The database of rpm has three formats; its own command knows them all.
async fn rpm() -> Result<Vec<Package>, String> {
    let format = "%{NAME}.%{ARCH} %{EPOCHNUM}:%{VERSION}-%{RELEASE}\\n";
    let argv = ["/usr/bin/rpm", "-qa", "--qf", format].map(str::to_owned);
    let output = run(&argv, Given::looks(Duration::from_secs(60))).await;
    let output = output.map_err(|_| "packages: neither dpkg nor rpm is here".to_owned())?;
    let lines = output
        .printed
        .lines()
        .filter_map(|line| line.split_once(' '));
    Ok(lines
        .map(|(name, version)| Package {
            name: name.to_owned(),
            version: version.to_owned(),
        })
        .collect())
}

/// What a listing prints.
async fn listed(listing: &Listing, values: &Filled) -> Result<Vec<Object>, String> {
    let argv = values
        .all(&listing.argv)
        .map_err(|error| error.to_string())?;
    let limit = Duration::from_secs(listing.within_s.into());
    let output = run(&argv, Given::looks(limit)).await;
    let output = output.map_err(|error| Chain(&error).to_string())?;
    match output.code {
        Some(0) => Ok(objects(&listing.name, &output.printed)),
        _ => Err(output.line()),
    }
}

fn objects(listing: &str, printed: &str) -> Vec<Object> {
    let short = |text: &str| text.trim().chars().take(LENGTH).collect::<String>();
    let lines = printed.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let (name, value) = line.split_once('\t').unwrap_or((line, ""));
            Object {
                listing: listing.to_owned(),
                name: short(name),
                value: short(value),
            }
        })
        .collect()
}

/// Files at a path, or below it; links are not followed.
fn list(path: &Path, files: &mut BTreeSet<PathBuf>, gaps: &mut Vec<String>) {
    let mut waiting = vec![path.to_owned()];
    while let Some(path) = waiting.pop() {
        if files.len() >= FILES {
            gaps.push(format!("configuration: only {FILES} files are looked at"));
            return;
        }
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => match fs::read_dir(&path) {
                Ok(entries) => waiting.extend(entries.flatten().map(|entry| entry.path())),
                Err(error) => gaps.push(format!("{}: {error}", path.display())),
            },
            Ok(meta) if meta.is_file() => {
                files.insert(path);
            }
            Ok(_) => {}
            // Its absence is what there is to tell.
            Err(_) => {
                files.insert(path);
            }
        }
    }
}

fn examine(path: &Path) -> Configuration {
    let meta = fs::symlink_metadata(path).ok();
    Configuration {
        path: path.display().to_string(),
        hash: hash(path).ok(),
        size: meta.as_ref().map_or(0, fs::Metadata::len),
        modified: meta.as_ref().map_or(0, fs::Metadata::mtime),
    }
}

fn hash(path: &Path) -> io::Result<String> {
    let mut context = Context::new(&SHA256);
    let mut file = File::open(path)?.take(FILE);
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hexadecimal(context.finish().as_ref())),
            count => context.update(&buffer[..count]),
        }
    }
}

fn volumes() -> io::Result<Vec<Volume>> {
    let real = mounts()?
        .into_iter()
        .filter(|mount| mount.device.starts_with('/'));
    let mut volumes: Vec<Volume> = real
        .map(|mount| Volume {
            mount_point: mount.point.display().to_string(),
            size: rustix::fs::statvfs(&mount.point).map_or(0, |stat| stat.f_blocks * stat.f_frsize),
            device: mount.device,
            filesystem: mount.filesystem,
        })
        .collect();
    volumes.sort();
    volumes.dedup();
    Ok(volumes)
}

fn listeners() -> Vec<Listener> {
    let tables = [
        ("tcp", "/proc/net/tcp", "0A"),
        ("tcp", "/proc/net/tcp6", "0A"),
        ("udp", "/proc/net/udp", "07"),
        ("udp", "/proc/net/udp6", "07"),
    ];
    let mut found = BTreeSet::new();
    for (protocol, path, state) in tables {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines = text.lines().skip(1);
        found.extend(lines.filter_map(|line| listener(line, protocol, state)));
    }
    found.into_iter().take(LISTENERS).collect()
}

fn listener(line: &str, protocol: &str, state: &str) -> Option<Listener> {
    let mut words = line.split_whitespace();
    let (address, port) = words.nth(1)?.split_once(':')?;
    if words.nth(1)? != state {
        return None;
    }
    Some(Listener {
        protocol: protocol.to_owned(),
        address: kernel_address(address)?.to_string(),
        port: u16::from_str_radix(port, 16).ok()?,
    })
}

/// Addresses stand there as words in the order of the processor's bytes.
fn kernel_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        u32::from_str_radix(text.get(at..at + 8)?, 16)
            .ok()
            .map(u32::to_le_bytes)
    };
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (at, piece) in bytes.chunks_exact_mut(4).enumerate() {
                piece.copy_from_slice(&word(at * 8)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_packages_are_listed_and_removed_ones_are_not() {
        let status = "Package: dovecot-core\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2.3\nDescription: x\n y\n\nPackage: gone\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 1\n";
        let expected = Package {
            name: "dovecot-core:amd64".to_owned(),
            version: "1:2.3".to_owned(),
        };
        assert_eq!(dpkg(status), [expected]);
    }

    #[test]
    fn lines_of_a_listing_are_objects() {
        let long = "x".repeat(1000);
        let found = objects("users", &format!("ann\t512\n\n  bob \n{long}\n"));
        let words: Vec<_> = found
            .iter()
            .map(|one| (one.name.as_str(), one.value.as_str()))
            .collect();
        assert_eq!(words, [("ann", "512"), ("bob", ""), (&long[..LENGTH], "")]);
    }

    #[test]
    fn listening_sockets_are_read_as_the_kernel_writes_them() {
        let line = "   0: 0100007F:0019 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0";
        let expected = Listener {
            protocol: "tcp".to_owned(),
            address: "127.0.0.1".to_owned(),
            port: 25,
        };
        assert_eq!(listener(line, "tcp", "0A"), Some(expected));
        assert_eq!(listener(&line.replace(" 0A ", " 01 "), "tcp", "0A"), None);
        let any = kernel_address("00000000000000000000000001000000");
        assert_eq!(any, Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        assert_eq!(kernel_address("xyz"), None);
    }

    #[test]
    fn a_changed_file_has_another_hash_and_an_absent_one_has_none() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a.conf"), "one").expect("written");
        let paths = [
            folder.path().display().to_string(),
            "/nonexistent/b.conf".to_owned(),
        ];
        let before = from_files(&paths).configuration;
        fs::write(folder.path().join("a.conf"), "two").expect("written");
        let after = from_files(&paths).configuration;
        assert_eq!((before.len(), after.len()), (2, 2));
        let (a, b) = (0, 1);
        let order = if before[a].path.starts_with("/nonexistent") {
            (b, a)
        } else {
            (a, b)
        };
        assert_ne!(before[order.0].hash, after[order.0].hash);
        assert_eq!(after[order.1].hash, None);
    }
}
