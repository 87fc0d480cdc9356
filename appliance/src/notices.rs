//! What changed, told to whoever watches. Telling is not keeping: everything that
//! matters is in the store before it is told here.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::daemon::OperationView;
use crate::store::SessionState;
use crate::telling::{Follower, Telling};

/// How far back a watcher may go on reading.
const KEPT: usize = 1024;

/// One change.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Notice {
    /// When, Unix time in milliseconds.
    pub at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What changed.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schema(as = NoticeKind)]
pub enum What {
    /// A site.
    Site {
        /// Its name.
        name: String,
        /// What of it.
        change: SiteChange,
    },
    /// A session began, moved to another state, or has its report.
    Session {
        /// Its id.
        id: String,
        /// Its site, when it begins.
        site: Option<String>,
        /// Its state, when that changed.
        state: Option<SessionState>,
    },
    /// A session did something.
    Step {
        /// Its id.
        session: String,
        /// What it did, or the new state of a machine.
        step: String,
        /// To what; a machine.
        subject: String,
        /// More words.
        detail: String,
    },
    /// A schedule, or a test of it.
    Schedule {
        /// Its number.
        id: i64,
        /// What of it.
        change: ScheduleChange,
    },
    /// Long work began, ended, or knows its session now.
    Operation {
        /// It.
        operation: OperationView,
    },
}

/// What of a site changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SiteChange {
    /// It was registered, or moved to another file.
    Added,
    /// It is forgotten.
    Removed,
    /// The operator's words on its order.
    Words,
    /// Its order was worked out.
    Order,
}

/// What of a schedule changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleChange {
    /// It is new, or has other settings.
    Set,
    /// It is forgotten.
    Removed,
    /// A test of it began.
    Began,
    /// A test of it ended.
    Ended,
    /// A test of it was due while no daemon ran.
    Missed,
}

impl What {
    /// The word of its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Site { .. } => "site",
            Self::Session { .. } => "session",
            Self::Step { .. } => "step",
            Self::Schedule { .. } => "schedule",
            Self::Operation { .. } => "operation",
        }
    }
}

/// Where changes are told; cheap to clone.
#[derive(Debug, Clone)]
pub struct Notices {
    /// Tells the numbers of this life of the daemon from those of others.
    life: Arc<str>,
    telling: Arc<Telling<Notice>>,
}

impl Default for Notices {
    fn default() -> Self {
        let life = uuid::Uuid::new_v4().simple().to_string();
        Self {
            life: life[..12].into(),
            telling: Telling::new(KEPT),
        }
    }
}

impl Notices {
    /// Tells a change.
    pub fn tell(&self, what: What) {
        let at_ms = crate::session::unix_ms();
        self.telling.tell(Notice { at_ms, what });
    }

    /// The daemon ends: watchers do, too.
    pub fn close(&self) {
        self.telling.close();
    }

    /// How a watcher names the notice with this number.
    pub fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.life)
    }

    /// Watches from now on, or from behind the notice of this id. Says whether it cannot be told
    /// what came behind it.
    pub fn follow(&self, id: Option<&str>) -> (Follower<Notice>, bool) {
        let Some(id) = id else {
            return (self.telling.follow(self.telling.last()), false);
        };
        let number = id
            .strip_prefix(&*self.life)
            .and_then(|rest| rest.strip_prefix('-'));
        match number.and_then(|number| number.parse().ok()) {
            Some(number) => (self.telling.follow(number), false),
            None => (self.telling.follow(self.telling.last()), true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telling::Heard;

    fn site(name: &str) -> What {
        What::Site {
            name: name.into(),
            change: SiteChange::Added,
        }
    }

    #[tokio::test]
    async fn a_watcher_goes_on_where_it_stopped_but_not_in_another_life() {
        let notices = Notices::default();
        ["a", "b"]
            .into_iter()
            .for_each(|name| notices.tell(site(name)));
        let (mut follower, lost) = notices.follow(Some(&notices.id(1)));
        assert!(!lost);
        assert!(matches!(follower.next().await, Some(Heard::One(2, _))));
        for other in ["", "1", "-1", &Notices::default().id(1)] {
            assert!(notices.follow(Some(other)).1, "{other}");
        }
        let (mut from_now, lost) = notices.follow(None);
        notices.tell(site("c"));
        assert!(!lost);
        assert!(matches!(from_now.next().await, Some(Heard::One(3, _))));
    }
}
