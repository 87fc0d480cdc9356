//! Reading a volume in slices of time, each one recorded: whatever ends the
//! daemon, at most one slice is read again.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use lifeboat_images::{
    CapturedVolume, Effort, ImageError, Position, Reading, Verification, verify,
};

use super::record::Pending;
use super::{Record, VolumeStatus, now_s, priority};
use crate::daemon::Appliance;

/// The usual time between two records.
pub const SLICE: Duration = Duration::from_secs(10);

type Asks = Arc<dyn Fn() -> bool + Send + Sync>;
type Hears = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// How one volume is to be read.
pub struct Job {
    /// At whose cost.
    pub effort: Effort,
    /// Go on where an unfinished reading stopped, rather than from the start.
    pub resume: bool,
    /// How long until what was found is recorded.
    pub slice: Duration,
    /// Asked often: is the reading to stop for now?
    pub stop: Asks,
    /// Hears the bytes done and the bytes in all.
    pub progress: Hears,
}

impl Appliance {
    /// Reads every byte of a volume and records what it found. `None` when it
    /// was stopped; then the next job may resume it.
    pub async fn verify_volume(
        &self,
        path: &Path,
        volume: &CapturedVolume,
        job: &Job,
    ) -> anyhow::Result<Option<VolumeStatus>> {
        let mut record = self.integrity_record(path, volume).await?;
        let mut pending = record
            .pending
            .take()
            .filter(|_| job.resume)
            .unwrap_or_default();
        let mut slice = job.slice;
        loop {
            let from = pending.position;
            let found = self.slice(volume, from, job, slice).await?;
            let stopped_at = take_in(&mut record, &mut pending, found);
            if stopped_at.is_some_and(|at| (at.file, at.byte) <= (from.file, from.byte)) {
                // It would get nowhere for ever.
                slice = Duration::MAX;
            }
            record.pending = stopped_at.map(|_| pending.clone());
            self.store.put_verification(path, &record).await?;
            match stopped_at {
                None => break,
                Some(_) if (job.stop)() => return Ok(None),
                Some(_) => {}
            }
        }
        Ok(Some(VolumeStatus::new(path, volume, &record)))
    }

    /// What is known about the state of a volume.
    pub async fn integrity_record(
        &self,
        path: &Path,
        volume: &CapturedVolume,
    ) -> anyhow::Result<Record> {
        let known = self.store.verification(path).await?;
        Ok(known.unwrap_or_default().about(volume))
    }

    async fn slice(
        &self,
        volume: &CapturedVolume,
        from: Position,
        job: &Job,
        slice: Duration,
    ) -> anyhow::Result<Result<Verification, ImageError>> {
        let (volume, trees) = (volume.clone(), self.host.trees_dir());
        let (effort, stop, progress) = (job.effort, job.stop.clone(), job.progress.clone());
        let (sender, receiver) = tokio::sync::oneshot::channel();
        // A thread of its own: its priority must not stay with a pool's thread.
        std::thread::Builder::new()
            .name("verify".into())
            .spawn(move || {
                if effort == Effort::Background {
                    priority::lower_of_this_thread();
                }
                let begin = Instant::now();
                let pauses = move || begin.elapsed() > slice || stop();
                let read = read_until(&pauses, &volume, &trees, from, effort, &progress);
                // Nobody waits any more when the daemon ends.
                drop(sender.send(read));
            })
            .context("failed to start a thread that reads a captured volume")?;
        receiver
            .await
            .context("the reading of a captured volume broke off")
    }
}

fn read_until(
    pauses: &dyn Fn() -> bool,
    volume: &CapturedVolume,
    trees: &Path,
    from: Position,
    effort: Effort,
    hears: &Hears,
) -> Result<Verification, ImageError> {
    let cancelled = AtomicBool::new(false);
    let progress = |done, total| {
        hears(done, total);
        if pauses() {
            cancelled.store(true, Ordering::Relaxed);
        }
    };
    let reading = Reading {
        progress: &progress,
        cancelled: &cancelled,
        effort,
    };
    verify(volume, trees, from, &reading)
}

/// Puts what a slice found into the record; returns where to go on.
fn take_in(
    record: &mut Record,
    pending: &mut Pending,
    found: Result<Verification, ImageError>,
) -> Option<Position> {
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            record.problem = Some(crate::events::chain(&error.into()).join(": "));
            return None;
        }
    };
    pending.damaged.extend(found.damaged);
    if let Some(position) = found.stopped_at {
        pending.position = position;
        return Some(position);
    }
    record.damaged = std::mem::take(&mut pending.damaged);
    record.verified_at = Some(now_s());
    record.problem = None;
    None
}

/// Removes the trees of files that no volume of the catalogue consists of.
/// Only the daemon's start may call it: nothing is imported then.
pub async fn remove_unused_trees(appliance: &Appliance) -> anyhow::Result<()> {
    let volumes = appliance.store.volumes().await?;
    let files = volumes.iter().flat_map(|(_, volume)| volume.files());
    let used: HashSet<_> = files.map(|file| file.blake3.as_str()).collect();
    let entries = std::fs::read_dir(appliance.host.trees_dir());
    for entry in entries.into_iter().flatten().flatten() {
        let is_used = entry
            .file_name()
            .to_str()
            .and_then(lifeboat_images::root_of_tree)
            .is_some_and(|root| used.contains(root));
        if !is_used && let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::warn!(%error, tree = %entry.path().display(), "an unused tree stays");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;
    use crate::integrity::{Settings, sample};

    async fn read_in_no_time(appliance: &Appliance, volume: &CapturedVolume) -> VolumeStatus {
        let job = Job {
            effort: Effort::Medium,
            resume: false,
            // Shorter than any file takes.
            slice: Duration::ZERO,
            stop: Arc::new(|| false),
            progress: Arc::new(|_, _| {}),
        };
        let reading = appliance.verify_volume(&volume.path, volume, &job);
        let limit = Duration::from_secs(60);
        let read = tokio::time::timeout(limit, reading).await;
        read.expect("it reads for ever").unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_file_without_a_tree_ends_also_in_slices_too_short_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let appliance = Appliance::open(Host::new(folder.path()).unwrap(), Settings::default())
            .await
            .unwrap();
        let volume = sample::volume(folder.path());
        let trees = appliance.host.trees_dir();
        let status = read_in_no_time(&appliance, &volume).await;
        assert!(status.ok && status.verified_at.is_some(), "{status:?}");
        let tree = trees.join(format!("{}.tree", volume.blake3));
        assert!(tree.exists());

        // Where no tree can be kept at all it ends too.
        std::fs::remove_dir_all(&trees).unwrap();
        std::fs::write(&trees, "in the way").unwrap();
        assert!(read_in_no_time(&appliance, &volume).await.ok);
        std::fs::remove_file(&trees).unwrap();

        sample::rot(&volume, 3 << 20);
        let status = read_in_no_time(&appliance, &volume).await;
        assert!(!status.ok && status.damaged.len() == 1, "{status:?}");
    }

    #[tokio::test]
    async fn trees_of_the_catalogue_stay_and_others_go() {
        let folder = tempfile::tempdir().unwrap();
        let appliance = Appliance::open(Host::new(folder.path()).unwrap(), Settings::default())
            .await
            .unwrap();
        let volume = sample::volume(folder.path());
        appliance
            .store
            .put_volume(&volume.path, &volume)
            .await
            .unwrap();
        let trees = appliance.host.trees_dir();
        std::fs::create_dir_all(&trees).unwrap();
        let name = |ending| format!("{}.{ending}", volume.blake3);
        for file in [
            name("tree"),
            name("begun"),
            name("7.part"),
            "00.tree".into(),
        ] {
            std::fs::write(trees.join(file), "").unwrap();
        }
        remove_unused_trees(&appliance).await.unwrap();
        let entries = std::fs::read_dir(&trees).unwrap().flatten();
        let mut left: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        left.sort();
        assert_eq!(
            left,
            [name("begun"), name("tree")].map(std::ffi::OsString::from)
        );
    }
}
