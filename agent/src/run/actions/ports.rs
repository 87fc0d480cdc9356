//! Closing and opening ports for whoever is outside, by a table of nftables of our own.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Did, Executor, Failed, Stepped};

const NFT: &str = "/usr/sbin/nft";
const LIMIT: Duration = Duration::from_secs(20);
/// Established connections end too. The host itself may still connect.
const TABLE: &str = "\
add table inet lifeboat
add set inet lifeboat closed { type inet_service; }
add chain inet lifeboat input { type filter hook input priority -10; policy accept; }
flush chain inet lifeboat input
add rule inet lifeboat input iifname != \"lo\" tcp dport @closed reject with tcp reset
";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Close,
    Open,
}

impl Executor {
    pub(super) async fn ports(&self, ports: &[String], way: Way) -> Stepped {
        let mut wanted = BTreeSet::new();
        for port in self.values.all(ports)? {
            let number = port.parse::<u16>();
            wanted.insert(number.map_err(|_| Failed(format!("`{port}` is not a port")))?);
        }
        let closed = self.closed().await?;
        let (todo, verb): (BTreeSet<u16>, _) = match way {
            Way::Close => (&wanted - &closed, "add"),
            Way::Open => (&wanted & &closed, "delete"),
        };
        let what = if way == Way::Close { "closed" } else { "open" };
        if todo.is_empty() {
            return Ok(Did::already(format!("ports {wanted:?} are {what} already")));
        }
        let list: Vec<String> = todo.iter().map(u16::to_string).collect();
        let change = format!(
            "{TABLE}{verb} element inet lifeboat closed {{ {} }}\n",
            list.join(", ")
        );
        self.nft(&["-f", "-"], Some(&change)).await?;
        Ok(Did::changed(format!("ports {todo:?} are {what}")))
    }

    async fn closed(&self) -> Result<BTreeSet<u16>, Failed> {
        self.nft(&["-f", "-"], Some(TABLE)).await?;
        let listed = self
            .nft(&["-j", "list", "set", "inet", "lifeboat", "closed"], None)
            .await?;
        elements(&listed).ok_or_else(|| Failed::new("nft listed its set in an unknown way"))
    }

    async fn nft(&self, words: &[&str], input: Option<&str>) -> Result<String, Failed> {
        let argv: Vec<String> = [NFT]
            .iter()
            .chain(words)
            .map(|word| (*word).to_owned())
            .collect();
        let output = self.command_with(&argv, input, LIMIT).await?;
        match output.code {
            Some(0) => Ok(output.printed),
            _ => Err(Failed(format!("nft: {}", output.line()))),
        }
    }
}

/// The elements of a set in nft's JSON.
fn elements(listed: &str) -> Option<BTreeSet<u16>> {
    let json: serde_json::Value = serde_json::from_str(listed).ok()?;
    let set = json
        .get("nftables")?
        .as_array()?
        .iter()
        .find_map(|one| one.get("set"))?;
    let Some(elements) = set.get("elem") else {
        return Some(BTreeSet::new());
    };
    let ports = elements.as_array()?.iter();
    Some(
        ports
            .filter_map(|one| one.as_u64()?.try_into().ok())
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_read_as_nft_prints_them() {
        let head = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"set": {"family": "inet", "name": "closed", "table": "lifeboat", "type": "inet_service", "handle": 1"#;
        let with = format!(r#"{head}, "elem": [25, 587]}}}}]}}"#);
        assert_eq!(elements(&with), Some(BTreeSet::from([25, 587])));
        assert_eq!(elements(&format!("{head}}}}}]}}")), Some(BTreeSet::new()));
        assert_eq!(elements("{}"), None);
    }
}
