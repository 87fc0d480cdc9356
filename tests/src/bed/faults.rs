//! What can go wrong, made on purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Bed, Host, expect_success};

/// A network of the bed with the hosts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// Where mail is served at first.
    A,
    /// The other one.
    B,
    /// The control centre, with name servers, the sender and the clients.
    Centre,
}

impl Site {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::Centre => "c",
        }
    }
}

/// Which packets a cut line swallows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// All: the site is a black hole, its hosts still see each other.
    Both,
    /// Those to the site.
    In,
    /// Those from the site.
    Out,
}

impl Direction {
    fn word(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// What can be wrong with a store. An unclean one is made by [`Host::cut_power`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The blocks of the mail folders are zeroes. It mounts, a quick check is content, and the
    /// mail is gone. For an unmounted ext4.
    Directories,
    /// It cannot be mounted. For an unmounted store.
    Superblock,
    /// Locks of a dead server lie in every mailbox: a log-in hangs where new mail lies. For a
    /// mounted store.
    Locks,
    /// Dovecot's indexes are rubbish. For a mounted store.
    Indexes,
}

impl Damage {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Directories => "directories",
            Self::Superblock => "superblock",
            Self::Locks => "locks",
            Self::Indexes => "indexes",
        }
    }
}

impl Bed {
    /// From now on, packets from or to a site vanish without an answer.
    #[track_caller]
    pub fn cut(&self, site: Site, direction: Direction) {
        self.line(site, &["cut", direction.word()]);
    }

    /// Heals the site's line.
    #[track_caller]
    pub fn heal(&self, site: Site) {
        self.line(site, &["heal"]);
    }

    /// Lets so many kbit a second through each way; what does not fit waits or is dropped.
    #[track_caller]
    pub fn narrow(&self, site: Site, kbit: u32) {
        self.line(site, &["narrow", &kbit.to_string()]);
    }

    /// Gives a narrow line its width back.
    #[track_caller]
    pub fn widen(&self, site: Site) {
        self.line(site, &["widen"]);
    }

    #[track_caller]
    fn line(&self, site: Site, words: &[&str]) {
        expect_success(self.script("site").arg(site.word()).args(words));
    }
}

/// Of which a slowed host is paused for a share.
const PERIOD: Duration = Duration::from_secs(2);

/// A host that runs only part of the time, as long as this lives.
#[derive(Debug)]
pub struct Slowed {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Slowed {
    pub(super) fn new(host: &Host<'_>, share: f64) -> Self {
        let over = Arc::<AtomicBool>::default();
        let mut stop = host.command(&["sh", "-c", "kill -STOP -1"]);
        let mut go_on = host.command(&["sh", "-c", "kill -CONT -1"]);
        let is_over = over.clone();
        let thread = std::thread::spawn(move || {
            // A host that was killed meanwhile needs neither.
            while !is_over.load(Ordering::Relaxed) {
                let _ = stop.status();
                std::thread::sleep(PERIOD.mul_f64(share.clamp(0.0, 1.0)));
                let _ = go_on.status();
                std::thread::sleep(PERIOD.mul_f64((1.0 - share).clamp(0.0, 1.0)));
            }
        });
        Self {
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Slowed {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}
