//! The way of the users, from outside: what an agent sees on its own host says nothing about the
//! network before it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeboat_agent::probe::log_in;
use lifeboat_agent::profile::{Check, Filled, Probe};
use lifeboat_agent::wire::{Health, Metric, UnixMillis, Values};
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The section `[users]` of an application's file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Users {
    /// How often the control centre does what users do.
    pub every_s: u32,
    /// A TOML file of `name = "value"`, for `{name}` in passwords. Read at every round.
    pub secrets: Option<PathBuf>,
    /// What users do, by the names that users use.
    #[serde(rename = "check")]
    pub checks: Vec<Check>,
}

impl Default for Users {
    fn default() -> Self {
        Self {
            every_s: 30,
            secrets: None,
            checks: Vec::new(),
        }
    }
}

/// Why the section makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("users.{key}: {why}")]
pub struct UsersError {
    /// Its key.
    pub key: String,
    /// What is wrong, and what would be right.
    pub why: String,
}

impl Users {
    /// Whether it makes sense.
    pub fn check(&self) -> Result<(), UsersError> {
        let wrong = |key: String, why: &str| UsersError {
            key,
            why: why.to_owned(),
        };
        if self.every_s == 0 {
            return Err(wrong("every_s".to_owned(), "at least 1"));
        }
        for (index, check) in self.checks.iter().enumerate() {
            let key = |name: &str| format!("check[{index}].{name}");
            if !check.name.starts_with("access.") || check.name.contains(char::is_whitespace) {
                return Err(wrong(key("name"), "it has to begin with `access.`"));
            }
            let log_in = matches!(
                check.probe,
                Probe::Smtp(_) | Probe::Imap(_) | Probe::Pop3(_) | Probe::Http(_) | Probe::Tcp(_)
            );
            if !log_in {
                let why = "from outside only smtp, imap, pop3, http and tcp are looked at";
                return Err(wrong(key("probe"), why));
            }
            if self.checks[..index]
                .iter()
                .any(|one| one.name == check.name)
            {
                return Err(wrong(key("name"), "there are two of this name"));
            }
        }
        Ok(())
    }

    /// Does once what users do, all of it at the same time.
    pub(crate) async fn look(&self, now: UnixMillis) -> Vec<Metric> {
        let values = match self.values().await {
            Ok(values) => values,
            Err(why) => {
                let failed = |check: &Check| metric(check, Err(why.clone()), Health::Unknown, now);
                return self.checks.iter().map(failed).collect();
            }
        };
        let mut looking = JoinSet::new();
        for check in &self.checks {
            let (check, values) = (check.clone(), values.clone());
            looking.spawn(async move { once(&check, &values, now).await });
        }
        looking.join_all().await
    }

    async fn values(&self) -> Result<Filled, String> {
        match &self.secrets {
            Some(file) => read(file).await.map(Filled::unchecked),
            None => Ok(Filled::default()),
        }
    }
}

async fn read(file: &Path) -> Result<Values, String> {
    let text = crate::text::read_text(file);
    let text = text.map_err(|error| format!("{}: {error}", file.display()))?;
    // What stands there is not shown.
    toml::from_str(&text).map_err(|_| format!("{}: not lines of name = \"value\"", file.display()))
}

async fn once(check: &Check, values: &Filled, now: UnixMillis) -> Metric {
    let limit = Duration::from_secs(check.limit_s.into());
    let begin = Instant::now();
    let done = tokio::time::timeout(limit, log_in(&check.probe, values)).await;
    let seen = match done {
        Ok(done) => done.map(|()| begin.elapsed().as_secs_f64()),
        Err(_) => Err(format!("no answer within {} s", limit.as_secs())),
    };
    metric(check, seen, Health::Bad, now)
}

fn metric(check: &Check, seen: Result<f64, String>, failed: Health, now: UnixMillis) -> Metric {
    let good = |value: f64| {
        check.good_from.is_none_or(|least| value >= least)
            && check.good_to.is_none_or(|most| value <= most)
    };
    let (value, unit, state, text) = match seen {
        Ok(value) if good(value) => (value, "s", Health::Good, None),
        Ok(value) => (value, "s", Health::Bad, None),
        Err(why) => (0.0, "bool", failed, Some(why)),
    };
    Metric {
        name: check.name.clone(),
        value,
        unit: unit.to_owned(),
        state,
        time: now,
        text,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    fn users(text: &str) -> Result<Users, String> {
        let users: Users = toml::from_str(text).map_err(|error| error.to_string())?;
        users.check().map_err(|error| error.to_string())?;
        Ok(users)
    }

    fn tcp(name: &str, port: u16, limit_s: u32) -> String {
        format!(
            "[[check]]\nname = \"{name}\"\nlimit_s = {limit_s}\nprobe = {{ tcp = {{ host = \"127.0.0.1\", port = \"{port}\" }} }}\n"
        )
    }

    #[tokio::test]
    async fn what_answers_is_timed_and_what_does_not_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("bound").port();
        let closed = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let free = closed.local_addr().expect("bound").port();
        drop(closed);
        let text = tcp("access.web", port, 5) + &tcp("access.mail", free, 5);
        let metrics = users(&text).expect("good").look(1000).await;
        let of = |name: &str| {
            metrics
                .iter()
                .find(|one| one.name == name)
                .expect("looked at")
        };
        assert_eq!(
            (of("access.web").state, of("access.web").unit.as_str()),
            (Health::Good, "s")
        );
        assert_eq!(of("access.mail").state, Health::Bad);
        assert!(
            of("access.mail")
                .text
                .as_ref()
                .expect("why")
                .contains("refused")
        );
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("bound").port();
        let text = tcp("access.smtp", port, 1).replace("tcp =", "smtp =");
        let metrics = users(&text).expect("good").look(1000).await;
        assert_eq!(metrics[0].text.as_deref(), Some("no answer within 1 s"));
    }

    #[tokio::test]
    async fn passwords_come_from_their_file() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("bound").port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut heard = vec![0; 256];
            stream.write_all(b"* OK hi\r\n").await.expect("said");
            let count = tokio::io::AsyncReadExt::read(&mut stream, &mut heard)
                .await
                .expect("heard");
            stream.write_all(b"a1 NO\r\n").await.expect("said");
            String::from_utf8_lossy(&heard[..count]).into_owned()
        });
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("users.toml");
        std::fs::write(&file, "word = \"open\"\n").expect("written");
        let text = format!(
            "secrets = \"{}\"\n[[check]]\nname = \"access.imap\"\nprobe = {{ imap = {{ host = \"127.0.0.1\", port = \"{port}\", user = \"ann\", password = \"{{word}}\" }} }}\n",
            file.display()
        );
        let users = users(&text).expect("good");
        let metrics = users.look(1000).await;
        assert!(
            server
                .await
                .expect("heard")
                .contains("LOGIN \"ann\" \"open\"")
        );
        assert!(!format!("{metrics:?}").contains("open"), "{metrics:?}");
        std::fs::write(&file, "word = open secret\n").expect("written");
        let metrics = users.look(1000).await;
        assert_eq!(metrics[0].state, Health::Unknown);
        assert!(!format!("{metrics:?}").contains("open"), "{metrics:?}");
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let good = tcp("access.web", 80, 5);
        assert!(users(&good).is_ok());
        for (text, expected) in [
            (format!("every_s = 0\n{good}"), "users.every_s"),
            (good.replace("access.web", "web"), "users.check[0].name"),
            (format!("{good}{good}"), "users.check[1].name"),
            (good.replace("tcp = {", "ping = \"a\", x = {"), "x"),
            (
                "[[check]]\nname = \"access.a\"\nprobe = { ping = \"a\" }\n".to_owned(),
                "users.check[0].probe",
            ),
            (format!("evry_s = 1\n{good}"), "evry_s"),
        ] {
            let error = users(&text).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        }
    }
}
