//! Units of systemd: their own lines, drop-ins, and the links that enable them.

use std::collections::BTreeMap;

use super::{Declaration, Graph};
use crate::event::printable;
use crate::order::Kind;
use crate::services;

const KINDS: &[&str] = &[".service", ".target", ".mount", ".socket", ".automount"];
const MAX_LINES: usize = 2_000;

/// Whether a file below a unit folder takes part in the graph.
pub(crate) fn is_unit_file(relative: &str) -> bool {
    let is_drop_in = relative.ends_with(".conf") && relative.contains(".d/");
    let is_link = relative.contains(".wants/") || relative.contains(".requires/");
    !is_link && (is_drop_in || KINDS.iter().any(|kind| relative.ends_with(kind)))
}

pub(super) fn read(files: &BTreeMap<String, String>, links: &[String], graph: &mut Graph) {
    let instances = instances(links);
    for (file, text) in files {
        let Some(unit) = unit_of(file) else { continue };
        // The administrator's unit replaces the vendor's of the same name.
        let is_replaced = !file.starts_with("etc/")
            && !file.contains(".d/")
            && files.contains_key(&format!("etc/systemd/system/{unit}"));
        if is_replaced {
            continue;
        }
        let names = match unit.split_once("@.") {
            Some((template, _)) => instances.get(template).cloned().unwrap_or_default(),
            None => vec![unit.to_owned()],
        };
        for name in names {
            graph.name(&name, services::by_unit(&name).map(|s| s.key.as_str()));
            lines(file, text, &name, graph);
        }
    }
    for link in links {
        enabled(link, graph);
    }
}

/// The unit that a file describes or adds to ("nginx.service.d/db.conf" adds to nginx).
fn unit_of(file: &str) -> Option<&str> {
    let mut parts = file.rsplit('/');
    let name = parts.next()?;
    if KINDS.iter().any(|kind| name.ends_with(kind)) {
        return Some(name);
    }
    parts
        .next()?
        .strip_suffix(".d")
        .filter(|unit| KINDS.iter().any(|kind| unit.ends_with(kind)))
}

/// Enabled instances of each template.
fn instances(links: &[String]) -> BTreeMap<&str, Vec<String>> {
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for link in links {
        let unit = link.rsplit('/').next().unwrap_or(link);
        if let Some((template, rest)) = unit.split_once('@')
            && !rest.starts_with('.')
        {
            found.entry(template).or_default().push(unit.to_owned());
        }
    }
    found
}

fn lines(file: &str, text: &str, unit: &str, graph: &mut Graph) {
    let instance = unit
        .split_once('@')
        .and_then(|(_, rest)| rest.rsplit_once('.'));
    let instance = instance.map_or("", |(instance, _)| instance);
    let mut key = "";
    for (at, line) in text.lines().take(MAX_LINES).map(str::trim).enumerate() {
        if line.starts_with(['#', ';', '[']) {
            continue;
        }
        // A line that ends in a backslash goes on in the next one.
        let value = match line.split_once('=') {
            Some((name, value)) => {
                key = name.trim();
                value
            }
            None => line,
        };
        for word in value.trim_end_matches('\\').split_whitespace() {
            let other = word.replace("%i", instance).replace("%I", instance);
            if let Some((before, after, kind)) = meaning(key, unit, &other) {
                graph.name(&before, services::by_unit(&before).map(|s| s.key.as_str()));
                graph.name(&after, services::by_unit(&after).map(|s| s.key.as_str()));
                graph.add(Declaration {
                    before,
                    after,
                    kind,
                    file: file.to_owned(),
                    place: format!("line {}", at + 1),
                    text: printable(line),
                });
            }
        }
        if !line.ends_with('\\') {
            key = "";
        }
    }
}

/// What a line makes of two units; `PartOf` and `Conflicts` are about stopping.
fn meaning(key: &str, unit: &str, other: &str) -> Option<(String, String, Kind)> {
    let is_unit = KINDS.iter().any(|kind| other.ends_with(kind));
    let pair = |before: &str, after: &str, kind| Some((before.to_owned(), after.to_owned(), kind));
    match key {
        "Requires" | "BindsTo" | "Requisite" if is_unit => pair(other, unit, Kind::Hard),
        "After" | "Wants" | "Upholds" if is_unit => pair(other, unit, Kind::Soft),
        "Before" if is_unit => pair(unit, other, Kind::Soft),
        "RequiresMountsFor" => pair(&mount_unit(other), unit, Kind::Hard),
        "WantsMountsFor" => pair(&mount_unit(other), unit, Kind::Soft),
        _ => None,
    }
}

/// "/srv/my-data" is "srv-my\x2ddata.mount".
fn mount_unit(path: &str) -> String {
    let mut name = String::new();
    for character in path.trim_matches('/').chars() {
        match character {
            '/' => name.push('-'),
            '-' => name.push_str("\\x2d"),
            other => name.push(other),
        }
    }
    format!("{name}.mount")
}

/// "multi-user.target.wants/nginx.service": the target wants the unit.
fn enabled(link: &str, graph: &mut Graph) {
    let mut parts = link.rsplit('/');
    let (Some(unit), Some(folder)) = (parts.next(), parts.next()) else {
        return;
    };
    let (after, kind) = match (
        folder.strip_suffix(".wants"),
        folder.strip_suffix(".requires"),
    ) {
        (Some(after), _) => (after, Kind::Soft),
        (None, Some(after)) => (after, Kind::Hard),
        (None, None) => return,
    };
    for name in [unit, after] {
        graph.name(name, services::by_unit(name).map(|s| s.key.as_str()));
    }
    graph.add(Declaration {
        before: unit.to_owned(),
        after: after.to_owned(),
        kind,
        file: link.to_owned(),
        place: String::new(),
        text: format!("{} is enabled for {}", printable(unit), printable(after)),
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::ConfigFiles;
    use crate::hive::Registry;

    #[test]
    fn instances_continuations_and_mounts() {
        let files = BTreeMap::from([(
            "lib/systemd/system/app@.service".to_owned(),
            "[Unit]\nAfter=network.target \\\n  redis@%i.service\n# After=no.service\nRequiresMountsFor=/srv/my-data\n".to_owned(),
        )]);
        let links = ["etc/systemd/system/multi-user.target.wants/app@one.service".to_owned()];
        let mut graph = Graph::default();
        read(&files, &links, &mut graph);
        let has = |before: &str, after: &str, kind: Kind| {
            let mut all = graph.declarations.iter();
            all.any(|d| d.before == before && d.after == after && d.kind == kind)
        };
        assert!(has("redis@one.service", "app@one.service", Kind::Soft));
        assert!(has("srv-my\\x2ddata.mount", "app@one.service", Kind::Hard));
        assert!(has("app@one.service", "multi-user.target", Kind::Soft));
        assert!(!graph.declarations.iter().any(|d| d.before == "no.service"));
    }

    #[test]
    fn real_units_declare_what_their_lines_say() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../shared/data/linux/systemd-units");
        let Ok(entries) = std::fs::read_dir(&folder) else {
            eprintln!("SKIPPED: {} is not there", folder.display());
            return;
        };
        let mut files = BTreeMap::new();
        for entry in entries.flatten() {
            let name = entry
                .file_name()
                .to_string_lossy()
                .trim_end_matches(".in")
                .to_owned();
            if let Ok(text) = std::fs::read_to_string(entry.path()) {
                files.insert(format!("usr/lib/systemd/system/{name}"), text);
            }
        }
        let graph = Graph::read(&files, &ConfigFiles::default(), &Registry::default());
        let mut checked = 0;
        for (file, text) in &files {
            let unit = file.rsplit('/').next().unwrap();
            if !is_unit_file(file)
                || unit.contains('@')
                || text.contains("{{")
                || text.contains('\\')
            {
                continue;
            }
            for line in text.lines() {
                let Some(value) = line.strip_prefix("Requires=") else {
                    continue;
                };
                for other in value.split_whitespace().filter(|w| w.ends_with(".service")) {
                    checked += 1;
                    let found = graph
                        .declarations
                        .iter()
                        .any(|d| d.after == unit && d.before == other && d.kind == Kind::Hard);
                    assert!(found, "{unit} requires {other}");
                }
            }
        }
        assert!(checked >= 5, "{checked} requirements");
        assert!(
            graph.declarations.len() > 500,
            "{}",
            graph.declarations.len()
        );
    }

    proptest::proptest! {
        #[test]
        fn hostile_units_never_panic(text in "(After=|Requires=|RequiresMountsFor=|[a-z@%.]{1,9}|\\.service|[ /\\\\\n#;-]|é){0,40}", name in "[a-z@.]{0,12}") {
            let files = BTreeMap::from([(format!("etc/systemd/system/{name}.service"), text.clone()), (format!("etc/systemd/system/{name}.service.d/a.conf"), text)]);
            let links = [format!("x/{name}.target.wants/{name}"), name];
            let mut graph = Graph::default();
            read(&files, &links, &mut graph);
            let _ = graph.needs();
        }
    }
}
