//! Disks over the network: iSCSI nodes of open-iscsi, and what the kernel was told to boot from.

use super::{FactReader, Reference, is_host_like, lines, reference};
use crate::order::Kind;

pub(super) struct Iscsi;

impl FactReader for Iscsi {
    fn claims(&self, file: &str) -> bool {
        file.contains("/iscsi/nodes/")
            || file.contains("/iscsi/send_targets/")
            || file == "etc/iscsi/initiatorname.iscsi"
            || file == "etc/iscsi/iscsid.conf"
            || file == "etc/default/grub"
            || file == "etc/kernel/cmdline"
    }

    fn read(&self, file: &str, text: &str, out: &mut Vec<Reference>) {
        if file.contains("/nodes/") {
            node(file, text, out);
        } else if file.ends_with("grub") || file.ends_with("cmdline") {
            for (number, line) in lines(text) {
                root_device(file, (number, line), out);
            }
        }
    }
}

/// One file for each target; it matters only when the machine logs in by itself.
fn node(file: &str, text: &str, out: &mut Vec<Reference>) {
    let value = |key: &str| {
        let found = lines(text).find_map(|(number, line)| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == key).then(|| (number, line, value.trim()))
        });
        found.filter(|(_, _, value)| is_host_like(value))
    };
    let startup = value("node.startup").map_or("manual", |(_, _, value)| value);
    let is_at_boot =
        value("node.conn[0].startup").map_or("manual", |(_, _, value)| value) != "manual";
    if let Some((number, line, host)) = value("node.conn[0].address") {
        let found = reference(file, (number, line), host, "iscsi");
        let kind = if startup == "manual" && !is_at_boot {
            Kind::Soft
        } else {
            Kind::Hard
        };
        out.push(Reference {
            kind: Some(kind),
            ..found
        });
    }
}

/// "nfsroot=10.0.0.2:/srv/root" and "netroot=iscsi:@10.0.0.40::3260::iqn..."
fn root_device(file: &str, (number, line): (usize, &str), out: &mut Vec<Reference>) {
    for word in line.split([' ', '"', '\'']) {
        let (service, rest) = match word.split_once('=') {
            Some(("nfsroot", rest)) => ("nfs", rest),
            Some(("root" | "netroot", rest)) if rest.starts_with("nfs:") => ("nfs", &rest[4..]),
            Some(("netroot" | "root", rest)) if rest.starts_with("iscsi:") => ("iscsi", &rest[6..]),
            _ => continue,
        };
        let host = rest
            .rsplit('@')
            .next()
            .and_then(|rest| rest.split([':', ',']).next());
        if let Some(host) = host.filter(|host| is_host_like(host)) {
            let found = reference(file, (number, line), host, service);
            out.push(Reference {
                kind: Some(Kind::Hard),
                ..found
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::facts::tests::check;

    #[test]
    fn targets_and_network_roots() {
        check(
            "etc/iscsi/nodes/iqn.2003-01.site:disk/10.0.0.40,3260,1/default",
            "# BEGIN RECORD\nnode.startup = automatic\nnode.conn[0].address = 10.0.0.40\nnode.conn[0].port = 3260\n",
            &[("10.0.0.40", "iscsi", 3)],
        );
        check(
            "etc/default/grub",
            "GRUB_CMDLINE_LINUX=\"root=/dev/nfs nfsroot=10.0.0.2:/srv/r netroot=iscsi:@10.0.0.40::3260::iqn\"\n",
            &[("10.0.0.2", "nfs", 1), ("10.0.0.40", "iscsi", 1)],
        );
    }
}
