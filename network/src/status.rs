//! What the switch says about itself.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::mac::MacAddr;

/// The state of a switch process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SwitchStatus {
    /// The session it serves.
    pub session: String,
    /// Its process.
    pub pid: u32,
    /// How long it has been serving, in milliseconds.
    pub uptime_ms: f64,
    /// Frames that came from machines.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames that a connected machine did not take in time.
    pub dropped: u64,
    /// Packets to unanswered destinations beyond the bound of the list.
    pub unanswered_overflow: u64,
    /// Interfaces in the switch's network namespace other than loopback: none, or it is not isolated.
    pub host_interfaces: Vec<String>,
    /// The networks.
    pub networks: Vec<NetworkStatus>,
    /// The ports.
    pub ports: Vec<PortStatus>,
}

/// The state of a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkStatus {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub cidr: Ipv4Net,
    /// The switch's own address in it, from which probes come.
    pub endpoint: Ipv4Addr,
    /// The switch's own Ethernet address in it.
    pub endpoint_mac: MacAddr,
    /// Whether that address is the site's gateway; otherwise it is a free one, and nothing is routed.
    pub is_gateway: bool,
}

/// The state of a port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortStatus {
    /// Its name.
    pub id: String,
    /// The machine behind it.
    pub machine: String,
    /// Its network.
    pub network: String,
    /// The card's address.
    pub mac: MacAddr,
    /// Whether QEMU is connected.
    pub connected: bool,
    /// Whether the guest's driver is running.
    pub link_up: bool,
    /// How often QEMU has connected.
    pub connections: u64,
    /// Counters.
    pub counters: Counters,
    /// Ethernet addresses seen behind the port.
    pub learned: Vec<MacAddr>,
}

/// The counters of a port, seen from the switch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Frames from the machine.
    pub frames_in: u64,
    /// Bytes from the machine.
    pub bytes_in: u64,
    /// Frames to the machine.
    pub frames_out: u64,
    /// Bytes to the machine.
    pub bytes_out: u64,
    /// Frames for the machine that it did not take in time.
    pub dropped: u64,
    /// Frames for the machine while it was not there.
    pub unplugged: u64,
    /// Frames from the machine that are no frames, or that pretend to come from the gateway.
    pub refused: u64,
    /// How often a sender was held because the machine's receive ring was full.
    pub waits: u64,
}

/// The names of the interfaces in the text of `/proc/net/dev`, without loopback.
#[must_use]
pub fn interfaces(text: &str) -> Vec<String> {
    let names = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim().to_owned());
    names.filter(|name| name != "lo").collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn loopback_is_no_way_out() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes\n    lo:       0       0\n  eth0: 1 2\n";
        assert_eq!(super::interfaces(text), ["eth0"]);
    }
}
