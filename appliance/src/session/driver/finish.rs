//! The end of a session: what the machines and the switch show, put into the
//! report.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use lifeboat_images::{
    CapturedVolume, Effort, ImageError, Position, Reading, quick_verify, verify,
};
use lifeboat_network::client::ClientError;
use tokio::task::JoinError;

use super::{Driver, End, IsolationLine, Mode, NetworkReport, Outcome, Report, Standing, schedule};
use crate::accelerator::Accelerator;
use crate::hypervisor::DomainState;
use crate::report::NO_ISOLATION;
use crate::session::boot::PAUSED;
use crate::session::plan::SessionPlan;
use crate::session::{making, supervise};

/// How often, and how far apart, the switch is asked for what it saw.
const SWITCH_TRIES: u32 = 10;
const SWITCH_PAUSE: Duration = Duration::from_millis(500);
/// Lines of a console that a report shows.
const TAIL_LINES: usize = 20;
/// Bytes of a console that are looked at for them.
const TAIL_BYTES: u64 = 16 << 10;

/// A captured volume, by its path in the site, and what looking at it gave.
type Looked = (PathBuf, CapturedVolume, Result<(), ImageError>);

impl Driver<'_> {
    pub(super) async fn report(
        mut self,
        end: End,
        isolation: anyhow::Result<IsolationLine>,
    ) -> anyhow::Result<Report> {
        self.tasks.shutdown().await;
        self.look_again().await;
        let (network, mut problems) = self.network(isolation).await;
        self.events.step("check captured volumes", &self.plan.site);
        let looked = self.look_at_volumes(end).await;
        problems.extend(self.problems(end));
        problems.extend(self.note_looked(end, &looked).await);
        let unchanged = looked.is_ok_and(|all| all.iter().all(|(_, _, found)| found.is_ok()));
        let store = &self.appliance.store;
        let report = self.assemble(network, unchanged, problems);
        store.put_report(&report.session, &report).await?;
        making::replace_file(
            &report.folder.join("report.json"),
            &serde_json::to_vec_pretty(&report)?,
        )?;
        Ok(report)
    }

    /// A machine that was ready must still run; each gets its picture and, when
    /// it failed, its console's last lines.
    async fn look_again(&mut self) {
        for index in 0..self.nodes.len() {
            let standing = self.nodes[index].standing;
            if matches!(standing, Standing::Waiting | Standing::Blocked) {
                self.reports[index].console = None;
                continue;
            }
            if standing == Standing::Ready {
                self.still_ready(index).await;
            }
            if self.reports[index].screenshot.is_none() {
                self.photograph(index).await;
            }
            if self.nodes[index].standing != Standing::Ready {
                self.reports[index].console_tail = tail(&self.plan.machines[index].console);
            }
        }
    }

    async fn still_ready(&mut self, index: usize) {
        let domain = &self.plan.machines[index].domain;
        let reason = match self.means.hypervisor.state(domain).await {
            Ok(DomainState::Running) => return,
            Ok(DomainState::Paused) => PAUSED.to_owned(),
            Ok(DomainState::Ended | DomainState::Absent) => {
                "it was ready, but its domain ended during the session".to_owned()
            }
            Err(error) => format!("it was ready, but libvirt does not tell its state: {error}"),
        };
        self.failed(index, reason).await;
        self.reports[index].ok = false;
    }

    /// What the switch saw, and what could not be learned from it.
    async fn network(
        &self,
        isolation: anyhow::Result<IsolationLine>,
    ) -> (NetworkReport, Vec<String>) {
        let mut problems = Vec::new();
        let mut report = self.counters().await.unwrap_or_else(|error| {
            problems.push(format!("the switch did not tell what it saw: {error}"));
            NetworkReport::default()
        });
        match isolation {
            Ok(line) => report.isolation = line,
            Err(error) => problems.push(format!("the proof of isolation broke off: {error:#}")),
        }
        problems.extend(isolation_problems(&report.isolation, self.plan.mode));
        (report, problems)
    }

    /// The switch may just be starting again, so it is asked a few times.
    async fn counters(&self) -> Result<NetworkReport, ClientError> {
        let mut tries = 0;
        loop {
            let asked = self.ask_switch().await;
            tries += 1;
            if asked.is_ok() || tries == SWITCH_TRIES {
                return asked;
            }
            tokio::time::sleep(SWITCH_PAUSE).await;
        }
    }

    async fn ask_switch(&self) -> Result<NetworkReport, ClientError> {
        supervise::note(&self.means.client, &self.wire).await?;
        let wire = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(wire.report())
    }

    fn problems(&self, end: End) -> Vec<String> {
        let mut problems = Vec::new();
        if end == End::Stopped {
            problems.push("the session was stopped before all machines were ready; captured volumes were looked at, but not read again".to_owned());
        }
        for report in &self.reports {
            if report.outcome != Outcome::Ready {
                let reason = report.reason.as_deref().unwrap_or("it was not ready yet");
                problems.push(format!("machine `{}`: {reason}", report.name));
            }
        }
        problems
    }

    /// Who stops a session wants it gone now, not after hours of reading: then
    /// size and time of change have to do.
    async fn look_at_volumes(&self, end: End) -> Result<Vec<Looked>, JoinError> {
        let (plan, trees) = (self.plan.clone(), self.appliance.host.trees_dir());
        let (events, site) = (self.events.clone(), self.plan.site.clone());
        let check = move || {
            let progress =
                |done, total| events.progress("check captured volumes", &site, done, total);
            look_at_volumes(&plan, end, &trees, &progress)
        };
        tokio::task::spawn_blocking(check).await
    }

    /// No session starts on a damaged volume any more, and one that was read is
    /// not due for a while.
    async fn note_looked(&self, end: End, looked: &Result<Vec<Looked>, JoinError>) -> Vec<String> {
        let looked = match looked {
            Ok(looked) => looked,
            Err(error) => return vec![format!("the captured volumes were not looked at: {error}")],
        };
        let mut problems = Vec::new();
        for (path, volume, found) in looked {
            let noted = match found {
                Ok(()) if end == End::Stopped => continue,
                Ok(()) => self.appliance.note_intact(path, volume).await,
                Err(error) => {
                    tracing::error!(%error, "captured volume changed");
                    problems.push(error.to_string());
                    self.appliance.note_changed(path, volume, error).await
                }
            };
            if let Err(error) = noted {
                tracing::error!(
                    error = format!("{error:#}"),
                    "what a reading found was not recorded"
                );
            }
        }
        problems
    }

    fn assemble(
        self,
        network: NetworkReport,
        sources_unchanged: bool,
        problems: Vec<String>,
    ) -> Report {
        let measured: Vec<_> = self
            .reports
            .iter()
            .map(|report| Some(report.ready_s? - report.started_s?))
            .collect();
        let (critical_path_s, chain) = schedule::critical_path(&self.nodes, &measured);
        let rta_s = self
            .reports
            .iter()
            .filter_map(|report| report.ready_s)
            .fold(0.0, f64::max);
        let plan = &self.plan;
        let tcg = plan.verdict.accelerator == Accelerator::Tcg;
        Report {
            site: plan.site.clone(),
            session: plan.id.clone(),
            mode: plan.mode,
            accelerator: plan.verdict.accelerator,
            accelerator_reason: plan.verdict.reason.clone(),
            isolation_note: tcg.then(|| NO_ISOLATION.to_owned()),
            ok: problems.is_empty(),
            problems,
            rta_s: rounded(rta_s),
            critical_path_s: rounded(critical_path_s),
            rta_over_critical_path: if critical_path_s > 0.0 {
                rounded(rta_s / critical_path_s)
            } else {
                0.0
            },
            limiting_machines: chain
                .iter()
                .map(|index| self.nodes[*index].name.clone())
                .collect(),
            plan: plan.order.clone(),
            warnings: plan.warnings.clone(),
            folder: plan.folder.clone(),
            machines: self.reports,
            network,
            sources_unchanged,
        }
    }
}

fn isolation_problems(isolation: &IsolationLine, mode: Mode) -> Vec<String> {
    let mut problems = Vec::new();
    if isolation.canaries_escaped > 0 || (mode == Mode::Test && isolation.host_interfaces > 0) {
        problems.push("frames of the session could reach the host's network".into());
    }
    if !isolation.control_seen || isolation.canaries_sent == 0 {
        problems.push(
            "isolation is not proven: the control frame was not seen, or no canary was sent".into(),
        );
    }
    problems
}

fn look_at_volumes(
    plan: &SessionPlan,
    end: End,
    trees: &Path,
    progress: &dyn Fn(u64, u64),
) -> Vec<Looked> {
    let disks = plan.machines.iter().flat_map(|planned| {
        let volumes = planned.machine.volumes.iter();
        volumes.zip(planned.disks.iter().map(|disk| &disk.captured))
    });
    // A volume of two machines once.
    let each: BTreeMap<_, _> = disks.collect();
    // No short cut: every volume is looked at, so that each change is told.
    let looked = each.into_iter().map(|(path, volume)| {
        let found = look_at(volume, end, trees, progress);
        (path.clone(), volume.clone(), found)
    });
    looked.collect()
}

fn look_at(
    volume: &CapturedVolume,
    end: End,
    trees: &Path,
    progress: &dyn Fn(u64, u64),
) -> Result<(), ImageError> {
    quick_verify(volume)?;
    if end == End::Stopped {
        return Ok(());
    }
    let reading = Reading {
        progress,
        cancelled: &AtomicBool::new(false),
        // The machines have just filled the page cache, which hides rot.
        effort: Effort::Medium,
    };
    verify(volume, trees, Position::default(), &reading)?.into_result()
}

fn tail(path: &Path) -> Vec<String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let lines = crate::report::console_lines(&bytes);
    let from = lines.len().saturating_sub(TAIL_LINES);
    lines[from..].to_vec()
}

fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::integrity::sample;

    #[test]
    fn a_test_ends_with_a_reading_of_every_byte_and_a_stop_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let volume = sample::volume(folder.path());
        let trees = folder.path().join("trees");
        let look = |end| look_at(&volume, end, &trees, &|_, _| {});
        look(End::Settled).unwrap();
        sample::rot(&volume, 2 << 20);
        let found = look(End::Settled).unwrap_err();
        assert!(matches!(found, ImageError::Changed { .. }), "{found}");
        look(End::Stopped).unwrap();
    }

    #[test]
    fn what_the_page_cache_holds_does_not_hide_rot_on_the_medium() {
        let folder = tempfile::tempdir().unwrap();
        let Some(medium) = sample::Medium::new(folder.path()) else {
            return;
        };
        let device = &medium.volume.path;
        let before = std::fs::read(device).unwrap();
        sample::rot(&medium.below, 2 << 20);
        // The control: who reads through the cache sees nothing.
        assert!(std::fs::read(device).unwrap() == before);
        let trees = folder.path().join("trees");
        let found = look_at(&medium.volume, End::Settled, &trees, &|_, _| {});
        assert!(
            matches!(found, Err(ImageError::Changed { .. })),
            "{found:?}"
        );
    }
}
