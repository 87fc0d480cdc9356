//! Two hosts with one application, on loopback.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use lifeboat_agent::run::{Places, join};
use lifeboat_centre::{Centre, Settings, Status, SwitchRequest, Wishes};
use lifeboat_failover::Side;
use lifeboat_failover::process::Kind;
use lifeboat_failover::state::State;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub const NAME: &str = "ledger";

/// Everything has to come to its end within this, on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// See `write_descriptor`.
pub const LEASE: Duration = Duration::from_secs(2);

/// An application that leaves a line for everything that is done to it.
const APPLICATION: &str = r#"#!/bin/sh
here=$1
case $2 in
  start) touch "$here/running" ;;
  stop) rm -f "$here/running" ;;
  fence) rm -f "$here/running"; exit 0 ;;
  status) [ -f "$here/running" ]; exit $? ;;
esac
[ ! -f "$here/fails-$2" ] || exit 1
[ ! -f "$here/hangs-$2" ] || sleep 600
peer=$(dirname "$here")/$(basename "$here" | tr ab ba)
copy() {
  [ -d "$here/store" ] || return 0
  [ ! -f "$peer/closed" ] || exit 1
  find "$peer/store" -mindepth 1 -delete
  cp -a "$here/store/." "$peer/store/"
}
case $2 in
  start-replication|resume-replication) echo running >"$here/session" ;;
  start-replication-paused|pause-replication) echo paused >"$here/session" ;;
  stop-replication) rm -f "$here/session" ;;
  open-receiver) rm -f "$here/closed" ;;
  close-receiver) touch "$here/closed" ;;
  drain-replication|mirror-replica) copy ;;
  merge-replica) cp -an "$peer/store/." "$here/store/" ;;
esac
echo "$2" >> "$here/effects"
"#;

const NOTED: [&str; 13] = [
    "close-entrance",
    "open-entrance",
    "dismount-stores",
    "mount-stores",
    "drain-replication",
    "verify-replica",
    "stop-replication",
    "start-replication",
    "start-replication-paused",
    "pause-replication",
    "resume-replication",
    "close-receiver",
    "open-receiver",
];

pub fn places(folder: &Path) -> Places {
    Places {
        state: folder.join("state"),
        run: folder.join("run"),
    }
}

/// A host: its folder, its application, its agent.
pub struct Host {
    pub name: &'static str,
    pub folder: PathBuf,
    agent: Option<Child>,
}

impl Host {
    fn new(root: &Path, name: &'static str, peer_port: u16) -> Self {
        let folder = root.join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let config = format!(
            "profile = {:?}\npeer_listen = \"127.0.0.1:{peer_port}\"\n[parameters]\nhome = {:?}\n",
            root.join("profile.toml").display().to_string(),
            folder.display().to_string(),
        );
        std::fs::write(folder.join("agent.toml"), config).expect("written");
        Self {
            name,
            folder,
            agent: None,
        }
    }

    pub fn start(&mut self) {
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(self.folder.join("agent.log"));
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("agent").arg(&self.folder);
        command.stderr(log.expect("a log"));
        self.agent = Some(command.spawn().expect("it starts"));
    }

    pub fn kill(&mut self) {
        let mut agent = self.agent.take().expect("it runs");
        agent.kill().expect("killed");
        agent.wait().expect("gone");
    }

    pub fn signal(&self, signal: Signal) {
        let id = self.agent.as_ref().expect("it runs").id();
        kill(Pid::from_raw(i32::try_from(id).expect("small")), signal).expect("it is there");
    }

    pub fn runs(&self) -> bool {
        self.folder.join("running").exists()
    }

    pub fn effects(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.join("effects"));
        text.unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    pub fn forget_effects(&self) {
        let _ = std::fs::remove_file(self.folder.join("effects"));
    }

    /// From now on an action fails, or hangs.
    pub fn make(&self, how: &str, action: &str) {
        std::fs::write(self.folder.join(format!("{how}-{action}")), "").expect("written");
    }

    pub fn heal(&self, how: &str, action: &str) {
        std::fs::remove_file(self.folder.join(format!("{how}-{action}"))).expect("was there");
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("agent.log")).unwrap_or_default()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        let socket = self.folder.join("run/watchdog.sock");
        if let Ok(mut stream) = std::os::unix::net::UnixStream::connect(socket) {
            let _ = stream.write_all(b"quit\n");
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            let _ = stream.read(&mut [0; 8]);
        }
    }
}

/// Everything of one test.
pub struct Bed {
    pub port: u16,
    pub a: Host,
    pub b: Host,
    pub centre: Option<Centre>,
    pub root: tempfile::TempDir,
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

pub fn settings(root: &Path, port: u16) -> Settings {
    let listen = SocketAddr::from(([127, 0, 0, 1], port));
    Settings::new(root.join("centre"), Some(listen))
}

pub async fn open(settings: Settings) -> Centre {
    let begin = Instant::now();
    loop {
        match Centre::open(settings.clone()).await {
            Ok(centre) => return centre,
            // The port of a centre that just ended.
            Err(error) if begin.elapsed() > PATIENCE => panic!("{error:?}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

impl Bed {
    /// A control centre with an application whose agents are not there yet.
    pub async fn bare(more: &str) -> Self {
        Self::bare_with(more, |_| String::new()).await
    }

    /// The same with more in the profile, made of the folder of everything.
    async fn bare_with(more: &str, profile: impl FnOnce(&Path) -> String) -> Self {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(root.path().join("centre")).expect("a folder");
        let (port, peers) = (free_port(), [free_port(), free_port()]);
        write_profile(root.path(), &profile(root.path()));
        write_descriptor(root.path(), peers, more);
        let centre = open(settings(root.path(), port)).await;
        let file = root.path().join("application.toml");
        centre.add_application(&file, "test").await.expect("added");
        Self {
            a: Host::new(root.path(), "host-a", peers[0]),
            b: Host::new(root.path(), "host-b", peers[1]),
            root,
            port,
            centre: Some(centre),
        }
    }

    /// The same with both agents, the application served by the primary under a lease.
    pub async fn new(more: &str) -> Self {
        Self::bare(more).await.begin().await
    }

    /// The same with a store on each side, replication and an archive.
    pub async fn with_stores(more: &str) -> Self {
        let bed = Self::bare_with(more, stores_profile).await;
        for host in [&bed.a, &bed.b] {
            std::fs::create_dir(host.folder.join("store")).expect("a folder");
        }
        bed.begin().await
    }

    async fn begin(mut self) -> Self {
        let bed = &mut self;
        std::fs::write(bed.a.folder.join("running"), "").expect("written");
        for side in Side::BOTH {
            bed.join(side).await;
            bed.host_mut(side).start();
        }
        bed.until_ready(Side::Primary).await;
        self
    }

    pub fn centre(&self) -> &Centre {
        self.centre.as_ref().expect("open")
    }

    pub fn host(&self, side: Side) -> &Host {
        match side {
            Side::Primary => &self.a,
            Side::Secondary => &self.b,
        }
    }

    pub fn host_mut(&mut self, side: Side) -> &mut Host {
        match side {
            Side::Primary => &mut self.a,
            Side::Secondary => &mut self.b,
        }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub async fn join(&self, side: Side) {
        let host = self.host(side);
        let made = self.centre().make_token(host.name, "test").await;
        let token = made.expect("a token").token.parse().expect("a token");
        let joined = join(&places(&host.folder), &self.address(), &token).await;
        assert_eq!(joined.expect("joined"), host.name);
    }

    pub async fn status(&self) -> Status {
        self.centre().status(NAME).await.expect("known")
    }

    /// Waits until `active` serves under a lease that the other side renews as well.
    pub async fn until_ready(&self, active: Side) {
        let hosts = [active, active.other()].map(|side| self.host(side).name);
        self.until("one serves, and the other renews its lease", |status| {
            let serving = hosts.map(|host| {
                let agent = status.agents.iter().find(|agent| agent.host == host);
                let agent = agent.filter(|agent| agent.connected_since.is_some())?;
                agent.serving.map(|said| said.serving)
            });
            let [Some(serves), Some(renews)] = serving else {
                return false;
            };
            serves.lease_left_ms > 0 && serves.epoch.is_some() && renews.renews == serves.epoch
        })
        .await;
    }

    /// Waits for something of the status; nobody ever serves twice meanwhile.
    pub async fn until(&self, what: &str, mut wanted: impl FnMut(&Status) -> bool) -> Status {
        let begin = Instant::now();
        loop {
            assert!(!(self.a.runs() && self.b.runs()), "both sides serve");
            let status = self.status().await;
            if wanted(&status) {
                return status;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "{what}: {status:#?}\n-- a --\n{}\n-- b --\n{}",
                self.a.log(),
                self.b.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn until_state(&self, state: State) -> Status {
        self.until(&format!("{state:?}"), |status| status.state.name == state)
            .await
    }

    pub async fn switch(&self, kind: Kind) -> String {
        let begun = self.centre().switch(NAME, request(kind)).await;
        begun.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The control centre ends and another one takes its place.
    pub async fn reopen(&mut self) {
        self.close().await;
        self.centre = Some(open(settings(self.root.path(), self.port)).await);
    }

    pub async fn close(&mut self) {
        if let Some(centre) = self.centre.take() {
            centre.close().await;
        }
    }
}

/// A switch that asks nobody anything.
pub fn request(kind: Kind) -> SwitchRequest {
    SwitchRequest {
        kind,
        who: "test".to_owned(),
        why: "to see it".to_owned(),
        wishes: Wishes {
            go_on: Some(true),
            replicate_back: Some(true),
        },
        confirmation_ms: None,
        for_restore: false,
    }
}

/// Replication copies the store; images lie in one repository for both sides.
fn stores_profile(root: &Path) -> String {
    let call = |word: &str| {
        let script = root.join("application").display().to_string();
        format!("[\"/bin/sh\", {script:?}, \"{{home}}\", \"{word}\"]")
    };
    let repository = root.join("repository").display().to_string();
    let mut profile = format!(
        "[replication]\nengine = \"copies\"\n\
         state = [\"/bin/sh\", \"-c\", \"cat \\\"$1/session\\\" 2>/dev/null || echo absent\", \"state\", \"{{home}}\"]\n\
         [archive]\nrepository = {repository:?}\npassword = \"key\"\nfolder = \"{{home}}/store\"\nscratch = \"{{home}}/scratch\"\n"
    );
    for action in ["mirror-replica", "merge-replica"] {
        let argv = call(action);
        profile += &format!("[action.{action}]\nsteps = [{{ run = {{ argv = {argv} }} }}]\n");
    }
    for action in ["take-image", "prove-image", "place-image", "restore-image"] {
        let argv = call(action);
        profile += &format!(
            "[action.{action}]\nsteps = [{{ run = {{ argv = {argv} }} }}, {{ {action} = {{}} }}]\n"
        );
    }
    profile
}

fn write_profile(root: &Path, more: &str) {
    let script = root.join("application");
    std::fs::write(&script, APPLICATION).expect("written");
    let call = |word: &str| {
        format!(
            "[\"/bin/sh\", {:?}, \"{{home}}\", \"{word}\"]",
            script.display().to_string()
        )
    };
    let mut profile = format!(
        "name = \"ledger\"\ntitle = \"Lines in a file\"\n[parameter.home]\ntype = \"path\"\nabout = \"where it lives\"\n\
         [[service]]\nname = \"ledger\"\nstart = {}\nstop = {}\nstatus = {}\n[fence]\ncommands = [{}]\n\
         [action.start-services]\nsteps = [{{ start = \"ledger\" }}]\n\
         [action.stop-services]\nsteps = [{{ stop = \"ledger\" }}]\n\
         [action.ensure-stores]\nsteps = [{{ run = {{ argv = {} }} }}]\n",
        call("start"),
        call("stop"),
        call("status"),
        call("fence"),
        call("ensure-stores"),
    );
    for action in NOTED {
        let argv = call(action);
        profile += &format!(
            "[action.{action}]\nsteps = [{{ run = {{ argv = {argv}, within_s = 20 }} }}]\n"
        );
    }
    profile += more;
    std::fs::write(root.join("profile.toml"), profile).expect("written");
}

fn write_descriptor(root: &Path, peers: [u16; 2], more: &str) {
    let descriptor = format!(
        "[application]\nname = \"{NAME}\"\nprofile = \"profile.toml\"\n\
         [lease]\nlength_s = {}\n[reports]\nevery_s = 0.3\n\
         [primary]\nhost = \"host-a\"\naddress = \"127.0.0.1\"\npeer_port = {}\n\
         [secondary]\nhost = \"host-b\"\naddress = \"127.0.0.1\"\npeer_port = {}\n{more}\n",
        LEASE.as_secs(),
        peers[0],
        peers[1]
    );
    std::fs::write(root.join("application.toml"), descriptor).expect("written");
}
