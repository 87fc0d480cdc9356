//! Real journals, whole and damaged: never a panic, always a bounded answer.
#![expect(clippy::unwrap_used, reason = "a test stops where its set-up fails")]

use std::fs;
use std::path::{Path, PathBuf};

use lifeboat_bootorder::{Options, Order, order, read_directory};
use tempfile::TempDir;

fn data(part: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/data")
        .join(part);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("SKIPPED: no sample logs at {}", path.display());
    None
}

fn journals() -> Vec<(String, Vec<u8>)> {
    let Some(folder) = data("linux/journal_no-rtc") else {
        return Vec::new();
    };
    let mut journals: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry
                .file_name()
                .to_string_lossy()
                .trim_end_matches(".zst")
                .to_owned();
            (
                name,
                zstd::decode_all(fs::File::open(entry.path()).unwrap()).unwrap(),
            )
        })
        .collect();
    journals.sort();
    journals
}

fn order_of(journals: &[(String, Vec<u8>)]) -> Order {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("pi/var/log/journal/id");
    fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in journals {
        fs::write(folder.join(name), bytes).unwrap();
    }
    order(
        &read_directory(root.path()).unwrap(),
        &[],
        &Options::default(),
    )
}

#[test]
fn journals_of_a_machine_without_a_clock() {
    let journals = journals();
    if journals.is_empty() {
        return;
    }
    let order = order_of(&journals);
    assert_eq!(order.machines, ["pi"]);
    assert!(order.ready_delays_s.contains_key("pi"), "{order:?}");
    assert!(
        order
            .warnings
            .iter()
            .any(|w| w.contains("the clock was set")),
        "{:?}",
        order.warnings
    );
}

/// A small deterministic generator; the damage must be the same in every run.
struct Damage(u64);

impl Damage {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }
}

#[test]
fn damaged_journals_are_read_as_far_as_they_go() {
    let journals = journals();
    let Some((name, whole)) = journals.iter().min_by_key(|(_, bytes)| bytes.len()) else {
        return;
    };
    let mut damage = Damage(0x9e37_79b9_7f4a_7c15);
    for round in 0..36 {
        let mut bytes = whole.clone();
        let reach = if round % 2 == 0 { 4096 } else { bytes.len() };
        for _ in 0..1 + round {
            let at = damage.next(reach);
            bytes[at] = [0x00, 0xff, 0x80, 0x01][damage.next(4)];
        }
        if round % 3 == 0 {
            let length = damage.next(bytes.len());
            bytes.truncate(length);
        }
        let order = order_of(&[(name.clone(), bytes)]);
        assert_eq!(order.plan.len(), 1);
    }
}

#[test]
fn text_logs_of_every_style() {
    let Some(folder) = data("linux") else { return };
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if !entry.file_name().to_string_lossy().starts_with("plaso_") {
            continue;
        }
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("m")).unwrap();
        fs::copy(entry.path(), root.path().join("m/syslog")).unwrap();
        assert_eq!(
            order(
                &read_directory(root.path()).unwrap(),
                &[],
                &Options::default()
            )
            .plan
            .len(),
            1
        );
    }
}

fn event_logs() -> Vec<PathBuf> {
    let Some(folder) = data("evtx") else {
        return Vec::new();
    };
    let files = fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    let mut logs: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|e| e == "evtx"))
        .collect();
    logs.sort();
    logs
}

#[test]
fn windows_system_logs_give_services_gates_and_names() {
    let logs = event_logs();
    if logs.is_empty() {
        return;
    }
    let root = TempDir::new().unwrap();
    for (number, log) in logs.iter().enumerate() {
        let folder = root.path().join(format!("win{number}"));
        fs::create_dir(&folder).unwrap();
        fs::copy(log, folder.join(log.file_name().unwrap())).unwrap();
    }
    let order = order(
        &read_directory(root.path()).unwrap(),
        &[],
        &Options::default(),
    );
    assert_eq!(order.plan.len(), logs.len());
    if let Some(at) = logs
        .iter()
        .position(|log| log.ends_with("DC1-greendale_System.evtx"))
    {
        let ports: Vec<u16> = order.gates[&format!("win{at}")]
            .iter()
            .map(|gate| gate.port)
            .collect();
        assert_eq!(ports, [53, 88, 389], "{:?}", order.warnings);
    }
}

#[test]
fn damaged_event_logs_are_read_as_far_as_they_go() {
    let Some(log) = event_logs().into_iter().next() else {
        return;
    };
    let whole = fs::read(log).unwrap();
    let mut damage = Damage(0x2545_f491_4f6c_dd1d);
    for round in 0..12 {
        let mut bytes = whole[..whole.len().min(300_000)].to_vec();
        for _ in 0..4 << round.min(9) {
            let at = damage.next(bytes.len());
            bytes[at] = [0x00, 0xff, 0x80, 0x01][damage.next(4)];
        }
        let root = TempDir::new().unwrap();
        fs::create_dir(root.path().join("win")).unwrap();
        fs::write(root.path().join("win/System.evtx"), bytes).unwrap();
        let order = order(
            &read_directory(root.path()).unwrap(),
            &[],
            &Options::default(),
        );
        assert_eq!(order.plan.len(), 1);
    }
}
