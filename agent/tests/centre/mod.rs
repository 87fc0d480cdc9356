//! A control centre in small: reception, leases, actions; everything in memory.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use lifeboat_agent::ca::{Arrival, Ca, KeyHash, Reception, Redeemed, Register};
use lifeboat_agent::wire::*;
use lifeboat_failover::Side;
use lifeboat_failover::authority::{AgentRecord, Centre, CentreRecord, Effect, Party};
use lifeboat_failover::lease::{Epoch, Terms};
use lifeboat_failover::process::Action;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// Tokens and keys, in memory.
#[derive(Debug, Default, Clone)]
pub struct Book(Arc<Mutex<BookPages>>);

#[derive(Debug, Default)]
struct BookPages {
    tokens: HashMap<[u8; 32], (String, SystemTime, Option<KeyHash>)>,
    keys: HashMap<String, KeyHash>,
}

impl Book {
    pub fn expect(&self, token: &Token, host: &str, until: SystemTime) {
        let mut pages = self.0.lock().expect("unpoisoned");
        pages
            .tokens
            .insert(token.secret.hash(), (host.to_owned(), until, None));
    }
}

impl Register for Book {
    type Error = Infallible;

    async fn redeem(
        &self,
        token: [u8; 32],
        key: KeyHash,
        now: SystemTime,
    ) -> Result<Redeemed, Infallible> {
        let mut pages = self.0.lock().expect("unpoisoned");
        let Some((host, until, used)) = pages.tokens.get_mut(&token) else {
            return Ok(Redeemed::Unknown);
        };
        if used.is_some_and(|used| used != key) {
            return Ok(Redeemed::Used);
        }
        if now > *until {
            return Ok(Redeemed::Expired);
        }
        *used = Some(key);
        let host = host.clone();
        pages.keys.insert(host.clone(), key);
        Ok(Redeemed::Host(host))
    }

    async fn key_of(&self, host: &str) -> Result<Option<KeyHash>, Infallible> {
        Ok(self.0.lock().expect("unpoisoned").keys.get(host).copied())
    }
}

/// What the test sees and says.
pub struct Small {
    pub address: SocketAddr,
    pub book: Book,
    pub token: Token,
    pub heard: mpsc::UnboundedReceiver<(String, FromAgent)>,
    pub words: mpsc::UnboundedSender<(String, ToAgent)>,
    pub kept: Arc<Mutex<Centre>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// How it behaves.
#[derive(Clone)]
pub struct Manner {
    pub certificates: Duration,
    pub terms: Terms,
    pub first: bool,
    pub port: u16,
    pub ca: Option<Arc<lifeboat_agent::ca::Stored>>,
    pub book: Book,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            certificates: DAY,
            terms: Terms {
                length: Duration::from_secs(2),
                drift_permille: 5,
            },
            first: true,
            port: 0,
            ca: None,
            book: Book::default(),
        }
    }
}

fn now() -> Duration {
    let text = std::fs::read_to_string("/proc/uptime").expect("readable");
    let seconds = text
        .split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .expect("a number");
    Duration::from_secs_f64(seconds)
}

pub async fn open(manner: Manner) -> Small {
    let stored = manner
        .ca
        .clone()
        .unwrap_or_else(|| Arc::new(Ca::make(SystemTime::now()).expect("a CA")));
    let ca = Ca::load(&stored, manner.certificates).expect("the CA");
    let token = ca.token(std::array::from_fn(|_| fastrand::u8(..)));
    let book = manner.book.clone();
    book.expect(
        &token,
        "mail-a",
        SystemTime::now() + Duration::from_secs(600),
    );
    let reception = Arc::new(Reception::open(ca, book.clone(), SystemTime::now()).expect("open"));
    let listener = loop {
        match TcpListener::bind(("127.0.0.1", manner.port)).await {
            Ok(listener) => break listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let address = listener.local_addr().expect("bound");
    let (tell, heard) = mpsc::unbounded_channel();
    let (words, mut to_say) = mpsc::unbounded_channel::<(String, ToAgent)>();
    let desks: Arc<Mutex<HashMap<String, mpsc::UnboundedSender<ToAgent>>>> = Arc::default();
    let centre = Centre::start(manner.terms, CentreRecord::first(), now());
    let centre = Arc::new(Mutex::new(centre));
    let accepting = {
        let (desks, centre) = (desks.clone(), centre.clone());
        tokio::spawn(async move {
            let mut guests = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let (reception, desks, centre) = (reception.clone(), desks.clone(), centre.clone());
                let (tell, manner) = (tell.clone(), manner.clone());
                guests.spawn(async move {
                    let Ok(Arrival::Agent(guest)) = reception.meet(stream).await else {
                        return;
                    };
                    serve(*guest, reception, desks, centre, tell, manner).await;
                });
            }
        })
    };
    let saying = {
        let desks = desks.clone();
        tokio::spawn(async move {
            while let Some((host, word)) = to_say.recv().await {
                if let Some(desk) = desks.lock().expect("unpoisoned").get(&host) {
                    let _ = desk.send(word);
                }
            }
        })
    };
    Small {
        address,
        book,
        token,
        heard,
        words,
        kept: centre,
        tasks: vec![accepting, saying],
    }
}

async fn serve(
    guest: lifeboat_agent::ca::Guest,
    reception: Arc<Reception<Book>>,
    desks: Arc<Mutex<HashMap<String, mpsc::UnboundedSender<ToAgent>>>>,
    centre: Arc<Mutex<Centre>>,
    tell: mpsc::UnboundedSender<(String, FromAgent)>,
    manner: Manner,
) {
    let lifeboat_agent::ca::Guest {
        host,
        key,
        hello,
        mut sender,
        mut receiver,
    } = guest;
    let first = (manner.first && hello.lease.is_none()).then_some(AgentRecord {
        serves: Some(Epoch(1)),
        ..AgentRecord::default()
    });
    let _ = tell.send((host.clone(), FromAgent::Hello(Box::new(hello))));
    let welcome = Welcome {
        protocol: PROTOCOL,
        time: 0,
        report_every: Duration::from_millis(300),
        inventory_every: Duration::from_secs(1),
        part: Some(Part {
            application: "ledger".to_owned(),
            side: Side::Primary,
            values: Values::new(),
            lease: Some(LeasePart {
                terms: manner.terms,
                peer: None,
                first,
            }),
        }),
    };
    let limit = Duration::from_secs(5);
    if sender
        .send(&ToAgent::Welcome(Box::new(welcome)), limit)
        .await
        .is_err()
    {
        return;
    }
    let (desk, mut words) = mpsc::unbounded_channel();
    desks
        .lock()
        .expect("unpoisoned")
        .insert(host.clone(), desk.clone());
    loop {
        tokio::select! {
            word = words.recv() => {
                let Some(word) = word else { return };
                if sender.send(&word, limit).await.is_err() { return }
            }
            word = receiver.receive::<FromAgent>(Duration::from_secs(60)) => {
                let Ok(word) = word else { return };
                match &word {
                    FromAgent::Ping(number) => { let _ = desk.send(ToAgent::Pong(*number)); }
                    FromAgent::Renew { request } => {
                        let answer = reception.renew(&host, key, request).await.expect("a CA");
                        let _ = desk.send(answer);
                    }
                    FromAgent::Lease(message) => {
                        let effects = {
                            let mut centre = centre.lock().expect("unpoisoned");
                            centre.hear(Party::Agent(Side::Primary), *message, now())
                        };
                        for effect in effects {
                            if let Effect::Send(Party::Agent(Side::Primary), message) = effect {
                                let _ = desk.send(ToAgent::Lease(message));
                            }
                        }
                    }
                    _ => {}
                }
                let _ = tell.send((host.clone(), word));
            }
        }
    }
}

impl Small {
    /// Goes away: every connection ends, the port is closed.
    pub async fn close(mut self) -> (Book, u16) {
        for task in self.tasks.drain(..) {
            task.abort();
            let _ = task.await;
        }
        (self.book.clone(), self.address.port())
    }

    /// Waits until an agent says something that counts.
    pub async fn hear<T>(&mut self, mut wanted: impl FnMut(&FromAgent) -> Option<T>) -> T {
        let wait = async {
            loop {
                let (_, word) = self.heard.recv().await.expect("open");
                if let Some(found) = wanted(&word) {
                    return found;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait)
            .await
            .expect("an agent speaks")
    }

    /// Asks for an action until its result is there.
    pub async fn act(&mut self, id: &str, action: Action) -> Outcome {
        let request = ActionRequest {
            id: id.to_owned(),
            action,
            values: Values::new(),
            epoch: None,
        };
        let _ = self
            .words
            .send(("mail-a".to_owned(), ToAgent::Act(request)));
        self.hear(|word| match word {
            FromAgent::Result(result) if result.id == id => Some(result.outcome.clone()),
            _ => None,
        })
        .await
    }
}

/// A host: its folders, its application, its agent.
pub struct Host {
    pub folder: tempfile::TempDir,
    pub agent: Option<Child>,
}

const APPLICATION: &str = r#"#!/bin/sh
# An application: start, stop, status.
here=$(dirname "$0")
case $1 in
  start) setsid sh -c 'exec sleep 1000' >/dev/null 2>&1 & echo $! > "$here/pid" ;;
  stop) [ ! -f "$here/stuck" ] || exit 1
        [ ! -f "$here/pid" ] || kill -9 "$(cat "$here/pid")" 2>/dev/null
        rm -f "$here/pid"; echo stopped >> "$here/log" ;;
  status) [ -f "$here/pid" ] && kill -0 "$(cat "$here/pid")" 2>/dev/null ;;
esac
"#;

impl Host {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("application"), APPLICATION).expect("written");
        let host = Self {
            folder,
            agent: None,
        };
        host.write_profile();
        host
    }

    fn write_profile(&self) {
        let application = self.path("application").display().to_string();
        let mut profile = format!(
            r#"name = "ledger"
title = "A process"
[[service]]
name = "ledger"
start = ["/bin/sh", "{application}", "start"]
stop = ["/bin/sh", "{application}", "stop"]
status = ["/bin/sh", "{application}", "status"]
[fence]
commands = [["/bin/sh", "{application}", "stop"]]
[action.start-services]
steps = [{{ start = "ledger" }}]
[action.stop-services]
steps = [{{ stop = "ledger" }}]
[action.drain-replication]
steps = [{{ run = {{ argv = ["/bin/sleep", "1000"], within_s = 1 }} }}]
"#
        );
        for action in [
            "close-entrance",
            "open-entrance",
            "dismount-stores",
            "mount-stores",
            "verify-replica",
            "stop-replication",
            "start-replication",
            "start-replication-paused",
            "pause-replication",
            "resume-replication",
            "close-receiver",
            "open-receiver",
            "ensure-stores",
        ] {
            profile += &format!("[action.{action}]\nsteps = []\nbecause = \"there is none\"\n");
        }
        std::fs::write(self.path("profile.toml"), profile).expect("written");
        let profile = self.path("profile.toml").display().to_string();
        std::fs::write(self.path("agent.toml"), format!("profile = {profile:?}\n"))
            .expect("written");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat-agent"));
        command
            .args(words)
            .env("LIFEBOAT_AGENT_STATE", self.path("state"))
            .env("LIFEBOAT_AGENT_RUN", self.path("run"));
        command
    }

    /// Joins, beside the control centre of the same test.
    pub async fn join(&self, address: SocketAddr, token: &Token) -> Output {
        let (address, token) = (address.to_string(), token.to_string());
        let mut command = self.command(&["join", "--centre", &address, "--token", &token]);
        tokio::task::spawn_blocking(move || command.output().expect("it runs"))
            .await
            .expect("it ends")
    }

    pub fn start_agent(&mut self) {
        let config = self.path("agent.toml").display().to_string();
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(self.path("agent.log"));
        let mut command = self.command(&["run", "--config", &config]);
        command.stderr(log.expect("a log"));
        self.agent = Some(command.spawn().expect("it starts"));
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let id = self.agent.as_ref().expect("it runs").id();
        let id = nix::unistd::Pid::from_raw(i32::try_from(id).expect("small"));
        nix::sys::signal::kill(id, signal).expect("it is there");
    }

    pub fn kill_agent(&mut self) {
        let mut agent = self.agent.take().expect("it runs");
        agent.kill().expect("killed");
        agent.wait().expect("gone");
    }

    pub fn application_runs(&self) -> bool {
        self.application("status")
    }

    pub fn application(&self, word: &str) -> bool {
        let status = Command::new("/bin/sh")
            .arg(self.path("application"))
            .arg(word)
            .status();
        status.expect("it runs").success()
    }

    /// How often the application was stopped.
    pub fn stops(&self) -> usize {
        std::fs::read_to_string(self.path("log"))
            .unwrap_or_default()
            .lines()
            .count()
    }

    pub async fn wait(&self, runs: bool) -> Duration {
        let begin = Instant::now();
        while self.application_runs() != runs {
            let log = self.log();
            assert!(
                begin.elapsed() < Duration::from_secs(60),
                "it should run: {runs}\n{log}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        begin.elapsed()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }

    pub fn state(&self) -> PathBuf {
        self.path("state")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        quit(&self.path("run/watchdog.sock"));
        let _ = self.application("stop");
    }
}

fn quit(socket: &Path) {
    use std::io::{Read, Write};
    if let Ok(mut stream) = std::os::unix::net::UnixStream::connect(socket) {
        let _ = stream.write_all(b"quit\n");
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let _ = stream.read(&mut [0; 8]);
    }
}

/// A host whose agent joined, holds a lease, and started its application.
pub async fn serving(manner: Manner) -> (Small, Host) {
    let mut small = open(manner).await;
    let mut host = Host::new();
    let joined = host.join(small.address, &small.token).await;
    assert!(
        joined.status.success(),
        "{}",
        String::from_utf8_lossy(&joined.stderr)
    );
    host.start_agent();
    small
        .hear(|word| match word {
            FromAgent::Report(report) if report.serving.lease_left_ms > 0 => Some(()),
            _ => None,
        })
        .await;
    let outcome = small.act("start", Action::StartServices).await;
    assert!(
        matches!(outcome, Outcome::Done { changed: true, .. }),
        "{outcome:?} {}",
        host.log()
    );
    assert!(host.application_runs());
    (small, host)
}
