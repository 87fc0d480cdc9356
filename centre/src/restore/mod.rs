//! Process 700: an image takes the place of the data.
//!
//! The image goes into the secondary's store while the primary serves (708-712); the secondary
//! takes over with it (718-720); what the primary had goes into the archive, because the next step
//! destroys it; the restored data go to the primary (722); the primary takes over again (724).
//! [`run`] does it, [`records`] remembers how far it is.

pub(crate) mod records;
pub(crate) mod run;

use std::time::Duration;

use lifeboat_failover::Side;
use lifeboat_failover::process::{Action, Ending, Plan, Step, Task};
use lifeboat_failover::safety::Process;
use serde::{Deserialize, Serialize};

pub use records::{RestoreLine, RestoreRecord, RestoreView, Stage};

use crate::archive::{ImageRecord, ImageState};
use crate::centre::Centre;
use crate::error::{CentreError, log};

/// How often it looks whether a restore was broken off.
const LOOK: Duration = Duration::from_secs(2);

/// Asks for process 700.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreRequest {
    /// The image by its name, or a level, for the newest image of it.
    pub image: String,
    /// Who asks.
    pub who: String,
    /// Why.
    pub why: String,
    /// What the primary had is not put into the archive first: it is lost.
    #[serde(default)]
    pub discard_newer: bool,
}

impl Centre {
    /// Begins process 700 (702); says its id.
    pub async fn restore(
        &self,
        application: &str,
        mut request: RestoreRequest,
    ) -> Result<String, CentreError> {
        self.handle(application)?;
        let images = self.store().images(application).await?;
        request.image = choose(&images, &request.image)?.name.clone();
        if let Some(open) = self.open_restore(application).await? {
            return Err(CentreError::Refused(format!(
                "the restore {} is not at its end: take it up again, or give it up",
                open.id
            )));
        }
        // 704, 706.
        let permit = self.reserve(application, Process::Restore).await?;
        let detail = format!("image {}: {}", request.image, request.why);
        self.store()
            .audit(&request.who, "restore", application, &detail)
            .await?;
        let record = RestoreRecord::begin(application, request);
        self.store().begin_restore(&record).await?;
        let id = record.id.clone();
        self.spawn(run::restore(self.clone(), permit, record));
        Ok(id)
    }

    /// Takes a restore that stopped up again, at the stage where it stopped.
    pub async fn take_up_restore(
        &self,
        application: &str,
        discard_newer: bool,
        who: &str,
    ) -> Result<String, CentreError> {
        let open = self.open_restore(application).await?;
        let mut record = open.ok_or(CentreError::NoProcess("taken up: no restore stopped"))?;
        let permit = self.reserve_again(application, Process::Restore).await?;
        self.store()
            .audit(who, "take up a restore", application, &record.id)
            .await?;
        record.request.discard_newer |= discard_newer;
        record.stopped = None;
        self.store().put_restore(&record).await?;
        let id = record.id.clone();
        self.spawn(run::restore(self.clone(), permit, record));
        Ok(id)
    }

    /// Gives a restore up that stopped: the application stays as it is now.
    pub async fn abandon_restore(&self, application: &str, who: &str) -> Result<(), CentreError> {
        let handle = self.handle(application)?;
        if handle.snapshot().working.contains(&Process::Restore) {
            return Err(CentreError::Refused(
                "the restore is at work: abort its switch, or wait until it stops".to_owned(),
            ));
        }
        let open = self.open_restore(application).await?;
        let mut record = open.ok_or(CentreError::NoProcess("given up: no restore stopped"))?;
        self.store()
            .audit(who, "give a restore up", application, &record.id)
            .await?;
        record.end(&format!("given up by {who}"));
        Ok(self.store().put_restore(&record).await?)
    }

    /// The newest restores of an application, newest first, with what was done in each.
    pub async fn restores(
        &self,
        application: &str,
        at_most: u32,
    ) -> Result<Vec<RestoreView>, CentreError> {
        let mut views = Vec::new();
        for record in self.store().restores(application, at_most).await? {
            let lines = self.store().restore_lines(&record.id).await?;
            views.push(RestoreView { record, lines });
        }
        Ok(views)
    }

    /// Waits until a switch has ended for good; says how.
    async fn switch_ended(&self, application: &str, process: &str) -> Result<Ending, CentreError> {
        let mut snapshots = self.handle(application)?.snapshots();
        loop {
            let record = self.store().process(process).await?;
            let record = record.ok_or_else(|| CentreError::UnknownProcess(process.to_owned()))?;
            match record.ending {
                // It can be taken up again, and is waited for.
                None | Some(Ending::Stopped(_)) => {}
                Some(ending) => return Ok(ending),
            }
            // Its owner shows each end after it was written down; asked again all the same.
            let changed = tokio::time::timeout(LOOK, snapshots.changed()).await;
            if let Ok(Err(_)) = changed {
                return Err(CentreError::Closed);
            }
        }
    }

    async fn open_restore(&self, application: &str) -> Result<Option<RestoreRecord>, CentreError> {
        let newest = self.store().restores(application, 1).await?.pop();
        Ok(newest.filter(|record| record.ended_at.is_none()))
    }
}

/// What brings the primary's newest data to the secondary, and would destroy the image there.
fn destroys_the_image(step: &Step) -> bool {
    use Action::{DrainReplication, OpenReceiver, VerifyReplica};
    matches!(
        step.task,
        Task::Act {
            action: DrainReplication | VerifyReplica | OpenReceiver,
            ..
        }
    )
}

/// 718: a switch to a secondary that holds an image.
pub(crate) fn keep_the_image(plan: &mut Plan) {
    plan.steps.retain(|step| !destroys_the_image(step));
}

/// Whether a plan is one of those.
pub(crate) fn keeps_an_image(plan: &Plan) -> bool {
    !plan.steps.iter().any(destroys_the_image)
}

/// The image that is meant: its name, or the newest of a level.
fn choose<'a>(images: &'a [ImageRecord], wanted: &str) -> Result<&'a ImageRecord, CentreError> {
    let there = |image: &&ImageRecord| image.state == ImageState::Placed;
    let named = images
        .iter()
        .filter(there)
        .find(|image| image.name == wanted);
    let of_level = |image: &&ImageRecord| {
        there(image)
            && image.side == Side::Secondary
            && image.levels.iter().any(|level| level == wanted)
    };
    // Newest first.
    let found = named.or_else(|| images.iter().find(of_level));
    found.ok_or_else(|| {
        let names: Vec<&str> = images
            .iter()
            .filter(there)
            .map(|one| one.name.as_str())
            .collect();
        CentreError::Refused(match names.is_empty() {
            true => {
                "there is no image to restore: `lifeboat failover archive` takes one".to_owned()
            }
            false => format!(
                "there is no image and no level `{wanted}`; there are {}",
                names.join(", ")
            ),
        })
    })
}

/// Goes on with restores that were broken off by the end of a control centre; those that stopped by
/// themselves wait for the operator.
pub(crate) async fn keep(centre: Centre) {
    loop {
        for handle in centre.all() {
            let application = handle.application();
            log(
                "a restore is not looked after",
                look(&centre, &application.name).await,
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn look(centre: &Centre, application: &str) -> Result<(), CentreError> {
    let open = centre.open_restore(application).await?;
    let Some(record) = open.filter(|record| record.stopped.is_none()) else {
        return Ok(());
    };
    if centre
        .handle(application)?
        .snapshot()
        .working
        .contains(&Process::Restore)
    {
        return Ok(());
    }
    let permit = centre.reserve_again(application, Process::Restore).await?;
    tracing::warn!(
        application,
        restore = record.id,
        "a restore is taken up where it was broken off"
    );
    centre.spawn(run::restore(centre.clone(), permit, record));
    Ok(())
}

#[cfg(test)]
mod tests {
    use lifeboat_failover::lease::Epoch;
    use lifeboat_failover::process::{Identity, Kind, Request, Stores, switch};

    use super::*;

    fn image(name: &str, levels: &[&str], state: ImageState, side: Side) -> ImageRecord {
        let levels = levels.iter().map(|one| (*one).to_owned()).collect();
        let mut image = ImageRecord::begin("mail", side, levels, "test");
        (image.name, image.state) = (name.to_owned(), state);
        image
    }

    #[test]
    fn the_switch_of_a_restore_brings_nothing_of_the_primary_to_the_image() {
        let mut plan = switch(&Request {
            kind: Kind::SwitchOver,
            epoch: Epoch(3),
            identity: Identity::Rename,
            stores: Stores::BeforeServices,
            confirmation: Duration::ZERO,
            replicate_back: false,
        });
        let all = plan.steps.len();
        assert!(!keeps_an_image(&plan));
        keep_the_image(&mut plan);
        assert!(keeps_an_image(&plan));
        assert_eq!(plan.steps.len(), all - 3);
        let fenced = plan.steps.iter().any(|step| {
            matches!(
                step.task,
                Task::Act {
                    action: Action::Fence,
                    ..
                }
            )
        });
        assert!(fenced && plan.point_of_no_return() < plan.steps.len());
    }

    #[test]
    fn an_image_is_chosen_by_name_or_by_level_and_only_proved_ones() {
        let images = [
            image("d", &["24"], ImageState::Taken, Side::Secondary),
            image("c", &["before-restore"], ImageState::Placed, Side::Primary),
            image("b", &["24"], ImageState::Placed, Side::Secondary),
            image("a", &["24", "48"], ImageState::Placed, Side::Secondary),
        ];
        let name = |wanted: &str| choose(&images, wanted).map(|image| image.name.clone()).ok();
        assert_eq!(name("a").as_deref(), Some("a"));
        assert_eq!(name("24").as_deref(), Some("b"));
        assert_eq!(name("48").as_deref(), Some("a"));
        assert_eq!(name("c").as_deref(), Some("c"));
        assert_eq!(name("d"), None, "not proved");
        let says = choose(&images, "72").expect_err("none").to_string();
        assert!(says.contains("c, b, a"), "{says}");
        let says = choose(&[], "24").expect_err("none").to_string();
        assert!(says.contains("no image"), "{says}");
    }
}
