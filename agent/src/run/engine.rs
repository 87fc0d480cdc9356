//! The one task that owns the agent's state. It waits for an event, changes its state, starts what
//! follows; nothing in it takes long.

mod acting;
mod leasing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use rcgen::KeyPair;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::actions::Executor;
use super::clock;
use super::config::{Config, ConfigError, Loaded, Places};
use super::event::{Event, Way};
use super::inventory;
use super::join::request;
use super::keep::{self, KeepError};
use super::lease::Lease;
use super::link::Link;
use super::log::Chain;
use super::peer::Peers;
use super::results::Results;
use super::watch::Watch;
use super::watchdog::{Leash, WatchdogError};
use crate::profile::{Fence, Filled, ValueError, fill};
use crate::tls::Identity;
use crate::wire::{
    Certified, FromAgent, FromPeer, Hello, PROTOCOL, Part, Peer, ProfileId, Report, Serving,
    ToAgent, Values, Welcome,
};

/// Reports that wait for the link to come back: with one every 30 s, for half an hour.
const WAITING_REPORTS: usize = 60;
const DEFAULT_SILENCE: Duration = Duration::from_secs(20);
const SHORTEST_SILENCE: Duration = Duration::from_secs(1);

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its folders.
    #[error("failed to make the agent's folders")]
    Places(#[source] std::io::Error),
    /// Another one runs.
    #[error("another agent runs with this state folder already")]
    Twice,
    /// It never joined.
    #[error(
        "this host has not joined a control centre yet: `lifeboat-agent join --centre HOST:PORT --token TOKEN`"
    )]
    NotJoined,
    /// Kept state.
    #[error("failed to read the agent's state")]
    State(#[source] KeepError),
    /// Settings.
    #[error("failed to use the settings")]
    Config(#[source] ConfigError),
    /// Values for the fence.
    #[error(
        "failed to put the fence together: it has to work without the control centre, so its parameters are set in agent.toml"
    )]
    Fence(#[source] ValueError),
    /// The watchdog.
    #[error("failed to have a watchdog: without one this host must not serve")]
    Watchdog(#[source] WatchdogError),
    /// The port for the other agent.
    #[error("failed to listen for the other agent at {address}")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Signals.
    #[error("failed to listen to signals")]
    Signals(#[source] std::io::Error),
}

/// Runs until SIGTERM. The application goes on, under the watchdog.
pub async fn run(places: Places, config: Config) -> Result<(), RunError> {
    places.make().map_err(RunError::Places)?;
    let lock = std::fs::File::create(places.state.join("lock")).map_err(RunError::Places)?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|_| RunError::Twice)?;
    // Of an earlier start; numbers of processes are given out again.
    for mark in std::fs::read_dir(places.groups())
        .into_iter()
        .flatten()
        .flatten()
    {
        let _ = std::fs::remove_file(mark.path());
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let (mut engine, mut events) = Engine::start(places, config).await?;
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = sleep_until(engine.wakes()) => None,
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
        };
        match event {
            Some(event) => engine.happen(event),
            None => engine.time_passed(),
        }
        engine.lease_goes_on();
    }
}

/// Everything that changes.
struct Engine {
    places: Places,
    config: Config,
    loaded: Option<Arc<Loaded>>,
    fence: Option<Fence>,
    leash: Leash,
    /// Whether the watchdog took the last moment that it was told.
    armed: bool,
    boot: String,
    incarnation: u64,
    identity: watch::Sender<Arc<Identity>>,
    hello: watch::Sender<Hello>,
    silence: watch::Sender<Duration>,
    peer: watch::Sender<Option<Peer>>,
    events: mpsc::Sender<Event>,
    link: Option<mpsc::Sender<FromAgent>>,
    peer_out: Option<mpsc::Sender<FromPeer>>,
    peer_in: Option<mpsc::Sender<FromPeer>>,
    part: Option<Part>,
    lease: Option<Lease>,
    results: Results,
    acting: Option<acting::Running>,
    waiting: VecDeque<crate::wire::ActionRequest>,
    resuming: Option<tokio::task::AbortHandle>,
    watch: Watch,
    report_every: Duration,
    inventory_every: Duration,
    next_report: Instant,
    next_inventory: Instant,
    again: Option<(Instant, leasing::Again)>,
    number: u64,
    waiting_reports: VecDeque<Report>,
    renewal_asked: Option<Instant>,
}

impl Engine {
    async fn start(
        places: Places,
        config: Config,
    ) -> Result<(Self, mpsc::Receiver<Event>), RunError> {
        let identity: Identity = keep::read(&places.identity())
            .map_err(RunError::State)?
            .ok_or(RunError::NotJoined)?;
        let address: String = keep::read(&places.centre())
            .map_err(RunError::State)?
            .ok_or(RunError::NotJoined)?;
        let loaded = config
            .load_profile()
            .map_err(RunError::Config)?
            .map(Arc::new);
        let fence = own_fence(loaded.as_deref(), &config.parameters).map_err(RunError::Fence)?;
        let program = std::env::current_exe().map_err(RunError::Places)?;
        let mut leash = Leash::new(&places, program);
        if let Some(fence) = &fence {
            leash.prepare(fence).map_err(RunError::Watchdog)?;
        }
        let listener = match &config.peer_listen {
            Some(address) => Some(TcpListener::bind(address).await.map_err(|source| {
                let address = address.clone();
                RunError::Listen { address, source }
            })?),
            None => None,
        };
        let boot = clock::boot_id();
        let incarnation = fastrand::Rng::new().u64(..) ^ clock::unix();
        let hello = Hello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            boot: boot.clone(),
            incarnation,
            profile: loaded.as_ref().map(|loaded| ProfileId {
                name: loaded.profile.name.clone(),
                hash: loaded.hash.clone(),
            }),
            peer_port: listener
                .as_ref()
                .and_then(|one| one.local_addr().ok())
                .map(|one| one.port()),
            lease: keep::read(&places.lease()).map_err(RunError::State)?,
        };
        let part: Option<Part> = keep::read(&places.part()).map_err(RunError::State)?;
        let results = Results::open(places.results()).map_err(RunError::State)?;
        let (events, received) = mpsc::channel(256);
        let now = Instant::now();
        let mut engine = Self {
            places,
            config,
            loaded,
            fence,
            leash,
            armed: false,
            boot,
            incarnation,
            identity: watch::Sender::new(Arc::new(identity)),
            hello: watch::Sender::new(hello),
            silence: watch::Sender::new(DEFAULT_SILENCE),
            peer: watch::Sender::new(None),
            events,
            link: None,
            peer_out: None,
            peer_in: None,
            part: None,
            lease: None,
            results,
            acting: None,
            waiting: VecDeque::new(),
            resuming: None,
            watch: Watch::default(),
            report_every: Duration::from_secs(30),
            inventory_every: Duration::from_secs(3600),
            next_report: now,
            next_inventory: now + Duration::from_secs(5),
            again: None,
            number: 0,
            waiting_reports: VecDeque::new(),
            renewal_asked: None,
        };
        if let Some(part) = part {
            engine.take_part(part)?;
        }
        engine.speak(address, listener);
        Ok((engine, received))
    }

    /// Starts the tasks that hold connections.
    fn speak(&self, address: String, listener: Option<TcpListener>) {
        let link = Link {
            address,
            identity: self.identity.subscribe(),
            hello: self.hello.subscribe(),
            silence: self.silence.subscribe(),
            events: self.events.clone(),
        };
        tokio::spawn(link.keep());
        let peers = Peers {
            identity: self.identity.subscribe(),
            peer: self.peer.subscribe(),
            silence: self.silence.subscribe(),
            events: self.events.clone(),
        };
        tokio::spawn(peers.clone().dial());
        if let Some(listener) = listener {
            tokio::spawn(peers.listen(listener));
        }
    }

    fn wakes(&self) -> Instant {
        let mut wakes = self.next_report.min(self.next_inventory);
        if let Some((again, _)) = self.again {
            wakes = wakes.min(again);
        }
        if let Some(lease) = &self.lease {
            wakes = wakes.min(Instant::now() + lease.wakes().saturating_sub(clock::now()));
        }
        wakes
    }

    fn time_passed(&mut self) {
        let now = Instant::now();
        if let Some(lease) = &mut self.lease
            && clock::now() >= lease.wakes()
        {
            lease.tick(clock::now());
        }
        if let Some((_, again)) = self.again.take_if(|(at, _)| *at <= now) {
            self.try_again(again);
        }
        if now >= self.next_report {
            self.next_report = now + self.report_every;
            self.report();
            self.renew();
        }
        if now >= self.next_inventory {
            self.next_inventory = now + self.inventory_every;
            self.count();
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::LinkUp(welcome, outbox) => self.link_up(*welcome, outbox),
            Event::LinkDown => self.link = None,
            Event::Heard(word) => self.heard(*word),
            Event::PeerUp(way, outbox) => self.peer_up(way, outbox),
            Event::PeerHeard(message) => self.peer_heard(message),
            Event::Acted(result) => self.acted(*result),
            Event::Resumed(result) => self.resumed(result),
            Event::Fenced(result) => self.fenced(result),
            Event::Seen(metrics) => self.seen(metrics),
            Event::Counted(inventory) => self.say(FromAgent::Inventory(inventory)),
        }
    }

    fn link_up(&mut self, welcome: Welcome, outbox: mpsc::Sender<FromAgent>) {
        self.link = Some(outbox);
        self.watch.heard_time(welcome.time);
        self.settle(welcome);
        while let Some(report) = self.waiting_reports.pop_front() {
            self.say(FromAgent::Report(report));
        }
        self.meet();
        self.renew();
    }

    fn peer_up(&mut self, way: Way, outbox: mpsc::Sender<FromPeer>) {
        match way {
            Way::Out => self.peer_out = Some(outbox),
            Way::In => self.peer_in = Some(outbox),
        }
        self.meet();
    }

    /// Whoever came may renew the lease.
    fn meet(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.meet(clock::now());
        }
    }

    fn settle(&mut self, welcome: Welcome) {
        self.report_every = welcome.report_every.max(Duration::from_millis(100));
        self.inventory_every = welcome.inventory_every.max(Duration::from_secs(1));
        self.next_report = self.next_report.min(Instant::now() + self.report_every);
        self.next_inventory = self
            .next_inventory
            .min(Instant::now() + self.inventory_every);
        let Some(part) = welcome.part else { return };
        let lasting = without_first(&part);
        if self.part.as_ref() == Some(&lasting) {
            return;
        }
        let kept = keep::write(&self.places.part(), &lasting);
        if let Err(error) = kept
            .map_err(RunError::State)
            .and_then(|()| self.take_part(part))
        {
            tracing::error!(error = %Chain(&error), "the part in the application is not taken up");
        }
    }

    fn heard(&mut self, word: ToAgent) {
        match word {
            ToAgent::Act(request) => self.asked(request),
            ToAgent::Lease(message) => self.centre_heard(message),
            ToAgent::Renewed(certified) => self.renewed(certified),
            ToAgent::Settings(welcome) => self.settle(*welcome),
            ToAgent::Welcome(_)
            | ToAgent::Joined(_)
            | ToAgent::Refused(_)
            | ToAgent::Ping(_)
            | ToAgent::Pong(_) => {}
        }
    }

    /// Says something to the control centre; what cannot be said now is said again by whoever
    /// needs it.
    fn say(&mut self, word: FromAgent) {
        if let Some(link) = &self.link
            && let Err(error) = link.try_send(word)
        {
            tracing::debug!(%error, "not said to the control centre");
        }
    }

    fn report(&mut self) {
        let metrics = self.watch.take();
        self.number += 1;
        let report = Report {
            number: self.number,
            time: clock::unix(),
            boot: self.boot.clone(),
            serving: self.serving(),
            metrics,
        };
        match self.link {
            Some(_) => self.say(FromAgent::Report(report)),
            None => {
                self.waiting_reports.push_back(report);
                if self.waiting_reports.len() > WAITING_REPORTS {
                    self.waiting_reports.pop_front();
                }
            }
        }
        let serves = self.may_serve();
        let values = self.values(&Values::new()).unwrap_or_default();
        self.watch.look(
            self.loaded.as_ref(),
            &values,
            serves,
            self.report_every,
            &self.events,
        );
    }

    fn seen(&mut self, metrics: Vec<crate::wire::Metric>) {
        let runs = |one: &crate::wire::Metric| one.name.starts_with("service.") && one.value > 0.0;
        if metrics.iter().any(runs)
            && let Some(lease) = &mut self.lease
        {
            lease.seen_running(clock::now());
        }
        self.watch.keep(metrics);
    }

    fn serving(&self) -> Serving {
        match &self.lease {
            Some(lease) => lease.serving(clock::now()),
            None => Serving {
                epoch: None,
                lease_left_ms: 0,
                wanted: false,
                cannot_stop: false,
                renews: None,
            },
        }
    }

    fn may_serve(&self) -> bool {
        self.lease
            .as_ref()
            .is_none_or(|lease| lease.may_serve(clock::now()))
    }

    fn count(&mut self) {
        if self.link.is_none() {
            // Soon after the link is back.
            self.next_inventory =
                Instant::now() + Duration::from_secs(30).min(self.inventory_every);
            return;
        }
        let (loaded, events) = (self.loaded.clone(), self.events.clone());
        let values = self.values(&Values::new()).unwrap_or_default();
        tokio::spawn(async move {
            let inventory = inventory::take(loaded.as_deref(), &values).await;
            let _ = events.send(Event::Counted(Box::new(inventory))).await;
        });
    }

    /// Asks for a new certificate when half the life of the present one is over.
    fn renew(&mut self) {
        let identity = self.identity.borrow().clone();
        let asked = self
            .renewal_asked
            .is_some_and(|at| at.elapsed() < Duration::from_secs(10));
        if clock::unix() < identity.renewal() || asked || self.link.is_none() {
            return;
        }
        let made = KeyPair::from_pem(&identity.key).map(|key| request(&key));
        match made {
            Ok(Ok(request)) => {
                self.renewal_asked = Some(Instant::now());
                self.say(FromAgent::Renew { request });
            }
            _ => tracing::error!("no request for a new certificate can be made: join again"),
        }
    }

    fn renewed(&mut self, certified: Certified) {
        let key = self.identity.borrow().key.clone();
        let identity = Identity { certified, key };
        if let Err(error) = crate::tls::dials(&identity) {
            tracing::error!(error = %Chain(&error), "the new certificate cannot be used");
            return;
        }
        match keep::write(&self.places.identity(), &identity) {
            Ok(()) => {
                tracing::info!(expires = identity.certified.expires, "a new certificate");
                self.renewal_asked = None;
                self.identity.send_replace(Arc::new(identity));
            }
            Err(error) => {
                tracing::error!(error = %Chain(&error), "the new certificate is not kept")
            }
        }
    }

    /// Values for the profile, those of one request before the others.
    fn values(&self, sent: &Values) -> Result<Filled, ValueError> {
        let Some(loaded) = &self.loaded else {
            return Ok(Filled::default());
        };
        let mut own = Values::new();
        let mut all = Values::new();
        if let Some(part) = &self.part {
            own.insert("application".to_owned(), part.application.clone());
            own.insert("side".to_owned(), part.side.to_string());
            all = part.values.clone();
        }
        if let Some(lease) = &self.lease {
            own.insert("epoch".to_owned(), lease.newest().0.to_string());
        }
        all.extend(sent.clone());
        fill(&loaded.profile, &own, &self.config.parameters, &all)
    }

    fn executor(&self, sent: &Values, asked_in: String) -> Result<Executor, String> {
        let loaded = self.loaded.clone();
        let loaded = loaded.ok_or("this host has no profile: name one in agent.toml")?;
        Ok(Executor {
            loaded,
            values: self.values(sent).map_err(|error| error.to_string())?,
            marks: self.places.groups(),
            asked_in,
        })
    }
}

/// A part without its first word on the lease, which counts once: an agent that lost its record
/// must not find that word on its disk again.
fn without_first(part: &Part) -> Part {
    let mut part = part.clone();
    if let Some(lease) = &mut part.lease {
        lease.first = None;
    }
    part
}

/// The fence with this host's own values.
fn own_fence(loaded: Option<&Loaded>, here: &Values) -> Result<Option<Fence>, ValueError> {
    let Some(Loaded { profile, .. }) = loaded else {
        return Ok(None);
    };
    let Some(fence) = &profile.fence else {
        return Ok(None);
    };
    let values = fill(profile, &Values::new(), here, &Values::new())?;
    let commands = fence.commands.iter().map(|argv| values.all(argv));
    Ok(Some(Fence {
        commands: commands.collect::<Result<_, _>>()?,
        ..fence.clone()
    }))
}
