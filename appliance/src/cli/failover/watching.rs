//! `lifeboat failover alerts|changes`.

use clap::Args;
use serde_json::{Value, json};

use super::{Asked, Which, text};
use crate::daemon::WrongUse;

/// Alerts.
#[derive(Debug, Args)]
pub struct Alerts {
    /// At most so many, the newest first.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// Somebody takes care of the alert of this number: it is not told again.
    #[arg(long, value_name = "NUMBER", conflicts_with = "limit")]
    acknowledge: Option<u32>,
}

/// Changes.
#[derive(Debug, Args)]
pub struct Changes {
    #[command(flatten)]
    which: Which,
    /// At most so many, the newest first.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// In what the sites differ now, instead.
    #[arg(long)]
    differences: bool,
    /// The difference of this number is left as it is, until either side changes.
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["limit", "differences"])]
    accept: Option<u32>,
}

impl Asked<'_> {
    pub(super) async fn alerts(&self, asked: &Alerts) -> anyhow::Result<bool> {
        if let Some(id) = asked.acknowledge {
            let found = self.post(&format!("/alerts/{id}/acknowledge"), &()).await?;
            let nothing = format!("no alert {id} waits for somebody: `lifeboat failover alerts`");
            return self.done(&found, "acknowledged", nothing);
        }
        let list = self.get(&format!("/alerts?limit={}", asked.limit)).await?;
        self.remote.print(&list, || text::watching::alerts(&list))
    }

    pub(super) async fn changes(&self, asked: &Changes) -> anyhow::Result<bool> {
        let path = self.path(asked.which.application.as_deref()).await?;
        if let Some(id) = asked.accept {
            let path = format!("{path}/differences/{id}/accept");
            let found = self.post(&path, &()).await?;
            let nothing =
                format!("there is no difference {id}: `lifeboat failover changes --differences`");
            return self.done(&found, "accepted", nothing);
        }
        let limit = asked.limit;
        if asked.differences {
            let list = self
                .get(&format!("{path}/differences?limit={limit}"))
                .await?;
            return self
                .remote
                .print(&list, || text::watching::differences(&list));
        }
        let list = self.get(&format!("{path}/changes?limit={limit}")).await?;
        self.remote.print(&list, || text::watching::changes(&list))
    }

    fn done(&self, found: &Value, what: &str, nothing: String) -> anyhow::Result<bool> {
        if found != &Value::Bool(true) {
            return Err(WrongUse(nothing).into());
        }
        self.remote
            .print(&json!({ "result": what }), || format!("{what}\n"))
    }
}
