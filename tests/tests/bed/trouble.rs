//! Switches while something else goes wrong: names, directory, stores, lines, the control centre.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lifeboat_tests::bed::{Bed, Damage, Direction, Host, Protected, Protocol, Site};
use lifeboat_tests::{eventually, seconds_on_this_host};

use crate::switching::{expect_names, is_connected, serves, under_load};

/// For what a control centre and agents on a loaded machine have to notice and to do.
fn patience() -> Duration {
    Duration::from_secs(seconds_on_this_host(120))
}

pub fn a_dead_name_server_and_a_slow_directory_hold_nobody_up(bed: &Bed) {
    let protected = bed.protect();
    protected.wait_ready();
    bed.host("ns1").kill();
    let slowed = bed.host("dc-a").slow(0.5);
    under_load(bed, || {
        let switched = protected.switch_well("switch-over");
        eprintln!("    | over in {:.2} s", switched.time.as_secs_f64());
    });
    drop(slowed);
    bed.sender().count().expect_whole();
    assert_eq!(bed.name_server(2).addresses("mx"), ["10.62.1.20"]);
    // What was down is set right by itself.
    bed.host("ns1").start();
    eventually("the other name server", patience(), || {
        (bed.name_server(1).addresses("mx") == ["10.62.1.20"]).then_some(())
    });
    go_back(bed, &protected);
}

fn go_back(bed: &Bed, protected: &Protected<'_>) {
    protected.wait_ready();
    protected.switch_well("switch-back");
    bed.sender().count().expect_whole();
    expect_names(bed, "mail-a");
}

pub fn a_store_that_breaks_in_the_middle_of_a_switch_is_mended(bed: &Bed) {
    let protected = bed.protect();
    // Who is about to serve finds its store broken when the other one has stopped.
    for (way, place, damage, seen) in [
        ("switch-over", "mail-b", Damage::Superblock, "hard recovery"),
        ("switch-back", "mail-a", Damage::Locks, ".lock deleted"),
        (
            "switch-over",
            "mail-b",
            Damage::Directories,
            "filled up from the other copy",
        ),
        ("switch-back", "mail-a", Damage::Indexes, "files"),
    ] {
        protected.wait_ready();
        let host = bed.host(place);
        under_load(bed, || {
            protected.tell(&[
                way,
                "--no-wait",
                "--replicate-back",
                "yes",
                "--confirmation",
                "120s",
            ]);
            eventually("the question", patience(), || {
                (!protected.status()["question"].is_null()).then_some(())
            });
            break_store(&host, damage);
            protected.tell(&["answer", "yes"]);
            let process = protected.wait_end();
            assert_eq!(process["record"]["ending"], "done", "{process:#}");
            let said = process["journal"].to_string();
            assert!(said.contains(seen), "{damage:?}: {process:#}");
        });
        bed.sender().count().expect_whole();
        expect_names(bed, place);
    }
}

fn break_store(host: &Host<'_>, damage: Damage) {
    match damage {
        Damage::Superblock => {
            host.shell("store umount");
            host.damage(damage);
            assert!(!host.ask(&["store", "mount"]).status.success(), "it hurts");
        }
        Damage::Directories => {
            host.shell("store umount");
            host.damage(damage);
            host.shell("store mount");
            let list = "find /srv/mail -name '*.mail,*' 2>/dev/null | wc -l";
            assert_eq!(host.shell(list), "0", "it hurts");
        }
        Damage::Locks | Damage::Indexes => host.damage(damage),
    }
}

/// A line that comes and goes is waited out; a site that is gone is given up, once.
pub fn a_line_that_flaps_moves_nothing_and_a_lost_site_is_left(bed: &Bed) {
    let protected = bed.protect();
    protected.wait_ready();
    let switches = |protected: &Protected<'_>| {
        let list = protected.tell(&["history", "--switches", "--limit", "100"]);
        list.as_array().map_or(0, Vec::len)
    };
    let before = switches(&protected);
    protected.tell(&["autopilot", "on", "--wait", "60s", "--restarts", "0"]);
    let sender = bed.sender();
    sender.start(10.0, 2_000);
    for _ in 0..3 {
        bed.cut(Site::A, Direction::Both);
        eventually("that it is missed", patience(), || {
            (!is_connected(&protected, "mail-a")).then_some(())
        });
        bed.heal(Site::A);
        eventually("that it is back", patience(), || {
            is_connected(&protected, "mail-a").then_some(())
        });
    }
    assert_eq!(switches(&protected), before, "nothing moved");
    assert_eq!(protected.serving(), Some("mail-a"));
    eventually("mail where it was", patience(), || {
        sender.log_in(Protocol::Imap, "user01").ok()
    });
    // The control: it would have acted.
    protected.tell(&["autopilot", "on", "--wait", "1s", "--restarts", "0"]);
    bed.cut(Site::A, Direction::Both);
    eventually("the other side", patience(), || {
        (protected.serving() == Some("mail-b")).then_some(())
    });
    assert_eq!(switches(&protected), before + 1);
    bed.heal(Site::A);
    eventually("that it is back", patience(), || {
        is_connected(&protected, "mail-a").then_some(())
    });
    assert!(
        !serves(bed, "mail-a"),
        "one that was replaced serves nobody"
    );
    // Nor does it go to and fro when the other site is lost right after that.
    bed.cut(Site::B, Direction::Both);
    eventually("that it holds itself back", patience(), || {
        let wish = protected.status()["autopilot"]["wish"].to_string();
        wish.contains("too short a time ago").then_some(())
    });
    bed.heal(Site::B);
    protected.tell(&["autopilot", "off"]);
    sender.stop();
    eventually("both agents", patience(), || {
        (is_connected(&protected, "mail-a") && is_connected(&protected, "mail-b")).then_some(())
    });
    assert_eq!(switches(&protected), before + 1);
    go_back(bed, &protected);
}

pub fn nothing_is_lost_however_often_daemon_and_agents_die(bed: &Bed) {
    let protected = bed.protect();
    let seed = std::env::var("LIFEBOAT_SEED").ok();
    let seed = seed.and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.unwrap_or_default().subsec_nanos().into()
    });
    eprintln!("    | LIFEBOAT_SEED={seed}");
    for (way, place) in [("switch-over", "mail-b"), ("switch-back", "mail-a")] {
        protected.wait_ready();
        under_load(bed, || {
            protected.tell(&[way, "--no-wait", "--yes", "--replicate-back", "yes"]);
            let killer = Killer::start(bed, seed);
            let process = protected.wait_end();
            let killed = killer.stop();
            let ending = variant(&process["record"]["ending"]);
            eprintln!("    | {way}: {ending}, {killed} killed");
            assert!(killed > 3, "the control: it was disturbed");
            bring_to_its_end(&protected, way, ending);
        });
        bed.sender().count().expect_whole();
        expect_names(bed, place);
    }
}

/// The name of an enum's variant, with or without contents.
fn variant(value: &serde_json::Value) -> &str {
    let inner = value.as_object().and_then(|one| one.keys().next());
    inner
        .map(String::as_str)
        .or(value.as_str())
        .unwrap_or_default()
}

/// What stopped is taken up, what was taken back is asked for again; undisturbed, that succeeds.
fn bring_to_its_end(protected: &Protected<'_>, way: &str, ending: &str) {
    match ending {
        "done" => {}
        "reverted" => {
            protected.wait_ready();
            protected.switch_well(way);
        }
        _ => {
            let said = protected.ask(&["take-up"]);
            assert!(said.status.success(), "{said:?}");
        }
    }
}

/// Kills the daemon or an agent at moments that only a seed knows.
struct Killer {
    over: Arc<AtomicBool>,
    thread: JoinHandle<u32>,
}

impl Killer {
    fn start(bed: &Bed, seed: u64) -> Self {
        let daemon = ("centre", "^/opt/lifeboat/lifeboat serve");
        let agents =
            ["mail-a", "mail-b", "dc-a", "dc-b"].map(|place| (place, "^lifeboat-agent run"));
        // A host that is just restarting has nobody to kill.
        let mut words: Vec<_> = [daemon, daemon]
            .into_iter()
            .chain(agents)
            .map(|(place, program)| {
                let mut command = bed.script("host");
                command.args([place, "run", "pkill", "-KILL", "-f", program]);
                command.stderr(std::process::Stdio::null());
                command
            })
            .collect();
        let over = Arc::<AtomicBool>::default();
        let is_over = over.clone();
        let thread = std::thread::spawn(move || {
            let (mut state, mut killed) = (seed, 0);
            while !is_over.load(Ordering::Relaxed) {
                // Knuth's; whose high bits are the better ones.
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let roll = usize::try_from(state >> 40).unwrap_or_default();
                let whom = roll % words.len();
                killed += u32::from(words[whom].status().is_ok_and(|status| status.success()));
                let pause = u64::try_from(roll / words.len() % 1500).unwrap_or_default();
                std::thread::sleep(Duration::from_millis(200 + pause));
            }
            killed
        });
        Self { over, thread }
    }

    fn stop(self) -> u32 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

pub fn changes_of_hosts_are_told(bed: &Bed) {
    let protected = bed.protect();
    protected.wait_ready();
    let (host, file) = (bed.host("mail-b"), "/etc/postfix/unheard-of");
    let told = |words: &[&str]| protected.tell(words).to_string().contains(file);
    let changes = ["changes", "--limit", "100"];
    let differences = ["changes", "--differences", "--limit", "100"];
    assert!(!told(&changes) && !told(&differences));
    host.shell(&format!("echo >{file}"));
    for words in [&changes[..], &differences] {
        eventually("the change", patience() * 2, || told(words).then_some(()));
    }
    host.shell(&format!("rm {file}"));
    eventually("that it is over", patience() * 2, || {
        (!told(&differences)).then_some(())
    });
}
