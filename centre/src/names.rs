//! Both name servers of the control centre (358, 362), and the records that follow the
//! application.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lifeboat_agent::names::{Key, NameServer, NamesError, RecordSet};
use lifeboat_failover::Side;
use tokio::task::JoinSet;

use crate::application::Names;
use crate::centre::Centre;
use crate::error::Chain;

/// Why the key that signs changes cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file.
    #[error("failed to read the key `{}`", .path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its contents.
    #[error("`{}` is not a key in BIND's form: key \"NAME\" {{ algorithm hmac-sha256; secret \"...\"; }};", .0.display())]
    Content(PathBuf),
}

/// What the name servers said.
#[derive(Debug, Default)]
pub struct Said {
    /// Of those that did what was asked.
    pub good: Vec<String>,
    /// Of the others.
    pub bad: Vec<String>,
}

/// Reads a key.
pub fn read_key(path: &Path) -> Result<Key, KeyError> {
    let text = std::fs::read_to_string(path).map_err(|source| KeyError::Read {
        path: path.to_owned(),
        source,
    })?;
    parse_key(&text).ok_or_else(|| KeyError::Content(path.to_owned()))
}

fn parse_key(text: &str) -> Option<Key> {
    // Secrets may hold `//`, so only whole lines are comments.
    let comment =
        |line: &&str| line.trim_start().starts_with("//") || line.trim_start().starts_with('#');
    let lines: Vec<&str> = text.lines().filter(|line| !comment(line)).collect();
    let text = lines.join(" ");
    let (_, rest) = text.split_once("key")?;
    let (name, rest) = rest.split_once('{')?;
    let (body, _) = rest.split_once('}')?;
    let word = |name: &str| {
        body.split(';').find_map(|one| {
            let value = one.trim().strip_prefix(name)?;
            Some(value.trim().trim_matches('"').to_owned())
        })
    };
    Some(Key {
        name: name.trim().trim_matches('"').to_owned(),
        algorithm: word("algorithm")?,
        secret: STANDARD.decode(word("secret")?).ok()?,
    })
}

/// Whether the name servers answer for the zone and know the key (358).
pub async fn check(names: &Names) -> Result<Said, KeyError> {
    let zone = names.zone.clone();
    each(names, move |server| {
        let zone = zone.clone();
        async move {
            let serial = server.serial(&zone).await?;
            Ok(format!("{} answers with serial {serial}", server.address))
        }
    })
    .await
}

/// Points every record to `side` on every name server that can be had (362).
pub async fn point(names: &Names, side: Side) -> Result<Said, KeyError> {
    let (zone, sets) = (names.zone.clone(), sets(names, side));
    each(names, move |server| {
        let (zone, sets) = (zone.clone(), sets.clone());
        async move {
            let changed = server.replace(&zone, &sets).await?;
            let what = if changed {
                "was changed and shows"
            } else {
                "shows already"
            };
            Ok(format!(
                "{} {what} the records of the {side}",
                server.address
            ))
        }
    })
    .await
}

/// How often the records are looked at: a name server that was down when an application moved is
/// set right soon after it is back.
const LOOK: Duration = Duration::from_secs(30);

/// Keeps every application's records pointed to the side that serves.
pub(crate) async fn keep(centre: Centre) {
    loop {
        tokio::time::sleep(LOOK).await;
        for handle in centre.all() {
            let application = handle.application();
            let active = handle.snapshot().state.state.active();
            if let (Some(names), Some(side)) = (&application.names, active) {
                match point(names, side).await {
                    Ok(said) => said.bad.iter().for_each(|bad| {
                        tracing::warn!(application = application.name, "{bad}");
                    }),
                    Err(error) => tracing::warn!(error = %Chain(&error), "names are not looked at"),
                }
            }
        }
    }
}

/// All of them at once: a server that is down costs its time-out once.
async fn each<F, A>(names: &Names, ask: F) -> Result<Said, KeyError>
where
    F: Fn(NameServer) -> A,
    A: Future<Output = Result<String, NamesError>> + Send + 'static,
{
    let key = read_key(&names.key_file)?;
    let mut asking = JoinSet::new();
    for address in &names.servers {
        asking.spawn(ask(NameServer {
            address: *address,
            key: key.clone(),
        }));
    }
    let mut said = Said::default();
    for answer in asking.join_all().await {
        match answer {
            Ok(text) => said.good.push(text),
            Err(error) => said.bad.push(Chain(&error).to_string()),
        }
    }
    Ok(said)
}

fn sets(names: &Names, side: Side) -> Vec<RecordSet> {
    let set = |record: &crate::application::Record| RecordSet {
        name: record.name.clone(),
        kind: record.kind,
        values: match side {
            Side::Primary => record.primary.clone(),
            Side::Secondary => record.secondary.clone(),
        },
    };
    names.records.iter().map(set).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_bind_writes_them() {
        let key = parse_key(
            "// ours\nkey \"lifeboat\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2Vj//V0\";\n};\n",
        )
        .expect("a key");
        assert_eq!(key.name, "lifeboat");
        assert_eq!(key.algorithm, "hmac-sha256");
        assert_eq!(key.secret, [0x73, 0x65, 0x63, 0xff, 0xf5, 0x74]);
        for other in [
            "",
            "key",
            "key \"a\" {}",
            "key a { algorithm x; secret \"%\"; };",
        ] {
            assert!(parse_key(other).is_none(), "{other}");
        }
    }
}
