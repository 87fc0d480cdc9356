//! Everything that runs for the control centre, so that it ends with it.

use std::sync::{Mutex, PoisonError};

use tokio::task::JoinSet;

#[derive(Default)]
pub(super) struct Tasks {
    /// Gone once everything has to end.
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    tasks: JoinSet<()>,
    ended: bool,
}

impl Tasks {
    /// Runs `work`, unless everything ended.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.ended {
            return;
        }
        // Those that are done need no room any more.
        while running.tasks.try_join_next().is_some() {}
        running.tasks.spawn(work);
    }

    /// Ends everything, and returns when it has ended.
    pub(super) async fn end(&self) {
        let mut tasks = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.ended = true;
            std::mem::take(&mut running.tasks)
        };
        tasks.shutdown().await;
    }
}
