//! SELinux labels of what an injection creates, at the time of writing: a guest
//! may never reach a relabelling at its next boot.

use regex::RegexBuilder;

use super::facts::shell_assignments;
use super::root::Root;
use crate::report::Action;

const ATTRIBUTE: &str = "security.selinux";
/// Policies have some thousand lines.
const LARGEST: u64 = 4 << 20;
const MOST_RULES: usize = 20_000;
/// What one pattern may cost once compiled.
const PATTERN: usize = 64 << 10;

/// What the guest's policy says of its files.
#[derive(Debug, Default)]
pub struct Labels {
    rules: Vec<Rule>,
    substitutions: Vec<(String, String)>,
    enabled: bool,
}

#[derive(Debug)]
struct Rule {
    pattern: String,
    kind: Option<char>,
    context: String,
}

impl Labels {
    /// Reads the policy; a guest without SELinux has none.
    pub fn of_guest(root: &Root) -> Self {
        let settings = shell_assignments(&root.text("etc/selinux/config"));
        let policy = settings.get("SELINUXTYPE").cloned().unwrap_or_default();
        let mode = settings.get("SELINUX").map(String::as_str);
        let named = !policy.is_empty() && policy.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !matches!(mode, Some("enforcing" | "permissive")) || !named {
            return Self::default();
        }
        let directory = format!("etc/selinux/{policy}/contexts/files");
        let text = |name: &str| root.text_of(&format!("{directory}/{name}"), LARGEST);
        let mut rules = parse(&text("file_contexts"));
        rules.extend(parse(&text("file_contexts.local")));
        rules.truncate(MOST_RULES);
        let substitutions = text("file_contexts.subs_dist") + &text("file_contexts.subs");
        Self {
            rules,
            substitutions: pairs(&substitutions),
            enabled: true,
        }
    }

    /// Labels something new; false when it must have a label and could get none.
    pub fn set(&self, root: &Root, path: &str, action: Action) -> bool {
        let label = self.find(path, action).or_else(|| of_parent(root, path));
        let Some(label) = label else {
            return !self.enabled;
        };
        let mut value = label.into_bytes();
        value.push(0);
        match root.set_attribute(path, ATTRIBUTE, &value) {
            Ok(()) => true,
            // A filesystem without attributes is labelled as a whole when it is mounted.
            Err(error) => !self.enabled || error.raw_os_error() == Some(nix::libc::EOPNOTSUPP),
        }
    }

    /// The policy's own answer: a literal path wins, else the last pattern.
    fn find(&self, path: &str, action: Action) -> Option<String> {
        let path = self.substituted(&format!("/{path}"));
        let wanted = match action {
            Action::DirectoryMade => 'd',
            Action::Linked => 'l',
            _ => '-',
        };
        let rules = || {
            let rules = self.rules.iter().rev();
            rules.filter(|rule| rule.kind.is_none_or(|kind| kind == wanted))
        };
        let literal = rules().find(|rule| rule.pattern.replace('\\', "") == path);
        let best = literal.or_else(|| {
            rules()
                .filter(|rule| path.starts_with(literal_beginning(&rule.pattern)))
                .find(|rule| matches(&rule.pattern, &path))
        })?;
        (best.context != "<<none>>").then(|| best.context.clone())
    }

    fn substituted(&self, path: &str) -> String {
        let found = self.substitutions.iter().find_map(|(alias, original)| {
            let rest = path.strip_prefix(alias.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then(|| format!("{original}{rest}"))
        });
        found.unwrap_or_else(|| path.to_owned())
    }
}

fn of_parent(root: &Root, path: &str) -> Option<String> {
    let (parent, _) = path.rsplit_once('/').unwrap_or((".", ""));
    // The root directory itself has no name to ask for.
    let parent = if parent == "." { "etc" } else { parent };
    let value = root.attribute(parent, ATTRIBUTE).ok()?;
    let text = String::from_utf8(value).ok()?;
    Some(text.trim_end_matches('\0').to_owned())
}

fn parse(text: &str) -> Vec<Rule> {
    let rule = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (pattern, kind, context) = match words.as_slice() {
            [pattern, context] => (pattern, None, context),
            [pattern, kind, context] => (pattern, kind.chars().nth(1), context),
            _ => return None,
        };
        (!pattern.starts_with('#')).then(|| Rule {
            pattern: (*pattern).to_owned(),
            kind,
            context: (*context).to_owned(),
        })
    };
    text.lines().filter_map(rule).collect()
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let words = text.lines().map(str::split_whitespace);
    words
        .filter_map(|mut words| Some((words.next()?.to_owned(), words.next()?.to_owned())))
        .filter(|(alias, _)| !alias.starts_with('#'))
        .collect()
}

/// Everything before the first character that means something in a pattern,
/// and before a literal that may be absent.
fn literal_beginning(pattern: &str) -> &str {
    let end = pattern
        .find(|letter| ".^$?*+|[({\\".contains(letter))
        .unwrap_or(pattern.len());
    let optional = pattern[end..].starts_with(['?', '*', '{']);
    let alternative = pattern.contains('|');
    match pattern[..end].char_indices().next_back() {
        _ if alternative && end < pattern.len() => {
            let group = pattern.find(['(', '|']).unwrap_or(0).min(end);
            if pattern[group..].starts_with('|') {
                ""
            } else {
                &pattern[..group]
            }
        }
        Some((last, _)) if optional => &pattern[..last],
        _ => &pattern[..end],
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(PATTERN)
        .dfa_size_limit(PATTERN)
        .build()
        .is_ok_and(|compiled| compiled.is_match(path))
}

/// Whether a filesystem here takes such labels at all, for tests.
#[cfg(test)]
fn can_be_set(root: &Root, path: &str) -> std::io::Result<()> {
    root.set_attribute(path, ATTRIBUTE, b"system_u:object_r:etc_t:s0\0")
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write as _};

    use super::super::apply::apply;
    use super::super::plan::{Edit, Plan};
    use super::*;

    const CONTEXTS: &str = "\
/.*\tsystem_u:object_r:default_t:s0
/etc/.*\tsystem_u:object_r:etc_t:s0
/etc/systemd/network(/.*)?\tsystem_u:object_r:net_conf_t:s0
/etc/systemd/system(/.*)?\t-d\tsystem_u:object_r:systemd_unit_file_t:s0
/etc/cloud/special\\.cfg\t--\tsystem_u:object_r:cloud_t:s0
/etc/none(/.*)?\t<<none>>
/usr/lib/x(/.*)?\tsystem_u:object_r:lib_t:s0
";

    fn guest() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        let files = "etc/selinux/targeted/contexts/files";
        root.write(
            "etc/selinux/config",
            b"SELINUX=enforcing\nSELINUXTYPE=targeted\n",
        )
        .unwrap();
        root.write(&format!("{files}/file_contexts"), CONTEXTS.as_bytes())
            .unwrap();
        root.write(
            &format!("{files}/file_contexts.subs_dist"),
            b"/lib /usr/lib\n",
        )
        .unwrap();
        (directory, root)
    }

    #[test]
    fn the_policy_is_asked_as_the_guest_would() {
        let (_directory, root) = guest();
        let labels = Labels::of_guest(&root);
        let cases = [
            ("etc/fstab", Action::Created, Some("etc_t")),
            (
                "etc/systemd/network/10-a.link",
                Action::Created,
                Some("net_conf_t"),
            ),
            (
                "etc/systemd/network",
                Action::DirectoryMade,
                Some("net_conf_t"),
            ),
            (
                "etc/systemd/system",
                Action::DirectoryMade,
                Some("systemd_unit_file_t"),
            ),
            (
                "etc/systemd/system/a.service",
                Action::Linked,
                Some("etc_t"),
            ),
            ("etc/cloud/special.cfg", Action::Created, Some("cloud_t")),
            ("etc/none/a", Action::Created, None),
            ("lib/x/y", Action::Created, Some("lib_t")),
            ("elsewhere", Action::Created, Some("default_t")),
        ];
        for (path, action, expected) in cases {
            let expected = expected.map(|kind| format!("system_u:object_r:{kind}:s0"));
            assert_eq!(labels.find(path, action), expected, "{path}");
        }
    }

    #[test]
    fn beginnings_of_patterns() {
        for (pattern, expected) in [
            ("/etc/fstab", "/etc/fstab"),
            ("/etc(/.*)?", "/etc"),
            ("/etcs?/x", "/etc"),
            ("/a|/b.*", ""),
            ("/var/(log|run)/x", "/var/"),
            ("/a\\.b", "/a"),
        ] {
            assert_eq!(literal_beginning(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn everything_new_is_labelled_when_it_is_written() {
        let (_directory, root) = guest();
        if can_be_set(&root, "etc").is_err() {
            let _ = writeln!(io::stderr(), "\nSKIPPED SELinux labels: cannot be set here");
            return;
        }
        let plan = Plan {
            edits: vec![
                Edit::Write {
                    path: "etc/systemd/network/10-a.link".into(),
                    content: b"x".to_vec(),
                },
                Edit::Link {
                    path: "etc/systemd/system/a.service".into(),
                    target: "/dev/null".into(),
                },
            ],
            ..Plan::default()
        };
        apply(&root, &plan).unwrap();
        for (path, kind) in [
            ("etc/systemd/network", "net_conf_t"),
            ("etc/systemd/network/10-a.link", "net_conf_t"),
            ("etc/systemd/system", "systemd_unit_file_t"),
            ("etc/systemd/system/a.service", "etc_t"),
        ] {
            let expected = format!("system_u:object_r:{kind}:s0\0");
            assert_eq!(
                root.attribute(path, ATTRIBUTE).unwrap(),
                expected.as_bytes(),
                "{path}"
            );
        }
        assert!(!root.exists(".autorelabel"));
    }

    #[test]
    fn without_a_policy_the_directory_says_it_else_the_guest_relabels() {
        let (_directory, root) = guest();
        root.remove("etc/selinux/targeted/contexts/files/file_contexts")
            .unwrap();
        let write = |path: &str| Plan {
            edits: vec![Edit::Write {
                path: path.into(),
                content: b"x".to_vec(),
            }],
            ..Plan::default()
        };
        apply(&root, &write("etc/new")).unwrap();
        assert!(root.exists(".autorelabel"));
        root.remove(".autorelabel").unwrap();
        if can_be_set(&root, "etc").is_err() {
            let _ = writeln!(io::stderr(), "\nSKIPPED SELinux labels: cannot be set here");
            return;
        }
        apply(&root, &write("etc/newer")).unwrap();
        assert!(!root.exists(".autorelabel"));
        assert!(
            root.attribute("etc/newer", ATTRIBUTE)
                .unwrap()
                .starts_with(b"system_u")
        );
    }

    #[test]
    fn guests_without_selinux_are_left_in_peace() {
        let (_directory, root) = guest();
        root.write(
            "etc/selinux/config",
            b"SELINUX=disabled\nSELINUXTYPE=targeted\n",
        )
        .unwrap();
        assert!(Labels::of_guest(&root).set(&root, "etc/selinux/config", Action::Created));
    }
}
