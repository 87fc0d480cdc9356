//! The profile `postgresql` on two real servers.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lifeboat_failover::Side;
use lifeboat_failover::process::Action::{self, *};

use super::Executor;
use crate::profile::{Profile, fill};
use crate::run::config::Loaded;
use crate::run::watchdog::run_fence;
use crate::wire::{ImageFacts, Outcome, Values};

const PROFILE: &str = include_str!("../../../profiles/postgresql.toml");
const A: Side = Side::Primary;
const B: Side = Side::Secondary;

/// Two servers on loopback, `b` a copy of `a`.
struct Pair {
    folder: tempfile::TempDir,
    bin: PathBuf,
    ports: [u16; 2],
}

impl Drop for Pair {
    fn drop(&mut self) {
        for side in Side::BOTH {
            let stop = format!(
                "{}/pg_ctl -D {} -m immediate stop",
                self.bin.display(),
                self.data(side).display()
            );
            let _ = Command::new("runuser")
                .args(["-u", "postgres", "--", "sh", "-c", &stop])
                .output();
        }
    }
}

fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("an address").port()
}

impl Pair {
    /// None, said loudly, where it cannot be tried.
    fn new() -> Option<Self> {
        let versions = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten();
        let bin = versions
            .map(|one| one.path().join("bin"))
            .find(|bin| bin.join("initdb").exists());
        let Some(bin) = bin
            .filter(|_| nix::unistd::geteuid().is_root() && Path::new("/usr/bin/restic").exists())
        else {
            // Not by a macro: what those print is kept back while a test passes.
            let _ = writeln!(
                std::io::stderr(),
                "\nSKIPPED: two databases need root, postgresql and restic (apt-get install postgresql restic)"
            );
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("set");
        fs::create_dir(folder.path().join("run")).expect("a folder");
        Some(Self {
            folder,
            bin,
            ports: [free_port(), free_port()],
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn home(&self, side: Side) -> PathBuf {
        self.path(&side.to_string())
    }

    fn data(&self, side: Side) -> PathBuf {
        self.home(side).join("data")
    }

    fn port(&self, side: Side) -> u16 {
        self.ports[usize::from(side == B)]
    }

    fn shell(&self, text: &str) -> String {
        let output = Command::new("/bin/sh")
            .args(["-euc", text])
            .current_dir("/")
            .output()
            .expect("a shell");
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(
            output.status.success(),
            "{text}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        said
    }

    fn sql(&self, side: Side, text: &str) -> String {
        let (home, port) = (self.home(side), self.port(side));
        self.shell(&format!(
            "runuser -u postgres -- psql -h {} -p {port} -d postgres -XAtqc \"{text}\"",
            home.display()
        ))
    }

    fn wait(&self, side: Side, rows: u32) {
        let end = Instant::now() + Duration::from_secs(120);
        while self.sql(side, "SELECT count(*) FROM ledger") != rows.to_string() {
            assert!(Instant::now() < end, "{rows} rows at the {side}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn put(&self, side: Side, from: u32, to: u32) {
        self.sql(
            side,
            &format!("INSERT INTO ledger SELECT generate_series({from}, {to})"),
        );
    }

    fn executor(&self, side: Side, sent: &[(&str, &str)]) -> Executor {
        let profile = Profile::parse(Path::new("p.toml"), PROFILE).expect("a profile");
        let text = |path: PathBuf| path.display().to_string();
        let here = [
            ("data", text(self.data(side))),
            ("bin", text(self.bin.clone())),
            ("socket", text(self.home(side))),
            ("port", self.port(side).to_string()),
            ("peer", "127.0.0.1".to_owned()),
            ("peer_port", self.port(side.other()).to_string()),
            ("passfile", text(self.path("passfile"))),
            (
                "settings",
                format!(
                    "unix_socket_directories={} -c fsync=off",
                    self.home(side).display()
                ),
            ),
            ("archive", text(self.path("repository"))),
            ("archive_password", "key".to_owned()),
            (
                "archive_scratch",
                text(self.path(&format!("scratch-{side}"))),
            ),
        ];
        let own = [
            ("application", "db".to_owned()),
            ("side", side.to_string()),
            ("epoch", "1".to_owned()),
        ];
        let values = |pairs: &[(&str, String)]| -> Values {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect()
        };
        let mut here = values(&here);
        let mut sent: Values = sent
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        if let Some(most) = sent.remove("loss_at_most") {
            here.insert("loss_at_most".to_owned(), most);
        }
        let filled = fill(&profile, &values(&own), &here, &sent).expect("values");
        Executor {
            loaded: Arc::new(Loaded {
                profile,
                hash: Profile::hash(PROFILE),
            }),
            values: filled,
            marks: self.path("run"),
            asked_in: String::new(),
        }
    }

    async fn done_with(&self, side: Side, action: Action, sent: &[(&str, &str)]) -> Vec<String> {
        match self.executor(side, sent).perform(action).await {
            Outcome::Done { evidence, .. } => evidence,
            other => panic!("{side} {action:?}: {other:?}"),
        }
    }

    async fn done(&self, side: Side, actions: &[Action]) {
        for action in actions {
            self.done_with(side, *action, &[]).await;
        }
    }

    async fn fails(&self, side: Side, action: Action, sent: &[(&str, &str)]) -> String {
        match self.executor(side, sent).perform(action).await {
            Outcome::Failed { reason, .. } => reason,
            other => panic!("{side} {action:?}: {other:?}"),
        }
    }

    /// What the agent of a side would report of replication.
    fn seen(
        &self,
        side: Side,
        what: impl Fn(&crate::profile::Replication) -> Option<Vec<String>>,
    ) -> String {
        let executor = self.executor(side, &[]);
        let replication = executor
            .loaded
            .profile
            .replication
            .as_ref()
            .expect("replication");
        let argv = executor
            .values
            .all(&what(replication).expect("a command"))
            .expect("values");
        let output = Command::new(&argv[0])
            .args(&argv[1..])
            .current_dir("/")
            .output()
            .expect("run");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn position(&self, side: Side) -> String {
        self.seen(side, |replication| replication.position.clone())
    }

    fn fence(&self, side: Side) {
        let executor = self.executor(side, &[]);
        let mut fence = executor.loaded.profile.fence.clone().expect("a fence");
        for argv in &mut fence.commands {
            *argv = executor.values.all(argv).expect("values");
        }
        assert!(run_fence(&fence), "fenced");
    }

    /// A primary with a thousand rows, and its standby.
    async fn ready() -> Option<Self> {
        let pair = Self::new()?;
        let (bin, data) = (
            pair.bin.display().to_string(),
            pair.data(A).display().to_string(),
        );
        pair.shell(&format!(
            "for home in {} {}; do install -d -o postgres -m 700 $home; done
             echo '*:*:*:replica:secret' >{pass}; chmod 600 {pass}; chown postgres {pass}
             runuser -u postgres -- {bin}/initdb -D {data} -A trust -E UTF8 --locale=C -N >/dev/null
             printf 'wal_log_hints=on\\nmax_slot_wal_keep_size=1GB\\nwal_retrieve_retry_interval=200ms\\nshared_buffers=8MB\\n' >>{data}/postgresql.conf",
            pair.home(A).display(),
            pair.home(B).display(),
            pass = pair.path("passfile").display(),
        ));
        pair.done(A, &[EnsureStores]).await;
        pair.sql(A, "CREATE ROLE replica LOGIN REPLICATION PASSWORD 'secret'");
        pair.sql(A, "GRANT EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean), pg_read_binary_file(text), pg_read_binary_file(text, bigint, bigint, boolean) TO replica");
        pair.sql(A, "CREATE TABLE ledger (n int PRIMARY KEY)");
        pair.done(A, &[StartReplication]).await;
        pair.done(B, &[OpenReceiver]).await;
        pair.put(A, 1, 1000);
        pair.wait(B, 1000);
        Some(pair)
    }

    async fn switch(&self, old: Side) {
        let (new, seen) = (old.other(), self.position(old));
        self.done(old, &[CloseEntrance, StopServices, VerifyReplica])
            .await;
        self.done(new, &[CloseReceiver]).await;
        self.done(old, &[OpenReceiver]).await;
        self.done_with(new, StartServices, &[("seen", &seen)]).await;
        self.done(new, &[OpenEntrance, ResumeReplication]).await;
    }
}

#[tokio::test]
async fn a_pair_changes_sides_back_and_forth_and_loses_nothing() {
    let Some(pair) = Pair::ready().await else {
        return;
    };
    for (turn, old) in [(0, A), (1, B)] {
        pair.switch(old).await;
        let new = old.other();
        pair.put(new, 2000 + 10 * turn, 2004 + 10 * turn);
        pair.wait(old, 1005 + 5 * turn);
        // What is asked twice is there already.
        pair.done(new, &[StartServices, MirrorReplica]).await;
        pair.done(old, &[OpenReceiver]).await;
        assert_eq!(pair.seen(new, |one| one.state.clone()), "running");
    }
    // Paused, nothing arrives; the slot keeps it.
    pair.done(A, &[PauseReplication]).await;
    assert_eq!(pair.seen(A, |one| one.state.clone()), "paused");
    pair.put(A, 3000, 3000);
    assert_eq!(pair.sql(B, "SELECT count(*) FROM ledger"), "1010");
    pair.done(A, &[ResumeReplication]).await;
    pair.wait(B, 1011);
    // A switch that is taken back before anybody was promoted.
    pair.done(A, &[CloseEntrance, StopServices]).await;
    pair.done(B, &[CloseReceiver, OpenReceiver]).await;
    pair.done(A, &[StartReplication, StartServices, OpenEntrance])
        .await;
    pair.put(A, 3001, 3001);
    pair.wait(B, 1012);
}

#[tokio::test]
async fn a_standby_is_promoted_only_when_it_is_the_right_one() {
    let Some(pair) = Pair::ready().await else {
        return;
    };
    let says = pair.fails(B, StartServices, &[]).await;
    assert!(says.contains("two primaries"), "{says}");
    pair.done(B, &[CloseReceiver]).await;
    pair.put(A, 1001, 1050);
    let seen = pair.position(A);
    pair.fence(A);
    let says = pair
        .fails(B, StartServices, &[("seen", &seen), ("loss_at_most", "10")])
        .await;
    assert!(says.contains("would be lost"), "{says}");
    let says = pair.fails(B, StartServices, &[("seen", "9,0/0")]).await;
    assert!(says.contains("another history"), "{says}");
    assert_eq!(pair.sql(B, "SELECT pg_is_in_recovery()"), "t");
    let evidence = pair
        .done_with(B, StartServices, &[("seen", &seen)])
        .await
        .join(" ");
    assert!(evidence.contains("from timeline 1 to 2"), "{evidence}");
    pair.put(B, 2000, 2000);
    // The dead primary comes back: it serves nobody, nothing is taken from it, and it follows.
    pair.done(A, &[EnsureStores]).await;
    let says = pair.fails(A, StartServices, &[]).await;
    assert!(says.contains("two primaries"), "{says}");
    let says = pair.fails(B, OpenReceiver, &[]).await;
    assert!(says.contains("not for this side to follow"), "{says}");
    pair.done(A, &[OpenReceiver]).await;
    pair.wait(A, 1001);
    assert!(
        pair.path("primary/data.lifeboat-lost").exists(),
        "its log is kept"
    );
}

#[tokio::test]
async fn an_image_of_the_standby_takes_the_place_of_everything() {
    let Some(pair) = Pair::ready().await else {
        return;
    };
    let image = [("image", "one"), ("first", "true"), ("levels", "24")];
    pair.done_with(B, TakeImage, &image).await;
    let facts = ImageFacts::find(&pair.done_with(B, ProveImage, &image).await).expect("facts");
    pair.done_with(B, PlaceImage, &image).await;
    let digest = facts.digest.expect("a digest");
    assert_eq!(facts.moved_on, Some(0));
    // Two more histories since: the image's own has to be another one still.
    pair.switch(A).await;
    pair.switch(B).await;
    pair.put(A, 2000, 2099);
    pair.wait(B, 1100);
    pair.done(A, &[PauseReplication]).await;
    pair.done(B, &[CloseReceiver]).await;
    pair.done_with(B, RestoreImage, &[("image", "one"), ("digest", &digest)])
        .await;
    pair.done(A, &[CloseEntrance, StopServices]).await;
    pair.done(B, &[CloseReceiver]).await;
    let evidence = pair.done_with(B, StartServices, &[]).await.join(" ");
    assert!(evidence.contains("from timeline 1 to 4"), "{evidence}");
    assert_eq!(pair.sql(B, "SELECT count(*) FROM ledger"), "1000");
    pair.done(B, &[OpenEntrance, ResumeReplication]).await;
    // What the primary had is an image too, though its server does not run.
    let before = [
        ("image", "two"),
        ("first", "true"),
        ("levels", "before-restore"),
    ];
    for action in [TakeImage, ProveImage, PlaceImage] {
        pair.done_with(A, action, &before).await;
    }
    pair.done(A, &[OpenReceiver]).await;
    pair.wait(A, 1000);
    pair.done(B, &[MirrorReplica]).await;
}
