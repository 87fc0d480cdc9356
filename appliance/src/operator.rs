//! The operator's word on the order, from the command line: what is meant, and
//! whether it can be followed together with what was said before.

use lifeboat_bootorder::{OperatorError, OperatorWord, Verdict, validate};
use serde::{Deserialize, Serialize};

use crate::daemon::WrongUse;
use crate::report::printable;

/// What one command says; each entry is `A:B`, "A before B".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = OrderWords)]
pub struct Changes {
    /// Dependencies that exist.
    #[serde(default)]
    pub pin: Vec<String>,
    /// Dependencies that do not exist.
    #[serde(default)]
    pub reject: Vec<String>,
    /// Words that are taken back.
    #[serde(default)]
    pub forget: Vec<String>,
}

impl Changes {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.pin.is_empty() && self.reject.is_empty() && self.forget.is_empty()
    }
}

/// What was said before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// The machines of the site.
    pub machines: &'a [String],
    /// By the site file.
    pub file: &'a [OperatorWord],
    /// By earlier commands.
    pub kept: &'a [OperatorWord],
}

/// The words to keep after `changes`, or a sentence that names the flag, its
/// value and what contradicts it. A newer word on a pair replaces the older.
pub fn merge(known: Known<'_>, changes: &Changes) -> Result<Vec<OperatorWord>, WrongUse> {
    let mut kept = known.kept.to_vec();
    for value in &changes.forget {
        forget(known, &mut kept, value)?;
    }
    let pins = said("--pin", Verdict::Pin, &changes.pin);
    let rejections = said("--reject", Verdict::Reject, &changes.reject);
    let mut new: Vec<(&str, OperatorWord)> = Vec::new();
    for (flag, verdict, value) in pins.chain(rejections) {
        let (before, after) = pair(flag, value, known.machines)?;
        let word = OperatorWord {
            before,
            after,
            verdict,
        };
        if let Some((other, _)) = new.iter().find(|(_, one)| contradicts(one, &word)) {
            return Err(WrongUse(format!(
                "`{flag} {value}` contradicts `{other} {value}`: say one of them"
            )));
        }
        add(known, &mut kept, flag, value, word.clone())?;
        new.push((flag, word));
    }
    kept.sort();
    Ok(kept)
}

type Said<'a> = (&'static str, Verdict, &'a str);

fn said<'a>(
    flag: &'static str,
    verdict: Verdict,
    values: &'a [String],
) -> impl Iterator<Item = Said<'a>> {
    values
        .iter()
        .map(move |value| (flag, verdict, value.as_str()))
}

fn same_pair(one: &OperatorWord, other: &OperatorWord) -> bool {
    one.before == other.before && one.after == other.after
}

fn contradicts(one: &OperatorWord, other: &OperatorWord) -> bool {
    same_pair(one, other) && one.verdict != other.verdict
}

fn add(
    known: Known<'_>,
    kept: &mut Vec<OperatorWord>,
    flag: &str,
    value: &str,
    word: OperatorWord,
) -> Result<(), WrongUse> {
    if known.file.iter().any(|one| contradicts(one, &word)) {
        return Err(WrongUse(format!(
            "`{flag} {value}` contradicts the site file, which has a [[dependency]] with before = \"{}\" and after = \"{}\": remove it there",
            word.before, word.after
        )));
    }
    kept.retain(|one| !same_pair(one, &word));
    kept.push(word);
    let known_machine = |word: &&OperatorWord| {
        known.machines.contains(&word.before) && known.machines.contains(&word.after)
    };
    // A word on a machine that left the site since is no reason to refuse this one.
    let all: Vec<OperatorWord> = known
        .file
        .iter()
        .chain(kept.iter())
        .filter(known_machine)
        .cloned()
        .collect();
    validate(known.machines, &all).map_err(|error| refusal(flag, value, &error, known))
}

fn refusal(flag: &str, value: &str, error: &OperatorError, known: Known<'_>) -> WrongUse {
    let why = match error {
        OperatorError::UnknownMachine(name) => return unknown(flag, value, name, known.machines),
        OperatorError::OnItself(_) => {
            return WrongUse(format!(
                "`{flag} {value}`: a machine cannot wait for itself"
            ));
        }
        _ => error.to_string(),
    };
    let earlier: Vec<String> = known
        .kept
        .iter()
        .map(|word| {
            format!(
                "{word} (`--forget {}:{}` takes it back)",
                word.before, word.after
            )
        })
        .chain(known.file.iter().map(|word| format!("{word} (site file)")))
        .collect();
    let said_before = match earlier.is_empty() {
        true => String::new(),
        false => format!("; said before: {}", earlier.join(", ")),
    };
    WrongUse(format!(
        "`{flag} {value}` cannot be followed: {why}{said_before}"
    ))
}

fn forget(known: Known<'_>, kept: &mut Vec<OperatorWord>, value: &str) -> Result<(), WrongUse> {
    let is = |word: &OperatorWord| format!("{}:{}", word.before, word.after) == value;
    let before = kept.len();
    kept.retain(|word| !is(word));
    if kept.len() < before {
        return Ok(());
    }
    if known.file.iter().any(is) {
        return Err(WrongUse(format!(
            "`--forget {value}`: that is a [[dependency]] of the site file; remove it there"
        )));
    }
    let words: Vec<String> = kept
        .iter()
        .map(|w| format!("{}:{}", w.before, w.after))
        .collect();
    let words = if words.is_empty() {
        "nothing".to_owned()
    } else {
        words.join(", ")
    };
    Err(WrongUse(format!(
        "`--forget {}`: nothing is kept about this pair; kept: {words}",
        printable(value)
    )))
}

/// The machines of `A:B`. Names of folders may hold colons themselves.
fn pair(flag: &str, value: &str, machines: &[String]) -> Result<(String, String), WrongUse> {
    let splits: Vec<(&str, &str)> = value
        .match_indices(':')
        .map(|(at, _)| (&value[..at], &value[at + 1..]))
        .collect();
    let is_known = |name: &str| machines.iter().any(|machine| machine == name);
    let found = splits.iter().find(|(a, b)| is_known(a) && is_known(b));
    if let Some((before, after)) = found {
        return Ok(((*before).to_owned(), (*after).to_owned()));
    }
    match splits.first() {
        Some((before, after)) if !before.is_empty() && !after.is_empty() => {
            let name = if is_known(before) { after } else { before };
            Err(unknown(flag, value, name, machines))
        }
        _ => Err(WrongUse(format!(
            "`{flag} {}` is not understood: expected A:B, which says that A comes before B",
            printable(value)
        ))),
    }
}

/// A sentence on a machine that does not exist.
pub fn unknown(flag: &str, value: &str, name: &str, machines: &[String]) -> WrongUse {
    const MOST: usize = 20;
    let mut known: Vec<String> = machines
        .iter()
        .take(MOST)
        .map(|name| printable(name))
        .collect();
    if machines.len() > MOST {
        known.push(format!("and {} more", machines.len() - MOST));
    }
    WrongUse(format!(
        "`{flag} {}`: no machine is called `{}`; there are {}",
        printable(value),
        printable(name),
        known.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(before: &str, after: &str, verdict: Verdict) -> OperatorWord {
        OperatorWord {
            before: before.into(),
            after: after.into(),
            verdict,
        }
    }

    fn changes(pin: &[&str], reject: &[&str], forget: &[&str]) -> Changes {
        let own = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        Changes {
            pin: own(pin),
            reject: own(reject),
            forget: own(forget),
        }
    }

    fn merged(changes: &Changes) -> Result<Vec<OperatorWord>, String> {
        let machines = ["a", "b", "c", "x:y"].map(str::to_owned);
        let file = [word("a", "c", Verdict::Pin)];
        let kept = [
            word("a", "b", Verdict::Pin),
            word("gone", "a", Verdict::Pin),
        ];
        let known = Known {
            machines: &machines,
            file: &file,
            kept: &kept,
        };
        merge(known, changes).map_err(|error| error.to_string())
    }

    #[test]
    fn newer_words_replace_older_ones_and_forgotten_ones_go() {
        let gone = word("gone", "a", Verdict::Pin);
        let found = merged(&changes(&["b:c", "x:y:a"], &["a:b"], &[])).unwrap();
        let expected = [
            word("a", "b", Verdict::Reject),
            word("b", "c", Verdict::Pin),
            gone.clone(),
            word("x:y", "a", Verdict::Pin),
        ];
        assert_eq!(found, expected);
        assert_eq!(merged(&changes(&[], &[], &["a:b"])).unwrap(), [gone]);
        assert_eq!(merged(&changes(&["b:a"], &[], &["a:b"])).unwrap().len(), 2);
    }

    #[test]
    fn every_refusal_names_the_flag_and_its_value() {
        for (changes, expected) in [
            (changes(&["a"], &[], &[]), "`--pin a` is not understood"),
            (
                changes(&["a:z"], &[], &[]),
                "`--pin a:z`: no machine is called `z`; there are a, b, c",
            ),
            (
                changes(&[], &["z:a"], &[]),
                "`--reject z:a`: no machine is called `z`",
            ),
            (
                changes(&["a:a"], &[], &[]),
                "`--pin a:a`: a machine cannot wait for itself",
            ),
            (
                changes(&["b:c"], &["b:c"], &[]),
                "`--reject b:c` contradicts `--pin b:c`",
            ),
            (
                changes(&["b:a"], &[], &[]),
                "`--pin b:a` cannot be followed",
            ),
            (
                changes(&["c:a"], &[], &[]),
                "a before c: pinned (site file)",
            ),
            (
                changes(&[], &["a:c"], &[]),
                "`--reject a:c` contradicts the site file",
            ),
            (
                changes(&[], &[], &["a:c"]),
                "`--forget a:c`: that is a [[dependency]]",
            ),
            (
                changes(&[], &[], &["b:c"]),
                "`--forget b:c`: nothing is kept about this pair; kept: a:b",
            ),
        ] {
            let message = merged(&changes).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
