//! One restore, stage by stage. Each stage can be repeated; the next one is written down before it
//! begins.

use lifeboat_failover::Side;
use lifeboat_failover::process::{Action, Actor, Ending, Kind};
use lifeboat_failover::state::{Event, State};

use super::records::{RestoreRecord, Stage};
use crate::alerts::{self, Gravity, Notice};
use crate::archive::levels::BEFORE_RESTORE;
use crate::archive::{ImageRecord, ImageState, run as process600};
use crate::autosync;
use crate::centre::{Centre, Permit};
use crate::error::{CentreError, Chain};
use crate::event::What;
use crate::state::SwitchRequest;
use crate::store::{ProcessRecord, Wishes};

const PRIMARY: Actor = Actor::Application(Side::Primary);
const SECONDARY: Actor = Actor::Application(Side::Secondary);

/// What a stage comes to.
enum Next {
    /// It is done; what shows it.
    On(String),
    /// The restore failed and what it did is taken back (714-716).
    Back(String),
    /// It waits for the operator.
    Stop(String),
}

/// Carries a restore out to its end, with the permit for it.
pub(super) async fn restore(centre: Centre, permit: Permit, mut record: RestoreRecord) {
    if let Err(error) = carry_out(&centre, &mut record).await {
        // It is taken up again when the database can be used.
        tracing::error!(error = %Chain(&error), restore = record.id, "a restore was broken off");
    }
    drop(permit);
}

async fn carry_out(centre: &Centre, record: &mut RestoreRecord) -> Result<(), CentreError> {
    while record.ended_at.is_none() && record.stopped.is_none() {
        show(centre, record);
        let next = match stage(centre, record).await {
            Err(error @ (CentreError::Closed | CentreError::Store(_))) => return Err(error),
            Err(error) => trouble(record.stage, Chain(&error).to_string()),
            Ok(next) => next,
        };
        let number = record.stage.number();
        let text = match &next {
            Next::On(text) | Next::Back(text) | Next::Stop(text) => text.clone(),
        };
        centre
            .store()
            .put_restore_line(&record.id, number, &text)
            .await?;
        match next {
            Next::On(_) => match record.stage.next() {
                Some(stage) => record.stage = stage,
                None if record.stage == Stage::TakeBack => record.end("failed, and taken back"),
                None => record.end("done"),
            },
            Next::Back(_) => record.stage = Stage::TakeBack,
            Next::Stop(_) => record.stopped = Some(text.clone()),
        }
        centre.store().put_restore(record).await?;
        tell(centre, record, number, &text).await;
    }
    show(centre, record);
    Ok(())
}

/// What a failure means: before the switch everything can be taken back; after it the secondary
/// serves the image, and the operator decides.
fn trouble(stage: Stage, why: String) -> Next {
    match stage {
        Stage::Pause | Stage::Image | Stage::SwitchOver => Next::Back(why),
        Stage::KeepPrimary | Stage::Replicate | Stage::SwitchBack | Stage::TakeBack => {
            Next::Stop(why)
        }
    }
}

async fn stage(centre: &Centre, record: &RestoreRecord) -> Result<Next, CentreError> {
    match record.stage {
        Stage::Pause => pause(centre, record).await,
        Stage::Image => image(centre, record).await,
        Stage::SwitchOver => switch(centre, record, Kind::SwitchOver).await,
        Stage::KeepPrimary => keep_primary(centre, record).await,
        Stage::Replicate => replicate(centre, record).await,
        Stage::SwitchBack => switch(centre, record, Kind::SwitchBack).await,
        Stage::TakeBack => take_back(centre, record).await,
    }
}

async fn act(
    centre: &Centre,
    record: &RestoreRecord,
    actor: Actor,
    action: Action,
) -> Result<(), CentreError> {
    centre
        .act(&record.application, actor, action, Default::default())
        .await
        .map(drop)
}

/// 708. The receiver is closed too: a primary that comes to itself must not overwrite the image.
async fn pause(centre: &Centre, record: &RestoreRecord) -> Result<Next, CentreError> {
    act(centre, record, PRIMARY, Action::PauseReplication).await?;
    act(centre, record, SECONDARY, Action::CloseReceiver).await?;
    Ok(Next::On(
        "replication is paused, the secondary takes nothing in".to_owned(),
    ))
}

/// 710-712.
async fn image(centre: &Centre, record: &RestoreRecord) -> Result<Next, CentreError> {
    let images = centre.store().images(&record.application).await?;
    let wanted = images
        .into_iter()
        .find(|image| image.name == record.request.image);
    let Some(wanted) = wanted.filter(|image| image.state == ImageState::Placed) else {
        return Ok(Next::Back(format!(
            "the image {} is gone",
            record.request.image
        )));
    };
    let evidence = process600::put_in_place(centre, &wanted, &record.id).await?;
    Ok(Next::On(evidence.join("; ")))
}

/// 718-720, 724. The process that this restore began, if it did, is looked for first.
async fn switch(centre: &Centre, record: &RestoreRecord, kind: Kind) -> Result<Next, CentreError> {
    let why = format!(
        "restore {} of the image {}",
        record.id, record.request.image
    );
    let mine = |process: &ProcessRecord| process.why == why && process.plan.kind == kind;
    let known = centre.store().processes(&record.application, 20).await?;
    let failed_before = |process: &&ProcessRecord| {
        matches!(
            process.ending,
            Some(Ending::Reverted | Ending::HalfReverted(_))
        )
    };
    let begun = known.iter().find(|process| mine(process));
    let id = match begun.filter(|process| !failed_before(process)) {
        Some(process) => process.id.clone(),
        None if begun.is_some() && kind == Kind::SwitchOver => {
            return Ok(Next::Back(
                "the switch to the restored secondary was undone (720)".to_owned(),
            ));
        }
        None => {
            let request = SwitchRequest {
                kind,
                who: record.request.who.clone(),
                why,
                wishes: Wishes {
                    go_on: Some(true),
                    // Before that what the primary has goes into the archive.
                    replicate_back: Some(kind == Kind::SwitchBack),
                },
                confirmation_ms: Some(0),
                for_restore: true,
            };
            centre.switch(&record.application, request).await?
        }
    };
    let ending = centre.switch_ended(&record.application, &id).await?;
    Ok(match (ending, kind) {
        (Ending::Done, _) => Next::On(format!("process {id} is done")),
        (_, Kind::SwitchOver) => Next::Back(format!("process {id}: the switch was undone (720)")),
        (_, Kind::SwitchBack) => Next::Stop(format!("process {id}: the switch back was undone")),
    })
}

/// What the primary had until the switch goes into its archive: the next step destroys it.
async fn keep_primary(centre: &Centre, record: &RestoreRecord) -> Result<Next, CentreError> {
    if record.request.discard_newer {
        return Ok(Next::On(
            "what the primary had is given up, as it was asked for".to_owned(),
        ));
    }
    let images = centre.store().images(&record.application).await?;
    let of_mine = |image: &&ImageRecord| {
        image.who == record.id && !matches!(image.state, ImageState::Failed | ImageState::Forgotten)
    };
    let image = match images.iter().find(of_mine) {
        Some(image) => image.clone(),
        None => {
            let levels = vec![BEFORE_RESTORE.to_owned()];
            let image = ImageRecord::begin(&record.application, Side::Primary, levels, &record.id);
            centre.store().begin_image(&image).await?;
            image
        }
    };
    let image = match process600::carry_out(centre, image).await {
        Err(error @ (CentreError::Closed | CentreError::Store(_))) => return Err(error),
        Err(error) => {
            return Ok(Next::Stop(format!(
                "what the primary had could not be put into the archive ({}), and the next step destroys it: remove the cause and take the restore up again, or discard it",
                Chain(&error)
            )));
        }
        Ok(image) => image,
    };
    Ok(Next::On(format!(
        "what the primary had is the image {}",
        image.name
    )))
}

/// 722.
async fn replicate(centre: &Centre, record: &RestoreRecord) -> Result<Next, CentreError> {
    autosync::establish(
        centre,
        &record.application,
        Side::Secondary,
        autosync::Merge::No,
    )
    .await?;
    centre.store().set_held(&record.application, false).await?;
    let handle = centre.handle(&record.application)?;
    if handle.snapshot().state.state == State::SecondaryEngaged {
        let why = "the restored data are at the primary (722)";
        let evidence = vec![format!("restore {}", record.id)];
        centre
            .apply(
                &record.application,
                Event::PrimaryReceives,
                &record.request.who,
                why,
                evidence,
            )
            .await?;
    }
    Ok(Next::On(
        "the primary has the restored data, compared".to_owned(),
    ))
}

/// The primary serves as before and the secondary becomes its copy again.
async fn take_back(centre: &Centre, record: &RestoreRecord) -> Result<Next, CentreError> {
    autosync::establish(
        centre,
        &record.application,
        Side::Primary,
        autosync::Merge::No,
    )
    .await?;
    Ok(Next::On(
        "the secondary is the primary's copy again".to_owned(),
    ))
}

fn show(centre: &Centre, record: &RestoreRecord) {
    let detail = serde_json::to_value(record).unwrap_or_default();
    centre.events().tell(
        Some(&record.application),
        What::Told {
            part: "restore",
            detail,
        },
    );
}

async fn tell(centre: &Centre, record: &RestoreRecord, number: &str, text: &str) {
    let (gravity, text) = match (&record.stopped, record.stage, &record.outcome) {
        (Some(_), ..) => (
            Gravity::Critical,
            format!("the restore {} stopped at {number}: {text}", record.id),
        ),
        (None, _, Some(outcome)) => (
            Gravity::Note,
            format!("the restore {} ended: {outcome}", record.id),
        ),
        (None, Stage::TakeBack, None) => (
            Gravity::Critical,
            format!("the restore {} failed at {number}: {text}", record.id),
        ),
        _ => return,
    };
    let over = record.outcome.as_deref() == Some("done");
    let notice = Notice {
        application: Some(record.application.clone()),
        subject: "restore".to_owned(),
        gravity,
        text,
        over,
    };
    alerts::raise(centre, notice).await;
}
