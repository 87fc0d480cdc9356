//! Routes: whom an alert reaches, and how.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Gravity;

/// The section `[alerts]` of an application's file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The ways by which alerts leave.
    #[serde(rename = "route")]
    pub routes: Vec<Route>,
}

/// One way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// When it is taken.
    #[serde(default)]
    pub when: When,
    /// The least gravity that it is for.
    #[serde(default = "warning")]
    pub least: Gravity,
    /// By mail.
    pub mail: Option<Mail>,
    /// By a web page of somebody's own.
    pub webhook: Option<Webhook>,
}

/// When a route is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// Always.
    #[default]
    Always,
    /// When another one does not deliver.
    Otherwise,
}

/// By mail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// The mail server. One that is not protected by Lifeboat itself is wise.
    pub server: String,
    /// Its port.
    #[serde(default = "smtp")]
    pub port: u16,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: Tls,
    /// The CA that the server's certificate has to come from (PEM file), instead of those that
    /// the system trusts.
    pub trust: Option<PathBuf>,
    /// Who logs in.
    pub user: Option<String>,
    /// The file that holds the password. Read at every delivery.
    pub password_file: Option<PathBuf>,
    /// The sender.
    pub from: String,
    /// The receivers.
    pub to: Vec<String>,
}

/// How a connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// Not at all.
    None,
    /// By STARTTLS; without it nothing is sent.
    #[default]
    Starttls,
    /// From the first byte.
    Wrapped,
}

/// By a POST with JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where to.
    pub url: String,
    /// The CA that the server's certificate has to come from (PEM file), instead of those that
    /// the system trusts.
    pub trust: Option<PathBuf>,
    /// The file that holds a word to be sent as `Authorization: Bearer`. Read at every delivery.
    pub secret_file: Option<PathBuf>,
}

/// Why settings make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {why}", self.path())]
pub struct RouteError {
    /// Which route, counted from 0.
    pub index: usize,
    /// Its key.
    pub key: &'static str,
    /// What is wrong, and what would be right.
    pub why: String,
}

impl RouteError {
    /// Where it stands.
    pub(crate) fn path(&self) -> String {
        format!("alerts.route[{}].{}", self.index, self.key)
    }
}

fn warning() -> Gravity {
    Gravity::Warning
}

fn smtp() -> u16 {
    25
}

impl Settings {
    /// Whether they make sense.
    pub fn check(&self) -> Result<(), RouteError> {
        for (index, route) in self.routes.iter().enumerate() {
            let wrong = |(key, why): (&'static str, String)| RouteError { index, key, why };
            route.check().map_err(wrong)?;
            if self.routes[..index]
                .iter()
                .any(|one| one.name == route.name)
            {
                let why = format!("there are two routes `{}`", route.name);
                return Err(wrong(("name", why)));
            }
        }
        let only_otherwise = self.routes.iter().all(|one| one.when == When::Otherwise);
        match only_otherwise && !self.routes.is_empty() {
            true => Err(RouteError {
                index: 0,
                key: "when",
                why: "`otherwise` needs another route that is taken always".to_owned(),
            }),
            false => Ok(()),
        }
    }
}

impl Route {
    fn check(&self) -> Result<(), (&'static str, String)> {
        let plain = |sign: char| sign.is_ascii_alphanumeric() || "-_.".contains(sign);
        if self.name.is_empty() || !self.name.chars().all(plain) {
            let why = "letters, digits, `-`, `_` and `.` make a name".to_owned();
            return Err(("name", why));
        }
        match (&self.mail, &self.webhook) {
            (Some(mail), None) => mail.check(),
            (None, Some(webhook)) => webhook.check(),
            _ => Err(("mail", "a route has either `mail` or `webhook`".to_owned())),
        }
    }
}

impl Mail {
    fn check(&self) -> Result<(), (&'static str, String)> {
        super::mail::mailbox(&self.from).map_err(|why| ("mail.from", why))?;
        if self.to.is_empty() {
            return Err(("mail.to", "nobody would be told".to_owned()));
        }
        for to in &self.to {
            super::mail::mailbox(to).map_err(|why| ("mail.to", why))?;
        }
        match (&self.user, &self.password_file) {
            (Some(_), None) => Err(("mail.password_file", "a user needs a password".to_owned())),
            (None, Some(_)) => Err(("mail.user", "a password needs a user".to_owned())),
            (Some(_), _) if self.tls == Tls::None => {
                let why = "a password is not sent without TLS".to_owned();
                Err(("mail.tls", why))
            }
            _ => Ok(()),
        }
    }
}

impl Webhook {
    fn check(&self) -> Result<(), (&'static str, String)> {
        let url = reqwest::Url::parse(&self.url)
            .map_err(|error| ("webhook.url", format!("`{}`: {error}", self.url)))?;
        match url.scheme() {
            "https" => Ok(()),
            "http" if self.secret_file.is_none() => Ok(()),
            "http" => Err((
                "webhook.url",
                "a secret is not sent without TLS: use https".to_owned(),
            )),
            other => Err((
                "webhook.url",
                format!("`{other}` is neither http nor https"),
            )),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const ROUTES: &str = r#"
[[route]]
name = "operators"
[route.mail]
server = "mail.example.test"
tls = "wrapped"
port = 465
user = "lifeboat"
password_file = "/etc/lifeboat/mail.password"
from = "Lifeboat <lifeboat@example.test>"
to = ["ops@example.test"]
[[route]]
name = "phone"
when = "otherwise"
least = "critical"
webhook = { url = "https://hook.example.test/lifeboat", secret_file = "/etc/lifeboat/hook" }
"#;

    fn check(text: &str) -> Result<Settings, String> {
        let settings: Settings = toml::from_str(text).map_err(|error| error.to_string())?;
        settings.check().map_err(|error| error.to_string())?;
        Ok(settings)
    }

    #[test]
    fn a_mail_route_and_a_webhook_for_when_it_fails() {
        let settings = check(ROUTES).expect("good");
        assert_eq!(settings.routes[1].when, When::Otherwise);
        assert_eq!(settings.routes[0].least, Gravity::Warning);
        assert_eq!(check(""), Ok(Settings::default()));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let cases = [
            (
                "tls = \"wrapped\"",
                "tls = \"none\"",
                "mail.tls: a password",
            ),
            ("user = \"lifeboat\"\n", "", "mail.user"),
            ("lifeboat@example.test", "no address", "mail.from"),
            ("[\"ops@example.test\"]", "[]", "mail.to"),
            ("https://", "http://", "route[1].webhook.url: a secret"),
            ("https://", "file:///", "neither http nor https"),
            ("\"phone\"", "\"operators\"", "two routes"),
            ("\"phone\"", "\"a/b\"", "route[1].name"),
            ("least =", "lest =", "unknown field `lest`"),
            ("\"critical\"", "\"grave\"", "unknown variant"),
        ];
        for (from, to, expected) in cases {
            let error = check(&ROUTES.replacen(from, to, 1)).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        }
        let only = ROUTES.replacen(
            "[[route]]\nname = \"operators\"",
            "[[route]]\nname = \"operators\"\nwhen = \"otherwise\"",
            1,
        );
        assert!(check(&only).is_err());
    }
}
