//! Sites that are described over the network: drafted from volumes, kept by the
//! appliance.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;

use super::{Appliance, NotNow};
use crate::drafting;
use crate::events::Events;
use crate::leftovers::Drafting;
use crate::session::making::replace_file;
use crate::site::Site;
use crate::uploads::Upload;

impl Appliance {
    /// Drafts a site from the disks of its machines.
    pub async fn draft(
        &self,
        name: &str,
        machines: Vec<Vec<PathBuf>>,
        events: &Events,
    ) -> anyhow::Result<String> {
        let verdict = self.verdict().await;
        let _turn = self.preparing.lock().await;
        let drafting = Arc::new(Drafting::begin(&self.host)?);
        let mut found = Vec::new();
        for disks in machines {
            anyhow::ensure!(
                !events.is_abandoned(),
                "nobody waits for the draft any more"
            );
            let subject = drafting::subject(&disks);
            events.step("inspect", &subject);
            let (host, verdict) = (self.host.clone(), verdict.clone());
            let (drafting, told) = (drafting.clone(), events.clone());
            let look = move || drafting::machines(&host, &verdict, &drafting, disks, &told);
            let some = tokio::task::spawn_blocking(look).await??;
            for machine in &some {
                let what = format!("{}, {}", machine.hostname, machine.operating_system);
                events.done("inspect", &subject, what);
            }
            found.extend(some);
        }
        Ok(crate::site::draft::draft(name, &found))
    }

    /// Registers a site by its text.
    pub async fn add_site_text(&self, text: &str) -> anyhow::Result<Site> {
        let unnamed = self.host.described_site("unnamed");
        // Whoever may not reach a file does not learn either whether it is there.
        let site = Site::parse_with(&unnamed, text, &|volume| self.require_reachable(volume))?;
        let file = self.host.described_site(&site.name);
        let mut known = self.store.sites().await?.into_iter();
        if let Some(other) = known.find(|one| one.name == site.name)
            && other.file != file
        {
            return Err(NotNow(format!(
                "site `{}` is described by `{}`: change it there, or give this one another name",
                site.name,
                other.file.display()
            ))
            .into());
        }
        let folder = file.parent().context("a site's file has a folder")?;
        std::fs::create_dir_all(folder)
            .with_context(|| format!("failed to make `{}`", folder.display()))?;
        replace_file(&file, text.as_bytes())?;
        self.add_site(&file).await
    }

    /// The site that names a volume of this upload.
    pub async fn user_of(&self, upload: &Upload) -> anyhow::Result<Option<String>> {
        let place = self.host.state_dir.join("uploads").join(&upload.id);
        for record in self.store.sites().await? {
            // A site that cannot be read may use it.
            let machines = Site::load(&record.file).map(|site| site.machines);
            let uses = machines.map_or(true, |machines| {
                let mut volumes = machines.iter().flat_map(|machine| &machine.volumes);
                volumes.any(|volume| volume.starts_with(&place))
            });
            if uses {
                return Ok(Some(record.name));
            }
        }
        Ok(None)
    }
}
