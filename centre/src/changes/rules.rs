//! Which changes and differences endanger recoverability: a table (`rules.toml`), which the
//! operator's own rules precede.

use serde::{Deserialize, Serialize};

use super::inventory::{Category, Difference};

/// What a rule speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// A host before and after.
    Time,
    /// The side that serves and the one that does not.
    Sites,
    /// A host as it is.
    Host,
}

/// How a thing differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// It was not there before; it is missing where the application serves.
    New,
    /// It is there no more; it is missing where the application would have to serve.
    Gone,
    /// It is another one.
    Other,
    /// It became smaller; it is smaller where the application would have to serve.
    Smaller,
    /// It is there.
    There,
}

/// What is made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing.
    Ignore,
    /// It is kept in the list of changes.
    Note,
    /// Somebody is told: a switch might not succeed, or not give the same.
    Warning,
    /// Somebody is told: a switch would not succeed.
    Critical,
}

/// A rule. What it leaves out, it does not ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name.
    pub id: String,
    /// What it speaks of.
    pub scope: Option<Scope>,
    /// What kind of thing.
    pub category: Option<Category>,
    /// Names, with `*` for any signs.
    #[serde(default)]
    pub names: Vec<String>,
    /// How it differs.
    pub shape: Option<Shape>,
    /// Its value, with `*` for any signs.
    pub value: Option<String>,
    /// What is made of it.
    pub verdict: Verdict,
    /// Why, for people.
    #[serde(default)]
    pub why: String,
}

/// Rules in the order in which they count.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The operator's own rules; they precede those that come with Lifeboat.
    #[serde(rename = "rule")]
    pub rules: Vec<Rule>,
}

/// Whether `text` fits `pattern`, in which `*` stands for any signs.
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else {
        return rest.is_empty();
    };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// How a thing differs, as rules see it.
pub(super) fn shapes(difference: &Difference) -> Vec<Shape> {
    match (&difference.one, &difference.other) {
        (None, Some(_)) => vec![Shape::New],
        (Some(_), None) => vec![Shape::Gone],
        (Some(one), Some(other)) => {
            let mut shapes = Vec::new();
            if one.size > other.size {
                shapes.push(Shape::Smaller);
            }
            if one.value != other.value {
                shapes.push(Shape::Other);
            }
            shapes
        }
        (None, None) => Vec::new(),
    }
}

impl Rule {
    /// A rule that names no scope is for what changes and differs. What a host is like is no news
    /// by itself, but may be left out with the rest.
    fn speaks_of(&self, scope: Scope) -> bool {
        match self.scope {
            Some(one) => one == scope,
            None => scope != Scope::Host || self.verdict == Verdict::Ignore,
        }
    }

    fn asks_for(&self, scope: Scope, difference: &Difference, shape: Shape) -> bool {
        let value = difference.other.as_ref().or(difference.one.as_ref());
        self.speaks_of(scope)
            && self.category.is_none_or(|one| one == difference.category)
            && self.shape.is_none_or(|one| one == shape)
            && (self.names.is_empty() || self.names.iter().any(|name| fits(name, &difference.name)))
            && self
                .value
                .as_ref()
                .is_none_or(|wanted| value.is_some_and(|item| fits(wanted, &item.value)))
    }
}

/// The table that comes with Lifeboat.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    own: Vec<Rule>,
}

impl Table {
    /// The rules that come with Lifeboat.
    pub(super) fn own() -> Result<Self, toml::de::Error> {
        let settings: Settings = toml::from_str(include_str!("rules.toml"))?;
        Ok(Self {
            own: settings.rules,
        })
    }

    /// The first rule that asks for it: the operator's (`before`) come first. Without any, nothing
    /// is made of it. A rule for a shape of it that comes first (smaller) comes before one for the
    /// next.
    pub(super) fn judge<'a>(
        &'a self,
        before: &'a [Rule],
        scope: Scope,
        difference: &Difference,
    ) -> Option<&'a Rule> {
        let shapes = match scope {
            Scope::Host => vec![Shape::There],
            Scope::Time | Scope::Sites => shapes(difference),
        };
        shapes.into_iter().find_map(|shape| {
            before
                .iter()
                .chain(&self.own)
                .find(|rule| rule.asks_for(scope, difference, shape))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::inventory::Item;
    use super::*;

    fn item(value: &str, size: Option<u64>) -> Option<Item> {
        Some(Item {
            value: value.to_owned(),
            size,
        })
    }

    fn difference(
        category: Category,
        name: &str,
        one: Option<Item>,
        other: Option<Item>,
    ) -> Difference {
        Difference {
            category,
            name: name.to_owned(),
            one,
            other,
        }
    }

    #[test]
    fn what_endangers_a_switch_is_critical() {
        use Category::*;
        let table = Table::own().expect("a table");
        let cases = [
            (
                Scope::Sites,
                difference(Package, "dovecot-core:amd64", item("1", None), None),
                Verdict::Critical,
            ),
            (
                Scope::Sites,
                difference(Package, "vim:amd64", item("1", None), None),
                Verdict::Note,
            ),
            (
                Scope::Sites,
                difference(Package, "postfix:amd64", item("1", None), item("2", None)),
                Verdict::Warning,
            ),
            (
                Scope::Sites,
                difference(
                    Configuration,
                    "/etc/postfix/main.cf",
                    item("a", None),
                    item("b", None),
                ),
                Verdict::Warning,
            ),
            (
                Scope::Sites,
                difference(Configuration, "/etc/postfix/main.cf", item("a", None), None),
                Verdict::Critical,
            ),
            (
                Scope::Sites,
                difference(
                    Volume,
                    "/srv/mail",
                    item("ext4", Some(9)),
                    item("ext4", Some(8)),
                ),
                Verdict::Critical,
            ),
            (
                Scope::Sites,
                difference(
                    Volume,
                    "/srv/mail",
                    item("ext4", Some(8)),
                    item("ext4", Some(9)),
                ),
                Verdict::Ignore,
            ),
            (
                Scope::Sites,
                difference(Service, "dovecot", item("there", None), None),
                Verdict::Critical,
            ),
            (
                Scope::Sites,
                difference(Listener, "tcp/25 at 0.0.0.0", item("listens", None), None),
                Verdict::Ignore,
            ),
            (
                Scope::Sites,
                difference(Profile, "postfix-dovecot", item("a", None), item("b", None)),
                Verdict::Critical,
            ),
            (
                Scope::Host,
                difference(Service, "dovecot", None, item("starts at boot", None)),
                Verdict::Critical,
            ),
            (
                Scope::Host,
                difference(
                    Service,
                    "dovecot",
                    None,
                    item("does not start at boot", None),
                ),
                Verdict::Ignore,
            ),
            (
                Scope::Time,
                difference(
                    Configuration,
                    "/etc/postfix/main.cf",
                    item("a", None),
                    item("b", None),
                ),
                Verdict::Warning,
            ),
            (
                Scope::Time,
                difference(Package, "vim:amd64", item("1", None), item("2", None)),
                Verdict::Note,
            ),
        ];
        for (scope, difference, expected) in cases {
            let rule = table.judge(&[], scope, &difference);
            let verdict = rule.map_or(Verdict::Ignore, |rule| rule.verdict);
            assert_eq!(verdict, expected, "{scope:?} {difference:?} by {rule:?}");
        }
    }

    #[test]
    fn the_operators_rules_come_first() {
        let table = Table::own().expect("a table");
        let own: Settings = toml::from_str(
            "[[rule]]\nid = \"host-names\"\nnames = [\"/etc/postfix/main.cf\"]\nverdict = \"ignore\"\n",
        )
        .expect("rules");
        let differs = |name| {
            difference(
                Category::Configuration,
                name,
                item("a", None),
                item("b", None),
            )
        };
        let judged = |name| {
            let rule = table
                .judge(&own.rules, Scope::Sites, &differs(name))
                .map(|rule| rule.verdict);
            rule.expect("a rule")
        };
        assert_eq!(judged("/etc/postfix/main.cf"), Verdict::Ignore);
        assert_eq!(judged("/etc/postfix/master.cf"), Verdict::Warning);
        assert!(
            toml::from_str::<Settings>("[[rule]]\nid = \"a\"\nverdict = \"ignore\"\nname = \"x\"")
                .is_err()
        );
    }

    #[test]
    fn every_rule_says_why_and_has_a_name_of_its_own() {
        let table = Table::own().expect("a table");
        let mut names: Vec<&str> = table.own.iter().map(|rule| rule.id.as_str()).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        let silent = table
            .own
            .iter()
            .filter(|rule| rule.verdict > Verdict::Ignore && rule.why.is_empty());
        assert_eq!(silent.count(), 0);
    }

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, text, expected) in [
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*b*c", "axbxc", true),
            ("*", "", true),
            ("ab", "abc", false),
            ("a*bc", "abc", true),
            ("ab*bc", "abc", false),
            ("*.cf", "/etc/main.cf", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    proptest! {
        /// Against the textbook's recursion.
        #[test]
        fn patterns_fit_as_defined(pattern in "[ab*]{0,7}", text in "[ab]{0,7}") {
            fn by_definition(pattern: &[u8], text: &[u8]) -> bool {
                match pattern {
                    [] => text.is_empty(),
                    [b'*', rest @ ..] => (0..=text.len()).any(|at| by_definition(rest, &text[at..])),
                    [sign, rest @ ..] => text.first() == Some(sign) && by_definition(rest, &text[1..]),
                }
            }
            prop_assert_eq!(fits(&pattern, &text), by_definition(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
