//! From the parsed form to a [`Site`]: every refusal names line and key.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use lifeboat_bootorder::{OperatorError, OperatorWord, Verdict};
use lifeboat_network::MacAddr;
use toml::Spanned;

use super::raw::{RawBacking, RawDependency, RawGate, RawMachine, RawNetwork, RawNic, RawSite};
use super::{
    Backing, Dependency, Firmware, Gate, GateKind, Machine, Network, Nic, Site, SiteError,
    VolumeCheck,
};

pub(super) struct Validator<'a> {
    file: &'a Path,
    text: &'a str,
    volume_check: VolumeCheck<'a>,
    macs: HashMap<MacAddr, String>,
    addresses: HashMap<(String, Ipv4Addr), String>,
}

/// A day: longer than any machine boots.
const MAX_TIMEOUT_S: u64 = 86_400;

type Checked<T> = Result<T, SiteError>;

impl<'a> Validator<'a> {
    pub fn new(file: &'a Path, text: &'a str, volume_check: VolumeCheck<'a>) -> Self {
        Self {
            file,
            text,
            volume_check,
            macs: HashMap::new(),
            addresses: HashMap::new(),
        }
    }

    pub fn site(mut self, raw: RawSite) -> Checked<Site> {
        let name = self.name(&raw.site.name, "site.name")?;
        let networks = self.networks(&raw.network)?;
        if raw.machine.is_empty() {
            return Err(self.value(
                0,
                "machine",
                "the site has no machine: add a [[machine]] table",
            ));
        }
        let machines = raw
            .machine
            .iter()
            .map(|machine| self.machine(machine, &networks))
            .collect::<Checked<Vec<_>>>()?;
        self.unique_names(raw.machine.iter().map(|m| &m.name), "machine.name")?;
        let dependencies = raw
            .dependency
            .iter()
            .map(|dependency| self.dependency(dependency, &machines))
            .collect::<Checked<Vec<_>>>()?;
        self.no_contradiction(&raw.dependency, &machines)?;
        Ok(Site {
            name,
            file: self.file.to_path_buf(),
            networks,
            machines,
            dependencies,
        })
    }

    fn networks(&self, raw: &[RawNetwork]) -> Checked<Vec<Network>> {
        self.unique_names(raw.iter().map(|n| &n.name), "network.name")?;
        let networks = raw
            .iter()
            .map(|network| self.network(network))
            .collect::<Checked<Vec<_>>>()?;
        self.no_overlap(raw, &networks)?;
        Ok(networks)
    }

    fn no_overlap(&self, raw: &[RawNetwork], networks: &[Network]) -> Checked<()> {
        for (index, (one, place)) in networks.iter().zip(raw).enumerate() {
            let overlaps = |other: &&Network| {
                one.cidr.contains(&other.cidr.network()) || other.cidr.contains(&one.cidr.network())
            };
            if let Some(other) = networks[..index].iter().find(overlaps) {
                let problem = format!(
                    "{} overlaps {} of network `{}`: no router could tell them apart",
                    one.cidr, other.cidr, other.name
                );
                return Err(self.at(&place.cidr, "network.cidr", &problem));
            }
        }
        Ok(())
    }

    fn network(&self, raw: &RawNetwork) -> Checked<Network> {
        let name = self.name(&raw.name, "network.name")?;
        let cidr: Ipv4Net = raw.cidr.get_ref().parse().map_err(|_| {
            self.at(
                &raw.cidr,
                "network.cidr",
                "not an IPv4 network: expected something like \"10.20.0.0/24\"",
            )
        })?;
        if cidr.prefix_len() > 30 {
            let problem = format!(
                "{cidr} has no room for a machine and a gateway: expected a prefix of at most 30"
            );
            return Err(self.at(&raw.cidr, "network.cidr", &problem));
        }
        let gateway = raw
            .gateway
            .as_ref()
            .map(|text| self.gateway(text, &cidr))
            .transpose()?;
        Ok(Network {
            name,
            cidr,
            gateway,
        })
    }

    fn gateway(&self, text: &Spanned<String>, cidr: &Ipv4Net) -> Checked<Ipv4Addr> {
        self.address_in(text, cidr, "network.gateway")
    }

    fn address_in(&self, text: &Spanned<String>, cidr: &Ipv4Net, key: &str) -> Checked<Ipv4Addr> {
        let address: Ipv4Addr = text.get_ref().parse().map_err(|_| {
            self.at(
                text,
                key,
                &format!("`{}` is not an IPv4 address", text.get_ref()),
            )
        })?;
        let usable = address != cidr.network() && address != cidr.broadcast();
        if cidr.contains(&address) && usable {
            return Ok(address);
        }
        Err(self.at(
            text,
            key,
            &format!("`{address}` is not a host address of network {cidr}"),
        ))
    }

    fn machine(&mut self, raw: &RawMachine, networks: &[Network]) -> Checked<Machine> {
        let name = self.name(&raw.name, "machine.name")?;
        let memory_mib = self.range(&raw.memory_mib, "machine.memory_mib", 64, 16 << 20)?;
        let vcpus = self.range(&raw.vcpus, "machine.vcpus", 1, 512)?;
        let volumes = self.volumes(raw)?;
        let secure_boot = self.secure_boot(raw)?;
        let uuid = raw.uuid.as_ref().map(|uuid| self.uuid(uuid)).transpose()?;
        let backing = raw
            .backing
            .iter()
            .map(|backing| self.backing(backing, &volumes));
        let backing = backing.collect::<Checked<Vec<_>>>()?;
        let nics = raw
            .nic
            .iter()
            .map(|nic| self.nic(nic, &name, networks))
            .collect::<Checked<Vec<_>>>()?;
        let gates = raw
            .gate
            .iter()
            .map(|gate| self.gate(gate, networks))
            .collect::<Checked<Vec<_>>>()?;
        self.gates_have_address(raw, &nics, &gates)?;
        Ok(Machine {
            name,
            firmware: raw.firmware,
            secure_boot,
            uuid,
            clock: raw.clock,
            disk_bus: raw.disk_bus,
            root: raw.root.clone(),
            memory_mib,
            vcpus,
            volumes,
            backing,
            nics,
            gates,
        })
    }

    fn secure_boot(&self, raw: &RawMachine) -> Checked<bool> {
        match &raw.secure_boot {
            Some(wanted) if *wanted.get_ref() && raw.firmware == Firmware::Bios => Err(self.at(
                wanted,
                "machine.secure_boot",
                "a BIOS cannot do it: add `firmware = \"uefi\"`",
            )),
            wanted => Ok(wanted.as_ref().is_some_and(|wanted| *wanted.get_ref())),
        }
    }

    fn uuid(&self, text: &Spanned<String>) -> Checked<String> {
        let is_hyphen = |index| matches!(index, 8 | 13 | 18 | 23);
        let well_formed = text.get_ref().len() == 36
            && text.get_ref().bytes().enumerate().all(|(index, byte)| {
                byte == b'-' && is_hyphen(index) || byte.is_ascii_hexdigit() && !is_hyphen(index)
            });
        if well_formed {
            return Ok(text.get_ref().to_ascii_lowercase());
        }
        Err(self.at(
            text,
            "machine.uuid",
            "not a UUID: expected something like \"4c4c4544-0042-3510-8053-b4c04f4d3132\"",
        ))
    }

    fn volumes(&self, raw: &RawMachine) -> Checked<Vec<PathBuf>> {
        if raw.volumes.get_ref().is_empty() {
            return Err(self.at(
                &raw.volumes,
                "machine.volumes",
                "name at least one captured volume",
            ));
        }
        let folder = self.file.parent().unwrap_or(Path::new("."));
        raw.volumes
            .get_ref()
            .iter()
            .map(|volume| self.volume(volume, folder))
            .collect()
    }

    fn volume(&self, volume: &Spanned<String>, folder: &Path) -> Checked<PathBuf> {
        let path = folder.join(volume.get_ref());
        match (self.volume_check)(&path) {
            Ok(()) => Ok(path),
            Err(problem) => Err(self.at(volume, "machine.volumes", &problem)),
        }
    }

    fn backing(&self, raw: &RawBacking, volumes: &[PathBuf]) -> Checked<Backing> {
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let volume = folder.join(raw.volume.get_ref());
        if !volumes.contains(&volume) {
            return Err(self.at(
                &raw.volume,
                "machine.backing.volume",
                "name it among the volumes of the machine too",
            ));
        }
        let chain = raw.chain.get_ref().iter();
        let chain = chain.map(|file| self.volume(file, folder));
        Ok(Backing {
            volume,
            chain: chain.collect::<Checked<_>>()?,
        })
    }

    fn nic(&mut self, raw: &RawNic, machine: &str, networks: &[Network]) -> Checked<Nic> {
        let network = networks
            .iter()
            .find(|n| &n.name == raw.network.get_ref())
            .ok_or_else(|| {
                let known: Vec<_> = networks.iter().map(|n| n.name.as_str()).collect();
                let problem = format!(
                    "no [[network]] has this name; known: {}",
                    if known.is_empty() {
                        "none".to_owned()
                    } else {
                        known.join(", ")
                    }
                );
                self.at(&raw.network, "machine.nic.network", &problem)
            })?;
        let mac = self.mac(&raw.mac, machine)?;
        let address = raw
            .address
            .as_ref()
            .map(|text| self.nic_address(text, network, machine))
            .transpose()?;
        Ok(Nic {
            network: network.name.clone(),
            mac,
            address,
            model: raw.model,
        })
    }

    fn mac(&mut self, raw: &Spanned<String>, machine: &str) -> Checked<MacAddr> {
        let key = "machine.nic.mac";
        let mac: MacAddr = raw.get_ref().parse().map_err(|_| {
            self.at(
                raw,
                key,
                "not a MAC address: expected six bytes like \"52:54:00:20:00:10\"",
            )
        })?;
        if !mac.is_unicast() {
            return Err(self.at(raw, key, &format!("{mac} is no address of a single NIC: its first byte must be even, and not all may be zero")));
        }
        match self.macs.insert(mac, machine.to_owned()) {
            None => Ok(mac),
            Some(other) => Err(self.at(
                raw,
                key,
                &format!("MAC address {mac} is already used by a NIC of `{other}`: each NIC needs its own"),
            )),
        }
    }

    fn nic_address(
        &mut self,
        text: &Spanned<String>,
        network: &Network,
        machine: &str,
    ) -> Checked<Ipv4Addr> {
        let key = "machine.nic.address";
        let address = self.address_in(text, &network.cidr, key)?;
        if network.gateway == Some(address) {
            let problem = format!("{address} is the gateway of network `{}`", network.name);
            return Err(self.at(text, key, &problem));
        }
        match self
            .addresses
            .insert((network.name.clone(), address), machine.to_owned())
        {
            None => Ok(address),
            Some(other) => Err(self.at(
                text,
                key,
                &format!("address {address} is already used by `{other}`"),
            )),
        }
    }

    fn gate(&self, raw: &Spanned<RawGate>, networks: &[Network]) -> Checked<Gate> {
        let gate = raw.get_ref();
        let address = gate
            .address
            .as_ref()
            .map(|text| self.gate_address(text, networks))
            .transpose()?;
        if let Some(timeout_s) = gate.timeout_s
            && !(1..=MAX_TIMEOUT_S).contains(&timeout_s)
        {
            let problem =
                format!("{timeout_s} is out of range: expected 1 to {MAX_TIMEOUT_S} seconds");
            return Err(self.at(raw, "machine.gate.timeout_s", &problem));
        }
        if let Some(http) = &gate.http
            && let Err(problem) =
                lifeboat_network::http::request(http.host.as_deref().unwrap_or("-"), &http.path)
        {
            return Err(self.at(raw, "machine.gate.http", problem));
        }
        let kind = gate_kind(gate).ok_or_else(|| {
            self.at(raw, "machine.gate", "expected exactly one of `icmp = true`, `tcp = PORT`, `http = { port, path, expect }`")
        })?;
        Ok(Gate {
            kind,
            address,
            timeout_s: gate.timeout_s,
        })
    }

    fn gate_address(&self, text: &Spanned<String>, networks: &[Network]) -> Checked<Ipv4Addr> {
        let key = "machine.gate.address";
        let address = text
            .get_ref()
            .parse()
            .map_err(|_| self.at(text, key, "not an IPv4 address"))?;
        if networks
            .iter()
            .any(|network| network.cidr.contains(&address))
        {
            return Ok(address);
        }
        Err(self.at(
            text,
            key,
            &format!("{address} is in no network of the site"),
        ))
    }

    fn gates_have_address(&self, raw: &RawMachine, nics: &[Nic], gates: &[Gate]) -> Checked<()> {
        let addressed = nics.iter().any(|nic| nic.address.is_some());
        match gates.iter().position(|gate| gate.address.is_none()) {
            Some(index) if !addressed => Err(self.at(
                &raw.gate[index],
                "machine.gate",
                "the machine has no NIC with an `address` that the gate could probe: give one, or an `address` in the gate",
            )),
            _ => Ok(()),
        }
    }

    fn dependency(&self, raw: &RawDependency, machines: &[Machine]) -> Checked<Dependency> {
        for (text, key) in [
            (&raw.before, "dependency.before"),
            (&raw.after, "dependency.after"),
        ] {
            if !machines
                .iter()
                .any(|machine| &machine.name == text.get_ref())
            {
                return Err(self.at(
                    text,
                    key,
                    &format!("no machine is called `{}`", text.get_ref()),
                ));
            }
        }
        if raw.before.get_ref() == raw.after.get_ref() {
            return Err(self.at(
                &raw.after,
                "dependency.after",
                "a machine cannot depend on itself",
            ));
        }
        Ok(Dependency {
            before: raw.before.get_ref().clone(),
            after: raw.after.get_ref().clone(),
        })
    }

    fn no_contradiction(&self, raw: &[RawDependency], machines: &[Machine]) -> Checked<()> {
        let names: Vec<String> = machines
            .iter()
            .map(|machine| machine.name.clone())
            .collect();
        let word = |raw: &RawDependency| OperatorWord {
            before: raw.before.get_ref().clone(),
            after: raw.after.get_ref().clone(),
            verdict: Verdict::Pin,
        };
        let words: Vec<_> = raw.iter().map(word).collect();
        let Err(error) = lifeboat_bootorder::validate(&names, &words) else {
            return Ok(());
        };
        let is_meant = |word: &&OperatorWord| matches!(&error, OperatorError::Circle { before, after } if word.before == *before && word.after == *after);
        let at = words.iter().position(|word| is_meant(&word)).unwrap_or(0);
        Err(self.at(
            &raw[at].before,
            "dependency",
            &format!("{error}: remove one of them"),
        ))
    }

    fn name(&self, text: &Spanned<String>, key: &str) -> Checked<String> {
        if is_plain_name(text.get_ref()) {
            return Ok(text.get_ref().clone());
        }
        Err(self.at(
            text,
            key,
            "names have 1 to 63 letters, digits, `-`, `_` or `.`, and begin with a letter or digit",
        ))
    }

    fn unique_names<'r>(
        &self,
        names: impl Iterator<Item = &'r Spanned<String>>,
        key: &str,
    ) -> Checked<()> {
        let mut seen = std::collections::HashSet::new();
        for name in names {
            if !seen.insert(name.get_ref().to_ascii_lowercase()) {
                return Err(self.at(
                    name,
                    key,
                    &format!("the name `{}` is used twice", name.get_ref()),
                ));
            }
        }
        Ok(())
    }

    fn range<T>(&self, value: &Spanned<T>, key: &str, low: T, high: T) -> Checked<T>
    where
        T: PartialOrd + Copy + std::fmt::Display,
    {
        let number = *value.get_ref();
        if number >= low && number <= high {
            return Ok(number);
        }
        Err(self.at(
            value,
            key,
            &format!("{number} is out of range: expected {low} to {high}"),
        ))
    }

    fn at<T>(&self, place: &Spanned<T>, key: &str, problem: &str) -> SiteError {
        self.value(place.span().start, key, problem)
    }

    fn value(&self, offset: usize, key: &str, problem: &str) -> SiteError {
        let before = self.text.get(..offset).unwrap_or("");
        SiteError::Value {
            file: self.file.to_path_buf(),
            line: before.matches('\n').count() + 1,
            key: key.to_owned(),
            problem: problem.to_owned(),
        }
    }
}

fn gate_kind(gate: &RawGate) -> Option<GateKind> {
    match (gate.icmp, gate.tcp, &gate.http) {
        (Some(true), None, None) => Some(GateKind::Icmp),
        (None | Some(false), Some(port), None) if port != 0 => Some(GateKind::Tcp(port)),
        (None | Some(false), None, Some(http)) if http.port != 0 => Some(GateKind::Http {
            port: http.port,
            path: http.path.clone(),
            host: http.host.clone(),
            expect: http.expect.clone(),
        }),
        _ => None,
    }
}

/// Whether a name is safe as a path component and inside a domain name.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let mut characters = name.chars();
    name.len() <= 63
        && characters
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
        && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}
