//! Real journals, whole and damaged: never a panic, always a bounded answer.
#![expect(clippy::unwrap_used, reason = "a test stops where its set-up fails")]

use std::fs;
use std::path::{Path, PathBuf};

use lifeboat_bootorder::{Options, Order, order, read_directory, survey_bytes, survey_log};
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

/// File, records, boots, boots whose beginning is in it. The records and the marks of starts
/// (12, 6005, 6009) were counted with another parser; journals with `journalctl --verify`,
/// which also finds three of them damaged.
const EXPECTED: &[(&str, u64, usize, usize)] = &[
    ("evtx/DC1-greendale_System.evtx", 5009, 8, 8),
    ("evtx/DESKTOP-1N4R894_System_vss7.evtx", 1160, 3, 3),
    ("evtx/DESKTOP-2KGM189_System.evtx", 1881, 3, 3),
    // The log begins in the middle of a boot.
    ("evtx/WKS-WIN764BITB-shieldbase_System.evtx", 1601, 6, 5),
    // 6501 records lie in the ring, 181 of them overwritten or repeated.
    ("evtx/WKS-WINXP32BIT_SysEvent.Evt", 6320, 25, 24),
    ("evtx/W11-GoldPaper/System.evtx", 1077, 5, 5),
    (
        "evtx/edge/FS03_service_failures_7000_7009_7045.evtx",
        733,
        1,
        0,
    ),
    ("linux/journal_no-rtc/system.journal.zst", 1922, 1, 1),
    (
        "linux/journal_no-rtc/system@0005ebbfd42fc981-39a8842ec948769a.journal~.zst",
        2648,
        1,
        1,
    ),
    (
        "linux/journal_no-rtc/system@0005ebbfd4346b9f-43185b46162d9fa5.journal~.zst",
        2736,
        1,
        1,
    ),
    (
        "linux/journal_no-rtc/system@0005ebbfd4385848-2e5dff5354ab9bcf.journal~.zst",
        1836,
        1,
        1,
    ),
    ("linux/plaso_syslog", 16, 1, 0),
    ("linux/plaso_syslog_chromeos", 8, 1, 0),
    ("linux/plaso_syslog_rsyslog_ForwardFormat", 9, 1, 0),
    ("linux/plaso_syslog_rsyslog_SysklogdFileFormat", 9, 1, 0),
    ("linux/plaso_syslog_rsyslog_SyslogProtocol23Format", 9, 1, 0),
    (
        "linux/plaso_syslog_rsyslog_TraditionalForwardFormat",
        9,
        1,
        0,
    ),
];

#[test]
fn every_real_log_has_its_records_and_boots() {
    let Some(folder) = data("linux").and_then(|linux| linux.parent().map(Path::to_owned)) else {
        return;
    };
    for (file, records, boots, beginnings) in EXPECTED {
        let log = survey_log(&folder.join(file)).unwrap();
        let found = (log.records, log.boots, log.beginnings);
        assert_eq!(found, (*records, *boots, *beginnings), "{file}: {log:?}");
    }
}

/// All sample files below a folder, with what is no log among them.
fn samples(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => samples(&path, found),
            path => found.push(path),
        }
    }
}

#[test]
fn logs_cut_anywhere_are_read_as_far_as_they_go() {
    let Some(folder) = data("evtx") else { return };
    for (file, ..) in EXPECTED {
        let whole = fs::read(folder.join("..").join(file)).unwrap();
        let records = survey_bytes(file, whole.clone()).records;
        for part in 1..6 {
            let cut = whole[..whole.len() * part / 6].to_vec();
            let log = survey_bytes(file, cut);
            assert!(log.records <= records, "{file} {part}: {log:?}");
        }
        let log = survey_bytes(file, whole[..whole.len() / 2].to_vec());
        let is_told = !log.problems.is_empty() || file.contains("syslog") || file.ends_with(".Evt");
        assert!(is_told, "{file}: {log:?}");
    }
}

const MEMORY_LIMIT_KIB: u64 = 256 << 10;
const CHILD: &str = "LIFEBOAT_TEST_LOG";

/// Runs in a process of its own, started by the test below.
#[test]
fn one_log_in_a_process_of_its_own() {
    if let Some(path) = std::env::var_os(CHILD) {
        survey_log(Path::new(&path)).unwrap();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .unwrap();
        println!("{line}");
    }
}

fn most_memory_kib(path: &Path) -> u64 {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "one_log_in_a_process_of_its_own", "--nocapture"])
        .env(CHILD, path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}: {text}", path.display());
    let line = text.lines().find_map(|line| line.split_once("VmHWM:"));
    let (_, rest) = line.unwrap_or_else(|| panic!("{text}"));
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn no_real_log_takes_much_memory() {
    let mut files = Vec::new();
    for part in ["evtx", "linux"] {
        data(part)
            .iter()
            .for_each(|folder| samples(folder, &mut files));
    }
    for file in files {
        if file.to_string_lossy().contains("systemd-units") {
            continue;
        }
        let memory = most_memory_kib(&file);
        assert!(
            memory < MEMORY_LIMIT_KIB,
            "{}: {memory} KiB",
            file.display()
        );
    }
}

#[test]
fn hostile_and_endless_logs_take_no_more_memory() {
    use std::io::Write;
    let folder = TempDir::new().unwrap();
    let bomb = folder.path().join("messages.zst");
    let mut packed =
        zstd::stream::write::Encoder::new(fs::File::create(&bomb).unwrap(), 1).unwrap();
    packed
        .write_all(b"Feb 29 00:00:00 web1 kernel: Linux version 6\n")
        .unwrap();
    for _ in 0..300 {
        packed.write_all(&[b'x'; 1 << 20]).unwrap();
    }
    packed.finish().unwrap();
    // Every line is a failure of a program of its own, of which none is like another.
    let endless = folder.path().join("messages");
    let mut file = std::io::BufWriter::new(fs::File::create(&endless).unwrap());
    for number in 0..200_000_u32 {
        let word: String = number
            .to_string()
            .bytes()
            .map(|b| char::from(b + 49))
            .collect();
        let boot = if number % 100 == 0 {
            "kernel: Linux version 6"
        } else {
            ""
        };
        let (minute, second) = (number / 60 % 60, number % 60);
        let text = "connection refused by nobody ".repeat(8);
        writeln!(file, "Feb 28 00:{minute:02}:{second:02} web1 {boot}").unwrap();
        writeln!(
            file,
            "Feb 28 00:{minute:02}:{second:02} web1 {word}: {text}{word}"
        )
        .unwrap();
    }
    drop(file);
    for file in [bomb, endless] {
        let memory = most_memory_kib(&file);
        assert!(
            memory < MEMORY_LIMIT_KIB,
            "{}: {memory} KiB",
            file.display()
        );
    }
}
