//! What the micro-VM's kernel said last.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

/// The kernel's log is never longer than its buffer.
const MOST_RECORDS: usize = 10_000;

/// The last message that names this device, without anything but plain text.
pub(super) fn last_about(device: &str) -> Option<String> {
    let mut log = File::options()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open("/dev/kmsg")
        .ok()?;
    let mut last = None;
    let mut record = [0; 8192];
    for _ in 0..MOST_RECORDS {
        // One read gives one record; the end is an error.
        let Ok(count @ 1..) = log.read(&mut record) else {
            break;
        };
        last = message(&record[..count], device).or(last);
    }
    last
}

/// The text of a record, if it is about the device.
fn message(record: &[u8], device: &str) -> Option<String> {
    let text = String::from_utf8_lossy(record);
    let (_, text) = text.split_once(';')?;
    let line = text.lines().next()?;
    line.contains(&format!("({device})"))
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
    }
}
