//! Alerts and changes, for people.

use std::fmt::Write as _;

use serde_json::Value;

use super::{list, time, word};
use crate::report::printable;

pub(in super::super) fn alerts(all: &Value) -> String {
    list(all).iter().fold(String::new(), |mut out, one| {
        let _ = writeln!(
            out,
            "{:>5}  {}  {:<8}  {}{}",
            one["id"],
            time(&one["raised_at"]),
            word(&one["gravity"]),
            printable(word(&one["title"])),
            alert_state(one),
        );
        for line in word(&one["text"]).lines() {
            let _ = writeln!(out, "         {}", printable(line));
        }
        out
    })
}

fn alert_state(one: &Value) -> String {
    let mut said = match (one["over_at"].as_i64(), one["acknowledged_by"].as_str()) {
        (Some(_), _) => format!("; over since {}", time(&one["over_at"])),
        (None, Some(who)) => format!("; {} takes care of it", printable(who)),
        (None, None) => "; nobody takes care of it".to_owned(),
    };
    if let Some(count @ 1..) = one["undelivered"].as_u64() {
        let why = printable(one["error"].as_str().unwrap_or("being sent"));
        let _ = write!(said, "; {count} notes not delivered yet: {why}");
    }
    said
}

pub(in super::super) fn changes(all: &Value) -> String {
    list(all).iter().fold(String::new(), |mut out, one| {
        let _ = writeln!(
            out,
            "{}  {:<8}  {} ({}): {}",
            time(&one["at"]),
            word(&one["verdict"]),
            printable(word(&one["host"])),
            word(&one["side"]),
            difference(one, ["is new", "is gone", "changed"]),
        );
        out
    })
}

pub(in super::super) fn differences(all: &Value) -> String {
    list(all).iter().fold(String::new(), |mut out, one| {
        let accepted = one["accepted_by"]
            .as_str()
            .map(|who| format!("; {} leaves it so", printable(who)))
            .unwrap_or_default();
        let _ = writeln!(
            out,
            "{:>5}  since {}  {:<8}  {}{accepted}",
            one["id"],
            time(&one["since"]),
            word(&one["verdict"]),
            difference(
                one,
                [
                    "is only where nobody is served",
                    "is only where users are served",
                    "is not the same at both sites",
                ]
            ),
        );
        out
    })
}

/// In which words a thing is told that only the second, only the first, or both have.
fn difference(one: &Value, [second, first, both]: [&str; 3]) -> String {
    let what = &one["difference"];
    let how = match (what["one"].is_null(), what["other"].is_null()) {
        (true, _) => second,
        (false, true) => first,
        (false, false) => both,
    };
    let why = match word(&one["why"]) {
        "" => String::new(),
        why => format!(": {}", printable(why)),
    };
    format!(
        "{} {} {how}{why}",
        word(&what["category"]),
        printable(word(&what["name"]))
    )
}
