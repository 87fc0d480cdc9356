//! Numbered mail: sent by a real mail server, read by real clients, compared with a ledger.

use std::time::Duration;

use serde_json::Value;

use super::{Host, Said};
use crate::eventually;

/// Reads the host's own programs' command lines, not the shell that looks for them.
const PROGRAM: &str = "^/usr/bin/python3 /usr/local/bin/numbered";

/// The sending mail server of the bed.
#[derive(Debug)]
pub struct Sender<'a> {
    host: Host<'a>,
}

/// How users reach their mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Port 143.
    Imap,
    /// Port 110.
    Pop3,
    /// Port 25: a recipient is accepted.
    Smtp,
}

impl Protocol {
    fn word(self) -> &'static str {
        match self {
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
            Self::Smtp => "smtp",
        }
    }
}

/// What became of the numbered messages.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// So many were accepted by the sending server: each must be there once.
    pub accepted: u64,
    /// So many different ones are in the mailboxes.
    pub present: u64,
    /// Accepted and nowhere.
    pub lost: Vec<u64>,
    /// There more than once.
    pub doubled: Vec<u64>,
    /// Their text is not what was sent.
    pub damaged: Vec<u64>,
    /// There without an answer to the sender.
    pub unsure: Vec<u64>,
    /// Still in the sending server's queue.
    pub waiting: u64,
}

impl Ledger {
    #[track_caller]
    fn read(said: &Said) -> Self {
        let value: Value = serde_json::from_str(&said.stdout)
            .unwrap_or_else(|error| panic!("no ledger ({error}): {said:?}"));
        assert!(
            value["problem"].is_null(),
            "mail cannot be read: {}",
            value["problem"]
        );
        let number = |key: &str| value[key].as_u64().unwrap_or_else(|| panic!("{value}"));
        let list = |key: &str| {
            let list = value[key].as_array().unwrap_or_else(|| panic!("{value}"));
            list.iter().filter_map(Value::as_u64).collect()
        };
        Self {
            accepted: number("accepted"),
            present: number("present"),
            lost: list("lost"),
            doubled: list("doubled"),
            damaged: list("damaged"),
            unsure: list("unsure"),
            waiting: number("waiting"),
        }
    }

    /// Fails unless every accepted message is there, once and undamaged.
    #[track_caller]
    pub fn expect_whole(&self) -> &Self {
        assert!(self.accepted > 0, "nothing was sent: {self:?}");
        assert!(
            self.lost.is_empty() && self.doubled.is_empty() && self.damaged.is_empty(),
            "{self:?}"
        );
        self
    }
}

/// How long nobody could log in.
#[derive(Debug, Clone, Copy)]
pub struct Outage {
    /// Log-ins that worked.
    pub log_ins: u64,
    /// The longest time from one to the next.
    pub longest: Duration,
}

impl<'a> Sender<'a> {
    pub(super) fn new(host: Host<'a>) -> Self {
        Self { host }
    }

    /// Sends so many messages a second of so many bytes, until [`Sender::stop`].
    #[track_caller]
    pub fn start(&self, rate: f64, size: u32) {
        self.begin(&format!("send --rate {rate} --size {size}"));
    }

    /// Sends so many messages, and returns when all are accepted.
    #[track_caller]
    pub fn send(&self, count: u32) {
        let count = count.to_string();
        let words = ["numbered", "send", "--rate", "200", "--count", &count];
        self.host.run(&words);
    }

    /// Logs in again and again, until [`Sender::stop`].
    #[track_caller]
    pub fn watch(&self, protocol: Protocol) {
        self.begin(&format!("watch {} --every 0.1", protocol.word()));
    }

    /// Ends sending and watching in order.
    #[track_caller]
    pub fn stop(&self) {
        self.host.ask(&["pkill", "-TERM", "-f", PROGRAM]);
        eventually("the sender's end", Duration::from_secs(30), || {
            let left = self.host.ask(&["pgrep", "-f", PROGRAM]);
            (!left.status.success()).then_some(())
        });
    }

    /// So many messages were accepted so far.
    #[track_caller]
    pub fn accepted(&self) -> u64 {
        let lines = self
            .host
            .shell("mkdir -p /var/lib/bed; touch /var/lib/bed/ledger; wc -l </var/lib/bed/ledger");
        lines
            .trim()
            .parse()
            .unwrap_or_else(|error| panic!("{lines}: {error}"))
    }

    /// What became of all messages, at the side that serves; waits at most 30 s for those that
    /// are on their way.
    #[track_caller]
    pub fn count(&self) -> Ledger {
        Ledger::read(&self.host.ask(&["numbered", "count"]))
    }

    /// The same at a mail host, whoever serves, as it is now.
    #[track_caller]
    pub fn count_at(&self, address: &str) -> Ledger {
        let words = ["numbered", "count", "--settle", "0", "--server", address];
        Ledger::read(&self.host.ask(&words))
    }

    /// What [`Sender::watch`] saw so far.
    #[track_caller]
    pub fn outage(&self) -> Outage {
        let said = self.host.run(&["numbered", "outage"]);
        let value: Value =
            serde_json::from_str(&said).unwrap_or_else(|error| panic!("{said}: {error}"));
        Outage {
            log_ins: value["log_ins"].as_u64().unwrap_or_default(),
            longest: Duration::from_secs_f64(value["outage_s"].as_f64().unwrap_or_default()),
        }
    }

    /// One log-in of a user at the side that serves; the number of messages that it found.
    pub fn log_in(&self, protocol: Protocol, user: &str) -> Result<u64, String> {
        let words = ["numbered", "login", protocol.word(), "--user", user];
        let said = self.host.ask(&words);
        match said.stdout.parse() {
            Ok(number) if said.status.success() => Ok(number),
            _ => Err(said.stderr),
        }
    }

    fn begin(&self, words: &str) {
        let lines = format!(
            "mkdir -p /var/lib/bed; setsid --fork numbered {words} </dev/null >>/var/lib/bed/said 2>&1"
        );
        self.host.shell(&lines);
    }
}
