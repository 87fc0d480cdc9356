//! Network filesystems: fstab, autofs maps, mount units.

use super::{FactReader, Reference, host_and_port, is_host_like, lines, reference};
use crate::order::Kind;

pub(super) struct Mounts;

impl FactReader for Mounts {
    fn claims(&self, file: &str) -> bool {
        let automounter = file.starts_with("etc/auto.") || file.starts_with("etc/auto_");
        let unit = file.starts_with("etc/systemd/system/") && file.ends_with(".mount");
        file == "etc/fstab" || automounter || unit
    }

    fn read(&self, file: &str, text: &str, out: &mut Vec<Reference>) {
        for (number, line) in lines(text) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let found = match words.as_slice() {
                [device, _, kind, options, ..] if file == "etc/fstab" => {
                    Some((*device, service_of(kind), kind_of(options)))
                }
                _ if file.ends_with(".mount") => line
                    .strip_prefix("What=")
                    .map(|device| (device, "nfs", Kind::Hard)),
                [_, .., device] if file != "etc/fstab" => {
                    Some((*device, automounted(line), Kind::Soft))
                }
                _ => None,
            };
            if let Some((device, service, kind)) = found
                && !service.is_empty()
                && let Some(host) = host_of(device)
            {
                let found = reference(file, (number, line), host, service);
                out.push(Reference {
                    kind: Some(kind),
                    ..found
                });
            }
        }
    }
}

fn service_of(kind: &str) -> &'static str {
    match kind {
        "nfs" | "nfs4" => "nfs",
        "cifs" | "smb3" | "smbfs" => "smb",
        "glusterfs" => "gluster",
        "ceph" => "ceph",
        _ => "",
    }
}

fn automounted(line: &str) -> &'static str {
    if line.contains("fstype=cifs") {
        "smb"
    } else {
        "nfs"
    }
}

/// Options with which the machine boots without the share.
fn kind_of(options: &str) -> Kind {
    let lenient = ["nofail", "noauto", "bg", "x-systemd.automount"];
    if options.split(',').any(|option| lenient.contains(&option)) {
        Kind::Soft
    } else {
        Kind::Hard
    }
}

fn host_of(device: &str) -> Option<&str> {
    let device = device.trim_start_matches(':');
    let host = match device.strip_prefix("//") {
        Some(rest) => rest.split('/').next()?,
        None => {
            let (host, path) = device
                .rsplit_once(":/")
                .or_else(|| device.split_once(':'))?;
            if path.contains('=') {
                return None;
            } else {
                host
            }
        }
    };
    let host = if host.starts_with('[') {
        host_and_port(host).0
    } else {
        host
    };
    is_host_like(host).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::tests::check;

    #[test]
    fn shares_of_every_kind() {
        let fstab = "UUID=1 / ext4 defaults 0 1\ndata1:/srv /mnt nfs4 defaults,_netdev 0 0\n//files/x /x cifs nofail 0 0\n10.0.0.2:/y /y nfs bg 0 0\n/dev/sda2 none swap sw 0 0\n";
        check(
            "etc/fstab",
            fstab,
            &[
                ("data1", "nfs", 2),
                ("files", "smb", 3),
                ("10.0.0.2", "nfs", 4),
            ],
        );
        check(
            "etc/auto.home",
            "*  -fstype=nfs4  data1:/home/&\n",
            &[("data1", "nfs", 1)],
        );
        check(
            "etc/systemd/system/srv.mount",
            "[Mount]\nWhat=data1:/srv\nWhere=/srv\n",
            &[("data1", "nfs", 2)],
        );
    }

    #[test]
    fn a_mount_that_may_be_missing_is_soft() {
        assert_eq!(kind_of("defaults,_netdev"), Kind::Hard);
        assert_eq!(kind_of("rw,nofail"), Kind::Soft);
        assert_eq!(kind_of("noauto,x-systemd.automount"), Kind::Soft);
    }
}
