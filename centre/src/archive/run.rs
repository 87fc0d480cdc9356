//! One archive, step by step; taken up again wherever it was broken off.

use lifeboat_agent::wire::{ImageFacts, Outcome, Values};
use lifeboat_failover::Side;
use lifeboat_failover::process::{Action, Actor};

use super::records::{ImageRecord, ImageState};
use super::{aged, levels};
use crate::alerts::{self, Gravity, Notice};
use crate::centre::{Centre, Permit};
use crate::clock;
use crate::error::{CentreError, Chain};
use crate::event::What;

/// Carries an archive out to its end, with the permit for it.
pub(super) async fn archive(centre: Centre, permit: Permit, image: ImageRecord) {
    // What went wrong is in the image's record and was told.
    let _ = carry_out(&centre, image).await;
    drop(permit);
}

/// Carries an archive out; says what became of it.
pub(crate) async fn carry_out(
    centre: &Centre,
    mut image: ImageRecord,
) -> Result<ImageRecord, CentreError> {
    let result = loop {
        show(centre, &image);
        match advance(centre, &mut image).await {
            Ok(()) if image.state.is_final() => break Ok(()),
            Ok(()) => {}
            Err(error @ (CentreError::Closed | CentreError::Store(_))) => return Err(error),
            Err(error) => break Err(error),
        }
    };
    let subject = format!("archive.{}", image.levels.join("+"));
    match &result {
        Ok(()) => tell(centre, &image, &subject, None).await,
        Err(error) => {
            // 628-632.
            image.state = ImageState::Failed;
            image.ended_at = Some(clock::unix());
            image.failure = Some(Chain(error).to_string());
            centre.store().put_image(&image).await?;
            let text = format!(
                "the archive {} of {} failed at {}: {}",
                image.name,
                image.application,
                clock::stamp(image.ended_at.unwrap_or_default()),
                Chain(error)
            );
            tell(centre, &image, &subject, Some(text)).await;
        }
    }
    show(centre, &image);
    result.map(|()| image)
}

/// One step; what follows from it is written down before the next.
async fn advance(centre: &Centre, image: &mut ImageRecord) -> Result<(), CentreError> {
    match image.state {
        ImageState::Taking => {
            image.facts = Some(ask(centre, image, Action::TakeImage).await?);
            image.state = ImageState::Taken;
        }
        ImageState::Taken => {
            let added = image.facts.as_ref().and_then(|facts| facts.added);
            let mut facts = ask(centre, image, Action::ProveImage).await?;
            facts.added = added;
            image.facts = Some(facts);
            image.state = ImageState::Proved;
        }
        ImageState::Proved => {
            let goes = place(centre, image).await?;
            image.state = ImageState::Placed;
            image.ended_at = Some(clock::unix());
            for mut old in goes {
                old.state = ImageState::Forgotten;
                centre.store().put_image(&old).await?;
            }
        }
        ImageState::Placed | ImageState::Failed | ImageState::Forgotten => return Ok(()),
    }
    Ok(centre.store().put_image(image).await?)
}

async fn ask(
    centre: &Centre,
    image: &ImageRecord,
    action: Action,
) -> Result<ImageFacts, CentreError> {
    let mut values = Values::from([("image".to_owned(), image.name.clone())]);
    let images = centre.store().images(&image.application).await?;
    let first = !images
        .iter()
        .any(|one| one.side == image.side && one.state == ImageState::Placed);
    if first && action == Action::TakeImage {
        values.insert("first".to_owned(), "true".to_owned());
    }
    let actor = Actor::Application(image.side);
    let id = format!("{}-{action:?}", image.name);
    let outcome = centre
        .act_once(&image.application, actor, action, id, values)
        .await?;
    facts(outcome).ok_or_else(|| {
        CentreError::Refused(format!(
            "the agent did not say what the image {} holds",
            image.name
        ))
    })
}

fn facts(outcome: Outcome) -> Option<ImageFacts> {
    match outcome {
        Outcome::Done { evidence, .. } => ImageFacts::find(&evidence),
        _ => None,
    }
}

/// 622-624. Says which images went.
async fn place(centre: &Centre, image: &ImageRecord) -> Result<Vec<ImageRecord>, CentreError> {
    let images = centre.store().images(&image.application).await?;
    let settings = centre
        .handle(&image.application)?
        .application()
        .archive
        .clone();
    let mut placed = aged(&images, image.side);
    placed.push(levels::Aged {
        name: image.name.clone(),
        levels: image.levels.clone(),
        began: image.started_at,
    });
    let old = levels::too_old(&settings.levels, &placed);
    // What failed left something there, perhaps.
    let goes = |one: &ImageRecord| {
        one.side == image.side && (old.contains(&one.name) || one.state == ImageState::Failed)
    };
    let goes: Vec<ImageRecord> = images.into_iter().filter(goes).take(30).collect();
    let names: Vec<&str> = goes.iter().map(|one| one.name.as_str()).collect();
    let values = Values::from([
        ("image".to_owned(), image.name.clone()),
        ("levels".to_owned(), image.levels.join(",")),
        ("forget".to_owned(), names.join(",")),
    ]);
    let actor = Actor::Application(image.side);
    // With what is left of the list after a break, it is asked anew.
    let id = format!("{}-PlaceImage-{}", image.name, names.len());
    centre
        .act_once(&image.application, actor, Action::PlaceImage, id, values)
        .await?;
    Ok(goes)
}

/// Puts an image in the place of what is in the secondary's store (710-712), once for each restore.
pub(crate) async fn put_in_place(
    centre: &Centre,
    image: &ImageRecord,
    restore: &str,
) -> Result<Vec<String>, CentreError> {
    let digest = image.facts.as_ref().and_then(|facts| facts.digest.clone());
    let digest = digest.ok_or_else(|| {
        CentreError::Refused(format!("the image {} was never proved", image.name))
    })?;
    let values = Values::from([
        ("image".to_owned(), image.name.clone()),
        ("digest".to_owned(), digest),
    ]);
    let actor = Actor::Application(Side::Secondary);
    let (action, id) = (Action::RestoreImage, format!("{restore}-image"));
    match centre
        .act_once(&image.application, actor, action, id, values)
        .await?
    {
        Outcome::Done { evidence, .. } => Ok(evidence),
        _ => Ok(Vec::new()),
    }
}

fn show(centre: &Centre, image: &ImageRecord) {
    let detail = serde_json::to_value(image).unwrap_or_default();
    centre.events().tell(
        Some(&image.application),
        What::Told {
            part: "archive",
            detail,
        },
    );
}

async fn tell(centre: &Centre, image: &ImageRecord, subject: &str, trouble: Option<String>) {
    let over = trouble.is_none();
    let done = || {
        format!(
            "the archive {} of {} is in its levels",
            image.name, image.application
        )
    };
    let notice = Notice {
        application: Some(image.application.clone()),
        subject: subject.to_owned(),
        gravity: if over {
            Gravity::Note
        } else {
            Gravity::Warning
        },
        text: trouble.unwrap_or_else(done),
        over,
    };
    alerts::raise(centre, notice).await;
}
