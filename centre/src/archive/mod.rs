//! Process 600: images of the secondary's store, by levels.
//!
//! [`levels`] decides what is due and what is too old, [`run`] carries one archive out, [`records`]
//! remembers. The images themselves lie where the agents' profile says; see `agent/README.md`.

pub(crate) mod levels;
pub(crate) mod records;
pub(crate) mod run;

use std::time::Duration;

use lifeboat_failover::Side;
use lifeboat_failover::process::{Action, Actor};
use lifeboat_failover::safety::Process;
use serde::{Deserialize, Serialize};

pub use levels::Level;
pub use records::{ImageRecord, ImageState};

use crate::centre::{ApplicationHandle, Centre};
use crate::clock;
use crate::error::{CentreError, log};
use levels::Aged;

/// How often it looks whether something is due.
const LOOK: Duration = Duration::from_secs(5);
/// After an archive failed, this long nothing is tried for the same level.
const PATIENCE: u64 = 15 * 60 * 1000;

/// The section `[archive]` of an application's file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Settings {
    /// Whether images are taken by themselves (602).
    pub enabled: bool,
    /// For which levels.
    pub levels: Vec<Level>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: false,
            levels: [24.0, 48.0, 72.0]
                .map(|hours| Level { hours, keep: 2 })
                .to_vec(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    enabled: Option<bool>,
    level: Option<Vec<Level>>,
}

impl TryFrom<Written> for Settings {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let levels = written.level.unwrap_or_else(|| Self::default().levels);
        levels.iter().try_for_each(Level::check)?;
        let labels: std::collections::BTreeSet<_> = levels.iter().map(Level::label).collect();
        match labels.len() == levels.len() {
            true => Ok(Self {
                enabled: written.enabled.unwrap_or(false),
                levels,
            }),
            false => Err("two levels have the same hours"),
        }
    }
}

/// Process 600, for the operator.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArchiveView {
    /// Whether images are taken by themselves.
    pub enabled: bool,
    /// The levels, and when each is due next (Unix milliseconds).
    pub levels: Vec<LevelView>,
    /// All images that are there or are being made, newest first.
    pub images: Vec<ImageRecord>,
}

/// A level, for the operator.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LevelView {
    /// Its name.
    pub label: String,
    /// Every so many hours.
    pub hours: f64,
    /// How many images it keeps.
    pub keep: u32,
    /// How many it has.
    pub images: usize,
    /// When the next one is due; zero: now.
    pub due: u64,
}

impl Centre {
    /// Images and settings of an application's archive.
    pub async fn archive(&self, application: &str) -> Result<ArchiveView, CentreError> {
        let handle = self.handle(application)?;
        let settings = handle.application().archive.clone();
        let images = self.store().images(application).await?;
        let placed = aged(&images, Side::Secondary);
        let view = |level: &Level| {
            let label = level.label();
            let of_level: Vec<_> = placed
                .iter()
                .filter(|one| one.levels.contains(&label))
                .collect();
            let newest = of_level.iter().map(|one| one.began).max();
            let every = Duration::from_secs_f64(level.hours * 3600.0);
            let every = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
            LevelView {
                label,
                hours: level.hours,
                keep: level.keep,
                images: of_level.len(),
                due: newest.map_or(0, |began| began.saturating_add(every)),
            }
        };
        Ok(ArchiveView {
            enabled: self.archives(&handle).await?,
            levels: settings.levels.iter().map(view).collect(),
            images,
        })
    }

    /// Switches process 600 on or off; the application's file says how it begins.
    pub async fn set_archive(
        &self,
        application: &str,
        on: bool,
        who: &str,
    ) -> Result<(), CentreError> {
        let handle = self.handle(application)?;
        if on && handle.application().profile.profile.archive.is_none() {
            return Err(no_archive(&handle));
        }
        let word = if on { "on" } else { "off" };
        self.store()
            .audit(who, "archive", application, word)
            .await?;
        Ok(self.store().set_keeping_archive(application, on).await?)
    }

    /// Takes an image now; says its name when it has begun.
    pub async fn archive_now(&self, application: &str, who: &str) -> Result<String, CentreError> {
        let handle = self.handle(application)?;
        if handle.application().profile.profile.archive.is_none() {
            return Err(no_archive(&handle));
        }
        let permit = self.reserve(application, Process::Archive).await?;
        self.store()
            .audit(who, "archive", application, "now")
            .await?;
        let levels = vec![levels::BY_HAND.to_owned()];
        let image = ImageRecord::begin(application, Side::Secondary, levels, who);
        self.store().begin_image(&image).await?;
        let name = image.name.clone();
        self.spawn(run::archive(self.clone(), permit, image));
        Ok(name)
    }

    /// Gives up the image that is being made; what is in the archive stays.
    pub async fn abandon_archive(&self, application: &str, who: &str) -> Result<(), CentreError> {
        let handle = self.handle(application)?;
        if !handle.snapshot().working.contains(&Process::Archive) {
            return Err(CentreError::NoProcess("given up: no image is being made"));
        }
        self.store()
            .audit(who, "archive", application, "give up")
            .await?;
        let actor = Actor::Application(Side::Secondary);
        self.act(application, actor, Action::GiveWay, Default::default())
            .await?;
        Ok(())
    }

    /// 602.
    async fn archives(&self, handle: &ApplicationHandle) -> Result<bool, CentreError> {
        let application = handle.application();
        let set = self.store().keeping(&application.name).await?.archive;
        Ok(set.unwrap_or(application.archive.enabled)
            && application.profile.profile.archive.is_some())
    }
}

fn no_archive(handle: &ApplicationHandle) -> CentreError {
    let profile = &handle.application().profile.profile.name;
    CentreError::Refused(format!("the profile `{profile}` has no `[archive]`"))
}

/// The images of a side that are in levels.
pub(super) fn aged(images: &[ImageRecord], side: Side) -> Vec<Aged> {
    let placed = |image: &&ImageRecord| image.state == ImageState::Placed && image.side == side;
    let images = images.iter().filter(placed);
    let aged = |image: &ImageRecord| Aged {
        name: image.name.clone(),
        levels: image.levels.clone(),
        began: image.started_at,
    };
    images.map(aged).collect()
}

/// Goes on with what was broken off, then takes images when they are due, until the control centre
/// closes.
pub(crate) async fn keep(centre: Centre) {
    loop {
        for handle in centre.all() {
            log(
                "an archive is not looked after",
                look(&centre, &handle).await,
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn look(centre: &Centre, handle: &ApplicationHandle) -> Result<(), CentreError> {
    let application = handle.application();
    let name = &application.name;
    if handle.snapshot().working.contains(&Process::Archive) {
        return Ok(());
    }
    let images = centre.store().images(name).await?;
    let unfinished = images.iter().find(|image| !image.state.is_final());
    // An image for a restore is that process's own.
    let own = |image: &&ImageRecord| !image.levels.iter().any(|one| one == levels::BEFORE_RESTORE);
    if let Some(image) = unfinished.filter(own) {
        // 612, 614: not now; it is asked again.
        if let Ok(permit) = centre.reserve(name, Process::Archive).await {
            centre.spawn(run::archive(centre.clone(), permit, image.clone()));
        }
        return Ok(());
    }
    if !centre.archives(handle).await? {
        return Ok(());
    }
    let now = clock::unix();
    let mut due = levels::due(
        &application.archive.levels,
        &aged(&images, Side::Secondary),
        now,
    );
    due.retain(|level| {
        let failed = |image: &ImageRecord| {
            let recent = now.saturating_sub(image.ended_at.unwrap_or(now)) < PATIENCE;
            image.state == ImageState::Failed && image.levels.contains(level) && recent
        };
        !images.iter().any(failed)
    });
    if due.is_empty() {
        return Ok(());
    }
    let Ok(permit) = centre.reserve(name, Process::Archive).await else {
        return Ok(());
    };
    let image = ImageRecord::begin(name, Side::Secondary, due, "process 600");
    centre.store().begin_image(&image).await?;
    centre.spawn(run::archive(centre.clone(), permit, image));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_24_48_72_hours_unless_the_file_says_otherwise() {
        let read = |text: &str| toml::from_str::<Settings>(text);
        let usual = read("enabled = true").expect("good");
        let labels: Vec<_> = usual.levels.iter().map(Level::label).collect();
        assert_eq!(labels, ["24", "48", "72"]);
        let own = read("level = [{ hours = 0.5, keep = 4 }, { hours = 168 }]").expect("good");
        assert!(!own.enabled);
        assert_eq!(own.levels[0].label(), "0.5");
        assert_eq!(own.levels[1].keep, 2);
        for wrong in [
            "level = [{ hours = 0 }]",
            "level = [{ hours = 24, keep = 0 }]",
            "level = [{ hours = 24 }, { hours = 24.0 }]",
            "levels = 3",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
