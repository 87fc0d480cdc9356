//! Answers of the control centre, for people.

pub(super) mod keeping;
pub(super) mod watching;

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::report::printable;

/// A text, or nothing.
pub(super) fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn time(value: &Value) -> String {
    value
        .as_i64()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .map(|stamp| stamp.strftime("%F %T").to_string())
        .unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The name of an enum's variant, with or without contents.
fn variant(value: &Value) -> (&str, &Value) {
    match value {
        Value::String(name) => (name, &Value::Null),
        Value::Object(one) => one
            .iter()
            .next()
            .map_or(("", &Value::Null), |(name, inner)| (name, inner)),
        _ => ("", &Value::Null),
    }
}

fn state(state: &Value) -> String {
    format!("{} ({})", word(&state["title"]), state["number"])
}

pub(super) fn status(status: &Value) -> String {
    let mut out = format!(
        "{}: {} since {}\n",
        word(&status["application"]),
        state(&status["state"]),
        time(&status["state"]["since"])
    );
    let serves = match status["state"]["active"].as_str() {
        Some(side) => format!("the {side}, epoch {}", status["epoch"]),
        None => format!(
            "a switch is under way; the {} holds epoch {}",
            word(&status["holder"]),
            status["epoch"]
        ),
    };
    let _ = writeln!(out, "  serves     {serves}");
    let _ = writeln!(out, "  data       {}", data(&status["state"]["data"]));
    if let Some(line) = standing_process(&status["process"]) {
        let _ = writeln!(out, "  process    {line}");
    }
    if !status["question"].is_null() {
        let _ = writeln!(
            out,
            "  question   {} (`lifeboat failover answer yes|no`)",
            printable(word(&status["question"]["text"]))
        );
    }
    for one in list(&status["working"]) {
        let _ = writeln!(out, "  working    {}", variant(one).0);
    }
    let _ = write!(out, "  autopilot  {}", autopilot(&status["autopilot"]));
    for agent in list(&status["agents"]) {
        let _ = writeln!(out, "  host       {}", agent_line(agent));
    }
    for seen in list(&status["observed"]["evidence"]) {
        let _ = writeln!(out, "  seen       {}", printable(word(seen)));
    }
    out
}

fn data(value: &Value) -> String {
    let (kind, inner) = variant(value);
    let from = word(&inner["from"]);
    match kind {
        "replicating" => format!("flow from the {from} to the other side"),
        "kept" => format!("of the {from} are kept for the other side, not sent"),
        _ => "change their direction".to_owned(),
    }
}

fn standing_process(process: &Value) -> Option<String> {
    let record = &process["record"];
    let id = record["id"].as_str()?;
    let kind = word(&record["plan"]["kind"]);
    let ending = match ending(record) {
        Some(ending) => format!("{ending} at {}", time(&record["ended_at"])),
        None => {
            let step = list(&process["journal"])
                .last()
                .map(|line| line["step"].clone());
            let title = step
                .and_then(|step| title(record, &step))
                .unwrap_or_default();
            format!("runs: {title}")
        }
    };
    Some(format!("{id} {kind}, {ending}"))
}

/// How a process ended, if it did.
fn ending(record: &Value) -> Option<String> {
    let (kind, step) = variant(&record["ending"]);
    let at = || title(record, step).unwrap_or_default();
    match kind {
        "" => None,
        "half-reverted" => Some(format!("taken back but for one step: {}", at())),
        "stopped" => Some(format!(
            "stopped at {} (`lifeboat failover take-up` goes on)",
            at()
        )),
        kind => Some(kind.to_owned()),
    }
}

/// Number and title of a step.
fn title(record: &Value, step: &Value) -> Option<String> {
    let step = &record["plan"]["steps"][usize::try_from(step.as_u64()?).ok()?];
    Some(format!(
        "{} {}",
        step["number"].as_str()?,
        word(&step["title"])
    ))
}

/// A line of a journal, if it is worth one.
pub(super) fn step_line(process: &Value, line: &Value) -> Option<String> {
    let (phase, inner) = variant(&line["phase"]);
    let title = title(&process["record"], &line["step"])?;
    Some(match phase {
        "done" => format!("{title}: {}", word(&inner["evidence"])),
        "failed" => format!("{title}: FAILED: {}", word(&inner["reason"])),
        "skipped" => format!("{title}: left out, {}", word(&inner["reason"])),
        "answered" => {
            let answer = if inner["yes"] == true { "yes" } else { "no" };
            format!("{title}: {answer}, by {}", word(&inner["by"]))
        }
        "undone" => format!("{title}: taken back"),
        "undo-failed" => format!(
            "{title}: could NOT be taken back: {}",
            word(&inner["reason"])
        ),
        _ => return None,
    })
}

pub(super) fn autopilot(value: &Value) -> String {
    let settings = &value["settings"];
    let mode = match (settings["enabled"] == true, settings["shadow"] == true) {
        (false, _) => "off",
        (true, true) => "in shadow: only says what it would do",
        (true, false) => "on",
    };
    let locked = if value["locked_out"] == true {
        ", LOCKED OUT (`lifeboat failover autopilot unlock`)"
    } else {
        ""
    };
    format!("{mode}{locked}; {}\n", printable(word(&value["wish"])))
}

fn agent_line(agent: &Value) -> String {
    let (part, side) = variant(&agent["part"]);
    let part = match part {
        "" => "no part".to_owned(),
        part => format!("{part} {}", word(side)),
    };
    let link = match agent["connected_since"].as_i64() {
        Some(_) => "connected".to_owned(),
        None => "NOT connected".to_owned(),
    };
    let serving = &agent["serving"];
    let lease = match serving["lease_left_ms"].as_u64() {
        Some(left) if left > 0 => format!(
            ", holds epoch {} for {:.1} s",
            serving["epoch"],
            std::time::Duration::from_millis(left).as_secs_f64()
        ),
        _ => String::new(),
    };
    format!("{:<12} {part:<22} {link}{lease}", word(&agent["host"]))
}

pub(super) fn agents(all: &Value) -> String {
    list(all)
        .iter()
        .map(|agent| agent_line(agent) + "\n")
        .collect()
}

pub(super) fn applications(all: &Value) -> String {
    list(all).iter().fold(String::new(), |mut out, one| {
        let hosts: Vec<&str> = list(&one["hosts"]).iter().map(word).collect();
        let _ = writeln!(
            out,
            "{:<16} {:<40} {} on {}",
            word(&one["name"]),
            state(&one["state"]),
            word(&one["profile"]),
            hosts.join(", ")
        );
        if let Some(unproven) = one["unproven"].as_str() {
            let _ = writeln!(
                out,
                "    its profile is not proven: {}",
                printable(unproven)
            );
        }
        out
    })
}

pub(super) fn readiness(value: &Value) -> String {
    let verdict = if value["ready"] == true {
        "ready"
    } else {
        "NOT ready"
    };
    let mut out = format!("the {} is {verdict} to take over\n", word(&value["to"]));
    for one in list(&value["looked"]) {
        let mark = match (one["good"] == true, one["needed"] == true) {
            (true, _) => "ok",
            (false, true) => "NO",
            (false, false) => "warning",
        };
        let _ = writeln!(
            out,
            "  {mark:<8} {}: {}",
            word(&one["what"]),
            printable(word(&one["text"]))
        );
    }
    out
}

pub(super) fn plan(value: &Value) -> String {
    let plan = &value["plan"];
    let mut out = format!(
        "{} from the {} to the {}, epoch {}\n",
        word(&plan["kind"]),
        word(&plan["from"]),
        word(&plan["to"]),
        plan["epoch"]
    );
    for (step, bypassed) in list(&plan["steps"]).iter().zip(list(&value["bypassed"])) {
        let (actor, side) = variant(&step["actor"]);
        let note = if *bypassed == Value::Bool(true) {
            "  (left out: the old side is not there)"
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "  {:<8} {:<22} {}{note}",
            word(&step["number"]),
            format!("{actor} {}", word(side)),
            word(&step["title"])
        );
    }
    for obstacle in list(&value["obstacles"]) {
        let _ = writeln!(out, "cannot begin: {}", printable(word(obstacle)));
    }
    out
}

pub(super) fn history(all: &Value) -> String {
    list(all).iter().fold(String::new(), |mut out, one| {
        let number = one["number"]
            .as_u64()
            .map(|number| number.to_string())
            .unwrap_or_default();
        let _ = writeln!(
            out,
            "{}  {number:<4} {} -> {}  by {}: {}",
            time(&one["at"]),
            word(&one["from"]),
            word(&one["to"]),
            printable(word(&one["who"])),
            printable(word(&one["why"]))
        );
        for seen in list(&one["evidence"]) {
            let _ = writeln!(out, "      {}", printable(word(seen)));
        }
        out
    })
}

pub(super) fn audit(all: &Value) -> String {
    list(all).iter().fold(String::new(), |mut out, one| {
        let _ = writeln!(
            out,
            "{}  {:<16} {} {}",
            time(&one["at"]),
            printable(word(&one["who"])),
            word(&one["action"]),
            printable(word(&one["detail"]))
        );
        out
    })
}

pub(super) fn processes(all: &Value) -> String {
    list(all).iter().fold(String::new(), |mut out, one| {
        let ending = ending(one).unwrap_or_else(|| "runs".to_owned());
        let _ = writeln!(
            out,
            "{}  {} {} by {}: {ending}",
            time(&one["started_at"]),
            word(&one["id"]),
            word(&one["plan"]["kind"]),
            printable(word(&one["who"]))
        );
        out
    })
}

pub(super) fn process(process: &Value) -> String {
    let begin = process["record"]["started_at"].as_u64().unwrap_or_default();
    let lines = list(&process["journal"]).iter().filter_map(|line| {
        let said = step_line(process, line)?;
        let after = line["at"]
            .as_u64()
            .unwrap_or_default()
            .saturating_sub(begin);
        let after = std::time::Duration::from_millis(after).as_secs_f64();
        Some(format!("{after:>7.1} s  {}\n", printable(&said)))
    });
    let lines: String = lines.collect();
    lines + &result_line(&result(process))
}

/// What a script wants to know of a process that ended.
pub(super) fn result(process: &Value) -> Value {
    let record = &process["record"];
    let journal = list(&process["journal"]);
    let begin = record["started_at"].as_u64().unwrap_or_default();
    let end = record["ended_at"].as_u64().unwrap_or(begin);
    let (ending_kind, _) = variant(&record["ending"]);
    json!({
        "process": record["id"],
        "kind": record["plan"]["kind"],
        "ending": ending_kind,
        "said": ending(record),
        "to": record["plan"]["to"],
        "epoch": record["plan"]["epoch"],
        "total_s": seconds(end.saturating_sub(begin)),
        "waited_s": seconds(waited(record, journal)),
        "steps": steps(record, journal),
    })
}

fn seconds(millis: u64) -> f64 {
    std::time::Duration::from_millis(millis).as_secs_f64()
}

/// How long questions took: from the line before each answer to the answer.
fn waited(record: &Value, journal: &[Value]) -> u64 {
    let at = |line: &Value| line["at"].as_u64().unwrap_or_default();
    let begin = record["started_at"].as_u64().unwrap_or_default();
    let mut before = begin;
    let mut sum = 0;
    for line in journal {
        if variant(&line["phase"]).0 == "answered" {
            sum += at(line).saturating_sub(before);
        }
        before = at(line);
    }
    sum
}

/// How long each step took.
fn steps(record: &Value, journal: &[Value]) -> Vec<Value> {
    let mut begun = std::collections::BTreeMap::new();
    let mut steps = Vec::new();
    for line in journal {
        let (phase, _) = variant(&line["phase"]);
        let (Some(step), Some(at)) = (line["step"].as_u64(), line["at"].as_u64()) else {
            continue;
        };
        if matches!(phase, "begun" | "undo-begun") {
            begun.insert(step, at);
            continue;
        }
        let took = begun
            .get(&step)
            .map_or(0, |begin| at.saturating_sub(*begin));
        steps.push(json!({ "step": title(record, &line["step"]), "phase": phase, "seconds": seconds(took) }));
    }
    steps
}

pub(super) fn result_line(result: &Value) -> String {
    format!(
        "{} {}: {} in {:.1} s ({:.1} s of that waiting for an answer)\n",
        word(&result["kind"]),
        word(&result["process"]),
        result["said"].as_str().unwrap_or("runs"),
        result["total_s"].as_f64().unwrap_or_default(),
        result["waited_s"].as_f64().unwrap_or_default()
    )
}
