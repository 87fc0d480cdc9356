//! What the micro-VM's kernel said last.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

/// The kernel's log is never longer than its buffer.
const MOST_RECORDS: usize = 10_000;

/// The last message that names this device, without anything but plain text.
pub(super) fn last_about(device: &str) -> Option<String> {
    all_about(device).pop()
}

/// Whether any message that names this device holds one of the texts.
pub(super) fn says(device: &str, texts: &[&str]) -> bool {
    let messages = all_about(device);
    let mut messages = messages.iter();
    messages.any(|message| texts.iter().any(|text| message.contains(text)))
}

fn all_about(device: &str) -> Vec<String> {
    let log = File::options()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open("/dev/kmsg");
    let Ok(mut log) = log else {
        return Vec::new();
    };
    let mut messages = Vec::new();
    let mut record = [0; 8192];
    for _ in 0..MOST_RECORDS {
        // One read gives one record; the end is an error.
        let Ok(count @ 1..) = log.read(&mut record) else {
            break;
        };
        messages.extend(message(&record[..count], device));
    }
    messages
}

/// The text of a record, if it is about the device.
fn message(record: &[u8], device: &str) -> Option<String> {
    let text = String::from_utf8_lossy(record);
    let (_, text) = text.split_once(';')?;
    let line = text.lines().next()?;
    // ext4 and XFS say `(vda1)`, btrfs `(device vda1)` or `(device vda1 state M)`.
    let ways = [
        format!("({device})"),
        format!("(device {device})"),
        format!("(device {device} "),
        format!("(device {device}:"),
    ];
    ways.iter()
        .any(|way| line.contains(way))
        .then(|| line.chars().filter(|letter| !letter.is_control()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let record = b"3,600,1234,-;XFS (vda2): unknown features\n SUBSYSTEM=block\n";
        assert_eq!(
            message(record, "vda2").as_deref(),
            Some("XFS (vda2): unknown features")
        );
        assert_eq!(message(record, "vda"), None);
        assert_eq!(message(b"no record", "vda"), None);
        let btrfs = b"6,1,2,-;BTRFS info (device vda2 state M): start tree-log replay\n";
        assert!(message(btrfs, "vda2").is_some() && message(btrfs, "vda").is_none());
    }
}
