//! `lifeboat order`: what was asked, and the answer in the asked form.

use std::path::{Path, PathBuf};

use clap::Args;
use lifeboat_bootorder::{
    Analysis, Explanation, HostBudget, Literal, OperatorWord, Options, Order, Reference, WhatIf,
};
use serde_json::Value;

use super::knobs::Knobs;
use super::{Format, output};
use crate::daemon::WrongUse;
use crate::names;
use crate::operator::{Changes, Known, merge, unknown};
use crate::report::printable;

#[derive(Debug, Args)]
pub struct OrderArguments {
    /// A registered name, a `site.toml`, or its folder.
    #[arg(required_unless_present = "logs", conflicts_with = "logs")]
    pub site: Option<String>,
    /// A folder with one folder a machine: journals, logs, registry hives, `etc/`.
    #[arg(long, value_name = "DIR")]
    pub logs: Option<PathBuf>,
    /// A must be ready before B starts. Kept for a SITE, for this run only with --logs.
    #[arg(long, value_name = "A:B")]
    pin: Vec<String>,
    /// B does not wait for A, whatever the logs say. Kept like --pin.
    #[arg(long, value_name = "A:B")]
    reject: Vec<String>,
    /// Take back what is kept about A before B for a SITE.
    #[arg(long, value_name = "A:B", conflicts_with = "logs")]
    forget: Vec<String>,
    /// Every fact for and against "A before B".
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["without", "only", "literal"])]
    explain: Vec<String>,
    /// What happens when this machine is missing: who fails, who waits, what is not there.
    #[arg(long, value_name = "MACHINE", conflicts_with_all = ["only", "literal"])]
    without: Option<String>,
    /// Only this machine and what it needs.
    #[arg(long, value_name = "MACHINE", conflicts_with = "literal")]
    only: Option<String>,
    /// Names, units and ports of your own services (form: data/services.toml); only with --logs.
    /// A SITE and everything else uses /etc/lifeboat/services.toml.
    #[arg(long, value_name = "FILE", conflicts_with = "site")]
    names: Option<PathBuf>,
    /// Memory of the host for the prediction, MiB; only with a SITE, whose file says what each
    /// machine takes.
    #[arg(long, value_name = "MIB", conflicts_with = "logs", value_parser = clap::value_parser!(u64).range(1..))]
    memory_mib: Option<u64>,
    /// Machines that may boot at the same time, for the prediction.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    parallel: Option<u32>,
    #[command(flatten)]
    knobs: Knobs,
}

/// What is shown in place of the order, or beside it.
#[derive(Debug, Default)]
pub struct Answer {
    pub order: Order,
    pub explanation: Option<Explanation>,
    pub literal: Option<Reference>,
}

impl OrderArguments {
    /// What this command says about the order.
    pub fn changes(&self) -> Changes {
        Changes {
            pin: self.pin.clone(),
            reject: self.reject.clone(),
            forget: self.forget.clone(),
        }
    }

    /// The pair to explain.
    pub fn explain(&self) -> Option<(&str, &str)> {
        match self.explain.as_slice() {
            [before, after] => Some((before, after)),
            _ => None,
        }
    }

    /// How to run the reference method, when it was asked for.
    pub fn literal(&self) -> Result<Option<Literal>, WrongUse> {
        self.knobs.literal()
    }

    /// What the host gives; `machine_mib` comes from the site file.
    pub fn host(&self, machine_mib: impl Iterator<Item = (String, u64)>) -> HostBudget {
        HostBudget {
            memory_mib: self.memory_mib,
            parallel: self
                .parallel
                .and_then(|number| usize::try_from(number).ok()),
            machine_mib: machine_mib.collect(),
        }
    }

    /// Refuses what cannot be answered, before any work.
    pub fn check(&self, machines: &[String], format: Format) -> Result<(), WrongUse> {
        let named = [("--without", &self.without), ("--only", &self.only)];
        let named = named
            .into_iter()
            .filter_map(|(flag, name)| Some((flag, name.as_ref()?)));
        let explained = self.explain.iter().map(|name| ("--explain", name));
        for (flag, name) in named.chain(explained) {
            if !machines.contains(name) {
                let value = if flag == "--explain" {
                    &self.explain.join(" ")
                } else {
                    name
                };
                return Err(unknown(flag, value, name, machines));
            }
        }
        if let Some((before, after)) = self.explain()
            && before == after
        {
            return Err(WrongUse(format!(
                "`--explain {before} {after}`: a machine does not wait for itself; name two"
            )));
        }
        self.check_picture(format)
    }

    fn check_picture(&self, format: Format) -> Result<(), WrongUse> {
        let asked = [
            ("--explain", !self.explain.is_empty()),
            ("--without", self.without.is_some()),
            ("--literal", self.knobs.is_wanted()),
        ];
        let word = match format {
            Format::Dot => "dot",
            Format::Svg => "svg",
            Format::Text | Format::Json => return Ok(()),
        };
        match asked.iter().find(|(_, asked)| *asked) {
            Some((flag, _)) => Err(WrongUse(format!(
                "`--format {word}` draws the whole order and cannot show `{flag}`: take text or json"
            ))),
            None => Ok(()),
        }
    }

    /// Prints the answer.
    pub fn show(&self, answer: Answer, host: &HostBudget, format: Format) -> anyhow::Result<bool> {
        let Answer {
            mut order,
            explanation,
            literal,
        } = answer;
        if let Some(machine) = &self.only {
            order = order.only(machine, host).unwrap_or_default();
        }
        order.prediction = order.predict(host);
        let what_if = self
            .without
            .as_ref()
            .and_then(|machine| order.without(machine, host));
        match format {
            Format::Dot => output::write_out(&order.to_dot())?,
            Format::Svg => output::write_out(&order.to_svg())?,
            Format::Json => json(&order, explanation, literal, what_if)?,
            Format::Text => {
                if let Some(machine) = &self.only {
                    output::write_out(&format!(
                        "Only {} and what it needs\n\n",
                        printable(machine)
                    ))?;
                }
                output::write_out(&text(&order, explanation, literal, what_if))?;
            }
        }
        Ok(true)
    }
}

/// What is kept for a site now, for standard error.
pub fn kept_line(site: &str, words: &[OperatorWord]) -> String {
    let words: Vec<String> = words.iter().map(ToString::to_string).collect();
    match words.is_empty() {
        true => format!("kept for site `{site}`: nothing"),
        false => format!("kept for site `{site}`: {}", words.join(", ")),
    }
}

fn json(
    order: &Order,
    explanation: Option<Explanation>,
    literal: Option<Reference>,
    what_if: Option<WhatIf>,
) -> anyhow::Result<()> {
    let mut value = serde_json::to_value(order)?;
    if let Value::Object(keys) = &mut value {
        let extras = [
            ("explanation", explanation.map(serde_json::to_value)),
            ("literal", literal.map(serde_json::to_value)),
            ("what_if", what_if.map(serde_json::to_value)),
        ];
        for (key, extra) in extras {
            if let Some(extra) = extra {
                keys.insert(key.to_owned(), extra?);
            }
        }
    }
    output::write_out(&(serde_json::to_string_pretty(&value)? + "\n"))
}

fn text(
    order: &Order,
    explanation: Option<Explanation>,
    literal: Option<Reference>,
    what_if: Option<WhatIf>,
) -> String {
    if let Some(explanation) = explanation {
        explanation.to_text()
    } else if let Some(literal) = literal {
        order.beside(&literal)
    } else if let Some(what_if) = what_if {
        what_if.to_text()
    } else {
        order.to_text()
    }
}

/// `lifeboat order --logs`. Nothing is written: words hold for this run.
pub fn of_logs(logs: &Path, asked: &OrderArguments, format: Format) -> anyhow::Result<bool> {
    if let Some(problem) = names::add_of_host() {
        eprintln!("warning: {problem}");
    }
    if let Some(file) = &asked.names {
        names::add(file)?;
    }
    if !logs.is_dir() {
        return Err(WrongUse(format!(
            "`{}` is not a folder: give one that holds a folder for each machine",
            logs.display()
        ))
        .into());
    }
    let folders = lifeboat_bootorder::read_directory(logs)
        .map_err(|error| WrongUse(format!("`{}`: {error}", logs.display())))?;
    let machines: Vec<String> = folders.iter().map(|folder| folder.name.clone()).collect();
    asked.check(&machines, format)?;
    let known = Known {
        machines: &machines,
        ..Known::default()
    };
    let words = merge(known, &asked.changes())?;
    let literal = asked.literal()?;
    let analysis = Analysis::new(&folders, &words, &Options::default());
    let explanation = asked
        .explain()
        .map(|(before, after)| analysis.explain(before, after));
    let answer = Answer {
        explanation: explanation.transpose()?,
        literal: literal.map(|literal| analysis.literal(&literal)),
        order: analysis.into_order(),
    };
    asked.show(answer, &asked.host(std::iter::empty()), format)
}
