//! The way in: what agents tell, and what is made of it for the owners of the applications.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lifeboat_agent::profile::Role;
use lifeboat_agent::wire::{Inventory, Report, UnixMillis};
use lifeboat_failover::Side;
use lifeboat_failover::process::Actor;
use lifeboat_failover::state::State;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::Origin;
use crate::application::Application;
use crate::centre::{ApplicationHandle, Centre};
use crate::clock;
use crate::error::Chain;
use crate::event::What;
use crate::store::StoreError;

/// Something that an agent told, with the part of its host.
#[derive(Debug, Clone)]
pub struct Heard<T> {
    /// The application.
    pub application: Arc<str>,
    /// The part of the host.
    pub actor: Actor,
    /// The host.
    pub host: Arc<str>,
    /// What it told.
    pub word: T,
}

/// What agents tell beside their leases and results.
#[derive(Debug, Clone)]
pub enum Told {
    /// What it sees.
    Report(Heard<Report>),
    /// What is installed.
    Inventory(Box<Heard<Inventory>>),
}

const TIDY: Duration = Duration::from_secs(600);
/// After a switch agents need some rounds until they see what is there now.
const QUIET_ROUNDS: u32 = 4;
const QUIET: Duration = Duration::from_secs(5);
/// Alerts that are over and delivered are kept for so long.
const ALERTS_DAYS: u32 = 400;

fn origin<T>(heard: &Heard<T>) -> Option<Origin> {
    let (side, role) = match heard.actor {
        Actor::Application(side) => (side, Role::Application),
        Actor::Directory(side) => (side, Role::Directory),
        Actor::ControlCentre => return None,
    };
    Some(Origin {
        application: heard.application.to_string(),
        side,
        host: heard.host.to_string(),
        role,
    })
}

/// What is known of an application here.
struct Known {
    application: Arc<Application>,
    /// Until when troubles are expected.
    quiet_until: UnixMillis,
    quiet: bool,
    /// When the way of the users is looked at next, and whether it is being looked at.
    users_at: UnixMillis,
    looking: Arc<AtomicBool>,
}

struct Intake {
    centre: Centre,
    known: BTreeMap<String, Known>,
}

/// Takes in what agents tell until the control centre closes.
pub(crate) async fn run(centre: Centre, mut told: mpsc::Receiver<Told>) {
    let mut intake = Intake {
        centre,
        known: BTreeMap::new(),
    };
    intake.begin().await;
    let mut tidy = tokio::time::interval(TIDY);
    tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let pace = tokio::time::sleep(intake.pace());
        tokio::select! {
            word = told.recv() => match word {
                Some(Told::Report(heard)) => intake.report(&heard).await,
                Some(Told::Inventory(heard)) => intake.inventory(&heard).await,
                None => return,
            },
            () = pace => {}
            _ = tidy.tick() => intake.tidy().await,
        }
        intake.round().await;
    }
}

fn log(what: &str, result: Result<(), StoreError>) {
    if let Err(error) = result {
        tracing::error!(error = %Chain(&error), "{what}");
    }
}

impl Intake {
    async fn begin(&mut self) {
        let alerts = self.centre.alerts().clone();
        self.centre.spawn(async move { alerts.run().await });
        log(
            "what was seen before is not known",
            self.centre.observation().recall(clock::unix()).await,
        );
    }

    /// How often silence is looked for.
    fn pace(&self) -> Duration {
        let every = self
            .known
            .values()
            .map(|known| known.application.report_every);
        let every = every.min().unwrap_or(Duration::from_secs(30));
        (every / 2).clamp(Duration::from_millis(200), Duration::from_secs(10))
    }

    async fn report(&mut self, heard: &Heard<Report>) {
        let Some(origin) = origin(heard) else { return };
        let observation = self.centre.observation();
        let taken = observation.take(&origin, &heard.word, clock::unix()).await;
        match taken {
            Ok(Some(causes)) => self.centre.events().tell(
                Some(&origin.application),
                What::Told {
                    part: "health",
                    detail: serde_json::json!({ "causes": causes }),
                },
            ),
            Ok(None) => {}
            Err(error) => log("a report is not kept", Err(error)),
        }
        self.publish(&origin.application).await;
    }

    async fn inventory(&mut self, heard: &Heard<Inventory>) {
        let Some(origin) = origin(heard) else { return };
        let Ok(handle) = self.centre.handle(&origin.application) else {
            return;
        };
        let profile = self.centre.links().seen(&origin.host);
        let profile = profile.and_then(|seen| seen.hello.profile.clone());
        let active = Some(handle.authority().active);
        let changes = self.centre.changes();
        let taken = changes
            .take(
                &origin,
                &heard.word,
                profile.as_ref(),
                active,
                clock::unix(),
            )
            .await;
        match taken {
            Ok(changes) if !changes.is_empty() => self.centre.events().tell(
                Some(&origin.application),
                What::Told {
                    part: "changes",
                    detail: serde_json::json!({ "host": origin.host, "changes": changes }),
                },
            ),
            Ok(_) => {}
            Err(error) => log("an inventory is not kept", Err(error)),
        }
    }

    /// Keeps step with the applications that there are, and looks for silence.
    async fn round(&mut self) {
        let now = clock::unix();
        let handles = self.centre.all();
        for handle in &handles {
            self.keep_step(handle, now).await;
        }
        let there: Vec<Arc<str>> = handles.iter().map(|handle| handle.name()).collect();
        let gone = self
            .known
            .extract_if(.., |name, _| there.iter().all(|one| **one != **name));
        for (name, _) in gone.collect::<Vec<_>>() {
            self.centre.alerts().set_routes(&name, &Default::default());
            self.centre.changes().forget(&name);
            let forgotten = self.centre.observation().forget(&name, now).await;
            log("an application is not forgotten", forgotten);
        }
        match self.centre.observation().sweep(now).await {
            Ok(changed) => {
                for (application, _) in changed {
                    self.publish(&application).await;
                }
            }
            Err(error) => log("silence is not noted", Err(error)),
        }
    }

    async fn keep_step(&mut self, handle: &ApplicationHandle, now: UnixMillis) {
        let application = handle.application();
        let same = self
            .known
            .get(&application.name)
            .is_some_and(|known| Arc::ptr_eq(&known.application, &application));
        if !same {
            self.centre
                .alerts()
                .set_routes(&application.name, &application.alerts);
            self.centre
                .changes()
                .set_rules(&application.name, &application.changes);
            let observation = self.centre.observation();
            observation
                .set_pace(&application.name, application.report_every)
                .await;
        }
        let snapshot = handle.snapshot();
        let switching = snapshot.state.state.active().is_none() || snapshot.process.is_some();
        let known = self
            .known
            .entry(application.name.clone())
            .or_insert_with(|| Known {
                application: application.clone(),
                quiet_until: 0,
                quiet: false,
                users_at: now,
                looking: Arc::default(),
            });
        known.application = application.clone();
        if switching {
            let rounds = (application.report_every * QUIET_ROUNDS).max(QUIET);
            let rounds = u64::try_from(rounds.as_millis()).unwrap_or(u64::MAX);
            known.quiet_until = now.saturating_add(rounds);
        }
        let quiet = now < known.quiet_until;
        if quiet != known.quiet {
            known.quiet = quiet;
            let observation = self.centre.observation();
            let expected = observation
                .expect_trouble(&application.name, quiet, now)
                .await;
            log("troubles of a switch are told", expected);
        }
        if !quiet {
            self.look_as_users(&application, handle.authority().active, now);
        }
    }

    /// Does what users do, beside everything else.
    fn look_as_users(&mut self, application: &Arc<Application>, active: Side, now: UnixMillis) {
        let Some(known) = self.known.get_mut(&application.name) else {
            return;
        };
        let due = !application.users.checks.is_empty() && now >= known.users_at;
        if !due || known.looking.swap(true, Ordering::AcqRel) {
            return;
        }
        known.users_at = now.saturating_add(u64::from(application.users.every_s) * 1000);
        let (centre, application, looking) = (
            self.centre.clone(),
            application.clone(),
            known.looking.clone(),
        );
        self.centre.spawn(async move {
            let metrics = application.users.look(clock::unix()).await;
            let observation = centre.observation();
            let taken = observation
                .take_from_outside(&application.name, active, &metrics, clock::unix())
                .await;
            log("what users see is not kept", taken.map(drop));
            looking.store(false, Ordering::Release);
        });
    }

    async fn publish(&self, application: &str) {
        let Ok(handle) = self.centre.handle(application) else {
            return;
        };
        let active = handle.authority().active;
        let flows = handle.snapshot().state.state != State::SecondaryEngaged;
        let observation = self.centre.observation();
        let now = clock::unix();
        let mut observed = observation
            .observed(application, (active, flows), now)
            .await;
        // What a switch brings about is no degradation.
        if self.known.get(application).is_some_and(|known| known.quiet) {
            observed.degraded = None;
        }
        self.centre.observed(application, observed).await;
    }

    async fn tidy(&self) {
        // A switch waits for nobody's housekeeping.
        if self.known.values().any(|known| known.quiet) {
            return;
        }
        let now = clock::unix();
        log(
            "old metrics stay",
            self.centre.observation().tidy(now).await,
        );
        let gone = self.centre.alerts().let_go(ALERTS_DAYS, now).await;
        log("old alerts stay", gone);
    }
}
