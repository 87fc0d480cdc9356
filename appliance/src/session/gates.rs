//! Waiting for one gate to open.

use std::time::Duration;

use lifeboat_network::client::SwitchClient;
use lifeboat_network::probe::{Probe, ProbeResult};
use tokio::time::Instant;

use super::plan::PlannedGate;
use crate::site::GateKind;

/// Between two tries. Each try costs the guest a packet or two, and the pause
/// is what a gate may open unseen.
const PAUSE: Duration = Duration::from_millis(250);
/// For one try.
const TRY: Duration = Duration::from_secs(4);

/// How waiting for a gate ended.
#[derive(Debug, Clone)]
pub struct Opening {
    /// It opened.
    pub open: bool,
    /// The last answer, or why there was none.
    pub detail: String,
}

/// Probes until the gate opens or `deadline` passes.
pub async fn wait_open(client: &SwitchClient, gate: &PlannedGate, deadline: Instant) -> Opening {
    let Some(probe) = probe_of(gate) else {
        return Opening {
            open: true,
            detail: "the machine runs; it has no address to probe".into(),
        };
    };
    let mut last = "not probed yet".to_owned();
    while Instant::now() < deadline {
        match client.probe(probe.clone(), TRY).await {
            Ok(ProbeResult {
                ok: true, detail, ..
            }) => return Opening { open: true, detail },
            Ok(result) => last = result.detail,
            // The switch may be restarting; the machine is not at fault.
            Err(error) => last = format!("the switch did not answer: {error}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
    Opening {
        open: false,
        detail: last,
    }
}

fn probe_of(gate: &PlannedGate) -> Option<Probe> {
    let address = gate.address?;
    Some(match &gate.gate.kind {
        GateKind::Running => return None,
        GateKind::Icmp => Probe::Icmp { address },
        GateKind::Tcp(port) => Probe::Tcp {
            address,
            port: *port,
        },
        GateKind::Http {
            port,
            path,
            host,
            expect,
        } => Probe::Http {
            address,
            port: *port,
            host: host.clone().unwrap_or_else(|| address.to_string()),
            path: path.clone(),
            expect: expect.clone(),
        },
    })
}
