//! What the parts of the control centre itself have to tell.

use serde::{Deserialize, Serialize};

use super::{Ends, Gravity, Recovery, Warning};
use crate::centre::Centre;
use crate::clock;
use crate::error::Chain;
use crate::event::What;

/// Something that somebody has to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// To which application it belongs, if to one.
    pub application: Option<String>,
    /// What it is about; the same subject again is the same trouble (`replication.resume`,
    /// `process.stopped`, `store.mail.free`).
    pub subject: String,
    /// How grave it is.
    pub gravity: Gravity,
    /// What happened and what to do, in one or two sentences.
    pub text: String,
    /// The trouble of this subject is over.
    pub over: bool,
}

/// A title is no longer than that.
const TITLE: usize = 100;

impl Notice {
    fn key(&self) -> String {
        let application = self.application.as_deref().unwrap_or("-");
        format!("notice/{application}/{}", self.subject)
    }

    fn warning(&self, now: lifeboat_agent::wire::UnixMillis) -> Warning {
        let first = self.text.lines().next().unwrap_or_default();
        let first: String = first.chars().take(TITLE).collect();
        Warning {
            key: self.key(),
            title: match &self.application {
                Some(application) => format!("{application}: {first}"),
                None => first,
            },
            application: self.application.clone(),
            gravity: self.gravity,
            text: self.text.clone(),
            since: now,
            fingerprint: self.text.clone(),
            ends: Ends::WhenQuiet,
        }
    }
}

/// Tells it to whoever has to know. Returns when it is kept.
pub(crate) async fn raise(centre: &Centre, notice: Notice) {
    let application = notice.application.clone();
    tracing::warn!(application, subject = notice.subject, "{}", notice.text);
    let (alerts, now) = (centre.alerts(), clock::unix());
    let kept = match notice.over {
        true => {
            alerts
                .recover(&notice.key(), &Recovery::Recovered, now)
                .await
        }
        false => alerts.raise(&notice.warning(now), now).await,
    };
    if let Err(error) = kept {
        tracing::error!(error = %Chain(&error), "an alert is not kept");
    }
    centre
        .events()
        .tell(application.as_deref(), What::Notice(notice));
}
