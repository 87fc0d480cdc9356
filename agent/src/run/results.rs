//! What was asked and what became of it: the same request never acts twice.

use std::collections::VecDeque;
use std::path::PathBuf;

use lifeboat_failover::process::Action;
use serde::{Deserialize, Serialize};

use super::keep::{self, KeepError};
use crate::wire::{ActionResult, Outcome};

/// Far more than a process has steps.
const KEPT: usize = 128;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    id: String,
    action: Action,
    boot: String,
    outcome: Option<Outcome>,
}

/// Requests of the past, on disk.
#[derive(Debug)]
pub(crate) struct Results {
    path: PathBuf,
    entries: VecDeque<Entry>,
}

/// What is known of a request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Known {
    /// It ended.
    Ended(ActionResult),
    /// It was begun, in that boot of the host, and its end was never written down.
    Begun(String),
    /// It never came before.
    New,
    /// Its id was another action's.
    Other(Action),
}

impl Results {
    /// Reads what is there.
    pub(crate) fn open(path: PathBuf) -> Result<Self, KeepError> {
        let entries = keep::read(&path)?.unwrap_or_default();
        Ok(Self { path, entries })
    }

    /// What is known of a request.
    pub(crate) fn known(&self, id: &str, action: Action) -> Known {
        match self.entries.iter().find(|one| one.id == id) {
            None => Known::New,
            Some(one) if one.action != action => Known::Other(one.action),
            Some(Entry {
                outcome: None,
                boot,
                ..
            }) => Known::Begun(boot.clone()),
            Some(Entry {
                outcome: Some(outcome),
                ..
            }) => Known::Ended(ActionResult {
                id: id.to_owned(),
                action,
                outcome: outcome.clone(),
            }),
        }
    }

    /// A new request begins.
    pub(crate) fn begin(&mut self, id: &str, action: Action, boot: &str) -> Result<(), KeepError> {
        self.entries.push_back(Entry {
            id: id.to_owned(),
            action,
            boot: boot.to_owned(),
            outcome: None,
        });
        if self.entries.len() > KEPT {
            self.entries.pop_front();
        }
        keep::write(&self.path, &self.entries)
    }

    /// A request ended. One that was broken off, or failed, may be tried again under the same id.
    pub(crate) fn end(&mut self, result: &ActionResult) -> Result<(), KeepError> {
        let Some(entry) = self.entries.iter_mut().find(|one| one.id == result.id) else {
            return Ok(());
        };
        entry.outcome = Some(result.outcome.clone());
        keep::write(&self.path, &self.entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_remembered_over_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("results.json");
        let mut results = Results::open(path.clone()).expect("nothing there");
        assert_eq!(results.known("1", Action::Reboot), Known::New);
        results.begin("1", Action::Reboot, "boot").expect("kept");
        let mut results = Results::open(path.clone()).expect("readable");
        assert_eq!(
            results.known("1", Action::Reboot),
            Known::Begun("boot".to_owned())
        );
        assert_eq!(
            results.known("1", Action::Join),
            Known::Other(Action::Reboot)
        );
        let result = ActionResult {
            id: "1".to_owned(),
            action: Action::Reboot,
            outcome: Outcome::Done {
                changed: true,
                evidence: Vec::new(),
            },
        };
        results.end(&result).expect("kept");
        let results = Results::open(path).expect("readable");
        assert_eq!(results.known("1", Action::Reboot), Known::Ended(result));
    }

    #[test]
    fn memory_is_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut results = Results::open(folder.path().join("results.json")).expect("nothing there");
        for number in 0..KEPT + 5 {
            results
                .begin(&number.to_string(), Action::Join, "boot")
                .expect("kept");
        }
        assert_eq!(results.entries.len(), KEPT);
        assert_eq!(results.known("0", Action::Join), Known::New);
    }
}
