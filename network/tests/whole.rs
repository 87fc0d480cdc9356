//! The switch process with real guests. Needs root, QEMU and Debian's package sources.
#![expect(clippy::unwrap_used, reason = "a test says where it fails")]

mod guests;

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use guests::{Assets, Guest, Plug};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use lifeboat_network::{
    CanaryWatcher, NetworkConfig, PortConfig, PortKind, PortStatus, Probe, ProbeResult,
    SwitchClient, SwitchConfig, SwitchProcess, SwitchStatus,
};

const A: &str = "52:54:00:20:00:10";
const B: &str = "52:54:00:20:00:11";
const B_BACK: &str = "52:54:00:30:00:11";
const D: &str = "52:54:00:20:00:13";
const NO_OFFLOADS: &str = ",csum=off,guest_csum=off,gso=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,\
                           host_tso4=off,host_tso6=off,host_ecn=off,mrg_rxbuf=off";
/// For what must come, on a host that does much else. Nothing waits so long that comes sooner.
const PATIENCE: Duration = Duration::from_secs(90);
const TOKEN: &str = "lifeboat-whole-test-5f1c7c0e8b6d4a93";

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn config(directory: &Path) -> SwitchConfig {
    let network = |name: &str, cidr: &str, gateway: &str| NetworkConfig {
        name: name.into(),
        cidr: cidr.parse().unwrap(),
        gateway: Some(ip(gateway)),
    };
    let port = |id: &str, machine: &str, network: &str, mac: &str, address: &str| PortConfig {
        id: id.into(),
        machine: machine.into(),
        network: network.into(),
        mac: mac.parse().unwrap(),
        address: Some(ip(address)),
        socket: directory.join(format!("{id}.sock")),
        kind: if id == "d0" {
            PortKind::Stream
        } else {
            PortKind::VhostUser
        },
    };
    SwitchConfig {
        session: "whole".into(),
        control_socket: directory.join("control.sock"),
        networks: vec![
            network("lan", "10.20.0.0/24", "10.20.0.1"),
            network("back", "10.30.0.0/24", "10.30.0.1"),
        ],
        ports: vec![
            port("a0", "a", "lan", A, "10.20.0.10"),
            port("b0", "b", "lan", B, "10.20.0.11"),
            port("b1", "b", "back", B_BACK, "10.30.0.11"),
            port("c0", "c", "lan", "52:54:00:20:00:12", "10.20.0.12"),
            port("d0", "d", "lan", D, "10.20.0.13"),
        ],
        run_as: None,
        socket_owner: None,
        log: Some(directory.join("switch.log")),
    }
}

/// Ends the switch even when the test fails or is interrupted: dropping a [`SwitchProcess`]
/// leaves it running, and the terminal's interrupt does not reach it.
struct Ending(SwitchClient);

impl Ending {
    fn new(client: SwitchClient) -> Self {
        let mut signals = Signals::new([SIGINT, SIGTERM]).unwrap();
        let at_interrupt = client.clone();
        std::thread::spawn(move || {
            if signals.forever().next().is_some() {
                end(at_interrupt);
                std::process::exit(130);
            }
        });
        Self(client)
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        end(self.0.clone());
    }
}

fn end(client: SwitchClient) {
    let ask = async move {
        // Ended already, when the test passed.
        let _ = client.shutdown().await;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _ = std::thread::spawn(move || runtime.block_on(ask)).join();
}

async fn start_switch(directory: &Path) -> SwitchProcess {
    let file = directory.join("switch.json");
    std::fs::write(&file, serde_json::to_vec(&config(directory)).unwrap()).unwrap();
    SwitchProcess::start(Path::new(env!("CARGO_BIN_EXE_lifeboat-switch")), &file)
        .await
        .unwrap()
}

struct Site {
    switch: SwitchProcess,
    client: SwitchClient,
    a: Guest,
    b: Guest,
}

impl Site {
    async fn start(assets: &Assets, directory: &Path) -> Self {
        let switch = start_switch(directory).await;
        let plug = |id: &str, properties| Plug::Switch {
            socket: directory.join(format!("{id}.sock")),
            properties,
        };
        let a = Guest::boot("a", assets, directory, &[(A, plug("a0", ""))]);
        let b = Guest::boot(
            "b",
            assets,
            directory,
            &[(B, plug("b0", "")), (B_BACK, plug("b1", NO_OFFLOADS))],
        );
        let mut site = Self {
            client: switch.client(),
            switch,
            a,
            b,
        };
        site.a.run("ip addr add 10.20.0.10/24 dev eth0; ip link set eth0 up; ip route add default via 10.20.0.1");
        site.configure_b();
        site
    }

    fn configure_b(&mut self) {
        self.b
            .run("ip addr add 10.20.0.11/24 dev eth0; ip link set eth0 up");
        self.b
            .run("ip addr add 10.30.0.11/24 dev eth1; ip link set eth1 up");
        self.b.run(
            "mkdir -p /www; echo 'row 42 from the database' >/www/index.html; httpd -p 80 -h /www",
        );
    }

    fn ping(&mut self, to: &str) -> bool {
        self.a.try_run(&format!("ping -c 1 -W 1 {to}")).0 == 0
    }

    fn ping_within(&mut self, to: &str) {
        let start = Instant::now();
        while !self.ping(to) {
            assert!(
                start.elapsed() < PATIENCE,
                "no answer from {to} in {PATIENCE:?}"
            );
        }
    }

    async fn probe(&self, probe: Probe) -> ProbeResult {
        self.probe_for(probe, PATIENCE).await
    }

    async fn probe_for(&self, probe: Probe, limit: Duration) -> ProbeResult {
        self.client.probe(probe, limit).await.unwrap()
    }

    async fn port(&self, id: &str) -> PortStatus {
        port_of(&self.client, id).await
    }

    async fn status(&self) -> SwitchStatus {
        self.client.status().await.unwrap()
    }

    /// Sends megabytes of zeros from a to b; returns a's segments retransmitted because of a loss.
    fn transfer(&mut self, to: &str, megabytes: u32) -> u64 {
        let before = self.losses();
        self.b
            .tell("test -p /tmp/open || mkfifo /tmp/open; nc -l -p 5001 <>/tmp/open | wc -c");
        let count = megabytes * 16;
        self.a.run(&format!(
            "for i in 1 2 3 4 5 6 7 8 9; do \
             dd if=/dev/zero bs=64k count={count} 2>/dev/null | nc {to} 5001 && break; sleep 1; done"
        ));
        let (_, output) = self.b.wait_done();
        let bytes = output.lines().find_map(|line| line.trim().parse().ok());
        assert_eq!(bytes, Some(u64::from(megabytes) << 20), "{output}");
        self.losses() - before
    }

    /// Segments that a sent again because acknowledgements showed a gap. Probes for a lost tail are
    /// not among them: on a busy host guests send those without any loss.
    fn losses(&mut self) -> u64 {
        let text = self.a.run("grep TcpExt: /proc/net/netstat");
        let mut lines = text
            .lines()
            .filter(|line| line.starts_with("TcpExt:"))
            .map(str::split_whitespace);
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let (_, value) = names
            .zip(values)
            .find(|(name, _)| *name == "TCPFastRetrans")
            .unwrap();
        value.parse().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_switch_with_real_guests() {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let assets = match guests::assets(cache) {
        Ok(assets) => assets,
        Err(reason) => return guests::skip(&reason),
    };
    let directory = guests::directory();
    let _ending = Ending::new(SwitchClient::new(&config(directory.path()).control_socket));
    let mut site = Site::start(&assets, directory.path()).await;
    the_process_has_no_rights(&site);
    machines_reach_each_other(&mut site).await;
    probes_see_what_is_there(&mut site).await;
    unanswered_destinations_are_listed(&mut site).await;
    a_hung_guest_holds_nobody(&mut site).await;
    a_killed_switch_comes_back(&mut site).await;
    a_machine_may_reboot(&mut site).await;
    networks_are_routed_and_offloads_differ(&mut site).await;
    nothing_gets_out(&mut site).await;
    site.switch.stop().await.unwrap();
}

/// d's card is emulated hardware on a stream of frames: it knows no shared memory and no offloads
/// of the switch, and a hands over segments far larger than its wire.
#[tokio::test(flavor = "multi_thread")]
async fn cards_that_are_not_virtio_take_part() {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let assets = match guests::assets(cache) {
        Ok(assets) => assets,
        Err(reason) => return guests::skip(&reason),
    };
    let directory = guests::directory();
    let directory = directory.path();
    let _ending = Ending::new(SwitchClient::new(&config(directory).control_socket));
    let mut switch = start_switch(directory).await;
    let socket = |id: &str| directory.join(format!("{id}.sock"));
    let plug = Plug::Switch {
        socket: socket("a0"),
        properties: "",
    };
    let mut a = Guest::boot("a", &assets, directory, &[(A, plug)]);
    let plug = Plug::Stream {
        socket: socket("d0"),
    };
    let mut d = Guest::boot("d", &assets, directory, &[(D, plug)]);
    for (guest, address) in [(&mut a, "10.20.0.10"), (&mut d, "10.20.0.13")] {
        guest.run(&format!(
            "ip addr add {address}/24 dev eth0; ip link set eth0 up; \
             dd if=/dev/urandom of=/tmp/data bs=64k count=64 2>/dev/null"
        ));
    }
    one_way(&mut a, &mut d, "10.20.0.13");
    one_way(&mut d, &mut a, "10.20.0.10");
    let port = port_of(&switch.client(), "d0").await;
    eprintln!("4 MiB each way, one card on a stream: {:?}", port.counters);
    assert_eq!((port.counters.dropped, port.counters.refused), (0, 0));
    assert!(port.counters.bytes_in > 4 << 20 && port.counters.bytes_out > 4 << 20);
    switch.restart().await.unwrap();
    one_way(&mut a, &mut d, "10.20.0.13");
    assert!(port_of(&switch.client(), "d0").await.connected);
    switch.stop().await.unwrap();
}

/// Sends a file and checks that every byte arrived as it was.
fn one_way(from: &mut Guest, to: &mut Guest, address: &str) {
    to.tell("test -p /tmp/open || mkfifo /tmp/open; nc -l -p 5002 <>/tmp/open | md5sum");
    from.run(&format!(
        "for i in $(seq 60); do nc {address} 5002 </tmp/data && break; sleep 1; done"
    ));
    let (_, arrived) = to.wait_done();
    let sum = |text: &str| {
        let mut words = text.split_whitespace();
        words.find(|word| word.len() == 32).map(str::to_owned)
    };
    let expected = sum(&from.run("md5sum /tmp/data"));
    assert!(expected.is_some());
    assert_eq!(sum(&arrived), expected);
}

async fn port_of(client: &SwitchClient, id: &str) -> PortStatus {
    let ports = client.status().await.unwrap().ports;
    ports.into_iter().find(|port| port.id == id).unwrap()
}

fn the_process_has_no_rights(site: &Site) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", site.switch.pid())).unwrap();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap()
            .trim()
            .to_owned()
    };
    assert_eq!(field("CapEff:"), "0000000000000000");
    assert_eq!(field("CapPrm:"), "0000000000000000");
    assert_eq!(field("NoNewPrivs:"), "1");
    assert!(field("Uid:").starts_with("65534"));
    let root = std::fs::read_dir(format!("/proc/{}/root/", site.switch.pid())).unwrap();
    assert_eq!(root.count(), 0, "the process sees files");
}

async fn machines_reach_each_other(site: &mut Site) {
    site.ping_within("10.20.0.11");
    site.ping_within("10.20.0.1");
    let status = site.status().await;
    let receiver = transfer_without_a_loss(site).await;
    assert!(
        status.host_interfaces.is_empty(),
        "{:?}",
        status.host_interfaces
    );
    assert!(receiver.connected && receiver.link_up && receiver.counters.bytes_out > 64 << 20);
}

/// A host that holds a guest for longer than frames may wait costs frames, so the transfer may be
/// tried again. A switch that loses any by itself loses some of every 64 MiB.
async fn transfer_without_a_loss(site: &mut Site) -> PortStatus {
    let mut seen = Vec::new();
    for _ in 0..3 {
        let before = site.port("b0").await.counters.dropped;
        let losses = site.transfer("10.20.0.11", 64);
        let receiver = site.port("b0").await;
        let dropped = receiver.counters.dropped - before;
        eprintln!(
            "64 MiB within a network: {losses} segments lost, {dropped} dropped, {:?}",
            receiver.counters
        );
        if (losses, dropped) == (0, 0) {
            return receiver;
        }
        seen.push((losses, dropped));
    }
    panic!("three transfers of 64 MiB lost segments: {seen:?}");
}

async fn probes_see_what_is_there(site: &mut Site) {
    let address = ip("10.20.0.11");
    let ping = site.probe(Probe::Icmp { address }).await;
    assert!(ping.ok, "{ping:?}");
    let open = site.probe(Probe::Tcp { address, port: 80 }).await;
    assert!(open.ok, "{open:?}");
    let closed = site.probe(Probe::Tcp { address, port: 81 }).await;
    assert!(
        !closed.ok && closed.detail.contains("refused"),
        "{closed:?}"
    );
    let page = |expect: &str| Probe::Http {
        address,
        port: 80,
        host: "web1".into(),
        path: "/".into(),
        expect: Some(expect.into()),
    };
    let found = site.probe(page("row 42")).await;
    assert!(
        found.ok
            && found
                .body
                .as_deref()
                .is_some_and(|body| body.contains("database")),
        "{found:?}"
    );
    let other = site.probe_for(page("row 43"), Duration::from_secs(10));
    assert!(!other.await.ok);
    let absent = site
        .probe_for(
            Probe::Icmp {
                address: ip("10.20.0.12"),
            },
            Duration::from_secs(2),
        )
        .await;
    assert!(!absent.ok && absent.detail.contains("ARP"), "{absent:?}");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let client = site.client.clone();
        tasks.spawn(async move {
            client
                .probe(Probe::Tcp { address, port: 80 }, PATIENCE)
                .await
        });
    }
    let results = tasks.join_all().await;
    let good = results
        .iter()
        .filter(|result| result.as_ref().is_ok_and(|result| result.ok))
        .count();
    assert_eq!(good, results.len());
}

async fn unanswered_destinations_are_listed(site: &mut Site) {
    let start = Instant::now();
    assert_ne!(site.a.try_run("nc -w 100 10.9.0.9 389 </dev/null").0, 0);
    assert!(
        start.elapsed() < Duration::from_secs(80),
        "the client must fail fast"
    );
    site.a
        .try_run("nslookup -timeout=1 -retry=1 x.example 10.9.0.53");
    site.a.try_run("nc -w 10 10.20.0.99 5432 </dev/null");
    site.a.try_run("ping -c 1 -W 4 10.20.0.12");
    let list = site.client.unanswered().await.unwrap();
    let has = |to: &str, protocol: &str, port: u16| {
        let found = list
            .iter()
            .find(|entry| entry.to == ip(to) && entry.port == Some(port));
        found
            .is_some_and(|entry| entry.from == "a" && entry.protocol == protocol && entry.count > 0)
    };
    assert!(has("10.9.0.9", "tcp", 389), "{list:?}");
    assert!(has("10.9.0.53", "udp", 53), "{list:?}");
    assert!(has("10.20.0.99", "tcp", 5432), "{list:?}");
    assert!(
        !list.iter().any(|entry| entry.to == ip("10.20.0.12")),
        "c belongs to the site: {list:?}"
    );
}

/// Freezes b's QEMU while a floods it: a must stay reachable, and b must come back.
async fn a_hung_guest_holds_nobody(site: &mut Site) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(site.b.pid()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGSTOP).unwrap();
    site.a
        .run("ping -c 400 -i 0 -W 1 -s 1000 -q 10.20.0.11 >/dev/null 2>&1 & sleep 1");
    let reachable = Probe::Icmp {
        address: ip("10.20.0.10"),
    };
    let result = site.probe_for(reachable, Duration::from_secs(20)).await;
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGCONT).unwrap();
    assert!(result.ok, "{result:?}");
    site.a.run("killall ping; true");
    site.ping_within("10.20.0.11");
}

async fn a_killed_switch_comes_back(site: &mut Site) {
    for _ in 0..3 {
        let before = site.switch.pid();
        site.switch.restart().await.unwrap();
        assert_ne!(site.switch.pid(), before);
        site.ping_within("10.20.0.11");
    }
    assert_eq!(site.status().await.ports[0].connections, 1);
}

async fn a_machine_may_reboot(site: &mut Site) {
    for _ in 0..2 {
        site.b.reboot();
        site.configure_b();
        site.ping_within("10.20.0.11");
    }
    assert!(
        site.probe(Probe::Tcp {
            address: ip("10.20.0.11"),
            port: 80
        })
        .await
        .ok
    );
}

/// b's second card has no offloads at all, and a's packets reach it by way of the gateways.
async fn networks_are_routed_and_offloads_differ(site: &mut Site) {
    site.b
        .run("ip link set eth0 down; ip route add default via 10.30.0.1");
    site.ping_within("10.30.0.11");
    let trace = site.a.run("traceroute -n -m 3 -q 1 -w 2 10.30.0.11");
    assert!(trace.contains("10.20.0.1"), "{trace}");
    let losses = site.transfer("10.30.0.11", 16);
    let receiver = site.port("b1").await;
    eprintln!(
        "16 MiB between networks, without offloads: {losses} segments lost, {:?}",
        receiver.counters
    );
    assert!(
        site.probe(Probe::Tcp {
            address: ip("10.30.0.11"),
            port: 80
        })
        .await
        .ok
    );
}

async fn nothing_gets_out(site: &mut Site) {
    let mut watcher = CanaryWatcher::start(TOKEN).unwrap();
    let sent = watcher.challenge(&site.client).await.unwrap();
    assert!(sent > 10);
    assert_eq!(watcher.escaped(), 0);
    assert!(tokio::task::block_in_place(|| watcher.positive_control()).unwrap());
    let report = watcher.finish();
    assert!(report.is_proven(), "{report:?}");
}
