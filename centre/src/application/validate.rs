//! From the parsed form to an [`Application`]: every refusal names file, line and key.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lifeboat_agent::names::Kind;
use lifeboat_agent::profile::{IdentityStrategy, Profile, Role, fill};
use lifeboat_agent::tls::agent_name;
use lifeboat_agent::wire::Values;
use lifeboat_failover::autopilot;
use lifeboat_failover::lease::Terms;
use toml::Spanned;

use super::error::Place;
use super::raw::{self, Parameters, Raw, RawSide};
use super::{
    Application, ApplicationError, Environment, Host, HostNames, Loaded, Names, Record, Texts,
};

use crate::alerts;
use crate::observation::Users;

type Checked<T> = Result<T, ApplicationError>;

/// A NetBIOS name holds so many characters; a longer one is cut off and then collides.
const NETBIOS: usize = 15;
const TEMPORARY: &str = "tmp";
const NAME_SERVER_PORT: u16 = 53;
const LONGEST: f64 = 366.0 * 24.0 * 3600.0;

/// Where the profiles lie that a descriptor names.
pub(super) fn profile_paths(file: &Path, text: &str) -> Checked<(PathBuf, Option<PathBuf>)> {
    let raw = parse(Place { file, text })?;
    let beside = |name: &Spanned<String>| relative(file, name.get_ref());
    let directory = raw.application.directory_profile.as_ref().map(beside);
    Ok((beside(&raw.application.profile), directory))
}

pub(super) fn application(file: &Path, texts: &Texts) -> Checked<Application> {
    let at = Place {
        file,
        text: &texts.descriptor,
    };
    let raw = parse(at)?;
    let checker = Checker { at };
    let profile = checker.profile(&raw.application.profile, &texts.profile, Role::Application)?;
    let directory_profile = match (&raw.application.directory_profile, &texts.directory_profile) {
        (Some(path), Some(text)) => Some(checker.profile(path, text, Role::Directory)?),
        _ => None,
    };
    let name = checker.host_name(&raw.application.name, "application.name")?;
    let primary = checker.side(
        "primary",
        &raw.primary,
        &raw,
        &profile,
        directory_profile.as_ref(),
    )?;
    let secondary = checker.side(
        "secondary",
        &raw.secondary,
        &raw,
        &profile,
        directory_profile.as_ref(),
    )?;
    let application = Application {
        name,
        file: file.to_owned(),
        terms: checker.terms(&raw.lease)?,
        report_every: checker.seconds(&raw.reports.every_s, "reports.every_s", 30.0)?,
        inventory_every: checker.seconds(
            &raw.reports.inventory_every_s,
            "reports.inventory_every_s",
            3600.0,
        )?,
        primary,
        secondary,
        host_names: checker.host_names(&raw, &profile)?,
        confirmation: checker.seconds_from_zero(
            &raw.switch.confirmation_s,
            "switch.confirmation_s",
            10.0,
        )?,
        replicate_back: raw.switch.replicate_back.unwrap_or(true),
        names: raw
            .names
            .as_ref()
            .map(|names| checker.names(names))
            .transpose()?,
        autopilot: checker.autopilot(&raw.autopilot)?,
        autosync: raw.autosync.clone(),
        archive: raw.archive.clone(),
        alerts: checker.alerts(raw.alerts.as_ref())?,
        changes: raw.changes.clone(),
        users: checker.users(raw.users.as_ref())?,
        profile,
        directory_profile,
    };
    checker.different_hosts(&raw, &application)?;
    Ok(application)
}

fn parse(at: Place<'_>) -> Checked<Raw> {
    toml::from_str(at.text).map_err(|error| at.parse(&error))
}

fn relative(file: &Path, name: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(name)
}

struct Checker<'a> {
    at: Place<'a>,
}

impl Checker<'_> {
    fn wrong<T>(&self, value: &Spanned<T>, key: &str, problem: &str) -> ApplicationError {
        self.at.value(value.span(), key, problem)
    }

    fn profile(&self, path: &Spanned<String>, text: &str, role: Role) -> Checked<Loaded> {
        let file = relative(self.at.file, path.get_ref());
        let profile = Profile::parse(&file, text).map_err(|source| ApplicationError::Profile {
            path: file.clone(),
            source: Box::new(source),
        })?;
        if profile.role != role {
            let (key, expected) = match role {
                Role::Application => ("application.profile", "of an application"),
                Role::Directory => ("application.directory_profile", "of a directory server"),
            };
            return Err(self.wrong(path, key, &format!("expected the profile {expected}")));
        }
        let hash = Profile::hash(text);
        Ok(Loaded { profile, hash })
    }

    fn alerts(&self, section: Option<&Spanned<alerts::Settings>>) -> Checked<alerts::Settings> {
        let Some(section) = section else {
            return Ok(alerts::Settings::default());
        };
        let settings = section.get_ref();
        let wrong = |error: alerts::RouteError| self.wrong(section, &error.path(), &error.why);
        settings.check().map_err(wrong)?;
        Ok(settings.clone())
    }

    fn users(&self, section: Option<&Spanned<Users>>) -> Checked<Users> {
        let Some(section) = section else {
            return Ok(Users::default());
        };
        let users = section.get_ref();
        users
            .check()
            .map_err(|error| self.wrong(section, &format!("users.{}", error.key), &error.why))?;
        Ok(users.clone())
    }

    fn host_name(&self, name: &Spanned<String>, key: &str) -> Checked<String> {
        match agent_name(name.get_ref()) {
            Ok(_) => Ok(name.get_ref().clone()),
            Err(_) => Err(self.wrong(name, key, "expected 1 to 63 of a-z, 0-9 and -")),
        }
    }

    fn address(&self, address: &Spanned<String>, key: &str) -> Checked<IpAddr> {
        let parsed = address.get_ref().parse();
        parsed.map_err(|_| self.wrong(address, key, "expected an IP address"))
    }

    fn side(
        &self,
        key: &str,
        side: &RawSide,
        raw: &Raw,
        profile: &Loaded,
        directory: Option<&Loaded>,
    ) -> Checked<Environment> {
        let host = Host {
            name: self.host_name(&side.host, &format!("{key}.host"))?,
            address: self.address(&side.address, &format!("{key}.address"))?,
            peer_port: side.peer_port,
            values: self.values(&[&raw.parameters, &side.parameters], profile)?,
        };
        let directory = match (&side.directory, directory) {
            (Some(one), Some(profile)) => Some(Host {
                name: self.host_name(&one.host, &format!("{key}.directory.host"))?,
                address: self.address(&one.address, &format!("{key}.directory.address"))?,
                peer_port: None,
                values: self.values(&[&one.parameters], profile)?,
            }),
            (Some(one), None) => {
                let problem =
                    "name the directory servers' profile in application.directory_profile";
                return Err(self.wrong(&one.host, &format!("{key}.directory"), problem));
            }
            (None, _) if profile.profile.identity == IdentityStrategy::Rename => {
                let problem = format!("this profile moves a host name: add [{key}.directory]");
                return Err(self.wrong(&side.host, key, &problem));
            }
            (None, _) => None,
        };
        Ok(Environment { host, directory })
    }

    /// Values of the tables, later ones before earlier ones, each checked against the profile.
    fn values(&self, tables: &[&Parameters], profile: &Loaded) -> Checked<Values> {
        let mut values = Values::new();
        for (name, value) in tables.iter().flat_map(|table| table.iter()) {
            let one = Values::from([(name.clone(), value.get_ref().clone())]);
            fill(&profile.profile, &Values::new(), &Values::new(), &one)
                .map_err(|error| self.wrong(value, name, &error.to_string()))?;
            values.extend(one);
        }
        Ok(values)
    }

    fn terms(&self, lease: &raw::Lease) -> Checked<Terms> {
        let length = self.seconds(&lease.length_s, "lease.length_s", 10.0)?;
        if let Some(value) = &lease.length_s
            && !(1.0..=300.0).contains(value.get_ref())
        {
            return Err(self.wrong(value, "lease.length_s", "expected 1 to 300 seconds"));
        }
        let drift = lease.drift_permille.as_ref();
        if let Some(value) = drift
            && !(1..=100).contains(value.get_ref())
        {
            return Err(self.wrong(value, "lease.drift_permille", "expected 1 to 100"));
        }
        Ok(Terms {
            length,
            drift_permille: drift.map_or(Terms::DEFAULT.drift_permille, |one| *one.get_ref()),
        })
    }

    fn seconds(&self, value: &Option<Spanned<f64>>, key: &str, default: f64) -> Checked<Duration> {
        let duration = self.seconds_from_zero(value, key, default)?;
        match (duration.is_zero(), value) {
            (true, Some(value)) => Err(self.wrong(value, key, "expected more than 0 seconds")),
            _ => Ok(duration),
        }
    }

    fn seconds_from_zero(
        &self,
        value: &Option<Spanned<f64>>,
        key: &str,
        default: f64,
    ) -> Checked<Duration> {
        let seconds = value.as_ref().map_or(default, |value| *value.get_ref());
        match (0.0..=LONGEST).contains(&seconds) {
            true => Ok(Duration::from_secs_f64(seconds)),
            false => {
                let span = value.as_ref().map_or(0..0, Spanned::span);
                Err(self.at.value(span, key, "expected seconds, a year at most"))
            }
        }
    }

    fn host_names(&self, raw: &Raw, profile: &Loaded) -> Checked<Option<HostNames>> {
        let renames = profile.profile.identity == IdentityStrategy::Rename;
        let identity = match (&raw.identity, renames) {
            (Some(identity), true) => identity,
            (None, false) => return Ok(None),
            (Some(identity), false) => {
                let problem = "the profile does not move a host name: leave [identity] out";
                return Err(self.wrong(&identity.name, "identity.name", problem));
            }
            (None, true) => {
                let problem = "the profile moves a host name: add [identity] with its `name`";
                return Err(self.wrong(&raw.application.profile, "application.profile", problem));
            }
        };
        let name = self.netbios(&identity.name, "identity.name", NETBIOS)?;
        let temporary = match &identity.temporary {
            Some(temporary) => self.netbios(temporary, "identity.temporary", NETBIOS)?,
            None => {
                self.netbios(&identity.name, "identity.name", NETBIOS - TEMPORARY.len())?;
                format!("{name}{TEMPORARY}")
            }
        };
        if name.eq_ignore_ascii_case(&temporary) {
            let problem = "both sides would have the same host name";
            return Err(self.wrong(&identity.name, "identity.temporary", problem));
        }
        Ok(Some(HostNames { name, temporary }))
    }

    fn netbios(&self, name: &Spanned<String>, key: &str, longest: usize) -> Checked<String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let text = name.get_ref();
        if (1..=longest).contains(&text.len()) && text.bytes().all(plain) {
            return Ok(text.clone());
        }
        let mut problem =
            format!("expected a NetBIOS name of at most {longest} letters, digits and `-`");
        if longest < NETBIOS && text.len() <= NETBIOS {
            problem += &format!(
                ", because `{TEMPORARY}` is added for the side that does not serve (or name that one in identity.temporary)"
            );
        }
        Err(self.wrong(name, key, &problem))
    }

    fn names(&self, names: &raw::Names) -> Checked<Names> {
        if names.servers.get_ref().is_empty() {
            return Err(self.wrong(&names.servers, "names.servers", "expected at least one"));
        }
        let servers = names.servers.get_ref().iter().map(|text| self.server(text));
        let records = names.record.iter().map(|record| self.record(record));
        let names = Names {
            zone: names.zone.get_ref().clone(),
            servers: servers.collect::<Checked<_>>()?,
            key_file: relative(self.at.file, names.key_file.get_ref()),
            records: records.collect::<Checked<_>>()?,
        };
        Ok(names)
    }

    fn server(&self, text: &Spanned<String>) -> Checked<SocketAddr> {
        let address: Option<SocketAddr> = text.get_ref().parse().ok();
        let bare = || {
            text.get_ref()
                .parse()
                .ok()
                .map(|ip: IpAddr| SocketAddr::new(ip, NAME_SERVER_PORT))
        };
        address.or_else(bare).ok_or_else(|| {
            self.wrong(
                text,
                "names.servers",
                "expected an IP address, with or without a port",
            )
        })
    }

    fn record(&self, record: &raw::RawRecord) -> Checked<Record> {
        let kind = match record.kind.get_ref().to_ascii_lowercase().as_str() {
            "a" => Kind::A,
            "aaaa" => Kind::Aaaa,
            "cname" => Kind::Cname,
            "mx" => Kind::Mx,
            _ => {
                let problem = "expected \"A\", \"AAAA\", \"CNAME\" or \"MX\"";
                return Err(self.wrong(&record.kind, "names.record.kind", problem));
            }
        };
        for (values, key) in [
            (&record.primary, "primary"),
            (&record.secondary, "secondary"),
        ] {
            if values.get_ref().is_empty() {
                let key = format!("names.record.{key}");
                return Err(self.wrong(values, &key, "expected at least one value"));
            }
        }
        Ok(Record {
            name: record.name.get_ref().clone(),
            kind,
            primary: record.primary.get_ref().clone(),
            secondary: record.secondary.get_ref().clone(),
        })
    }

    fn autopilot(&self, raw: &raw::Autopilot) -> Checked<autopilot::Settings> {
        let default = autopilot::Settings::DEFAULT;
        let time = |value: &Option<Spanned<f64>>, key: &str, default: Duration| {
            self.seconds_from_zero(value, key, default.as_secs_f64())
        };
        Ok(autopilot::Settings {
            enabled: raw.enabled.unwrap_or(default.enabled),
            shadow: raw.shadow.unwrap_or(default.shadow),
            wait: time(&raw.wait_s, "autopilot.wait_s", default.wait)?,
            restarts: raw.restarts.unwrap_or(default.restarts),
            restart_patience: time(
                &raw.restart_patience_s,
                "autopilot.restart_patience_s",
                default.restart_patience,
            )?,
            hold_down: time(&raw.hold_down_s, "autopilot.hold_down_s", default.hold_down)?,
            lock_out_after: raw.lock_out_after.unwrap_or(default.lock_out_after),
            lock_out_within: time(
                &raw.lock_out_within_s,
                "autopilot.lock_out_within_s",
                default.lock_out_within,
            )?,
            switch_back: raw.switch_back.unwrap_or(default.switch_back),
            well_before_back: time(
                &raw.well_before_back_s,
                "autopilot.well_before_back_s",
                default.well_before_back,
            )?,
        })
    }

    /// One agent for each part: a host cannot be its own secondary.
    fn different_hosts(&self, raw: &Raw, application: &Application) -> Checked<()> {
        let mut seen = Vec::new();
        for (_, host) in application.hosts() {
            if seen.contains(&&host.name) {
                let problem = format!("the host `{}` has two parts: each needs its own", host.name);
                return Err(self.wrong(&raw.secondary.host, "host", &problem));
            }
            seen.push(&host.name);
        }
        Ok(())
    }
}
