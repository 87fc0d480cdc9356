//! Meets agents: one listener, one task for each connection, a table of who is there.

mod links;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lifeboat_agent::ca::{Arrival, Guest, Reception};
use lifeboat_agent::tls::ConnectionError;
use lifeboat_agent::wire::{
    FromAgent, Hello, LeasePart, PROTOCOL, Part, Peer, Refusal, ToAgent, Welcome,
};
use lifeboat_failover::Side;
use lifeboat_failover::authority::AgentRecord;
use lifeboat_failover::process::Actor;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;

pub(crate) use links::Links;

use crate::application::Application;
use crate::centre::{ApplicationHandle, Centre};
use crate::clock;
use crate::error::{CentreError, Chain};
use crate::event::What;
use crate::observation::{Heard, Told};
use crate::state::Order;
use crate::store::Store;

/// Connections at once; more wait in the kernel.
const CONNECTIONS: usize = 1024;
/// The reception's own certificate lasts for 90 days.
const REOPEN: Duration = Duration::from_secs(30 * 24 * 3600);
/// Of an agent without a part in an application.
const SILENCE: Duration = Duration::from_secs(20);
const SHORTEST_SILENCE: Duration = Duration::from_secs(1);
/// Where agents listen for each other, unless the application's file says otherwise.
pub(crate) const PEER_PORT: u16 = 7444;

type Desk = Arc<Reception<Store>>;

/// Meets everybody who comes, until the control centre closes.
pub(crate) async fn meet(centre: Centre, listener: TcpListener, desk: Desk) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let (mut desk, mut opened) = (desk, Instant::now());
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if opened.elapsed() > REOPEN {
            match open(&centre).await {
                Ok(fresh) => (desk, opened) = (fresh, Instant::now()),
                Err(error) => {
                    tracing::error!(error = %Chain(&error), "the reception keeps its old certificate")
                }
            }
        }
        let (visited, desk) = (centre.clone(), desk.clone());
        centre.spawn(async move {
            let _place = place;
            visit(visited, desk, stream).await;
        });
    }
}

/// Opens the reception with a fresh certificate of its own.
pub(crate) async fn open(centre: &Centre) -> Result<Desk, CentreError> {
    let ca = centre.load_ca().await?;
    Ok(Arc::new(Reception::open(
        ca,
        centre.store().clone(),
        SystemTime::now(),
    )?))
}

async fn visit(centre: Centre, desk: Desk, stream: TcpStream) {
    let from = stream.peer_addr().ok();
    match desk.meet(stream).await {
        Ok(Arrival::Joined { host }) => {
            tracing::info!(host, "an agent joined");
            let kept = centre.store().audit(&host, "join", &host, "").await;
            if let Err(error) = kept {
                tracing::error!(error = %Chain(&error), "the join is not in the audit trail");
            }
        }
        Ok(Arrival::Agent(guest)) => {
            let host = guest.host.clone();
            if let Err(error) = Connection::serve(centre, desk, *guest).await {
                tracing::info!(host, error = %Chain(&error), "a connection ended");
            }
        }
        Err(error) => {
            tracing::warn!(from = ?from, error = %Chain(&error), "somebody was not let in");
        }
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the connection is over")]
    Connection(#[from] ConnectionError),
    #[error("the agent was turned away")]
    Refused(#[source] Refusal),
    #[error("a newer connection of the same host is used")]
    Replaced,
    #[error("it could not be prepared")]
    Centre(#[from] CentreError),
}

/// One connection in use.
struct Connection {
    centre: Centre,
    desk: Desk,
    host: Arc<str>,
    number: u64,
    key: lifeboat_agent::ca::KeyHash,
    part: Option<(Arc<ApplicationHandle>, Actor)>,
}

impl Connection {
    async fn serve(centre: Centre, desk: Desk, guest: Guest) -> Result<(), Ended> {
        let Guest {
            host,
            key,
            hello,
            mut sender,
            mut receiver,
        } = guest;
        let part = centre.part_of(&host);
        let silence = part.as_ref().map_or(SILENCE, |(handle, _)| silence(handle));
        let number = centre.links().number();
        let seat = centre.links().sit_down(&host, number, &hello, silence / 2);
        if let Err(refusal) = seat.await {
            let refused = refusal.clone();
            sender.send(&ToAgent::Refused(refusal), silence).await?;
            sender.close().await;
            return Err(Ended::Refused(refused));
        }
        let connection = Self {
            host: host.as_str().into(),
            centre,
            desk,
            number,
            key,
            part,
        };
        let _leave = Leave(&connection);
        let welcome = connection.welcome(&hello).await?;
        sender
            .send(&ToAgent::Welcome(Box::new(welcome)), silence)
            .await?;
        let mut outbox = connection
            .centre
            .links()
            .arrive(&host, number, Arc::new(hello))
            .ok_or(Ended::Replaced)?;
        connection.came().await;
        let mut last_heard = Instant::now();
        loop {
            let say = tokio::select! {
                () = tokio::time::sleep_until(last_heard + silence) => {
                    return Err(ConnectionError::Silent(silence).into());
                }
                word = outbox.recv() => Some(word.ok_or(Ended::Replaced)?),
                word = receiver.receive::<FromAgent>(silence) => {
                    last_heard = Instant::now();
                    connection.hear(word?).await?
                }
            };
            if let Some(word) = say {
                sender.send(&word, silence).await?;
            }
        }
    }

    async fn welcome(&self, hello: &Hello) -> Result<Welcome, CentreError> {
        let Some((handle, actor)) = &self.part else {
            return Ok(welcome_of(None));
        };
        let application = handle.application();
        let mut part = part_of(&application, *actor);
        if let (Some(part), Actor::Application(side)) = (&mut part, actor)
            && let Some(lease) = &mut part.lease
        {
            lease.first = self.first_word(handle, *side, hello).await?;
        }
        let mut welcome = welcome_of(part);
        welcome.report_every = application.report_every;
        welcome.inventory_every = application.inventory_every;
        Ok(welcome)
    }

    /// With what an agent begins that never wrote anything down: the side that serves holds the
    /// epoch. Given once, and written down before it is given.
    async fn first_word(
        &self,
        handle: &ApplicationHandle,
        side: Side,
        hello: &Hello,
    ) -> Result<Option<AgentRecord>, CentreError> {
        let record = handle.authority();
        let serves = record.active == side && record.switching.is_none();
        if hello.lease.is_some() || !serves {
            return Ok(None);
        }
        let name = &handle.application().name;
        let store = self.centre.store();
        let given = store.give_first_word(name, &self.host, hello.incarnation);
        if !given.await? {
            tracing::warn!(
                host = &*self.host,
                "the agent lost its record: it gets a new epoch"
            );
            handle.order(Order::Forgot(side)).await;
            return Ok(None);
        }
        Ok(Some(AgentRecord {
            serves: Some(record.grantor.epoch),
            ..AgentRecord::default()
        }))
    }

    async fn came(&self) {
        self.tell(true);
        if let Some((handle, _)) = &self.part {
            handle.order(Order::Linked).await;
        }
    }

    fn tell(&self, there: bool) {
        let application = self.part.as_ref().map(|(handle, _)| handle.name());
        let host = self.host.to_string();
        let what = What::Agent { host, there };
        self.centre.events().tell(application.as_deref(), what);
    }

    /// What follows from a word of the agent.
    async fn hear(&self, word: FromAgent) -> Result<Option<ToAgent>, Ended> {
        self.centre.links().heard(&self.host, self.number);
        match word {
            FromAgent::Ping(number) => return Ok(Some(ToAgent::Pong(number))),
            FromAgent::Pong(_) => {}
            FromAgent::Lease(message) => {
                if let Some((handle, Actor::Application(side))) = &self.part {
                    let side = *side;
                    handle.order(Order::Lease { side, message }).await;
                }
            }
            FromAgent::Result(result) => self.centre.links().result(result),
            FromAgent::Report(report) => {
                self.centre.links().serves(&self.host, report.serving);
                if let Some(heard) = self.heard(report) {
                    self.centre.told(Told::Report(heard));
                }
            }
            FromAgent::Inventory(inventory) => {
                if let Some(heard) = self.heard(*inventory) {
                    self.centre.told(Told::Inventory(Box::new(heard)));
                }
            }
            FromAgent::Renew { request } => {
                let answer = self.desk.renew(&self.host, self.key, &request).await;
                return answer
                    .map(Some)
                    .map_err(|error| Ended::Centre(error.into()));
            }
            FromAgent::Join(_) | FromAgent::Hello(_) => {
                let what = "that was said already".to_owned();
                return Err(Ended::Refused(Refusal::Senseless { what }));
            }
        }
        Ok(None)
    }

    fn heard<T>(&self, word: T) -> Option<Heard<T>> {
        let (handle, actor) = self.part.as_ref()?;
        Some(Heard {
            application: handle.name(),
            actor: *actor,
            host: self.host.clone(),
            word,
        })
    }
}

/// However a connection ends, its seat becomes free.
struct Leave<'a>(&'a Connection);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let connection = self.0;
        let links = connection.centre.links();
        if links.leave(&connection.host, connection.number) {
            connection.tell(false);
            if let Some((handle, _)) = &connection.part {
                handle.order_soon(Order::Unlinked);
            }
        }
    }
}

fn silence(handle: &ApplicationHandle) -> Duration {
    let length = handle.application().terms.length;
    length.clamp(SHORTEST_SILENCE, SILENCE)
}

fn welcome_of(part: Option<Part>) -> Welcome {
    Welcome {
        protocol: PROTOCOL,
        time: clock::unix(),
        report_every: Duration::from_secs(30),
        inventory_every: Duration::from_secs(3600),
        part,
    }
}

/// The part of an actor in an application, without a first word.
pub(crate) fn part_of(application: &Application, actor: Actor) -> Option<Part> {
    let side = actor.side()?;
    let host = application.host(actor)?;
    let lease = matches!(actor, Actor::Application(_)).then(|| {
        let other = &application.side(side.other()).host;
        let port = other.peer_port.unwrap_or(PEER_PORT);
        LeasePart {
            terms: application.terms,
            peer: Some(Peer {
                host: other.name.clone(),
                address: std::net::SocketAddr::new(other.address, port).to_string(),
            }),
            first: None,
        }
    });
    Some(Part {
        application: application.name.clone(),
        side,
        values: host.values.clone(),
        lease,
    })
}
