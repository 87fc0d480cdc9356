//! What a line of fstab says: which filesystem it means, and whether the guest
//! starts without it.

use crate::report::Partition;

/// Without these a guest does not start.
pub(crate) const NEEDED: [&str; 5] = ["/", "/usr", "/boot", "/etc", "/var"];

/// The mount point of a line, without a slash at its end.
pub(crate) fn mount_point<'a>(fields: &[&'a str]) -> &'a str {
    let mount = fields.get(1).copied().unwrap_or_default();
    match mount.trim_end_matches('/') {
        "" if mount.starts_with('/') => "/",
        plain => plain,
    }
}

/// Whether a guest starts when the filesystem of a line is not there.
pub(crate) fn starts_without(fields: &[&str]) -> bool {
    let optional = [
        "nofail",
        "noauto",
        "_netdev",
        "x-systemd.automount",
        "comment=systemd.automount",
    ];
    let mut options = fields.get(3).copied().unwrap_or_default().split(',');
    options.any(|option| optional.contains(&option))
        || fields.get(2) == Some(&"swap")
        || matches!(fields.get(1), Some(&("none" | "swap")))
}

/// A name that follows the content of a filesystem or the partition table:
/// what it goes by (`UUID`, `LABEL`, `PARTUUID`, `PARTLABEL`) and its value.
pub(crate) fn identity(device: &str) -> Option<(&'static str, String)> {
    let device = device.replace('"', "");
    let keys = [
        ("UUID", "uuid"),
        ("LABEL", "label"),
        ("PARTUUID", "partuuid"),
        ("PARTLABEL", "partlabel"),
    ];
    keys.into_iter().find_map(|(key, by)| {
        let written = device
            .strip_prefix(key)
            .and_then(|rest| rest.strip_prefix('='));
        let link = || {
            device
                .strip_prefix("/dev/disk/by-")?
                .strip_prefix(by)?
                .strip_prefix('/')
        };
        Some((key, unescape(written.or_else(link)?)))
    })
}

/// Whether a partition goes by an identity such as `LABEL=data`.
pub(crate) fn is_called(partition: &Partition, device: &str) -> bool {
    let Some((key, value)) = identity(device) else {
        return false;
    };
    let actual = match key {
        "UUID" => &partition.uuid,
        "LABEL" => &partition.label,
        "PARTUUID" => &partition.part_uuid,
        _ => &partition.part_label,
    };
    actual.as_deref().is_some_and(|actual| match key {
        "LABEL" | "PARTLABEL" => actual == value,
        _ => actual.eq_ignore_ascii_case(&value),
    })
}

/// `\040` as fstab, and `\x20` as udev writes a blank.
fn unescape(text: &str) -> String {
    let mut plain = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let (digits, radix) = match behind {
            [b'x', more @ ..] => (more.get(..2), 16),
            more => (more.get(..3), 8),
        };
        let code = digits
            .filter(|digits| first == b'\\' && digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, radix).ok());
        plain.push(code.unwrap_or(first));
        // Both kinds take three bytes behind the backslash.
        rest = if code.is_some() { &behind[3..] } else { behind };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn identities() {
        let cases = [
            ("UUID=\"a-b\"", Some(("UUID", "a-b"))),
            ("LABEL=my\\040disk", Some(("LABEL", "my disk"))),
            ("/dev/disk/by-label/my\\x20disk", Some(("LABEL", "my disk"))),
            ("PARTLABEL=root", Some(("PARTLABEL", "root"))),
            ("/dev/disk/by-partuuid/1-02", Some(("PARTUUID", "1-02"))),
            ("LABEL=a\\", Some(("LABEL", "a\\"))),
            ("LABEL=a\\09", Some(("LABEL", "a\\09"))),
            ("/dev/sda1", None),
            ("tmpfs", None),
        ];
        for (device, expected) in cases {
            let expected = expected.map(|(key, value)| (key, value.to_owned()));
            assert_eq!(identity(device), expected, "{device}");
        }
    }

    #[test]
    fn what_a_guest_starts_without() {
        let fields = |line: &'static str| line.split_whitespace().collect::<Vec<_>>();
        for line in [
            "a /x xfs rw,nofail",
            "a /x xfs _netdev",
            "a none swap sw",
            "a swap swap",
        ] {
            assert!(starts_without(&fields(line)), "{line}");
        }
        for line in ["a /nofail xfs rw", "a /x xfs", "a"] {
            assert!(!starts_without(&fields(line)), "{line}");
        }
        assert_eq!(mount_point(&fields("a /boot/ ext4")), "/boot");
        assert_eq!(mount_point(&fields("a / ext4")), "/");
        assert_eq!(mount_point(&fields("a none swap")), "none");
    }

    proptest! {
        #[test]
        fn arbitrary_names_never_panic(name in any::<String>(), known in "(LABEL=|\\\\|x|0|4|ä)*") {
            identity(&name);
            identity(&known);
        }
    }
}
