//! Whole machine folders, as they are captured or copied together.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::source::tests::packed;
use super::*;
use crate::event::{Boot, format_time};

struct Machine(TempDir);

impl Machine {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn file(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
        self
    }

    /// Sets when a file was written last.
    fn written(self, name: &str, time: &str) -> Self {
        let us = stamps::stamp_us(time).expect("a time").us;
        let file = fs::File::options()
            .write(true)
            .open(self.0.path().join(name));
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(us);
        file.and_then(|file| file.set_modified(time))
            .expect("a time");
        self
    }

    fn read(&self) -> (History, Vec<String>) {
        self.read_with_left_out(&[])
    }

    fn read_with_left_out(&self, expected: &[&str]) -> (History, Vec<String>) {
        let mut warnings = Vec::new();
        let history = read_history("web1", self.0.path(), &BTreeMap::new(), &mut warnings);
        for text in expected {
            assert!(
                warnings.iter().any(|w| w.contains(text)),
                "{text}: {warnings:?}"
            );
        }
        (history, warnings)
    }
}

fn starts(history: &History) -> Vec<String> {
    let time = |boot: &Boot| format_time((boot.start_s() * 1e6) as u64)[..19].to_owned();
    history.boots.iter().map(time).collect()
}

fn messages(history: &History) -> Vec<&str> {
    let events = history.boots.iter().flat_map(|boot| &boot.events);
    events.map(|event| event.message.as_str()).collect()
}

fn boot_lines(day: &str) -> String {
    format!(
        "{day} 00:00:00 web1 kernel: [    0.000000] Linux version 6.1\n\
         {day} 00:00:09 web1 app[1]: connection refused by 10.0.0.2 on {day}\n"
    )
}

#[test]
fn rotated_logs_are_one_stream_over_the_turn_of_years() {
    for (packing, suffix) in [(0, "gz"), (1, "xz"), (2, "zst")] {
        let old = packed(boot_lines("Nov 30").as_bytes()).remove(packing).1;
        let machine = Machine::new()
            .file(&format!("var/log/syslog.2.{suffix}"), old)
            .file("var/log/syslog.1", boot_lines("Dec 31"))
            .file("var/log/syslog", boot_lines("Jan  2"))
            .written("var/log/syslog", "2024-01-02T12:00:00Z");
        let (history, warnings) = machine.read();
        let expected = [
            "2023-11-30T00:00:00",
            "2023-12-31T00:00:00",
            "2024-01-02T00:00:00",
        ];
        assert_eq!(starts(&history), expected);
        assert_eq!(messages(&history).len(), 3);
        assert_eq!(warnings, Vec::<String>::new());
    }
}

#[test]
fn a_date_in_the_name_orders_rotated_logs() {
    let machine = Machine::new()
        .file("messages-20231231", boot_lines("Dec 30"))
        .file("messages-20240107", boot_lines("Jan  3"))
        .file("messages", boot_lines("Jan  8"))
        .written("messages", "2024-01-09T00:00:00Z");
    let expected = [
        "2023-12-30T00:00:00",
        "2024-01-03T00:00:00",
        "2024-01-08T00:00:00",
    ];
    assert_eq!(starts(&machine.read().0), expected);
}

#[test]
fn what_several_logs_repeat_counts_once() {
    let text = boot_lines("Feb 29");
    let kernel: String = text
        .lines()
        .take(1)
        .map(|line| format!("{line}\n"))
        .collect();
    let machine = Machine::new()
        .file("var/log/syslog", &text)
        .file("var/log/kern.log", kernel)
        .file("var/log/daemon.log", &text);
    let (history, _) = machine.read();
    assert_eq!(history.boots.len(), 1);
    assert_eq!(messages(&history).len(), 1);
    assert_eq!(history.boots[0].events[0].count, 1);
    assert_eq!(history.hosts, ["web1"]);
}

#[test]
fn lines_that_others_sent_are_not_the_machines() {
    let own = boot_lines("Feb 29");
    let sent = own.replace("web1", "db1").replace("00:00:0", "00:30:0");
    let machine = Machine::new().file("messages", own + &sent);
    let (history, _) = machine.read();
    assert_eq!((history.boots.len(), messages(&history).len()), (1, 1));
}

#[test]
fn a_log_is_found_by_its_content_wherever_it_lies() {
    let machine = Machine::new().file("anything.log", boot_lines("Feb 29"));
    assert_eq!(machine.read().0.boots.len(), 1);
    let machine = Machine::new().file("copied/old/x.txt", boot_lines("Feb 29"));
    assert_eq!(machine.read().0.boots.len(), 1);
    let machine = Machine::new().file("usr/share/doc/x.log", boot_lines("Feb 29"));
    assert_eq!(machine.read().0.boots.len(), 0);
}

#[test]
fn old_windows_logs_make_boots() {
    use super::old_event_log::tests::{header, record};
    let mut bytes = header();
    for boot in 0..3_u32 {
        let (number, second) = (1 + boot * 10, 1_000_000 + boot * 10_000);
        bytes.extend(record(number, second, "EventLog", 6009, &["5.01."]));
        bytes.extend(record(number + 1, second, "EventLog", 6005, &[]));
        bytes.extend(record(
            number + 2,
            second + 9,
            "NETLOGON",
            5719,
            &["SHIELDBASE"],
        ));
    }
    let (history, warnings) = Machine::new().file("SysEvent.Evt", bytes).read();
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(history.boots.len(), 3);
    assert!(history.boots.iter().all(|boot| boot.begins));
    assert_eq!(history.hosts, ["XP1"]);
    let failures = messages(&history);
    assert_eq!(
        failures.iter().filter(|text| text.contains("5719")).count(),
        3
    );
    assert_eq!(
        history.boots[0]
            .events
            .last()
            .map(|event| event.monotonic_us),
        Some(9_000_000)
    );
}

#[test]
fn what_is_wrong_is_named_and_the_rest_is_used() {
    let lines = boot_lines("Feb 29");
    let mut cut = packed(lines.repeat(2_000).as_bytes()).remove(0).1;
    cut.truncate(cut.len() / 2);
    let machine = Machine::new()
        .file("syslog", &lines)
        .file("mail.gz", cut)
        .file("picture.dat", [0_u8, 1, 2, 3])
        .file("note", "buy milk")
        .file("broken.journal", "x")
        .file("broken.evtx", "x")
        .file("docker-compose.yml", "services: {}")
        .file("empty.log", "");
    let (history, warnings) = machine.read_with_left_out(&[
        "web1: mail.gz: failed to unpack all of it",
        "web1: picture.dat: neither a log nor configuration",
        "web1: note: neither a log nor configuration",
        "web1: broken.journal: it is not a journal file",
        "web1: broken.evtx: failed to read it as a Windows event log",
    ]);
    assert_eq!(warnings.len(), 5, "{warnings:?}");
    assert!(!history.boots.is_empty());
}

#[test]
fn a_machine_without_a_start_in_its_logs_is_named() {
    let text = "Feb 29 00:00:09 web1 app[1]: connection refused\n";
    let expected = "web1: syslog: no start of the machine is in its logs";
    let (history, _) = Machine::new()
        .file("syslog", text)
        .read_with_left_out(&[expected]);
    assert_eq!(history.boots.len(), 1);
    Machine::new().read_with_left_out(&["web1: no readable logs in ", "the folder is empty"]);
    Machine::new()
        .file("x.bin", "x")
        .read_with_left_out(&["none of its 1 files outside etc/ is a log"]);
}

#[test]
fn an_early_boot_full_of_failures_leaves_room_for_later_ones() {
    let mut text = boot_lines("Feb 01");
    for second in 0..250_000 {
        let (hour, minute, second) = (second / 3600 % 24, second / 60 % 60, second % 60);
        text.push_str(&format!(
            "Feb 02 {hour:02}:{minute:02}:{second:02} web1 app[1]: connection refused by 10.0.0.2, try {second}\n"
        ));
    }
    text.push_str(&boot_lines("Feb 28"));
    let (history, _) = Machine::new().file("syslog", text).read();
    let last = history.boots.last().expect("a boot");
    assert_eq!(last.events.len(), 1);
    let counted: u32 = history
        .boots
        .iter()
        .flat_map(|b| &b.events)
        .map(|e| e.count)
        .sum();
    assert_eq!(counted, 250_002);
    assert!(messages(&history).len() < 100);
}

fn data(part: &str) -> Option<std::path::PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data")
        .join(part);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("SKIPPED: no sample logs at {}", path.display());
    None
}

#[test]
fn records_of_other_windows_logs_fall_into_the_boots_of_the_system_log() {
    let Some(folder) = data("evtx/W11-GoldPaper") else {
        return;
    };
    let found = find_logs("w11", &folder, &mut Vec::new());
    let mut logs = Logs::new(&[], HistoryBuilder::default());
    logs.read(found.logs);
    assert!(logs.problems.is_empty(), "{:?}", logs.problems);
    assert_eq!(logs.unused.len(), 1, "the log of the boot loader");
    // The System log alone has 1077.
    assert!(logs.records > 1_500, "{}", logs.records);
    let (history, _) = logs.builder.finish();
    assert_eq!(history.boots.len(), 5);
}
