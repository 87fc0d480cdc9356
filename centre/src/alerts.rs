//! Who is told what, and until it was delivered.

use serde::{Deserialize, Serialize};

use crate::centre::Centre;
use crate::event::What;

/// The section `[alerts]` of an application's file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {}

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

/// How grave something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gravity {
    /// For the record.
    Note,
    /// Somebody should look.
    Warning,
    /// Users are affected, or protection is.
    Critical,
}

/// Tells it to whoever has to know. Returns when it is kept.
pub(crate) async fn raise(centre: &Centre, notice: Notice) {
    let application = notice.application.clone();
    tracing::warn!(application, subject = notice.subject, "{}", notice.text);
    centre
        .events()
        .tell(application.as_deref(), What::Notice(notice));
}
