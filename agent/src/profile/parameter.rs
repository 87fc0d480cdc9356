//! Parameters: what may be different at every site, by type.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use super::Profile;
use crate::wire::Values;

/// A parameter.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What it is, for whoever sets it.
    pub about: String,
    /// Its value where nobody sets one.
    pub default: Option<String>,
}

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A line of text.
    Text,
    /// Letters, digits, `.`, `_`, `-`; 1 to 253 of them.
    Name,
    /// A computer's NetBIOS name: 1 to 15 letters, digits and `-`.
    Netbios,
    /// An absolute path without `..`.
    Path,
    /// A whole number from 0.
    Number,
    /// A port.
    Port,
    /// An IP address.
    Address,
    /// A name or an IP address.
    Host,
    /// A mail address.
    Mail,
    /// `true` or `false`.
    Flag,
    /// A password. Set on the host itself, never sent by the control centre.
    Secret,
}

/// Why a value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// The profile does not know the parameter.
    #[error("the profile has no parameter `{0}`")]
    Unknown(String),
    /// The value is not of its type.
    #[error("the value of `{name}` {why}")]
    Wrong {
        /// The parameter.
        name: String,
        /// What is wrong with it; the value itself is not shown.
        why: &'static str,
    },
    /// Nobody set it.
    #[error("the parameter `{0}` has no value: set it in the application's configuration")]
    Missing(String),
    /// A secret came from elsewhere.
    #[error("the parameter `{0}` is a secret: set it on the host itself")]
    Secret(String),
    /// A text with braces that are no parameter.
    #[error("`{0}` has a brace that is no parameter: write it twice")]
    Brace(String),
}

impl Kind {
    /// Whether a value is of this type.
    pub fn check(self, value: &str) -> Result<(), &'static str> {
        if value.chars().any(char::is_control) {
            return Err("holds control characters");
        }
        if value.starts_with('-') && self != Self::Secret {
            return Err("begins with `-`, which a program would take for an option");
        }
        if value.len() > 1024 {
            return Err("is longer than 1024 bytes");
        }
        match self.fits(value) {
            true => Ok(()),
            false => Err(self.expected()),
        }
    }

    fn fits(self, value: &str) -> bool {
        let name = |value: &str| {
            (1..=253).contains(&value.len())
                && value
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        match self {
            Self::Text | Self::Secret => true,
            Self::Name => name(value),
            Self::Netbios => {
                (1..=15).contains(&value.len())
                    && value
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            }
            Self::Path => value.starts_with('/') && value.split('/').all(|part| part != ".."),
            Self::Number => value.parse::<u64>().is_ok(),
            Self::Port => value.parse::<u16>().is_ok_and(|port| port > 0),
            Self::Address => value.parse::<IpAddr>().is_ok(),
            Self::Host => name(value) || value.parse::<IpAddr>().is_ok(),
            Self::Mail => value.split_once('@').is_some_and(|(user, domain)| {
                name(domain) && !user.is_empty() && !user.contains([' ', '<', '>'])
            }),
            Self::Flag => matches!(value, "true" | "false"),
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Self::Text | Self::Secret => "cannot be used",
            Self::Name => "is not a name of letters, digits, `.`, `_` and `-`",
            Self::Netbios => "is not a NetBIOS name: 1 to 15 letters, digits and `-`",
            Self::Path => "is not an absolute path without `..`",
            Self::Number => "is not a whole number",
            Self::Port => "is not a port (1 to 65535)",
            Self::Address => "is not an IP address",
            Self::Host => "is neither a host name nor an IP address",
            Self::Mail => "is not a mail address",
            Self::Flag => "is neither `true` nor `false`",
        }
    }
}

/// Every parameter with its value, checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filled(BTreeMap<String, String>);

/// Names that need no declaration: the agent knows them.
pub fn own_parameters() -> [&'static str; 3] {
    ["application", "side", "epoch"]
}

/// Names that need no declaration either; they are empty where the control centre sends none.
///
/// With actions about images `image` names one, `levels` and `forget` list some, `digest` is what
/// an image has, `first` allows to make a repository where there is none; `folder` is where the
/// agent has restored one. `seen` is the last position of the serving side that was reported.
pub fn request_parameters() -> [&'static str; 7] {
    [
        "image", "levels", "forget", "digest", "first", "folder", "seen",
    ]
}

/// Names, separated by commas, and nothing that a program could take for an option.
fn request_value(value: &str) -> Result<(), &'static str> {
    // Positions in a log have a slash.
    let name = |one: &str| Kind::Name.check(&one.replace('/', "_")).is_ok();
    match value.is_empty() || value.split(',').all(name) {
        true => Ok(()),
        false => Err("is not a list of names"),
    }
}

/// Values from the host itself (`here`), from the control centre (`sent`, which go before those of
/// the host), and the profile's defaults; `own` are those that the agent knows by itself.
pub fn fill(
    profile: &Profile,
    own: &Values,
    here: &Values,
    sent: &Values,
) -> Result<Filled, ValueError> {
    let mut filled = own.clone();
    filled.extend(profile.text.clone());
    for name in request_parameters() {
        let value = sent.get(name).map(String::as_str).unwrap_or_default();
        request_value(value).map_err(|why| ValueError::Wrong {
            name: name.to_owned(),
            why,
        })?;
        filled.insert(name.to_owned(), value.to_owned());
    }
    let declared = |name: &&String| !request_parameters().contains(&name.as_str());
    for name in here.keys().chain(sent.keys().filter(declared)) {
        let Some(parameter) = profile.parameter.get(name) else {
            return Err(ValueError::Unknown(name.clone()));
        };
        if parameter.kind == Kind::Secret && sent.contains_key(name) {
            return Err(ValueError::Secret(name.clone()));
        }
    }
    for (name, parameter) in &profile.parameter {
        let value = sent
            .get(name)
            .or(here.get(name))
            .or(parameter.default.as_ref());
        let Some(value) = value else { continue };
        parameter
            .kind
            .check(value)
            .map_err(|why| ValueError::Wrong {
                name: name.clone(),
                why,
            })?;
        filled.insert(name.clone(), value.clone());
    }
    Ok(Filled(filled))
}

impl Filled {
    /// Values that nobody has to check: they stand in no command.
    pub fn unchecked(values: Values) -> Self {
        Self(values)
    }

    /// A value as it is.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The same with one more value.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut more = self.clone();
        more.0.insert(name.to_owned(), value.to_owned());
        more
    }

    /// Puts values into one argument.
    pub fn text(&self, template: &str) -> Result<String, ValueError> {
        let mut text = String::with_capacity(template.len());
        for part in parts(template)? {
            match part {
                Part::Text(piece) => text.push_str(piece),
                Part::Name(name) => {
                    let value = self.0.get(name);
                    text.push_str(value.ok_or_else(|| ValueError::Missing(name.to_owned()))?);
                }
            }
        }
        Ok(text)
    }

    /// Puts values into every argument.
    pub fn all(&self, templates: &[String]) -> Result<Vec<String>, ValueError> {
        templates
            .iter()
            .map(|template| self.text(template))
            .collect()
    }
}

/// A piece of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Text(&'a str),
    Name(&'a str),
}

/// The pieces of a template: `{name}` is a parameter, `{{` and `}}` are braces.
pub(super) fn parts(template: &str) -> Result<Vec<Part<'_>>, ValueError> {
    let wrong = || ValueError::Brace(template.to_owned());
    let (mut parts, mut rest) = (Vec::new(), template);
    while let Some(place) = rest.find(['{', '}']) {
        let (text, brace) = rest.split_at(place);
        parts.push(Part::Text(text));
        if let Some(after) = brace.strip_prefix("{{").or(brace.strip_prefix("}}")) {
            parts.push(Part::Text(&brace[..1]));
            rest = after;
            continue;
        }
        let inside = brace.strip_prefix('{').ok_or_else(wrong)?;
        let (name, after) = inside.split_once('}').ok_or_else(wrong)?;
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(wrong());
        }
        parts.push(Part::Name(name));
        rest = after;
    }
    parts.push(Part::Text(rest));
    Ok(parts)
}
