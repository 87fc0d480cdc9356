//! What the daemon tells the switch: networks, ports, and as whom to run.
//!
//! The file is JSON. [`SwitchConfig::validate`] is the only way to a [`Topology`], and everything
//! behind it works on the topology alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::mac::MacAddr;

/// Everything a switch process is started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchConfig {
    /// The session's id; appears in logs and in the status.
    pub session: String,
    /// Where the switch listens for requests of the daemon.
    pub control_socket: PathBuf,
    /// The networks of the site.
    pub networks: Vec<NetworkConfig>,
    /// One port for each network card.
    pub ports: Vec<PortConfig>,
    /// As whom the switch serves; without it `nobody` (65534) when started as root.
    #[serde(default)]
    pub run_as: Option<Owner>,
    /// To whom the listening sockets belong (QEMU's user); without it the user who started it.
    #[serde(default)]
    pub socket_owner: Option<Owner>,
    /// Where the switch logs; without it standard error.
    #[serde(default)]
    pub log: Option<PathBuf>,
}

/// A network of the site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// Its name in `site.toml`.
    pub name: String,
    /// Its addresses.
    pub cidr: Ipv4Net,
    /// The router's address, answered by the switch. A network without one is not routed.
    #[serde(default)]
    pub gateway: Option<Ipv4Addr>,
}

/// The place where one network card is plugged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortConfig {
    /// Unique in the switch; the name of its counters.
    pub id: String,
    /// The machine that owns the card.
    pub machine: String,
    /// The network it is plugged into.
    pub network: String,
    /// The card's address.
    pub mac: MacAddr,
    /// The machine's address on this network, when known.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// The socket on which the switch listens and QEMU connects.
    pub socket: PathBuf,
    /// What QEMU speaks there.
    #[serde(default)]
    pub kind: PortKind,
}

/// What is spoken on a port's socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortKind {
    /// vhost-user: virtio cards, frames in shared memory.
    #[default]
    VhostUser,
    /// Frames one after another on the socket, as QEMU's `-netdev stream` sends
    /// them: any other card.
    Stream,
}

/// A user and a group of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// Numeric user id.
    pub uid: u32,
    /// Numeric group id.
    pub gid: u32,
}

/// Why a configuration cannot be used. Each message names the key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("failed to read the switch's configuration `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no configuration.
    #[error("failed to understand the switch's configuration `{}`", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why, with line and key.
        #[source]
        source: serde_json::Error,
    },
    /// A value does not fit the others.
    #[error("`{key}` = `{value}` {problem}")]
    Value {
        /// Which key, for example `ports[2].mac`.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong and what was expected.
        problem: String,
    },
}

/// A checked configuration: names are indices, every network has an endpoint.
#[derive(Debug, Clone)]
pub struct Topology {
    /// The networks, in the order of the configuration.
    pub networks: Vec<Network>,
    /// The ports, in the order of the configuration.
    pub ports: Vec<Port>,
}

/// A checked network.
#[derive(Debug, Clone)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub cidr: Ipv4Net,
    /// The switch's own address here: the gateway's, or a free one.
    pub endpoint: Ipv4Addr,
    /// The switch's own Ethernet address here.
    pub mac: MacAddr,
    /// Whether the endpoint is the site's gateway, and so routes.
    pub routed: bool,
}

/// A checked port.
#[derive(Debug, Clone)]
pub struct Port {
    /// Its name.
    pub id: String,
    /// The machine behind it.
    pub machine: String,
    /// Index of its network.
    pub network: usize,
    /// The card's address.
    pub mac: MacAddr,
    /// The machine's address, when known.
    pub address: Option<Ipv4Addr>,
}

impl SwitchConfig {
    /// Reads a configuration file; checks nothing beyond its syntax.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read(path).map_err(|source| ConfigError::Read {
            path: path.into(),
            source,
        })?;
        serde_json::from_slice(&text).map_err(|source| ConfigError::Parse {
            path: path.into(),
            source,
        })
    }

    /// Checks every value against the others.
    pub fn validate(&self) -> Result<Topology, ConfigError> {
        let mut checks = Checks::default();
        for (index, network) in self.networks.iter().enumerate() {
            checks.network(index, network)?;
        }
        for (index, port) in self.ports.iter().enumerate() {
            checks.port(index, port, &self.networks)?;
        }
        Ok(self.topology())
    }

    fn topology(&self) -> Topology {
        let macs: BTreeSet<MacAddr> = self.ports.iter().map(|port| port.mac).collect();
        let networks = self
            .networks
            .iter()
            .enumerate()
            .map(|(index, network)| Network {
                name: network.name.clone(),
                cidr: network.cidr.trunc(),
                endpoint: network
                    .gateway
                    .unwrap_or_else(|| self.free_address(network)),
                mac: endpoint_mac(index, &macs),
                routed: network.gateway.is_some(),
            });
        Topology {
            networks: networks.collect(),
            ports: self.ports.iter().map(|port| self.port(port)).collect(),
        }
    }

    fn port(&self, port: &PortConfig) -> Port {
        let network = self
            .networks
            .iter()
            .position(|network| network.name == port.network);
        Port {
            id: port.id.clone(),
            machine: port.machine.clone(),
            network: network.unwrap_or_default(),
            mac: port.mac,
            address: port.address,
        }
    }

    /// The highest host address that no machine has.
    fn free_address(&self, network: &NetworkConfig) -> Ipv4Addr {
        let taken: BTreeSet<u32> = self
            .ports
            .iter()
            .filter_map(|port| port.address)
            .map(u32::from)
            .collect();
        let (first, last) = (
            u32::from(network.cidr.network()),
            u32::from(network.cidr.broadcast()),
        );
        let hosts = first.saturating_add(1)..last;
        hosts
            .rev()
            .find(|address| !taken.contains(address))
            .unwrap_or(last)
            .into()
    }
}

/// A locally administered address that no card of the site has.
fn endpoint_mac(index: usize, taken: &BTreeSet<MacAddr>) -> MacAddr {
    let index = u16::try_from(index).unwrap_or(u16::MAX).to_be_bytes();
    let candidates =
        (0..=u8::MAX).map(|round| MacAddr([0x02, 0x4c, 0x42, round, index[0], index[1]]));
    candidates
        .into_iter()
        .find(|mac| !taken.contains(mac))
        .unwrap_or(MacAddr([0x02, 0, 0, 0, index[0], index[1]]))
}

#[derive(Default)]
struct Checks {
    names: BTreeSet<String>,
    ids: BTreeSet<String>,
    macs: BTreeMap<MacAddr, String>,
    addresses: BTreeMap<(String, Ipv4Addr), String>,
    sockets: BTreeSet<PathBuf>,
    cidrs: Vec<(Ipv4Net, String)>,
}

impl Checks {
    fn network(&mut self, index: usize, network: &NetworkConfig) -> Result<(), ConfigError> {
        let key = |field: &str| format!("networks[{index}].{field}");
        if !self.names.insert(network.name.clone()) {
            return refuse(
                key("name"),
                &network.name,
                "is the name of another network too",
            );
        }
        if network.cidr.prefix_len() > 30 {
            return refuse(
                key("cidr"),
                network.cidr,
                "is too small: expected a prefix of at most 30",
            );
        }
        if let Some((other, name)) = self
            .cidrs
            .iter()
            .find(|(other, _)| overlap(other, &network.cidr))
        {
            return refuse(
                key("cidr"),
                network.cidr,
                &format!("overlaps {other} of network `{name}`"),
            );
        }
        self.cidrs.push((network.cidr, network.name.clone()));
        let Some(gateway) = network.gateway else {
            return Ok(());
        };
        if !is_host(&network.cidr, gateway) {
            return refuse(
                key("gateway"),
                gateway,
                &format!("is no host address of {}", network.cidr),
            );
        }
        self.addresses
            .insert((network.name.clone(), gateway), key("gateway"));
        Ok(())
    }

    fn port(
        &mut self,
        index: usize,
        port: &PortConfig,
        networks: &[NetworkConfig],
    ) -> Result<(), ConfigError> {
        let key = |field: &str| format!("ports[{index}].{field}");
        if !self.ids.insert(port.id.clone()) {
            return refuse(key("id"), &port.id, "is the id of another port too");
        }
        let Some(network) = networks.iter().find(|network| network.name == port.network) else {
            return refuse(key("network"), &port.network, "is no network of this site");
        };
        if !port.mac.is_unicast() {
            return refuse(key("mac"), port.mac, "is no address of a single card");
        }
        if let Some(other) = self.macs.insert(port.mac, key("mac")) {
            return refuse(key("mac"), port.mac, &format!("is used by `{other}` too"));
        }
        if !self.sockets.insert(port.socket.clone()) {
            return refuse(
                key("socket"),
                port.socket.display(),
                "is the socket of another port too",
            );
        }
        self.address(key("address"), port, network)
    }

    fn address(
        &mut self,
        key: String,
        port: &PortConfig,
        network: &NetworkConfig,
    ) -> Result<(), ConfigError> {
        let Some(address) = port.address else {
            return Ok(());
        };
        if !is_host(&network.cidr, address) {
            return refuse(
                key,
                address,
                &format!("is no host address of {} ({})", network.name, network.cidr),
            );
        }
        match self
            .addresses
            .insert((network.name.clone(), address), key.clone())
        {
            Some(other) => refuse(key, address, &format!("is used by `{other}` too")),
            None => Ok(()),
        }
    }
}

fn refuse(key: String, value: impl ToString, problem: &str) -> Result<(), ConfigError> {
    Err(ConfigError::Value {
        key,
        value: value.to_string(),
        problem: problem.to_owned(),
    })
}

fn overlap(one: &Ipv4Net, other: &Ipv4Net) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

fn is_host(cidr: &Ipv4Net, address: Ipv4Addr) -> bool {
    cidr.contains(&address) && address != cidr.network() && address != cidr.broadcast()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> SwitchConfig {
        let port = |id: &str, mac: &str, address: &str| PortConfig {
            id: id.into(),
            machine: id.into(),
            network: "lan".into(),
            mac: mac.parse().unwrap(),
            address: Some(address.parse().unwrap()),
            socket: format!("/run/{id}").into(),
            kind: PortKind::default(),
        };
        SwitchConfig {
            session: "s1".into(),
            control_socket: "/run/control".into(),
            networks: vec![NetworkConfig {
                name: "lan".into(),
                cidr: "10.20.0.0/24".parse().unwrap(),
                gateway: Some("10.20.0.1".parse().unwrap()),
            }],
            ports: vec![
                port("a", "52:54:00:20:00:10", "10.20.0.10"),
                port("b", "52:54:00:20:00:11", "10.20.0.11"),
            ],
            run_as: None,
            socket_owner: None,
            log: None,
        }
    }

    fn check(change: impl FnOnce(&mut SwitchConfig), expected: &str) {
        let mut config = example();
        change(&mut config);
        let error = config.validate().unwrap_err().to_string();
        assert!(
            error.contains(expected),
            "`{error}` does not contain `{expected}`"
        );
    }

    #[test]
    fn a_good_one_passes_and_survives_json() {
        let config = example();
        let topology = config.validate().unwrap();
        assert_eq!(topology.networks[0].endpoint, Ipv4Addr::new(10, 20, 0, 1));
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<SwitchConfig>(&json).unwrap(), config);
    }

    #[test]
    fn without_a_gateway_the_highest_free_address_serves() {
        let mut config = example();
        config.networks[0].gateway = None;
        config.ports[1].address = Some("10.20.0.254".parse().unwrap());
        let topology = config.validate().unwrap();
        assert_eq!(topology.networks[0].endpoint, Ipv4Addr::new(10, 20, 0, 253));
        assert!(!topology.networks[0].routed);
    }

    #[test]
    fn every_mistake_names_its_key() {
        check(|c| c.ports[1].mac = c.ports[0].mac, "ports[1].mac");
        check(|c| c.ports[1].id = "a".into(), "ports[1].id");
        check(
            |c| c.ports[1].address = c.ports[0].address,
            "ports[1].address",
        );
        check(
            |c| c.ports[1].address = "10.21.0.1".parse().ok(),
            "ports[1].address",
        );
        check(
            |c| c.ports[1].address = "10.20.0.255".parse().ok(),
            "ports[1].address",
        );
        check(
            |c| c.ports[1].address = "10.20.0.1".parse().ok(),
            "networks[0].gateway",
        );
        check(|c| c.ports[0].network = "dmz".into(), "ports[0].network");
        check(|c| c.ports[0].mac = MacAddr::BROADCAST, "ports[0].mac");
        check(
            |c| c.ports[1].socket = c.ports[0].socket.clone(),
            "ports[1].socket",
        );
        check(
            |c| c.networks[0].gateway = "10.21.0.1".parse().ok(),
            "networks[0].gateway",
        );
        check(
            |c| c.networks.push(c.networks[0].clone()),
            "networks[1].name",
        );
        check(
            |c| {
                let mut n = c.networks[0].clone();
                n.name = "x".into();
                c.networks.push(n)
            },
            "networks[1].cidr",
        );
    }

    #[test]
    fn unknown_keys_are_refused() {
        let mut value = serde_json::to_value(example()).unwrap();
        value["uplink"] = "eth0".into();
        let error = serde_json::from_value::<SwitchConfig>(value).unwrap_err();
        assert!(error.to_string().contains("uplink"));
    }
}
