//! AutoSync, the archive and restores, for people.

use std::fmt::Write as _;

use serde_json::Value;

use super::{list, time, variant, word};
use crate::report::printable;

pub(in super::super) fn autosync(view: &Value) -> String {
    let mode = match (view["enabled"] == true, view["held"] == true) {
        (false, _) => "off: nothing is sent",
        (true, true) => {
            "held: nothing is sent, because the answer after the switch was no (`lifeboat failover autosync on`)"
        }
        (true, false) => "on",
    };
    let mut out = format!("autosync {mode}\n");
    if let Some(from) = view["from"].as_str() {
        let (session, _) = variant(&view["session"]);
        let session = if session.is_empty() {
            "not known"
        } else {
            session
        };
        let _ = writeln!(out, "  from the {from}; session {session}");
    }
    if let (Some(lag), Some(queue)) = (view["lag_s"].as_f64(), view["queue"].as_f64()) {
        let _ = writeln!(out, "  behind by {lag:.1} s, {queue} changes wait");
    }
    for (key, name) in [("doing", "doing"), ("trouble", "trouble")] {
        if let Some(text) = view[key].as_str() {
            let _ = writeln!(out, "  {name}: {}", printable(text));
        }
    }
    out
}

pub(in super::super) fn archive(view: &Value) -> String {
    let mut out = format!(
        "archive {}\n",
        if view["enabled"] == true { "on" } else { "off" }
    );
    for level in list(&view["levels"]) {
        let due = match level["due"].as_i64() {
            Some(0) | None => "due now".to_owned(),
            Some(_) => format!("due {}", time(&level["due"])),
        };
        let _ = writeln!(
            out,
            "  level {:<8} {} of {} images, {due}",
            word(&level["label"]),
            level["images"],
            level["keep"]
        );
    }
    for image in list(&view["images"]) {
        let levels: Vec<&str> = list(&image["levels"]).iter().map(word).collect();
        let (state, _) = variant(&image["state"]);
        let failure = image["failure"]
            .as_str()
            .map(|text| format!(": {}", printable(text)))
            .unwrap_or_default();
        let _ = writeln!(
            out,
            "  image {}  {}  of the {}  [{}]  {state}{failure}",
            word(&image["name"]),
            time(&image["started_at"]),
            word(&image["side"]),
            levels.join(", ")
        );
    }
    out
}

pub(in super::super) fn restores(all: &Value) -> String {
    list(all).iter().fold(String::new(), |mut out, view| {
        let record = &view["record"];
        let (stage, _) = variant(&record["stage"]);
        let stopped = record["stopped"]
            .as_str()
            .map(|text| format!(", stopped: {} (`--take-up` goes on)", printable(text)))
            .unwrap_or_default();
        let _ = writeln!(out, "restore {}: {stage}{stopped}", word(&record["id"]));
        for line in list(&view["lines"]) {
            let _ = writeln!(
                out,
                "    {}  {}",
                time(&line["at"]),
                printable(word(&line["text"]))
            );
        }
        out
    })
}
