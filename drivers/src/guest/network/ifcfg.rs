//! `ifcfg-*` files of Red Hat and SUSE.

use super::super::facts::shell_assignments;
use super::{Configured, normalised_mac, with_prefix};
use crate::report::NetworkStyle;

/// One file; `device` is what its name says.
pub fn parse(device: &str, text: &str) -> Vec<Configured> {
    let values = shell_assignments(text);
    let value = |key: &str| {
        values
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    };
    let name = value("DEVICE")
        .or(value("NAME").filter(|_| device.is_empty()))
        .unwrap_or(device);
    let mut found = Configured::new(name, NetworkStyle::Ifcfg);
    let interface = &mut found.interface;
    interface.mac = value("HWADDR").or(value("LLADDR")).and_then(normalised_mac);
    interface.gateway = value("GATEWAY").map(str::to_owned);
    for suffix in ["", "0", "1", "2", "3"] {
        let Some(address) = value(&format!("IPADDR{suffix}")) else {
            continue;
        };
        let mask = value(&format!("PREFIX{suffix}")).or(value(&format!("NETMASK{suffix}")));
        interface.addresses.push(with_prefix(address, mask));
    }
    for key in ["DNS1", "DNS2", "DNS3"] {
        interface.dns.extend(value(key).map(str::to_owned));
    }
    if let Some((parent, _)) = name.split_once('.') {
        found.lower.push(parent.to_owned());
    }
    let upper = value("BRIDGE").or(value("MASTER")).map(|upper| {
        let mut above = Configured::new(upper, NetworkStyle::Ifcfg);
        above.lower.push(name.to_owned());
        above
    });
    let ports = value("BRIDGE_PORTS").unwrap_or_default();
    found
        .lower
        .extend(ports.split_whitespace().map(str::to_owned));
    std::iter::once(found.clone()).chain(upper).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn red_hat_and_suse() {
        let all = parse(
            "eth0",
            "DEVICE=\"ens192\"\nHWADDR=00:50:56:AA:00:01\nIPADDR=10.0.0.5\nNETMASK=255.255.0.0\nGATEWAY=10.0.0.1\nDNS1=10.0.0.2\nBRIDGE=br0\n",
        );
        assert_eq!(all[0].interface.name, "ens192");
        assert_eq!(all[0].interface.addresses, ["10.0.0.5/16"]);
        assert_eq!(all[1].lower, ["ens192"]);
        let all = parse("eth1", "IPADDR='10.0.0.6/24'\nSTARTMODE='auto'\n");
        assert_eq!(all[0].interface.name, "eth1");
        assert_eq!(all[0].interface.addresses, ["10.0.0.6/24"]);
    }
}
