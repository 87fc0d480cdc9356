//! An application of the bed under the eyes of a control centre, asked through the real command
//! line.

use std::time::Duration;

use serde_json::Value;

use super::{Bed, Host, Said, expect_success};
use crate::eventually;

/// A bed whose mail or database is watched; see `tests/bed/protect`.
#[derive(Debug)]
pub struct Protected<'a> {
    bed: &'a Bed,
    application: &'static str,
}

/// How a switch ended.
#[derive(Debug, Clone)]
pub struct Switched {
    /// `done`, `reverted`, `stopped`...
    pub ending: String,
    /// From the wish to the end, without the time in which questions waited for an answer.
    pub time: Duration,
    /// Everything that the command printed.
    pub said: Value,
}

impl Bed {
    /// Has the bed's mail watched, by agents and a control centre, and waits until a switch would
    /// begin.
    #[track_caller]
    pub fn protect(&self) -> Protected<'_> {
        self.protect_application("mail")
    }

    /// The same for its database. While both are watched, words to the control centre name the
    /// application; see [`Protected::forget`].
    #[track_caller]
    pub fn protect_database(&self) -> Protected<'_> {
        self.protect_application("postgresql")
    }

    #[track_caller]
    fn protect_application(&self, application: &'static str) -> Protected<'_> {
        let bed = self;
        let protected = Protected { bed, application };
        // Once in the life of a bed.
        if protected.is_set_up() {
            return protected;
        }
        let program = crate::program("lifeboat");
        let programs = program.parent().unwrap_or(std::path::Path::new("."));
        let mut script = self.script("protect");
        expect_success(script.args(["--application", application]).arg(programs));
        protected
    }
}

impl<'a> Protected<'a> {
    fn is_set_up(&self) -> bool {
        self.centre()
            .ask(&["test", "-e", "/opt/lifeboat/lifeboat"])
            .status
            .success()
            && self.ask(&["status", self.application]).status.success()
    }

    /// The application is watched no more; its hosts stay as they are.
    #[track_caller]
    pub fn forget(self) {
        self.tell(&["application", "remove", self.application]);
    }

    /// The control centre's host.
    pub fn centre(&self) -> Host<'a> {
        self.bed.host("centre")
    }

    /// `lifeboat failover WORDS`, in JSON; ends as it ends.
    #[track_caller]
    pub fn ask(&self, words: &[&str]) -> Said {
        let first = ["lifeboat", "--format", "json", "failover"];
        self.centre().ask(&[&first[..], words].concat())
    }

    /// The same, and it has to succeed: its answer.
    #[track_caller]
    pub fn tell(&self, words: &[&str]) -> Value {
        let said = self.ask(words);
        assert!(said.status.success(), "{words:?}: {said:?}");
        json(&said)
    }

    /// Where the application stands.
    #[track_caller]
    pub fn status(&self) -> Value {
        self.tell(&["status", self.application])
    }

    /// The number of its state in figure 2.
    #[track_caller]
    pub fn state(&self) -> u64 {
        let status = self.status();
        let number = status["state"]["number"].as_u64();
        number.unwrap_or_else(|| panic!("no state: {status}"))
    }

    /// The place of the side that serves.
    #[track_caller]
    pub fn serving(&self) -> Option<&'static str> {
        match self.status()["state"]["active"].as_str() {
            Some("primary") => Some(self.places()[0]),
            Some("secondary") => Some(self.places()[1]),
            _ => None,
        }
    }

    fn places(&self) -> [&'static str; 2] {
        match self.application {
            "mail" => ["mail-a", "mail-b"],
            _ => ["pg-a", "pg-b"],
        }
    }

    /// Waits until the running switch has ended, over restarts of the control centre: its record
    /// and journal.
    #[track_caller]
    pub fn wait_end(&self) -> Value {
        let limit = Duration::from_secs(crate::seconds_on_this_host(300));
        eventually("the end of the switch", limit, || {
            let said = self.ask(&["status", self.application]);
            let status: Value = serde_json::from_str(&said.stdout).ok()?;
            let process = &status["process"];
            (!process["record"]["ending"].is_null()).then(|| process.clone())
        })
    }

    /// Waits until a switch would begin.
    #[track_caller]
    pub fn wait_ready(&self) {
        let limit = Duration::from_secs(crate::seconds_on_this_host(120));
        eventually("readiness", limit, || {
            self.ask(&["ready", self.application])
                .status
                .success()
                .then_some(())
        });
    }

    /// A switch to its end: `switch-over` or `switch-back`, without waiting for a word.
    #[track_caller]
    pub fn switch(&self, way: &str) -> Switched {
        let said = self.ask(&[way, self.application, "--yes", "--replicate-back", "yes"]);
        eprintln!("{}", said.stderr);
        let value = json(&said);
        let seconds = |key: &str| value[key].as_f64().unwrap_or_else(|| panic!("{said:?}"));
        Switched {
            ending: value["ending"].as_str().unwrap_or_default().to_owned(),
            time: Duration::from_secs_f64((seconds("total_s") - seconds("waited_s")).max(0.0)),
            said: value,
        }
    }

    /// A switch that has to succeed.
    #[track_caller]
    pub fn switch_well(&self, way: &str) -> Switched {
        let switched = self.switch(way);
        assert_eq!(switched.ending, "done", "{}", switched.said);
        switched
    }
}

#[track_caller]
fn json(said: &Said) -> Value {
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}
