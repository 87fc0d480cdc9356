//! Logs that programs keep for themselves: web servers, databases, application servers. They name
//! neither host nor program, so the program is told by the file.

use std::sync::LazyLock;

use regex::Regex;

use super::stamps::{Stamp, Written, full_stamp};
use super::syslog::Line;

static FORMS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let apache = r"\[\w{3} (?P<month1>[A-Z][a-z]{2}) +(?P<day1>\d{1,2}) (?P<time1>\d\d:\d\d:\d\d)(?P<part1>\.\d+)? (?P<year1>\d{4})\]";
    let plain = r"(?P<year2>\d{4})[/-](?P<month2>\d\d)[/-](?P<day2>\d\d) +(?P<time2>\d{1,2}:\d\d:\d\d)(?P<part2>[.,]\d+)?";
    let redis = r"(?:\d+:[A-Z] )?(?P<day3>\d{1,2})[ -](?P<month3>[A-Z][a-z]{2})[ -](?P<year3>\d{4}) (?P<time3>\d\d:\d\d:\d\d)(?P<part3>\.\d+)?";
    Regex::new(&format!(
        r"^(?:{apache}|{plain}|{redis})\s*(?:[A-Z]{{3,4}} )?(?P<rest>.*)$"
    ))
    .ok()
});

/// Parses a line of nginx, Apache, PostgreSQL, MySQL, Redis, Tomcat, Spring and their like.
pub(super) fn parse(line: &str) -> Option<Line<'_>> {
    let captures = FORMS.as_ref()?.captures(line)?;
    let part = |name: &str| {
        let mut forms = (1..=3).filter_map(|form| captures.name(&format!("{name}{form}")));
        forms.next().map_or("", |found| found.as_str())
    };
    let us = full_stamp(
        part("year"),
        part("month"),
        part("day"),
        part("time"),
        part("part"),
    )?;
    let when = Written::Full(Stamp {
        us,
        has_zone: false,
    });
    Some(anonymous(when, captures.name("rest")?.as_str()))
}

/// A line that names neither its host nor its program.
pub(super) fn anonymous(when: Written, message: &str) -> Line<'_> {
    Line {
        when,
        host: "",
        identifier: "",
        process: "",
        message: message.trim_start(),
        uptime_us: None,
        is_tagged: false,
    }
}

/// The program that a log file belongs to: `var/log/nginx/error.log`, `var/log/mysqld.log`.
pub(super) fn program_of(file: &str) -> &str {
    let inside = file.strip_prefix("var/log/").unwrap_or(file);
    let first = inside.split('/').next().unwrap_or(inside);
    let stem = first.split('.').next().unwrap_or(first);
    if stem.is_empty() { first } else { stem }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::format_time;

    #[test]
    fn programs_write_their_own_stamps() {
        for (line, time, message) in [
            (
                "2026/11/10 06:00:50 [error] 812#812: *3 connect() failed",
                "2026-11-10T06:00:50.000Z",
                "[error] 812#812: *3 connect() failed",
            ),
            (
                "[Tue Nov 10 06:00:50.250000 2026] [proxy:error] [pid 9] AH00957: attempt",
                "2026-11-10T06:00:50.250Z",
                "[proxy:error] [pid 9] AH00957: attempt",
            ),
            (
                "2026-11-10 06:00:50.123 UTC [812] FATAL:  could not connect",
                "2026-11-10T06:00:50.123Z",
                "[812] FATAL:  could not connect",
            ),
            (
                "2026-11-10  6:00:50 0 [ERROR] mariadbd: Got error",
                "2026-11-10T06:00:50.000Z",
                "0 [ERROR] mariadbd: Got error",
            ),
            (
                "812:S 10 Nov 2026 06:00:50.123 # Error condition on socket for SYNC",
                "2026-11-10T06:00:50.123Z",
                "# Error condition on socket for SYNC",
            ),
            (
                "10-Nov-2026 06:00:50.123 SEVERE [main] org.apache",
                "2026-11-10T06:00:50.123Z",
                "SEVERE [main] org.apache",
            ),
        ] {
            let parsed = parse(line).expect(line);
            let Written::Full(stamp) = parsed.when else {
                panic!("{line}");
            };
            assert_eq!(format_time(stamp.us), time, "{line}");
            assert_eq!(parsed.message, message);
        }
        assert!(parse("10.0.0.1 - - [10/Nov/2026:06:00:50 +0000] \"GET / HTTP/1.1\"").is_none());
    }

    #[test]
    fn files_tell_their_program() {
        assert_eq!(program_of("var/log/nginx/error.log"), "nginx");
        assert_eq!(program_of("var/log/mysqld.log.1"), "mysqld");
        assert_eq!(program_of("error.log"), "error");
    }

    proptest::proptest! {
        #[test]
        fn hostile_lines_never_panic(line in "(\\[|\\]|2026|Nov|10|06:00:50|[-/ .,:]|\\PC){0,40}") {
            let _ = parse(&line);
        }
    }
}
