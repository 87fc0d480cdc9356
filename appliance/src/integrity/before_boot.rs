//! What is read before machines start.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lifeboat_images::{CapturedVolume, Changed, Damage, Effort, Extent, ImageError, SourceFile};

use super::slices::SLICE;
use super::{
    BeforeBoot, DamagedConversion, DamagedVolume, Job, Record, UnreadableVolume, VolumeStatus,
    now_s,
};
use crate::daemon::Appliance;
use crate::events::Events;
use crate::prepare::file_name;

impl Appliance {
    /// Notes that all of a volume was read, and is what it was at import.
    pub async fn note_intact(&self, path: &Path, volume: &CapturedVolume) -> anyhow::Result<()> {
        let record = Record::intact(volume, now_s());
        Ok(self.store.put_verification(path, &record).await?)
    }

    /// Notes what a reading of a whole volume found against it.
    pub async fn note_changed(
        &self,
        path: &Path,
        volume: &CapturedVolume,
        error: &ImageError,
    ) -> anyhow::Result<()> {
        let mut record = self.integrity_record(path, volume).await?;
        match error {
            ImageError::Changed {
                path: file,
                changed: Changed::Content { ranges },
            } => {
                let damage = |range: &Extent| Damage {
                    file: file.clone(),
                    range: *range,
                };
                record.damaged = ranges.iter().map(damage).collect();
            }
            // The next start sees it by itself: the file's attributes differ.
            ImageError::Changed { .. } => return Ok(()),
            error => record.problem = Some(error.to_string()),
        }
        Ok(self.store.put_verification(path, &record).await?)
    }

    /// Fails if anything is known against the volume.
    pub async fn require_sound(&self, path: &Path, volume: &CapturedVolume) -> anyhow::Result<()> {
        let record = self.integrity_record(path, volume).await?;
        VolumeStatus::new(path, volume, &record).require_ok(volume)
    }

    /// Reads those of the volumes that are to be read before machines start,
    /// each once; fails at the first that is damaged.
    pub async fn verify_before_boot(
        &self,
        volumes: impl IntoIterator<Item = (&PathBuf, &CapturedVolume)>,
        how: BeforeBoot,
        events: &Events,
    ) -> anyhow::Result<()> {
        let each: BTreeMap<_, _> = volumes.into_iter().collect();
        for (path, volume) in each {
            let record = self.integrity_record(path, volume).await?;
            let is_due = match how {
                BeforeBoot::Always => true,
                BeforeBoot::Aged => {
                    tells_no_change(volume)
                        || record.is_older_than(self.integrity.settings.max_age, now_s())
                }
                BeforeBoot::Never => false,
            };
            if is_due {
                let status = self.verify_asked(path, volume, false, events).await?;
                status.require_ok(volume)?;
            }
        }
        Ok(())
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

/// The node of a block device notes no change of the bytes behind it, so its
/// last reading says nothing about now.
fn tells_no_change(volume: &CapturedVolume) -> bool {
    let is_device = |file: &SourceFile| {
        std::fs::metadata(&file.path).is_ok_and(|now| now.file_type().is_block_device())
    };
    volume.files().any(is_device)
}

impl VolumeStatus {
    /// Fails if anything is known against the volume.
    fn require_ok(self, volume: &CapturedVolume) -> anyhow::Result<()> {
        if self.ok {
            return Ok(());
        }
        if self.damaged.is_empty() {
            return Err(UnreadableVolume {
                problem: self.problem.unwrap_or_default(),
                volume: self.volume,
            }
            .into());
        }
        let is_ours = |damage: &Damage| {
            let mut converted = volume.converted();
            converted.any(|layer| layer.file.path == damage.file)
        };
        if self.problem.is_none() && self.damaged.iter().all(is_ours) {
            return Err(DamagedConversion {
                volume: self.volume,
                damaged: self.damaged,
            }
            .into());
        }
        Err(DamagedVolume {
            volume: self.volume,
            damaged: self.damaged,
        }
        .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;
    use crate::integrity::{Settings, sample};

    async fn appliance(folder: &Path) -> Appliance {
        let host = Host::new(folder).unwrap();
        Appliance::open(host, Settings::default()).await.unwrap()
    }

    #[tokio::test]
    async fn what_could_not_be_read_is_not_sound() {
        let folder = tempfile::tempdir().unwrap();
        let appliance = appliance(folder.path()).await;
        let volume = sample::volume(folder.path());
        let sound = async || appliance.require_sound(&volume.path, &volume).await;
        appliance.note_intact(&volume.path, &volume).await.unwrap();
        sound().await.unwrap();
        let source = std::io::Error::from_raw_os_error(5);
        let error = ImageError::Io {
            attempt: "read",
            path: volume.path.clone(),
            source,
        };
        let noted = appliance.note_changed(&volume.path, &volume, &error);
        noted.await.unwrap();
        let refused = sound().await.unwrap_err();
        assert!(refused.is::<UnreadableVolume>(), "{refused:#}");
        assert!(refused.to_string().contains("image verify"), "{refused:#}");
    }

    #[tokio::test]
    async fn each_volume_is_read_once_and_only_when_it_is_due() {
        let folder = tempfile::tempdir().unwrap();
        let appliance = appliance(folder.path()).await;
        let volume = sample::volume(folder.path());
        let readings = async |how| {
            let (events, mut heard) = Events::channel();
            let twice = [(&volume.path, &volume); 2];
            let verified = appliance.verify_before_boot(twice, how, &events);
            verified.await.unwrap();
            drop(events);
            let mut all = Vec::new();
            while let Some(event) = heard.recv().await {
                all.push(serde_json::to_string(&event).unwrap());
            }
            all.iter().filter(|event| event.contains("intact")).count()
        };
        assert_eq!(readings(BeforeBoot::Never).await, 0);
        assert_eq!(readings(BeforeBoot::Aged).await, 1);
        assert_eq!(readings(BeforeBoot::Aged).await, 0);
        assert_eq!(readings(BeforeBoot::Always).await, 1);
    }

    #[tokio::test]
    async fn a_volume_on_a_block_device_is_read_before_every_start() {
        let folder = tempfile::tempdir().unwrap();
        let appliance = appliance(folder.path()).await;
        let Some(medium) = sample::Medium::new(folder.path()) else {
            return;
        };
        let volume = &medium.volume;
        let (events, _heard) = Events::channel();
        let start = async |how| {
            let volumes = [(&volume.path, volume)];
            appliance.verify_before_boot(volumes, how, &events).await
        };
        start(BeforeBoot::Aged).await.unwrap();
        sample::rot(&medium.below, 2 << 20);
        assert!(lifeboat_images::is_untouched(volume));
        start(BeforeBoot::Never).await.unwrap();
        let found = start(BeforeBoot::Aged).await.unwrap_err();
        assert!(found.is::<DamagedVolume>(), "{found:#}");
    }

    #[tokio::test]
    async fn damage_in_our_own_conversion_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let mut volume = sample::volume(folder.path());
        volume.served[0].file.path = folder.path().join("converted.raw");
        let of = |file: &Path| Damage {
            file: file.to_owned(),
            range: Extent {
                start: 0,
                length: 1,
            },
        };
        let (ours, theirs) = (of(&volume.served[0].file.path), of(&volume.path));
        let refused = |damaged| {
            let record = Record {
                damaged,
                ..Record::default()
            };
            let status = VolumeStatus::new(&volume.path, &volume, &record);
            status.require_ok(&volume).unwrap_err()
        };
        assert!(refused(vec![ours.clone()]).is::<DamagedConversion>());
        assert!(refused(vec![theirs.clone()]).is::<DamagedVolume>());
        assert!(refused(vec![ours, theirs]).is::<DamagedVolume>());
    }
}
