//! Whether what was written to is sound: the last look at each filesystem, by
//! its superblock and by the checker of its own tools, which writes nothing.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

use super::disks::Found;
use super::kernel_log;
use super::kit::{Ended, KitError};
use super::mounts::{driver, name};
use super::superblock;
use super::tools::Tools;
use crate::report::{Check, IS_SOUND};

/// Larger filesystems take a checker too long: their superblocks must do.
const LARGEST: u64 = 16 << 30;
/// How long all checkers together may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Lines of a checker that are passed on.
const FIRST_LINES: usize = 5;

/// What the kernel says of a journal that it replayed.
const REPLAYED: [&str; 3] = [
    "recovery complete",
    "Ending recovery",
    "start tree-log replay",
];

/// How one kind of filesystem is checked.
struct Checker {
    program: &'static str,
    arguments: &'static [&'static str],
    /// Whether this exit status means damage; success is sound, and anything
    /// else a checker that could not do its work.
    finds_damage: fn(i32) -> bool,
}

fn checker(kind: &str) -> Option<Checker> {
    let (program, arguments, finds_damage): (_, &[_], fn(i32) -> bool) = match kind {
        // Above 4 are the marks of a check that did not take place.
        "ext4" => ("e2fsck", &["-f", "-n"], |status| status & !7 == 0),
        "xfs" => ("xfs_repair", &["-n"], |status| status == 1),
        "btrfs" => ("btrfs", &["check", "--readonly"], |status| status == 1),
        _ => return None,
    };
    Some(Checker {
        program,
        arguments,
        finds_damage,
    })
}

/// What a checker does not understand is no damage.
const TOO_NEW: [&str; 5] = [
    "unsupported feature",
    "unknown compat",
    "unknown feature",
    "unsupported optional feature",
    "more recent xfs_repair",
];

/// What a checker found.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Sound,
    Damaged(String),
    /// It did not look at everything, and why.
    Unknown(String),
}

/// Looks at every filesystem that was written to, also where only a journal
/// was replayed. Nothing may be mounted any more.
pub(super) fn look(found: &[Found], tools: &Tools) -> Vec<Check> {
    let end = Instant::now() + PATIENCE;
    let written = found.iter().filter(|each| was_written(&each.device));
    written
        .filter_map(|each| Some(look_at(each, driver(&each.partition)?, tools, end)))
        .collect()
}

/// Looks at every filesystem of disks that nobody wrote to: only what was looked
/// through without a finding is well. A journal that was left to replay counts
/// as a finding, because a checker looks past it.
pub(super) fn as_captured(found: &[Found], tools: &Tools) -> Vec<Check> {
    let end = Instant::now() + PATIENCE;
    let look = |each: &Found| {
        let kind = driver(&each.partition)?;
        let (verdict, _) = judge(each, kind, tools, end);
        let is_sound = verdict == Verdict::Sound;
        let check = describe(&name(&each.partition), kind, "clean", verdict);
        Some(Check {
            ok: is_sound,
            ..check
        })
    };
    found.iter().filter_map(look).collect()
}

fn look_at(each: &Found, kind: &str, tools: &Tools, end: Instant) -> Check {
    let replayed = kernel_log::says(&kernel_name(&each.device), &REPLAYED);
    let (verdict, own_word) = judge(each, kind, tools, end);
    let state = match (replayed, &verdict, own_word) {
        (true, ..) => "recovered from its journal",
        (false, Verdict::Unknown(_), None) => "let go of in order",
        (false, ..) => "clean",
    };
    describe(&name(&each.partition), kind, state, verdict)
}

/// The verdict, and the word of its own superblock.
fn judge(each: &Found, kind: &str, tools: &Tools, end: Instant) -> (Verdict, Option<bool>) {
    let own_word = own_word(&each.device);
    let verdict = match own_word {
        Some(false) => {
            Verdict::Damaged("its superblock notes an error or a journal to replay".to_owned())
        }
        _ => checked(each, kind, tools, end),
    };
    (verdict, own_word)
}

fn describe(place: &str, kind: &str, state: &str, verdict: Verdict) -> Check {
    let (ok, detail) = match verdict {
        Verdict::Sound => (true, state.to_owned()),
        Verdict::Unknown(why) => (true, format!("{state}, but not looked through: {why}")),
        Verdict::Damaged(how) => (false, format!("damaged: {how}")),
    };
    Check {
        what: format!("the {kind} on {place}{IS_SOUND}"),
        ok,
        detail,
    }
}

fn checked(each: &Found, kind: &str, tools: &Tools, end: Instant) -> Verdict {
    let Some(checker) = checker(kind) else {
        return Verdict::Unknown(format!("the kit has no checker for {kind}"));
    };
    if each.partition.bytes > LARGEST {
        return Verdict::Unknown(format!("it is larger than {} GiB", LARGEST >> 30));
    }
    let device = each.device.to_string_lossy();
    let mut arguments = checker.arguments.to_vec();
    arguments.push(&device);
    let left = end.saturating_duration_since(Instant::now());
    let ended = tools.kit.run_for(left, checker.program, &arguments);
    verdict(&checker, ended)
}

fn verdict(checker: &Checker, ended: Result<Ended, KitError>) -> Verdict {
    let program = checker.program;
    let ended = match ended {
        Ok(ended) => ended,
        Err(error) => return Verdict::Unknown(crate::cause_chain(&error)),
    };
    let said = first_lines(&ended.said);
    let too_new = TOO_NEW.iter().any(|words| ended.said.contains(words));
    match ended.status {
        Some(0) => Verdict::Sound,
        Some(status) if (checker.finds_damage)(status) && !too_new => {
            Verdict::Damaged(format!("{program} says: {said}"))
        }
        Some(status) => {
            Verdict::Unknown(format!("{program} cannot (exit status {status}): {said}"))
        }
        None => Verdict::Unknown(format!(
            "{program} did not come to its end in the {} s that all checks have",
            PATIENCE.as_secs()
        )),
    }
}

/// What tells something: no empty lines, and not the headings of passes.
fn first_lines(said: &str) -> String {
    let is_heading = |line: &str| {
        let beginnings = [
            "Pass ",
            "Phase ",
            "e2fsck ",
            "Opening filesystem",
            "[",
            "        - ",
        ];
        beginnings.iter().any(|start| line.starts_with(start))
    };
    let lines = said.lines().filter(|line| !line.trim().is_empty());
    let telling: Vec<String> = lines
        .filter(|line| !is_heading(line))
        .take(FIRST_LINES)
        .map(|line| {
            line.trim()
                .chars()
                .filter(|letter| !letter.is_control())
                .collect()
        })
        .collect();
    telling.join("; ")
}

/// Whether it was let go of in order, by its own superblock.
fn own_word(device: &Path) -> Option<bool> {
    let mut bytes = Vec::new();
    let limit = superblock::LOOKED_AT as u64;
    File::open(device)
        .ok()?
        .take(limit)
        .read_to_end(&mut bytes)
        .ok()?;
    superblock::is_clean(&bytes)
}

/// The kernel counts what it writes to each device. Where it does not say,
/// something may have been written.
fn was_written(device: &Path) -> bool {
    let counters = Path::new("/sys/class/block")
        .join(kernel_name(device))
        .join("stat");
    let text = fs::read_to_string(counters).unwrap_or_default();
    sectors_written(&text) != Some(0)
}

/// The seventh number.
fn sectors_written(counters: &str) -> Option<u64> {
    counters.split_whitespace().nth(6)?.parse().ok()
}

/// `dm-0` of `/dev/mapper/vg-root`.
fn kernel_name(device: &Path) -> String {
    let real = fs::canonicalize(device).unwrap_or_else(|_| device.to_owned());
    let name = real.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: &str, status: Option<i32>, said: &str) -> Verdict {
        let ended = Ended {
            status,
            said: said.to_owned(),
        };
        verdict(&checker(kind).unwrap(), Ok(ended))
    }

    #[test]
    fn checkers_say_what_they_found() {
        for kind in ["ext4", "xfs", "btrfs"] {
            assert_eq!(of(kind, Some(0), "anything"), Verdict::Sound);
            let slow = of(kind, None, "");
            assert!(matches!(slow, Verdict::Unknown(_)), "{slow:?}");
        }
        let said = "e2fsck 1.47.0 (5-Feb-2023)\nPass 1: Checking inodes\n\
                    Inode 12, i_blocks is 9, should be 8.  Fix? no\n\n/dev/vda1: bad\n";
        let damaged = of("ext4", Some(4), said);
        let expected =
            "e2fsck says: Inode 12, i_blocks is 9, should be 8.  Fix? no; /dev/vda1: bad";
        assert_eq!(damaged, Verdict::Damaged(expected.to_owned()));
        assert!(matches!(of("xfs", Some(1), "x"), Verdict::Damaged(_)));
        assert!(matches!(of("btrfs", Some(1), "x"), Verdict::Damaged(_)));
    }

    #[test]
    fn what_a_checker_cannot_read_is_no_damage() {
        let cases = [
            (
                "ext4",
                8,
                "/dev/vda1 has unsupported feature(s): FEATURE_C12",
            ),
            ("ext4", 12, "fatal"),
            ("xfs", 1, "Using a more recent xfs_repair is recommended."),
            ("btrfs", 1, "cannot open: unsupported feature bits"),
            ("xfs", 2, "dirty log"),
        ];
        for (kind, status, said) in cases {
            let verdict = of(kind, Some(status), said);
            assert!(matches!(verdict, Verdict::Unknown(_)), "{verdict:?}");
        }
        let without = verdict(&checker("ext4").unwrap(), Err(KitError::Missing));
        assert!(matches!(without, Verdict::Unknown(_)), "{without:?}");
    }

    #[test]
    fn what_the_record_says() {
        let of = |verdict| describe("disk 0", "ext4", "clean", verdict);
        let sound = of(Verdict::Sound);
        assert!(sound.ok && sound.what.contains("ext4 on disk 0"));
        assert_eq!(sound.detail, "clean");
        let damaged = of(Verdict::Damaged("x".to_owned()));
        assert!(!damaged.ok && damaged.detail == "damaged: x");
        let unknown = of(Verdict::Unknown("it is large".to_owned()));
        assert!(unknown.ok && unknown.detail == "clean, but not looked through: it is large");
    }

    #[test]
    fn written_sectors_are_the_seventh_number() {
        let line = "  38  0  1016  22  3  0  24  5  0  16  27 0 0 0 0 0 0";
        assert_eq!(sectors_written(line), Some(24));
        assert_eq!(sectors_written("1 2 3"), None);
    }
}
