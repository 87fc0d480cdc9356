//! The end of a session: what the machines and the switch show, put into the
//! report.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use lifeboat_network::unanswered::Unanswered;

use super::{Driver, End, IsolationLine, Mode, NetworkReport, Outcome, Report, Standing, schedule};
use crate::accelerator::Accelerator;
use crate::hypervisor::DomainState;
use crate::report::UnansweredLine;
use crate::session::making;
use crate::session::plan::SessionPlan;

/// Lines of a console that a report shows.
const TAIL_LINES: usize = 20;
/// Bytes of a console that are looked at for them.
const TAIL_BYTES: u64 = 16 << 10;

impl Driver<'_> {
    pub(super) async fn report(
        mut self,
        end: End,
        isolation: IsolationLine,
    ) -> anyhow::Result<Report> {
        self.tasks.shutdown().await;
        self.look_again().await;
        let network = self.network(isolation).await?;
        self.events.step("check captured volumes", &self.plan.site);
        let sources_unchanged = self.sources_unchanged().await;
        let store = &self.appliance.store;
        let report = self.assemble(end, network, sources_unchanged);
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
            let state = self
                .means
                .hypervisor
                .state(&self.plan.machines[index].domain)
                .await;
            if standing == Standing::Ready && !matches!(state, Ok(DomainState::Running)) {
                self.failed(
                    index,
                    "it was ready, but its domain ended during the session".into(),
                )
                .await;
                self.reports[index].ok = false;
            }
            if self.reports[index].screenshot.is_none() {
                self.photograph(index).await;
            }
            if self.nodes[index].standing != Standing::Ready {
                self.reports[index].console_tail = tail(&self.plan.machines[index].console);
            }
        }
    }

    async fn network(&self, isolation: IsolationLine) -> anyhow::Result<NetworkReport> {
        let status = self.means.client.status().await?;
        let unanswered = self.means.client.unanswered().await?;
        Ok(NetworkReport {
            frames: status.frames,
            dropped: status.dropped,
            uplink_frames: 0,
            unanswered: unanswered.into_iter().map(unanswered_line).collect(),
            isolation,
        })
    }

    async fn sources_unchanged(&self) -> bool {
        let plan = self.plan.clone();
        let (events, site) = (self.events.clone(), self.plan.site.clone());
        let check = move || {
            let progress =
                |done, total| events.progress("check captured volumes", &site, done, total);
            all_volumes_unchanged(&plan, &progress)
        };
        tokio::task::spawn_blocking(check).await.unwrap_or(false)
    }

    fn assemble(self, end: End, network: NetworkReport, sources_unchanged: bool) -> Report {
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
        let problems = problems(&self, end, &network, sources_unchanged);
        let plan = &self.plan;
        let tcg = plan.verdict.accelerator == Accelerator::Tcg;
        Report {
            site: plan.site.clone(),
            session: plan.id.clone(),
            mode: plan.mode,
            accelerator: plan.verdict.accelerator,
            accelerator_reason: plan.verdict.reason.clone(),
            isolation_note: tcg.then(|| {
                "no isolation: emulated guests are not separated from the host by hardware".into()
            }),
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

fn unanswered_line(asked: Unanswered) -> UnansweredLine {
    UnansweredLine {
        from: asked.from,
        to: asked.to.to_string(),
        protocol: asked.protocol,
        port: asked.port,
        count: asked.count,
    }
}

fn problems(
    driver: &Driver,
    end: End,
    network: &NetworkReport,
    sources_unchanged: bool,
) -> Vec<String> {
    let mut problems = Vec::new();
    if end == End::Stopped {
        problems.push("the session was stopped before all machines were ready".to_owned());
    }
    for report in driver
        .reports
        .iter()
        .filter(|report| report.outcome != Outcome::Ready)
    {
        let reason = report
            .reason
            .clone()
            .unwrap_or_else(|| "not started".into());
        problems.push(format!("machine `{}`: {reason}", report.name));
    }
    if !sources_unchanged {
        problems.push("a captured volume is not what it was at import".into());
    }
    problems.extend(isolation_problems(&network.isolation, driver.plan.mode));
    problems
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

fn all_volumes_unchanged(plan: &SessionPlan, progress: &dyn Fn(u64, u64)) -> bool {
    let never = AtomicBool::new(false);
    let disks = plan.machines.iter().flat_map(|machine| &machine.disks);
    // No short cut: every volume is looked at, so that each change is logged.
    disks.fold(true, |unchanged, disk| {
        let result = lifeboat_images::verify(&disk.captured, progress, &never);
        if let Err(error) = &result {
            tracing::error!(%error, "captured volume changed");
        }
        result.is_ok() && unchanged
    })
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
