//! When an archive is due, and which images grow too old: pure.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A level: how often an image is taken for it, and how many stay.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// In hours.
    pub hours: f64,
    /// How many images it holds. With two there is always one that is at least as old as the
    /// level says.
    #[serde(default = "two")]
    pub keep: u32,
}

fn two() -> u32 {
    2
}

/// Images that an operator asked for belong to this level.
pub(super) const BY_HAND: &str = "manual";
/// What the primary had before a restore took its place.
pub(crate) const BEFORE_RESTORE: &str = "before-restore";
/// How many of these two stay.
const KEPT_BY_HAND: usize = 5;

impl Level {
    /// The level as images name it.
    pub fn label(&self) -> String {
        format!("{}", self.hours)
    }

    fn every(&self) -> Duration {
        Duration::from_secs_f64(self.hours * 3600.0)
    }

    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let sensible = self.hours.is_finite() && self.hours >= 0.0001 && self.hours <= 100_000.0;
        match (sensible, self.keep) {
            (false, _) => Err("a level has more than 0 and at most 100000 hours"),
            (_, 0) => Err("a level keeps at least one image"),
            _ => Ok(()),
        }
    }
}

/// An image, as far as ageing goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Aged {
    pub(super) name: String,
    pub(super) levels: Vec<String>,
    /// Unix milliseconds.
    pub(super) began: u64,
}

/// 606: the levels for which an image is due now. `images` are those that are placed.
pub(super) fn due(levels: &[Level], images: &[Aged], now: u64) -> Vec<String> {
    let newest = |label: &String| {
        let of_level = images.iter().filter(|image| image.levels.contains(label));
        of_level.map(|image| image.began).max()
    };
    let is_due = |level: &&Level| match newest(&level.label()) {
        None => true,
        Some(began) => u128::from(now.saturating_sub(began)) >= level.every().as_millis(),
    };
    levels.iter().filter(is_due).map(Level::label).collect()
}

/// Which images are in no level any more, oldest first. The newest image always stays.
pub(super) fn too_old(levels: &[Level], images: &[Aged]) -> Vec<String> {
    let mut newest_first: Vec<&Aged> = images.iter().collect();
    newest_first.sort_by_key(|image| std::cmp::Reverse(image.began));
    let mut stays: BTreeSet<&str> = newest_first
        .iter()
        .take(1)
        .map(|one| one.name.as_str())
        .collect();
    let by_hand = [BY_HAND, BEFORE_RESTORE].map(|label| (label.to_owned(), KEPT_BY_HAND));
    let configured = levels
        .iter()
        .map(|level| (level.label(), level.keep as usize));
    for (label, keep) in configured.chain(by_hand) {
        let of_level = newest_first
            .iter()
            .filter(|image| image.levels.contains(&label));
        stays.extend(of_level.take(keep).map(|image| image.name.as_str()));
    }
    let goes = newest_first
        .iter()
        .rev()
        .filter(|image| !stays.contains(image.name.as_str()));
    goes.map(|image| image.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3_600_000;

    fn levels() -> Vec<Level> {
        [24.0, 48.0, 72.0]
            .map(|hours| Level { hours, keep: 2 })
            .to_vec()
    }

    fn image(name: &str, levels: &[&str], began: u64) -> Aged {
        Aged {
            name: name.to_owned(),
            levels: levels.iter().map(|one| (*one).to_owned()).collect(),
            began,
        }
    }

    #[test]
    fn a_first_image_belongs_to_every_level() {
        assert_eq!(due(&levels(), &[], 0), ["24", "48", "72"]);
    }

    #[test]
    fn each_level_has_its_own_time() {
        let first = image("a", &["24", "48", "72"], 0);
        let at = |hours: u64, images: &[Aged]| due(&levels(), images, hours * HOUR);
        assert!(at(23, std::slice::from_ref(&first)).is_empty());
        assert_eq!(at(24, std::slice::from_ref(&first)), ["24"]);
        let second = image("b", &["24"], 24 * HOUR);
        assert_eq!(at(48, &[first.clone(), second.clone()]), ["24", "48"]);
        // A control centre that was away takes one image for all that is due.
        assert_eq!(at(200, &[first, second]), ["24", "48", "72"]);
    }

    /// Plays `days` with a look every hour; gives the images that are left.
    fn play(days: u64, levels: &[Level]) -> Vec<Aged> {
        let mut images: Vec<Aged> = Vec::new();
        for hour in 0..days * 24 {
            let due = due(levels, &images, hour * HOUR);
            if !due.is_empty() {
                images.push(Aged {
                    name: hour.to_string(),
                    levels: due,
                    began: hour * HOUR,
                });
                let old = too_old(levels, &images);
                images.retain(|image| !old.contains(&image.name));
            }
        }
        images
    }

    #[test]
    fn after_some_days_every_level_has_an_image_of_its_age() {
        let images = play(30, &levels());
        let now = 30 * 24 * HOUR;
        for hours in [24, 48, 72] {
            let old_enough =
                |image: &&Aged| (hours..=2 * hours + 1).contains(&((now - image.began) / HOUR));
            assert!(
                images.iter().any(|image| old_enough(&image)),
                "{hours}: {images:?}"
            );
        }
        assert!(images.len() <= 6, "{images:?}");
    }

    #[test]
    fn what_was_asked_for_by_hand_stays_as_long_as_there_are_few() {
        let mut images: Vec<Aged> = (0..7)
            .map(|number| image(&number.to_string(), &[BY_HAND], number * HOUR))
            .collect();
        images.push(image("x", &[BEFORE_RESTORE], 0));
        assert_eq!(too_old(&levels(), &images), ["0", "1"]);
    }

    proptest! {
        #[test]
        fn the_newest_image_stays_and_each_level_is_bounded(
            began in proptest::collection::vec((0u64..1000, 0usize..4), 1..40),
        ) {
            let labels = ["24", "48", "72", BY_HAND];
            let images: Vec<Aged> = began
                .iter()
                .enumerate()
                .map(|(number, (hours, label))| image(&number.to_string(), &[labels[*label]], hours * HOUR))
                .collect();
            let old = too_old(&levels(), &images);
            let newest = images.iter().max_by_key(|image| image.began).expect("one");
            prop_assert!(images.iter().any(|one| one.began == newest.began && !old.contains(&one.name)));
            let left = images.len() - old.len();
            prop_assert!(left <= 2 * 3 + 5 + 1);
        }
    }
}
