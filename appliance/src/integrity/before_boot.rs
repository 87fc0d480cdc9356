//! What is read before machines start.

use std::path::Path;
use std::sync::Arc;

use lifeboat_images::{CapturedVolume, Changed, Damage, Effort, Extent, ImageError};

use super::slices::SLICE;
use super::{BeforeBoot, DamagedVolume, Job, Record, VolumeStatus, now_s};
use crate::daemon::Appliance;
use crate::events::Events;
use crate::prepare::{PreparedMachine, file_name};
use crate::site::Site;

impl Appliance {
    /// Notes that all of a volume was read at import.
    pub async fn note_import(&self, path: &Path, volume: &CapturedVolume) -> anyhow::Result<()> {
        let record = Record::imported(volume, now_s());
        Ok(self.store.put_verification(path, &record).await?)
    }

    /// Notes what a comparison found against a volume.
    pub async fn note_changed(
        &self,
        path: &Path,
        volume: &CapturedVolume,
        error: &ImageError,
    ) -> anyhow::Result<()> {
        let ImageError::Changed {
            path: file,
            changed: Changed::Content { ranges },
        } = error
        else {
            // The next start sees it by itself: the file's attributes differ.
            return Ok(());
        };
        let mut record = self.integrity_record(path, volume).await?;
        let damage = |range: &Extent| Damage {
            file: file.clone(),
            range: *range,
        };
        record.damaged = ranges.iter().map(damage).collect();
        Ok(self.store.put_verification(path, &record).await?)
    }

    /// Fails if the volume is known to be damaged.
    pub async fn require_sound(&self, path: &Path, volume: &CapturedVolume) -> anyhow::Result<()> {
        let record = self.integrity_record(path, volume).await?;
        let status = VolumeStatus::new(path, volume, &record);
        if status.damaged.is_empty() {
            return Ok(());
        }
        Err(damaged(status).into())
    }

    /// Reads the volumes of a prepared site that are to be read before it
    /// starts; fails at the first that is damaged.
    pub async fn verify_before_boot(
        &self,
        site: &Site,
        prepared: &[PreparedMachine],
        how: BeforeBoot,
        events: &Events,
    ) -> anyhow::Result<()> {
        for (machine, prepared) in site.machines.iter().zip(prepared) {
            for (path, disk) in machine.volumes.iter().zip(&prepared.disks) {
                let record = self.integrity_record(path, &disk.captured).await?;
                let too_old = record.is_older_than(self.integrity.settings.max_age, now_s());
                if how == BeforeBoot::Always || (how == BeforeBoot::Aged && too_old) {
                    self.verify_or_fail(path, &disk.captured, events).await?;
                }
            }
        }
        Ok(())
    }

    async fn verify_or_fail(
        &self,
        path: &Path,
        volume: &CapturedVolume,
        events: &Events,
    ) -> anyhow::Result<()> {
        let status = self.verify_asked(path, volume, false, events).await?;
        if let Some(problem) = status.problem {
            anyhow::bail!(problem);
        }
        match status.damaged.is_empty() {
            true => Ok(()),
            false => Err(damaged(status).into()),
        }
    }

    /// Reads a volume because somebody waits for it.
    pub async fn verify_asked(
        &self,
        path: &Path,
        volume: &CapturedVolume,
        resume: bool,
        events: &Events,
    ) -> anyhow::Result<VolumeStatus> {
        let name = file_name(path);
        events.step("verify", &name);
        let _turn = self.integrity.asked_turn().await;
        let (asked, abandoned) = (self.clone(), events.clone());
        let (heard, subject) = (events.clone(), name.clone());
        let job = Job {
            effort: Effort::Medium,
            resume,
            slice: SLICE,
            stop: Arc::new(move || asked.is_ending() || abandoned.is_abandoned()),
            progress: Arc::new(move |done, total| heard.progress("verify", &subject, done, total)),
        };
        let Some(status) = self.verify_volume(path, volume, &job).await? else {
            anyhow::bail!(
                "the reading of captured volume `{}` was stopped; `lifeboat image verify --resume` goes on with it",
                path.display()
            );
        };
        let verdict = if status.ok { "intact" } else { "DAMAGED" };
        events.done(
            "verify",
            &name,
            format!("{verdict}, {} MiB", status.bytes >> 20),
        );
        Ok(status)
    }
}

fn damaged(status: VolumeStatus) -> DamagedVolume {
    DamagedVolume {
        volume: status.volume,
        damaged: status.damaged,
    }
}
