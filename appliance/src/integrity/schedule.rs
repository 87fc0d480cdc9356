//! The scheduled reading of captured volumes: one at a time, in the background,
//! while nobody waits for anything else.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lifeboat_images::{CapturedVolume, Effort};

use super::slices::SLICE;
use super::{Job, Record, now_s, words};
use crate::daemon::Appliance;
use crate::site::Site;

/// How often is looked whether a volume is due, at most.
const LOOK: Duration = Duration::from_secs(30);
/// How soon after a volume the next one follows.
const BREATH: Duration = Duration::from_millis(200);

/// Reads volumes until the daemon ends.
pub fn start(appliance: &Appliance) {
    let Some(every) = appliance.integrity.settings.every else {
        return;
    };
    let appliance = appliance.clone();
    tokio::spawn(async move {
        while !appliance.is_ending() {
            let did = look(&appliance, every).await.unwrap_or_else(|error| {
                let error = format!("{error:#}");
                tracing::error!(error, "the scheduled verification broke off");
                false
            });
            let rest = if did { BREATH } else { LOOK.min(every) };
            tokio::time::sleep(rest).await;
        }
    });
}

/// Reads the volume that is due, if there is one and nobody works; says
/// whether it was read to its end.
async fn look(appliance: &Appliance, every: Duration) -> anyhow::Result<bool> {
    if gives_way(appliance) {
        return Ok(false);
    }
    let volumes = of_registered_sites(appliance).await?;
    let mut records = Vec::new();
    for (path, volume) in &volumes {
        records.push(appliance.integrity_record(path, volume).await?);
    }
    let Some(index) = due(&records, every, now_s()) else {
        return Ok(false);
    };
    let (path, volume) = &volumes[index];
    let _turn = appliance.integrity.turn.lock().await;
    let asked = appliance.clone();
    let job = Job {
        effort: Effort::Background,
        resume: true,
        slice: SLICE,
        stop: Arc::new(move || gives_way(&asked)),
        progress: Arc::new(|_, _| {}),
    };
    let status = appliance.verify_volume(path, volume, &job).await?;
    match &status {
        Some(status) if !status.ok => tracing::error!(
            volume = %path.display(),
            damaged = words(&status.damaged),
            problem = status.problem,
            "a captured volume is damaged: put an intact copy in its place"
        ),
        Some(_) => tracing::info!(volume = %path.display(), "captured volume verified"),
        None => {}
    }
    // What cannot be compared is tried again at the next look, not at once.
    Ok(status.is_some_and(|status| status.problem.is_none()))
}

fn gives_way(appliance: &Appliance) -> bool {
    let others = appliance.is_working() || appliance.is_busy();
    others || appliance.is_ending() || appliance.integrity.somebody_asks()
}

async fn of_registered_sites(
    appliance: &Appliance,
) -> anyhow::Result<Vec<(PathBuf, CapturedVolume)>> {
    let sites = appliance.store.sites().await?;
    // A site that cannot be read says so to whoever works with it.
    let loaded = sites.iter().filter_map(|site| Site::load(&site.file).ok());
    let machines = loaded.flat_map(|site| site.machines);
    let named: BTreeSet<_> = machines.flat_map(|machine| machine.volumes).collect();
    let mut volumes = appliance.store.volumes().await?;
    volumes.retain(|(path, _)| named.contains(path));
    Ok(volumes)
}

/// Decides whose turn it is: what is half read, then what was read longest ago.
fn due(records: &[Record], every: Duration, now: u64) -> Option<usize> {
    let waits = |record: &Record| record.pending.is_some() || record.is_older_than(every, now);
    let candidates = (0..records.len()).filter(|index| waits(&records[*index]));
    candidates.min_by_key(|index| {
        let record = &records[*index];
        // What cannot be read at all must not keep the others from their turn.
        (
            record.problem.is_some(),
            record.pending.is_none(),
            record.verified_at,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::integrity::record::Pending;

    fn read_at(at: u64) -> Record {
        Record {
            verified_at: Some(at),
            ..Record::default()
        }
    }

    #[test]
    fn the_half_read_and_then_the_oldest_is_due() {
        let week = Duration::from_secs(7);
        let half = Record {
            pending: Some(Pending::default()),
            ..read_at(99)
        };
        let lost = Record {
            problem: Some("gone".into()),
            ..read_at(1)
        };
        let due = |records: &[Record]| due(records, week, 100);
        assert_eq!(due(&[]), None);
        assert_eq!(due(&[read_at(94), read_at(100)]), None);
        assert_eq!(due(&[read_at(93), read_at(90), read_at(99)]), Some(1));
        assert_eq!(due(&[read_at(50), half.clone()]), Some(1));
        assert_eq!(due(&[lost.clone(), read_at(93)]), Some(1));
        assert_eq!(due(&[lost, read_at(99)]), Some(0));
        assert_eq!(due(&[read_at(90), Record::default()]), Some(1));
        // The clock went back.
        assert_eq!(due(&[read_at(101)]), Some(0));
    }
}
