//! Measures the switch against a Linux bridge with tap devices: the same guests, the same run,
//! medians. Called by `./bench switch`; needs root, QEMU, iproute2 and Debian's package sources.
//!
//! Build everything first: `cargo build --release -p lifeboat-network --bins --example switch-bench`.
#![expect(clippy::unwrap_used, reason = "a measurement that fails says where")]

#[path = "../tests/guests/mod.rs"]
#[allow(dead_code, reason = "shared with the whole tests")]
mod guests;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::Parser;
use guests::{Assets, Guest, Plug};
use lifeboat_network::{NetworkConfig, PortConfig, SwitchConfig, SwitchProcess};

const MACS: [&str; 2] = ["52:54:00:20:00:10", "52:54:00:20:00:11"];
const ADDRESSES: [&str; 2] = ["10.20.0.10", "10.20.0.11"];

/// Measures the switch against a Linux bridge with tap devices.
#[derive(Parser)]
struct Arguments {
    /// Rounds; the table shows medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of each TCP measurement.
    #[arg(long, default_value_t = 8)]
    seconds: u32,
    /// Where packages for the guests are kept.
    #[arg(long)]
    cache: Option<PathBuf>,
    /// The switch to measure.
    #[arg(long)]
    switch: Option<PathBuf>,
}

/// One round on one network.
#[derive(Debug, Clone, Copy)]
struct Sample {
    tcp: f64,
    retransmits: f64,
    ping: f64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let build = std::env::current_exe()
        .unwrap()
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .to_owned();
    let cache = arguments
        .cache
        .clone()
        .unwrap_or_else(|| build.parent().unwrap().join("tmp"));
    let switch = arguments
        .switch
        .clone()
        .unwrap_or_else(|| build.join("lifeboat-switch"));
    fs::create_dir_all(&cache).unwrap();
    match assets(&cache) {
        Ok(assets) => measure(&arguments, &assets, &switch).await,
        Err(reason) => {
            guests::skip(&reason);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

async fn measure(arguments: &Arguments, assets: &Assets, switch: &Path) {
    let (mut ours, mut taps) = (Vec::new(), Vec::new());
    for round in 1..=arguments.rounds {
        eprintln!("round {round} of {}", arguments.rounds);
        ours.push(switch_round(arguments, assets, switch).await);
        eprintln!("  switch       {:?}", ours.last().unwrap());
        taps.push(bridge_round(arguments, assets));
        eprintln!("  bridge + tap {:?}", taps.last().unwrap());
    }
    println!(
        "{:<24}{:>12}{:>14}{:>10}",
        "", "switch", "bridge + tap", "ratio"
    );
    row("TCP, Mb/s", &ours, &taps, |sample| sample.tcp);
    row("TCP retransmits", &ours, &taps, |sample| sample.retransmits);
    row("ping, ms", &ours, &taps, |sample| sample.ping);
}

fn row(name: &str, ours: &[Sample], taps: &[Sample], field: fn(&Sample) -> f64) {
    let (ours, taps) = (median(ours, field), median(taps, field));
    let ratio = if taps > 0.0 {
        format!("{:.2}", ours / taps)
    } else {
        "-".to_owned()
    };
    println!("{name:<24}{ours:>12.2}{taps:>14.2}{ratio:>10}");
}

fn median(samples: &[Sample], field: fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(field).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn switch_round(arguments: &Arguments, assets: &Assets, binary: &Path) -> Sample {
    let directory = guests::directory();
    let config = directory.path().join("switch.json");
    fs::write(
        &config,
        serde_json::to_vec(&switch_config(directory.path())).unwrap(),
    )
    .unwrap();
    let switch = SwitchProcess::start(binary, &config).await.unwrap();
    let boot = |index: usize| {
        let socket = directory.path().join(format!("p{index}.sock"));
        let plug = Plug::Switch {
            socket,
            properties: "",
        };
        Guest::boot(
            &format!("g{index}"),
            assets,
            directory.path(),
            &[(MACS[index], plug)],
        )
    };
    let sample = sample(arguments, boot(0), boot(1));
    let status = switch.client().status().await.unwrap();
    let waits: u64 = status.ports.iter().map(|port| port.counters.waits).sum();
    eprintln!(
        "  {} frames, {} dropped, {waits} waits, {}",
        status.frames,
        status.dropped,
        memory(switch.pid())
    );
    switch.stop().await.unwrap();
    sample
}

fn memory(pid: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let fields = status
        .lines()
        .filter(|line| line.starts_with("RssAnon") || line.starts_with("RssFile"));
    fields
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join(", ")
}

fn switch_config(directory: &Path) -> SwitchConfig {
    let ports = (0..2).map(|index| PortConfig {
        id: format!("p{index}"),
        machine: format!("g{index}"),
        network: "lan".into(),
        mac: MACS[index].parse().unwrap(),
        address: ADDRESSES[index].parse().ok(),
        socket: directory.join(format!("p{index}.sock")),
        kind: Default::default(),
    });
    let cidr = "10.20.0.0/24".parse().unwrap();
    SwitchConfig {
        session: "bench".into(),
        control_socket: directory.join("control.sock"),
        networks: vec![NetworkConfig {
            name: "lan".into(),
            cidr,
            gateway: "10.20.0.1".parse().ok(),
        }],
        ports: ports.collect(),
        run_as: None,
        socket_owner: None,
        log: Some(directory.join("switch.log")),
    }
}

/// A network namespace with a bridge, removed at the end.
struct Bridge(String);

impl Bridge {
    fn new() -> Self {
        let name = format!("lifeboat-bench-{}", std::process::id());
        ip(&["netns", "add", &name]);
        let bridge = Self(name);
        bridge.ip(&["link", "add", "br0", "type", "bridge"]);
        bridge.ip(&["link", "set", "br0", "up"]);
        for tap in ["tap0", "tap1"] {
            bridge.ip(&["tuntap", "add", tap, "mode", "tap"]);
            bridge.ip(&["link", "set", tap, "master", "br0", "up"]);
        }
        bridge
    }

    fn ip(&self, arguments: &[&str]) {
        ip(&[&["-n", &self.0], arguments].concat());
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        ip(&["netns", "del", &self.0]);
    }
}

fn ip(arguments: &[&str]) {
    guests::output(Command::new("ip").args(arguments)).unwrap();
}

fn bridge_round(arguments: &Arguments, assets: &Assets) -> Sample {
    let directory = guests::directory();
    let bridge = Bridge::new();
    let boot = |index: usize| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &bridge.0, "qemu-system-x86_64"]);
        let plug = Plug::Tap {
            name: format!("tap{index}"),
        };
        Guest::boot_with(
            command,
            &format!("g{index}"),
            assets,
            directory.path(),
            &[(MACS[index], plug)],
        )
    };
    sample(arguments, boot(0), boot(1))
}

fn sample(arguments: &Arguments, mut from: Guest, mut to: Guest) -> Sample {
    for (guest, address) in [(&mut from, ADDRESSES[0]), (&mut to, ADDRESSES[1])] {
        guest.run(&format!(
            "ip addr add {address}/24 dev eth0; ip link set eth0 up"
        ));
    }
    let start = Instant::now();
    while from.try_run(&format!("ping -c 1 -W 1 {}", ADDRESSES[1])).0 != 0 {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "the guests do not reach each other"
        );
    }
    let pings = from.run(&format!("ping -q -c 60 -i 0.05 {}", ADDRESSES[1]));
    to.run("iperf3 -s -D");
    let mut attempts = 0;
    let text = loop {
        // The server may not listen yet.
        let command = format!("iperf3 -c {} -t {} -f m", ADDRESSES[1], arguments.seconds);
        let (status, text) = from.try_run(&command);
        attempts += 1;
        assert!(status == 0 || attempts < 10, "{text}");
        if status == 0 {
            break text;
        }
    };
    let words = |role: &str| -> Vec<String> {
        let line = text
            .lines()
            .rfind(|line| line.trim_end().ends_with(role))
            .unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    };
    let (sender, receiver) = (words("sender"), words("receiver"));
    let before = |line: &[String], unit: &str| -> f64 {
        let at = line.iter().position(|word| word == unit).unwrap();
        line[at - 1].parse().unwrap()
    };
    Sample {
        tcp: before(&receiver, "Mbits/sec"),
        retransmits: before(&sender, "sender"),
        ping: pings.lines().find_map(average).unwrap(),
    }
}

/// The middle one of `round-trip min/avg/max = 1/2/3 ms`.
fn average(line: &str) -> Option<f64> {
    line.split_once("min/avg/max = ")?
        .1
        .split('/')
        .nth(1)?
        .parse()
        .ok()
}

/// The guests of the whole tests with iperf3 added.
fn assets(cache: &Path) -> Result<Assets, String> {
    let plain = guests::assets(cache)?;
    let tree = cache.join("iperf3");
    if !tree.join("complete").exists() {
        download(cache, &tree)?;
    }
    let mut archive = fs::read(&plain.initramfs).map_err(|error| error.to_string())?;
    archive.extend(tools(&tree)?);
    let initramfs = cache.join("initramfs-bench");
    fs::write(&initramfs, archive).map_err(|error| error.to_string())?;
    Ok(Assets {
        kernel: plain.kernel,
        initramfs,
    })
}

/// Fetches iperf3 and the libraries it needs.
fn download(cache: &Path, tree: &Path) -> Result<(), String> {
    let debs = cache.join("iperf3-debs");
    fs::create_dir_all(&debs).map_err(|error| error.to_string())?;
    let mut packages = vec!["iperf3".to_owned()];
    let mut next = 0;
    while next < packages.len() {
        let text = guests::output(Command::new("apt-cache").args(["depends", &packages[next]]))?;
        for name in text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
        {
            if name.starts_with("lib") && !packages.iter().any(|known| known == name) {
                packages.push(name.to_owned());
            }
        }
        next += 1;
    }
    guests::output(
        Command::new("apt-get")
            .current_dir(&debs)
            .arg("download")
            .args(&packages),
    )?;
    for entry in fs::read_dir(&debs)
        .map_err(|error| error.to_string())?
        .flatten()
    {
        guests::output(
            Command::new("dpkg-deb")
                .arg("-x")
                .arg(entry.path())
                .arg(tree),
        )?;
    }
    fs::remove_dir_all(&debs).map_err(|error| error.to_string())?;
    fs::write(tree.join("complete"), "").map_err(|error| error.to_string())
}

fn tools(tree: &Path) -> Result<Vec<u8>, String> {
    let mut archive = Vec::new();
    for directory in ["lib", "lib64"] {
        guests::add(&mut archive, directory, 0o040_755, &[]);
    }
    let program =
        fs::read(tree.join("usr/bin/iperf3")).map_err(|error| format!("iperf3: {error}"))?;
    guests::add(&mut archive, "bin/iperf3", 0o100_755, &program);
    for directory in ["lib", "usr/lib"] {
        let Ok(entries) = fs::read_dir(tree.join(directory).join("x86_64-linux-gnu")) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(bytes) = fs::read(entry.path()) else {
                continue;
            };
            if name.starts_with("ld-linux") {
                guests::add(&mut archive, &format!("lib64/{name}"), 0o100_755, &bytes);
            }
            if name.contains(".so.") {
                guests::add(&mut archive, &format!("lib/{name}"), 0o100_755, &bytes);
            }
        }
    }
    guests::add(&mut archive, "TRAILER!!!", 0, &[]);
    Ok(archive)
}
