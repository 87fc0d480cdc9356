//! What the daemon does when asked: the wiring of the crates.

use std::path::{Path, PathBuf};

use anyhow::Context;
use lifeboat_bootorder::{Analysis, MachineFolder, OperatorWord, Options, Order, Verdict};
use lifeboat_images::CapturedVolume;
use tokio::sync::watch;

use super::{Appliance, Missing, StopRequest};
use crate::events::{Event, Events};
use crate::host::QemuUser;
use crate::integrity::DamagedConversion;
use crate::leftovers;
use crate::operator::{Changes, Known, merge};
use crate::prepare::{self, PrepareOptions, PreparedMachine, WhenAbandoned};
use crate::report::{Mode, Report};
use crate::session::plan::Ingredients;
use crate::session::{self, SessionPlan, driver, making};
use crate::site::{Dependency, Machine, Site};
use crate::store::{KeptOrder, SessionRecord, SessionState};

impl Appliance {
    /// Registers a site by its file.
    pub async fn add_site(&self, file: &Path) -> anyhow::Result<Site> {
        let site = Site::load(file)?;
        for other in self.store.sites().await? {
            if other.name == site.name && other.file != site.file {
                tracing::info!(site = site.name, from = %other.file.display(), to = %site.file.display(), "site moves to another file");
            }
        }
        self.store.audit("site add", &site.name).await?;
        self.store.put_site(&site.name, &site.file).await?;
        Ok(site)
    }

    /// Forgets a site, and what only it needed.
    pub async fn remove_site(&self, name: &str) -> anyhow::Result<()> {
        self.store.audit("site remove", name).await?;
        let site = self.site(name).await;
        if !self.store.remove_site(name).await? {
            return Err(Missing(format!("no site is called `{name}`")).into());
        }
        if let Err(error) = leftovers::after_site(self, site.ok().as_ref()).await {
            // The site is forgotten; the next daemon tries again.
            tracing::warn!(error = format!("{error:#}"), "disks of a removed site stay");
        }
        Ok(())
    }

    /// The registered site of that name, read anew from its file.
    pub async fn site(&self, name: &str) -> anyhow::Result<Site> {
        let sites = self.store.sites().await?;
        let Some(record) = sites.iter().find(|site| site.name == name) else {
            let known: Vec<_> = sites.iter().map(|site| site.name.as_str()).collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            return Err(Missing(format!("no site is called `{name}`; known: {known}. Give a site.toml, or register one with `lifeboat site add`")).into());
        };
        Ok(Site::load(&record.file)?)
    }

    /// Imports, inspects and injects every machine of a site.
    pub async fn prepare(
        &self,
        site: &Site,
        options: PrepareOptions,
        events: &Events,
        when_abandoned: WhenAbandoned,
    ) -> anyhow::Result<Vec<PreparedMachine>> {
        self.store.audit("prepare", &site.name).await?;
        prepare::prepare_site(self, site, options, events, when_abandoned).await
    }

    /// The order of a prepared site, with the facts behind it.
    pub async fn analysis(
        &self,
        site: &Site,
        prepared: &[PreparedMachine],
        events: &Events,
    ) -> anyhow::Result<Analysis> {
        events.step("work out boot order", &site.name);
        let folders: Vec<_> = site
            .machines
            .iter()
            .zip(prepared)
            .map(machine_folder)
            .collect();
        let said = self.store.operator_words(&site.name).await?;
        let words = [file_words(site), said.clone()].concat();
        let analysis = tokio::task::spawn_blocking(move || {
            Analysis::new(&folders, &words, &Options::default())
        })
        .await?;
        let order = analysis.order();
        self.keep_order(site, &said, order).await?;
        order
            .warnings
            .iter()
            .for_each(|warning| events.warning(warning.clone()));
        events.done(
            "work out boot order",
            &site.name,
            format!("{} dependencies", order.edges.len()),
        );
        Ok(analysis)
    }

    /// Keeps an order together with what it rests on.
    pub async fn keep_order(
        &self,
        site: &Site,
        said: &[OperatorWord],
        order: &Order,
    ) -> anyhow::Result<()> {
        let basis = basis(site, said)?;
        Ok(self.store.put_order(&site.name, &basis, order).await?)
    }

    /// The order that was worked out last, and whether something changed since.
    pub async fn last_order(&self, site: &Site) -> anyhow::Result<(KeptOrder, bool)> {
        let none = || {
            Missing(format!(
                "no order of site `{}` was worked out yet: `lifeboat order {}` does it, and so does each test",
                site.name, site.name
            ))
        };
        let kept = self.store.order(&site.name).await?.ok_or_else(none)?;
        let now = basis(site, &self.store.operator_words(&site.name).await?)?;
        let stale = kept.basis != now;
        Ok((kept, stale))
    }

    /// Follows the operator's words on the order of a site from now on; returns
    /// what is kept.
    pub async fn keep_operator(
        &self,
        site: &Site,
        changes: &Changes,
    ) -> anyhow::Result<Vec<OperatorWord>> {
        let kept = self.store.operator_words(&site.name).await?;
        let known = Known {
            machines: &site.machine_names(),
            file: &file_words(site),
            kept: &kept,
        };
        let words = merge(known, changes)?;
        self.store.audit("order words", &site.name).await?;
        self.store.put_operator_words(&site.name, &words).await?;
        Ok(words)
    }

    /// Runs a session of a site to its report.
    pub async fn run_session(
        &self,
        site: &Site,
        mode: Mode,
        options: PrepareOptions,
        events: &Events,
    ) -> anyhow::Result<Report> {
        let capabilities = self.hypervisor.capabilities().await?;
        tracing::info!(
            libvirt = capabilities.libvirt_version,
            qemu = capabilities.qemu_version,
            "libvirt"
        );
        let qemu_user = QemuUser::find()
            .context("libvirt's user for QEMU (`libvirt-qemu` or `qemu`) does not exist: install the package libvirt-daemon-system")?;
        session::plan::admit(site, &self.host, self.promised_mib().await?)?;
        // A test that nobody waits for ends; a recovery goes on.
        let when_abandoned = match mode {
            Mode::Test => WhenAbandoned::Cancel,
            Mode::Recovery => WhenAbandoned::GoOn,
        };
        let prepared = self
            .prepare_verified(site, options, events, when_abandoned)
            .await?;
        let order = self.analysis(site, &prepared, events).await?.into_order();
        let verdict = self.verdict().await;
        let host = &self.host;
        let plan = SessionPlan::decide(
            session::new_id(),
            session::unix_ms(),
            &Ingredients {
                site,
                mode,
                verdict,
                prepared: &prepared,
                order: &order,
                host,
                promised_mib: self.promised_mib().await?,
                qemu_user,
            },
        )?;
        self.drive(plan, events).await
    }

    /// Prepares a site and reads what is to be read before it starts. What was
    /// converted here and rotted is converted again, once.
    async fn prepare_verified(
        &self,
        site: &Site,
        options: PrepareOptions,
        events: &Events,
        when_abandoned: WhenAbandoned,
    ) -> anyhow::Result<Vec<PreparedMachine>> {
        let prepared = self.prepare(site, options, events, when_abandoned).await?;
        match self
            .verify_before_boot(captured(site, &prepared), options.verify, events)
            .await
        {
            Err(error) if error.is::<DamagedConversion>() => {}
            verified => return verified.map(|()| prepared),
        }
        let prepared = self.prepare(site, options, events, when_abandoned).await?;
        self.verify_before_boot(captured(site, &prepared), options.verify, events)
            .await?;
        Ok(prepared)
    }

    /// Memory that machines of other sessions may still take, MiB.
    pub async fn promised_mib(&self) -> anyhow::Result<u64> {
        let sessions = self.store.sessions().await?;
        let alive = sessions
            .iter()
            .filter(|record| matches!(record.state, SessionState::Running | SessionState::Kept));
        // A session without a readable plan has no machines that we could count.
        let plans = alive.filter_map(|record| making::read_plan(&self.host, &record.id).ok());
        Ok(plans.map(|plan| plan.untouched_mib(&self.host)).sum())
    }

    async fn drive(&self, plan: SessionPlan, events: &Events) -> anyhow::Result<Report> {
        let id = plan.id.clone();
        let stop = self.register(&id);
        let result = self.drive_registered(plan, events, stop).await;
        self.unregister(&id);
        result
    }

    async fn drive_registered(
        &self,
        plan: SessionPlan,
        events: &Events,
        stop: watch::Receiver<StopRequest>,
    ) -> anyhow::Result<Report> {
        // Registered first, so that an end from now on reaches the session.
        anyhow::ensure!(
            !self.is_ending(),
            "the daemon is ending; nothing was started"
        );
        anyhow::ensure!(
            !events.is_abandoned(),
            "the command that asked for the session is gone; nothing was started"
        );
        let id = &plan.id;
        self.store
            .audit(&format!("session {}", plan.mode.word()), &plan.site)
            .await?;
        self.store.create_session(id, &plan.site, plan.mode).await?;
        making::write_plan(&plan)?;
        events.send(Event::Session { id: id.clone() });
        driver::run(self, plan, events, stop).await
    }

    /// The session with this id.
    pub async fn session(&self, id: &str) -> anyhow::Result<SessionRecord> {
        let sessions = self.store.sessions().await?;
        let unknown = || {
            Missing(format!(
                "no session has the id `{id}`: see `lifeboat session list`"
            ))
        };
        let found = sessions.into_iter().find(|session| session.id == id);
        Ok(found.ok_or_else(unknown)?)
    }

    /// Ends a session, running or kept; says what was done.
    pub async fn stop_session(&self, id: &str) -> anyhow::Result<String> {
        let record = self.session(id).await?;
        self.store.audit("session stop", id).await?;
        if self.stop_active(id) {
            return Ok("it is being stopped".into());
        }
        self.stop_watching(id).await;
        let (store, hypervisor) = (&self.store, &self.hypervisor);
        let is_over = matches!(
            record.state,
            SessionState::Ended | SessionState::Interrupted
        );
        let removed = if is_over {
            session::tear_down(store, hypervisor, id).await?
        } else {
            session::end_session(store, hypervisor, id, "stopped by the operator").await?
        };
        Ok(format!("torn down: {removed} things removed"))
    }
}

fn captured<'a>(
    site: &'a Site,
    prepared: &'a [PreparedMachine],
) -> impl Iterator<Item = (&'a PathBuf, &'a CapturedVolume)> {
    let machines = site.machines.iter().zip(prepared);
    machines.flat_map(|(machine, prepared)| {
        let disks = prepared.disks.iter().map(|disk| &disk.captured);
        machine.volumes.iter().zip(disks)
    })
}

fn machine_folder((machine, prepared): (&Machine, &PreparedMachine)) -> MachineFolder {
    MachineFolder {
        name: machine.name.clone(),
        folder: prepared.folder.clone(),
        addresses: machine.addresses(),
        names: vec![prepared.hostname.clone()]
            .into_iter()
            .filter(|name| !name.is_empty())
            .collect(),
    }
}

/// Hash of what decides about an order, but for the content of the volumes.
fn basis(site: &Site, words: &[OperatorWord]) -> serde_json::Result<String> {
    let all = serde_json::to_vec(&(&site.machines, &site.dependencies, words))?;
    Ok(blake3::hash(&all).to_hex().to_string())
}

fn file_words(site: &Site) -> Vec<OperatorWord> {
    site.dependencies.iter().map(operator_word).collect()
}

fn operator_word(dependency: &Dependency) -> OperatorWord {
    OperatorWord {
        before: dependency.before.clone(),
        after: dependency.after.clone(),
        verdict: Verdict::Pin,
    }
}
