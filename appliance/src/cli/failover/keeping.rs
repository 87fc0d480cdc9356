//! `lifeboat failover autosync|archive|restore`.

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::{Asked, text};
use crate::daemon::WrongUse;

/// AutoSync.
#[derive(Debug, Args)]
pub struct AutoSync {
    /// Switch it on or off; nothing: show it.
    #[arg(value_enum)]
    word: Option<OnOff>,
    /// The application; may be left out when there is only one.
    #[arg(long)]
    application: Option<String>,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    /// On.
    On,
    /// Off.
    Off,
}

/// The archive.
#[derive(Debug, Args)]
pub struct Archive {
    /// Switch its schedule on or off, take an image now, or give up one that is being made;
    /// nothing: show it.
    #[arg(value_enum)]
    word: Option<ArchiveWord>,
    /// The application; may be left out when there is only one.
    #[arg(long)]
    application: Option<String>,
}

/// What the archive is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ArchiveWord {
    /// Take images by levels.
    On,
    /// Do not.
    Off,
    /// Take one now.
    Now,
    /// Give up the one that is being made.
    Abandon,
}

/// A restore.
#[derive(Debug, Args)]
pub struct Restore {
    /// The image by its name, or a level (`24h`) for the newest image of it; nothing: show the
    /// restores.
    image: Option<String>,
    /// The application; may be left out when there is only one.
    #[arg(long)]
    application: Option<String>,
    /// Why, for the history.
    #[arg(long, default_value = "")]
    why: String,
    /// Do not put what the primary has into the archive first: it is lost.
    #[arg(long)]
    discard_newer: bool,
    /// Take a restore that stopped up again.
    #[arg(long, conflicts_with_all = ["image", "abandon"])]
    take_up: bool,
    /// Give up a restore that stopped.
    #[arg(long, conflicts_with = "image")]
    abandon: bool,
}

impl Asked<'_> {
    pub(super) async fn autosync(&self, asked: &AutoSync) -> anyhow::Result<bool> {
        let path = self.path(asked.application.as_deref()).await?;
        if let Some(word) = asked.word {
            let body = json!({ "on": word == OnOff::On });
            self.post(&format!("{path}/autosync"), &body).await?;
        }
        let view = self.get(&format!("{path}/autosync")).await?;
        self.remote.print(&view, || text::keeping::autosync(&view))
    }

    pub(super) async fn archive(&self, asked: &Archive) -> anyhow::Result<bool> {
        let path = self.path(asked.application.as_deref()).await?;
        match asked.word {
            None => {}
            Some(ArchiveWord::On | ArchiveWord::Off) => {
                let body = json!({ "on": asked.word == Some(ArchiveWord::On) });
                self.post(&format!("{path}/archive"), &body).await?;
            }
            Some(ArchiveWord::Abandon) => {
                self.post(&format!("{path}/archive/abandon"), &()).await?;
            }
            Some(ArchiveWord::Now) => {
                let image = self.post(&format!("{path}/archive/now"), &()).await?;
                return self.remote.print(&json!({ "image": image }), || {
                    format!("image {} is being made\n", text::word(&image))
                });
            }
        }
        let view = self.get(&format!("{path}/archive")).await?;
        self.remote.print(&view, || text::keeping::archive(&view))
    }

    pub(super) async fn restore(&self, asked: &Restore) -> anyhow::Result<bool> {
        let path = self.path(asked.application.as_deref()).await?;
        let began = match (&asked.image, asked.take_up, asked.abandon) {
            (Some(image), ..) => {
                let body = json!({ "image": image, "why": asked.why, "discard_newer": asked.discard_newer });
                self.post(&format!("{path}/restores"), &body).await?
            }
            (None, true, _) => {
                let body = json!({ "discard_newer": asked.discard_newer });
                self.post(&format!("{path}/restores/take-up"), &body)
                    .await?
            }
            (None, _, true) => self.post(&format!("{path}/restores/abandon"), &()).await?,
            _ if asked.discard_newer => {
                return Err(WrongUse("name the image that is to be restored".into()).into());
            }
            _ => Value::Null,
        };
        if let Some(id) = began.as_str() {
            return self.remote.print(&json!({ "restore": id }), || {
                format!("restore {id} has begun; `lifeboat failover restore` tells how far it is\n")
            });
        }
        let list = self.get(&format!("{path}/restores?limit=10")).await?;
        self.remote.print(&list, || text::keeping::restores(&list))
    }
}
