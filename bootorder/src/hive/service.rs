//! Services: what starts by itself, what it needs inside the machine, which roles it means.

use std::collections::{BTreeMap, BTreeSet};

use super::{Facts, Key, host_of_share};
use crate::facts::Weight;
use crate::services;

const MAX_SERVICES: usize = 3_000;
const MAX_DEPENDENCIES: usize = 40;
const DISABLED: u32 = 4;
const AUTOMATIC: u32 = 2;

/// A service or driver as the service control manager knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WindowsService {
    /// The name of its key.
    pub name: String,
    /// What people see, when it is written out.
    pub display: String,
    /// 0 boot, 1 system, 2 automatic, 3 on demand, 4 disabled.
    pub start: u32,
    pub image: String,
    pub group: String,
    /// Services it names.
    pub depends: Vec<String>,
    /// Groups of which it needs a member.
    pub depends_groups: Vec<String>,
}

pub(super) fn read(set: Key<'_>, facts: &mut Facts<'_>) {
    let Some(services) = set.subkey("Services") else {
        return;
    };
    for key in services.subkeys().into_iter().take(MAX_SERVICES) {
        if let Some(service) = service(key) {
            share_of_program(&service, facts);
            facts.registry.services.push(service);
        }
    }
    facts.registry.roles = roles(set, facts);
}

fn service(key: Key<'_>) -> Option<WindowsService> {
    let values = key.values();
    let value = |name: &str| values.iter().find(|v| v.name.eq_ignore_ascii_case(name));
    let text = |name: &str| value(name).map(|v| v.text()).unwrap_or_default();
    // Keys of performance counters and the like are no services.
    let start = value("Start").and_then(|v| v.number());
    let depends = value("DependOnService")
        .map(|v| v.texts())
        .unwrap_or_default();
    let groups = value("DependOnGroup")
        .map(|v| v.texts())
        .unwrap_or_default();
    if start.is_none() && depends.is_empty() {
        return None;
    }
    // "@file.dll,-1" and "name;Text": only the text is a name.
    let display = text("DisplayName");
    let display = display.rsplit(';').next().unwrap_or("").to_owned();
    // Old programs write groups among the services, marked by a plus sign.
    let (marked, depends): (Vec<_>, Vec<_>) =
        depends.into_iter().partition(|name| name.starts_with('+'));
    let marked = marked
        .into_iter()
        .map(|name| name.trim_start_matches('+').to_owned());
    Some(WindowsService {
        name: key.name(),
        display: if display.starts_with('@') {
            String::new()
        } else {
            display
        },
        start: start.unwrap_or(3),
        image: text("ImagePath"),
        group: text("Group"),
        depends: depends.into_iter().take(MAX_DEPENDENCIES).collect(),
        depends_groups: groups
            .into_iter()
            .chain(marked)
            .take(MAX_DEPENDENCIES)
            .collect(),
    })
}

/// A program that lies on another machine's share cannot start without it.
fn share_of_program(service: &WindowsService, facts: &mut Facts<'_>) {
    if service.start <= AUTOMATIC
        && let Some(host) = host_of_share(&service.image)
    {
        let place = format!("Services\\{}", service.name);
        let text = format!("ImagePath = {}", service.image);
        facts.refer(&place, &text, host, "smb", Weight::Normal);
    }
}

fn roles(set: Key<'_>, facts: &Facts<'_>) -> Vec<(String, String)> {
    let registry = &facts.registry;
    let mut roles = BTreeMap::new();
    for service in registry.services.iter().filter(|s| s.start <= AUTOMATIC) {
        let known =
            services::by_unit(&service.name).or_else(|| services::by_unit(&service.display));
        if let Some(role) = known {
            let place = format!("Services\\{}", service.name);
            roles.entry(role.key.clone()).or_insert(place);
        }
    }
    // These run everywhere, or are there without being used.
    if !registry.is_domain_controller {
        roles.remove("directory");
        roles.remove("kerberos");
    }
    let shares = "Services\\LanmanServer\\Shares";
    if set.at(shares).is_some_and(|key| !key.values().is_empty()) {
        roles.insert("smb".to_owned(), shares.to_owned());
    }
    let provider = "Services\\W32Time\\TimeProviders\\NtpServer";
    if set.at(provider).and_then(|key| key.number("Enabled")) == Some(1) {
        roles.insert("time".to_owned(), provider.to_owned());
    }
    if let Some(printer) = shared_printer(set) {
        roles.insert("print".to_owned(), printer);
    }
    roles.into_iter().collect()
}

fn shared_printer(set: Key<'_>) -> Option<String> {
    let printers = set.at("Control\\Print\\Printers")?;
    let is_shared = |key: &Key<'_>| key.number("Attributes").is_some_and(|bits| bits & 8 != 0);
    let shared = printers.subkeys().into_iter().take(1_000).find(is_shared)?;
    Some(format!("Control\\Print\\Printers\\{}", shared.name()))
}

/// What a service needs, by the name of its key: direct dependencies and members of groups.
pub(crate) fn needs<'a>(
    services: &'a [WindowsService],
    of: &'a WindowsService,
) -> Vec<(&'a str, &'static str)> {
    let mut found: BTreeSet<(&str, &'static str)> = BTreeSet::new();
    for name in &of.depends {
        let known = services.iter().find(|s| s.name.eq_ignore_ascii_case(name));
        found.insert((
            known.map_or(name.as_str(), |s| s.name.as_str()),
            "DependOnService",
        ));
    }
    for group in &of.depends_groups {
        let members = services.iter().filter(|s| {
            s.start < DISABLED && !s.group.is_empty() && s.group.eq_ignore_ascii_case(group)
        });
        found.extend(members.map(|s| (s.name.as_str(), "DependOnGroup")));
    }
    found.remove(&(of.name.as_str(), "DependOnGroup"));
    found.into_iter().collect()
}
