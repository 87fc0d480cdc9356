//! Containers of compose projects: which wait for which, what they offer to others.

use super::{Declaration, Graph};
use crate::event::printable;
use crate::folder::ConfigFiles;
use crate::order::Kind;
use crate::services::{self, Service};

const MAX_SERVICES: usize = 500;

#[derive(Debug, Default)]
struct Container {
    name: String,
    line: usize,
    image: String,
    /// Other names under which its neighbours reach it.
    aliases: Vec<String>,
    is_published: bool,
    /// Name, line, and whether it waits until the other is healthy.
    depends: Vec<(String, usize, bool)>,
}

pub(super) fn read(config: &ConfigFiles, graph: &mut Graph) {
    for (file, text) in projects(config) {
        let all: Vec<&str> = text.lines().collect();
        for container in containers(text) {
            let unit = |name: &str| format!("{file}: {name}");
            graph.name(
                &unit(&container.name),
                role(&container).map(|s| s.key.as_str()),
            );
            for (before, line, is_healthy) in &container.depends {
                graph.add(Declaration {
                    before: unit(before),
                    after: unit(&container.name),
                    kind: if *is_healthy { Kind::Hard } else { Kind::Soft },
                    file: file.to_owned(),
                    place: format!("line {line}"),
                    text: printable(all.get(line - 1).unwrap_or(&"")),
                });
            }
        }
    }
}

/// Roles that containers play for others, because a port of theirs is published: key, file, line.
pub(crate) fn published(config: &ConfigFiles) -> Vec<(&'static str, String, usize)> {
    let mut found = Vec::new();
    for (file, text) in projects(config) {
        for container in containers(text).iter().filter(|c| c.is_published) {
            let role = role(container).map(|s| (s.key.as_str(), file.to_owned(), container.line));
            found.extend(role);
        }
    }
    found
}

/// The folder of each project with the names that mean its own containers.
pub(crate) fn inner_names(config: &ConfigFiles) -> Vec<(String, Vec<String>)> {
    let names = |text: &str| {
        let all = containers(text).into_iter();
        all.flat_map(|c| c.aliases.into_iter().chain([c.name]))
            .collect()
    };
    projects(config)
        .map(|(file, text)| (folder_of(file).to_owned(), names(text)))
        .collect()
}

fn folder_of(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn projects(config: &ConfigFiles) -> impl Iterator<Item = (&str, &str)> {
    config.iter().filter(|(file, _)| {
        let name = file.rsplit('/').next().unwrap_or(file);
        let is_yaml = name.ends_with(".yml") || name.ends_with(".yaml");
        is_yaml && name.contains("compose") && !crate::facts::is_stale(file)
    })
}

/// The role of a container, by its image ("registry/library/postgres:15").
fn role(container: &Container) -> Option<&'static Service> {
    let image = container
        .image
        .rsplit('/')
        .next()?
        .split([':', '@'])
        .next()?;
    services::by_unit(image).or_else(|| services::by_word(&image.to_ascii_lowercase()))
}

/// The services of a project; YAML read by indentation.
fn containers(text: &str) -> Vec<Container> {
    let mut found: Vec<Container> = Vec::new();
    let mut is_inside = false;
    let mut service_indent = None;
    let mut key = (0, String::new());
    for (at, line) in text.lines().enumerate() {
        let line = line.split(" #").next().unwrap_or(line);
        let trimmed = line.trim();
        let indent = line.len() - line.trim_start().len();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        if indent == 0 && !trimmed.starts_with('-') {
            is_inside = trimmed == "services:";
            service_indent = None;
            continue;
        }
        if !is_inside {
            continue;
        }
        let level = *service_indent.get_or_insert(indent);
        if indent <= level {
            if found.len() >= MAX_SERVICES {
                break;
            }
            let name = unquoted(trimmed.split(':').next().unwrap_or(""));
            found.push(Container {
                name: name.to_owned(),
                line: at + 1,
                ..Container::default()
            });
            key = (indent, String::new());
        } else if let Some(container) = found.last_mut() {
            setting(container, (at + 1, indent, trimmed), &mut key);
        }
    }
    found
}

fn unquoted(text: &str) -> &str {
    text.trim().trim_matches(['"', '\''])
}

fn setting(
    container: &mut Container,
    (line, indent, text): (usize, usize, &str),
    (key_indent, key): &mut (usize, String),
) {
    let is_item = text.starts_with("- ");
    let is_new_key = key.is_empty() || indent < *key_indent || (indent == *key_indent && !is_item);
    let (name, value) = text.split_once(':').unwrap_or((text, ""));
    if is_new_key && !is_item {
        *key_indent = indent;
        *key = name.trim().to_owned();
        let value = unquoted(value);
        match name.trim() {
            "image" => container.image = value.to_owned(),
            "container_name" | "hostname" => container.aliases.push(value.to_owned()),
            "ports" => container.is_published |= !value.is_empty(),
            "depends_on" => {
                let list = value
                    .trim_matches(['[', ']', '{', '}'])
                    .split(',')
                    .map(unquoted);
                let list = list.filter(|name| !name.is_empty());
                container
                    .depends
                    .extend(list.map(|name| (name.to_owned(), line, false)));
            }
            _ => {}
        }
        return;
    }
    match key.as_str() {
        "ports" => container.is_published = true,
        "depends_on" if is_item => {
            container
                .depends
                .push((unquoted(&text[2..]).to_owned(), line, false));
        }
        "depends_on" => waiting(container, line, name.trim(), value),
        _ => {}
    }
}

/// "db:" or "db: {condition: service_healthy}", or the condition below it.
fn waiting(container: &mut Container, line: usize, name: &str, value: &str) {
    let is_healthy = ["service_healthy", "service_completed_successfully"]
        .iter()
        .any(|condition| value.contains(condition));
    if matches!(name, "condition" | "restart" | "required") {
        if let Some(last) = container.depends.last_mut() {
            last.2 |= is_healthy;
        }
    } else {
        container
            .depends
            .push((unquoted(name).to_owned(), line, is_healthy));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROJECT: &str = "version: '3'\nservices:\n  web:\n    image: nginx\n    ports:\n      - 80:80\n    depends_on:\n      app:\n        condition: service_healthy\n      cache:\n        condition: service_started\n    networks: [a]\n  app:\n    depends_on:\n    - db # the database\n    environment:\n      - X=1\n  db:\n    image: postgres:15\n    hostname: database\nvolumes:\n  data:\n";

    #[test]
    fn every_form_of_depends_on() {
        let found: Vec<_> = containers(PROJECT)
            .into_iter()
            .map(|c| (c.name, c.depends, c.is_published))
            .collect();
        let depends = |list: &[(&str, usize, bool)]| -> Vec<_> {
            list.iter()
                .map(|(n, l, h)| ((*n).to_owned(), *l, *h))
                .collect()
        };
        assert_eq!(
            found,
            [
                (
                    "web".to_owned(),
                    depends(&[("app", 8, true), ("cache", 10, false)]),
                    true
                ),
                ("app".to_owned(), depends(&[("db", 15, false)]), false),
                ("db".to_owned(), vec![], false),
            ]
        );
    }

    #[test]
    fn published_ports_make_roles_and_names_stay_inside() {
        let config = ConfigFiles::of(&[("srv/shop/compose.yaml", PROJECT)]);
        assert_eq!(
            published(&config),
            [("web", "srv/shop/compose.yaml".to_owned(), 3)]
        );
        let (folder, names) = &inner_names(&config)[0];
        assert_eq!(folder, "srv/shop");
        assert!(names.contains(&"db".to_owned()) && names.contains(&"database".to_owned()));
    }

    proptest::proptest! {
        #[test]
        fn hostile_projects_never_panic(text in "(services:\n|depends_on:|image:|ports:|  |- |\n|[a-z:\\[\\]{}#\"]{1,6}|é){0,60}") {
            let config = ConfigFiles::of(&[("docker-compose.yml", &text)]);
            let mut graph = Graph::default();
            read(&config, &mut graph);
            let _ = (published(&config), inner_names(&config), graph.needs());
        }
    }
}
