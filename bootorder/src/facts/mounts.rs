//! Network filesystems: fstab, autofs maps, mount units.

use super::{FactReader, Reference, host_and_port, is_host_like, lines, reference, url_parts};
use crate::order::Kind;

pub(super) struct Mounts;

impl FactReader for Mounts {
    fn claims(&self, file: &str) -> bool {
        is_automounter(file)
            || file == "etc/fstab"
            || (file.starts_with("etc/systemd/system/")
                && file.ends_with(".mount")
                && !file.contains(".wants/"))
    }

    fn read(&self, file: &str, text: &str, out: &mut Vec<Reference>) {
        if file.ends_with(".mount") {
            return mount_unit(file, text, out);
        }
        for (number, line) in lines(text) {
            let words: Vec<&str> = line.split_whitespace().collect();
            if is_automounter(file) {
                automounted(file, (number, line), &words, out);
            } else if let [device, _, kind, options, ..] = words.as_slice() {
                push(file, (number, line), (device, kind), kind_of(options), out);
                more_servers(file, (number, line), (kind, options), out);
            }
        }
    }
}

fn is_automounter(file: &str) -> bool {
    file.starts_with("etc/auto.") || file.starts_with("etc/auto_")
}

fn push(
    file: &str,
    line: (usize, &str),
    (device, kind): (&str, &str),
    needed: Kind,
    out: &mut Vec<Reference>,
) {
    let (service, hosts) = match portal_of(device) {
        Some(portal) => ("iscsi", vec![portal]),
        None => (service_of(kind), hosts_of(device)),
    };
    if service.is_empty() {
        return;
    }
    for host in hosts {
        let found = reference(file, line, host, service);
        out.push(Reference {
            kind: Some(needed),
            ..found
        });
    }
}

/// "backup-volfile-servers=g2:g3" of Gluster.
fn more_servers(
    file: &str,
    line: (usize, &str),
    (kind, options): (&str, &str),
    out: &mut Vec<Reference>,
) {
    let options = options
        .split(',')
        .filter_map(|option| option.split_once('='));
    for (_, hosts) in
        options.filter(|(key, _)| key.starts_with("backup") && key.contains("volfile"))
    {
        for host in hosts.split(':').filter(|host| is_host_like(host)) {
            let found = reference(file, line, host, service_of(kind));
            // One of several servers is enough.
            out.push(Reference {
                kind: Some(Kind::Soft),
                ..found
            });
        }
    }
}

fn service_of(kind: &str) -> &'static str {
    match kind {
        "nfs" | "nfs4" => "nfs",
        "cifs" | "smb3" | "smbfs" => "smb",
        "glusterfs" | "fuse.glusterfs" => "gluster",
        "ceph" | "fuse.ceph" => "ceph",
        "fuse.sshfs" | "sshfs" | "fuse" => "ssh",
        "davfs" | "fuse.davfs" => "web",
        "beegfs" => "beegfs",
        "lustre" => "lustre",
        _ => "",
    }
}

fn mount_unit(file: &str, text: &str, out: &mut Vec<Reference>) {
    let value = |key: &str| {
        lines(text).find_map(|(_, line)| line.strip_prefix(key)?.trim().strip_prefix('='))
    };
    let Some((number, line)) = lines(text).find(|(_, line)| line.starts_with("What=")) else {
        return;
    };
    let options = value("Options").unwrap_or("");
    // Without a type the form of the device tells.
    let device = line["What=".len()..].trim();
    let guessed = if device.starts_with("//") {
        "cifs"
    } else {
        "nfs"
    };
    let kind = value("Type").unwrap_or(guessed);
    push(
        file,
        (number, line),
        (device, kind),
        kind_of(options.trim()),
        out,
    );
}

fn automounted(file: &str, line: (usize, &str), words: &[&str], out: &mut Vec<Reference>) {
    if file.ends_with("auto.master") || file.contains("auto.master.d/") {
        return automount_master(file, line, words, out);
    }
    let service = if line.1.contains("fstype=cifs") {
        "cifs"
    } else {
        "nfs"
    };
    // One entry may hold several mounts: "key -opts /a host:/a /b host:/b".
    for device in words
        .iter()
        .skip(1)
        .filter(|word| !word.starts_with(['-', '/']) || word.starts_with("//"))
    {
        push(file, line, (device, service), Kind::Soft, out);
    }
}

/// Maps may be kept in a directory: "/home ldap://dir1/ou=auto" or "/home ldap:dir1:ou=auto".
fn automount_master(file: &str, line: (usize, &str), words: &[&str], out: &mut Vec<Reference>) {
    for word in words.iter().skip(1) {
        let host = match url_parts(word) {
            Some((scheme, host, _)) if scheme.starts_with("ldap") => Some(host),
            _ => word
                .strip_prefix("ldap:")
                .and_then(|rest| rest.split(':').next()),
        };
        if let Some(host) = host.filter(|host| is_host_like(host)) {
            out.push(reference(file, line, host, "directory"));
        }
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

/// "/dev/disk/by-path/ip-10.0.0.40:3260-iscsi-iqn.2003-01.site:disk-lun-0"
fn portal_of(device: &str) -> Option<&str> {
    let rest = device.split_once("/by-path/")?.1;
    let (portal, _) = rest.split_once("ip-")?.1.split_once("-iscsi-")?;
    let host = host_and_port(portal).0;
    is_host_like(host).then_some(host)
}

/// The hosts in "host:/path", "//host/share", "user@host:", "h1,h2:/path", "10.0.0.1@tcp:/fs".
fn hosts_of(device: &str) -> Vec<&str> {
    let device = device.trim_start_matches(':').trim_start_matches("sshfs#");
    if let Some((_, host, _)) = url_parts(device) {
        return vec![host];
    }
    let hosts = match device.strip_prefix("//") {
        Some(rest) => rest.split('/').next(),
        None => device
            .rsplit_once(":/")
            .or_else(|| device.split_once(':'))
            .filter(|(_, path)| !path.contains('='))
            .map(|(hosts, _)| hosts),
    };
    let Some(hosts) = hosts.filter(|hosts| !hosts.contains('/')) else {
        return Vec::new();
    };
    let hosts = hosts.split(',').map(|host| {
        let host = match host.split_once('@') {
            Some((address, network))
                if network.starts_with("tcp") || network.starts_with("o2ib") =>
            {
                address
            }
            Some((_, host)) => host,
            None => host,
        };
        host_and_port(host).0
    });
    hosts.filter(|host| is_host_like(host)).take(20).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::tests::check;

    #[test]
    fn shares_of_every_kind() {
        let fstab = "UUID=1 / ext4 defaults 0 1\ndata1:/srv /mnt nfs4 defaults,_netdev 0 0\n//files/x /x cifs nofail 0 0\n10.0.0.2:/y /y nfs bg 0 0\n/dev/sda2 none swap sw 0 0\ng1:/v /v glusterfs backup-volfile-servers=g2:g3 0 0\nmon1,mon2:6789:/ /c ceph name=x 0 0\nme@box:/h /h fuse.sshfs noauto 0 0\n/dev/disk/by-path/ip-10.0.0.40:3260-iscsi-iqn.x:d-lun-0 /d ext4 _netdev 0 0\n";
        check(
            "etc/fstab",
            fstab,
            &[
                ("data1", "nfs", 2),
                ("files", "smb", 3),
                ("10.0.0.2", "nfs", 4),
                ("g1", "gluster", 6),
                ("g2", "gluster", 6),
                ("g3", "gluster", 6),
                ("mon1", "ceph", 7),
                ("mon2", "ceph", 7),
                ("box", "ssh", 8),
                ("10.0.0.40", "iscsi", 9),
            ],
        );
        check(
            "etc/auto.home",
            "*  -fstype=nfs4  data1:/home/&\n",
            &[("data1", "nfs", 1)],
        );
        check(
            "etc/auto.apps",
            "apps -rw /a data1:/a /b data2:/b\n",
            &[("data1", "nfs", 1), ("data2", "nfs", 1)],
        );
        check(
            "etc/auto.master",
            "/home ldap://dir1/ou=auto --timeout=60\n/x ldap:dir2:ou=a\n/y /etc/auto.y\n",
            &[("dir1", "directory", 1), ("dir2", "directory", 2)],
        );
    }

    #[test]
    fn mount_units_say_type_and_options() {
        let needed = |text: &str| {
            let config = crate::folder::ConfigFiles::of(&[("etc/systemd/system/srv.mount", text)]);
            let found = crate::facts::read_references(&config);
            found
                .into_iter()
                .map(|r| (r.target, r.service.unwrap(), r.kind.unwrap()))
                .collect::<Vec<_>>()
        };
        let expect =
            |host: &str, service: &str, kind| vec![(host.to_owned(), service.to_owned(), kind)];
        assert_eq!(
            needed("[Mount]\nWhat=data1:/srv\nWhere=/srv\n"),
            expect("data1", "nfs", Kind::Hard)
        );
        assert_eq!(
            needed("[Mount]\nWhat=//files/x\nType=cifs\nOptions=rw,nofail\n"),
            expect("files", "smb", Kind::Soft)
        );
        assert_eq!(needed("[Mount]\nWhat=/dev/sdb1\nType=ext4\n"), []);
    }

    #[test]
    fn a_mount_that_may_be_missing_is_soft() {
        assert_eq!(kind_of("defaults,_netdev"), Kind::Hard);
        assert_eq!(kind_of("rw,nofail"), Kind::Soft);
        assert_eq!(kind_of("noauto,x-systemd.automount"), Kind::Soft);
    }
}
