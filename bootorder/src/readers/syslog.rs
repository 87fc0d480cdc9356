//! Lines of syslog daemons: RFC 3164, RFC 5424 and what rsyslog's templates make of them.

use super::program_log;
use super::stamps::{Written, take_stamp};

const MAX_TAG: usize = 128;
/// Where some daemons write how grave a line is instead of a host.
const SEVERITIES: &[&str] = &[
    "EMERG", "ALERT", "CRIT", "ERR", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG",
];

/// One parsed line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub when: Written,
    /// Empty when the line has none.
    pub host: &'a str,
    pub identifier: &'a str,
    pub process: &'a str,
    pub message: &'a str,
    /// The kernel's own time, where the line has it.
    pub uptime_us: Option<u64>,
    /// Whether the program is marked as such ("tag:"), not guessed.
    pub is_tagged: bool,
}

/// Parses one line; `None` for continuations and foreign text.
pub(super) fn parse(line: &str) -> Option<Line<'_>> {
    let after_priority = strip_priority(line);
    let text = after_priority.unwrap_or(line);
    if let Some(rest) = text.strip_prefix("1 ")
        && let Some(line) = rfc5424(rest)
    {
        return Some(line);
    }
    let Some((when, rest)) = take_stamp(text) else {
        return program_log::parse(line);
    };
    let rest = rest.trim_start();
    // MySQL writes the number of a thread where others write a host.
    let first = rest.split(' ').next().unwrap_or("");
    if !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(program_log::anonymous(when, rest));
    }
    traditional(when, rest)
}

/// Takes "<34>" off, also behind the length that some transports write.
fn strip_priority(line: &str) -> Option<&str> {
    let framed = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let line = match framed.strip_prefix(' ') {
        Some(rest) if framed.len() < line.len() && rest.starts_with('<') => rest,
        _ => line,
    };
    let (number, rest) = line.strip_prefix('<')?.split_once('>')?;
    let valid = (1..=3).contains(&number.len()) && number.bytes().all(|b| b.is_ascii_digit());
    valid.then_some(rest)
}

fn rfc5424(text: &str) -> Option<Line<'_>> {
    let (when, rest) = take_stamp(text)?;
    let mut words = rest.splitn(5, ' ');
    let (host, identifier, process) = (words.next()?, words.next()?, words.next()?);
    let _message_id = words.next()?;
    let message = behind_structured_data(words.next()?)?;
    let known = |word: &'static str| move |text: &&str| *text != word;
    Some(
        Line {
            when,
            host: Some(host).filter(known("-")).unwrap_or(""),
            identifier: Some(identifier).filter(known("-")).unwrap_or(""),
            process: Some(process).filter(known("-")).unwrap_or(""),
            message: message.trim_start_matches('\u{feff}').trim_start(),
            uptime_us: None,
            is_tagged: true,
        }
        .with_kernel_time(),
    )
}

/// What follows "-" or "[id name=\"value\"]...".
fn behind_structured_data(text: &str) -> Option<&str> {
    if let Some(rest) = text.strip_prefix('-') {
        return (rest.is_empty() || rest.starts_with(' ')).then(|| rest.trim_start());
    }
    let (mut quoted, mut escaped, mut open) = (false, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if open => quoted = !quoted,
            b'[' if !quoted && !open => open = true,
            b']' if !quoted && open => open = false,
            b' ' if !open => return Some(&text[at + 1..]),
            _ if open => {}
            _ => return None,
        }
    }
    (!open).then_some("")
}

fn traditional(when: Written, rest: &str) -> Option<Line<'_>> {
    let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
    if first.is_empty() {
        return None;
    }
    let (host, rest) = if first.ends_with(':') || first.starts_with("--") {
        ("", rest)
    } else if SEVERITIES.contains(&first) {
        ("", after)
    } else {
        (first, after)
    };
    let (tag, message) = rest.split_once(' ').unwrap_or((rest, ""));
    let is_tagged = tag.ends_with(':');
    let tag = tag.trim_end_matches(':');
    let (name, process) = match tag.split_once('[') {
        Some((name, process)) => (name, process.trim_end_matches(']')),
        None => (tag, ""),
    };
    let identifier = match name.starts_with('/') {
        true => name.rsplit('/').next().unwrap_or(name),
        false => name,
    };
    // macOS writes the severity between the program and the colon.
    let (message, is_tagged) = match message.strip_prefix('<').and_then(|m| m.split_once(">: ")) {
        Some((word, rest)) if !is_tagged && !word.contains(' ') => (rest, true),
        _ => (message, is_tagged),
    };
    let line = Line {
        when,
        host,
        identifier,
        process,
        message: message.trim_start(),
        uptime_us: None,
        is_tagged,
    };
    (tag.len() <= MAX_TAG).then(|| line.with_kernel_time())
}

impl Line<'_> {
    /// Takes the kernel's own "[    1.234567] " off its messages.
    fn with_kernel_time(mut self) -> Self {
        if let Some((time, rest)) = self
            .message
            .strip_prefix('[')
            .and_then(|m| m.split_once("] "))
            && let Some(uptime) = time
                .trim()
                .parse::<f64>()
                .ok()
                .filter(|t| (0.0..1e9).contains(t))
        {
            self.uptime_us = Some((uptime * 1e6) as u64);
            self.message = rest.trim_start();
        }
        self
    }
}

/// Where the next record begins in a line: forwarders do not always write an end of line.
pub(super) fn next_record(line: &str) -> Option<usize> {
    let begins = |at: &usize| {
        strip_priority(&line[*at..])
            .is_some_and(|rest| take_stamp(rest.strip_prefix("1 ").unwrap_or(rest)).is_some())
    };
    line.match_indices('<')
        .map(|(at, _)| at)
        .filter(|at| *at > 0)
        .find(begins)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: [&str; 4]) {
        let line = parse(text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(
            [line.host, line.identifier, line.process, line.message],
            expected,
            "{text}"
        );
    }

    #[test]
    fn every_form_is_read() {
        let stamp = "Feb 29 00:00:00";
        check(
            &format!("{stamp} dir1 kernel: [    0.000000] Linux version 6"),
            ["dir1", "kernel", "", "Linux version 6"],
        );
        check(
            &format!("<6>{stamp} dir1 sshd[12]: hello"),
            ["dir1", "sshd", "12", "hello"],
        );
        check(
            &format!("{stamp} dir1 log_tag this is debug"),
            ["dir1", "log_tag", "", "this is debug"],
        );
        check(
            &format!("{stamp}: --- last message repeated 5 times ---"),
            ["", "---", "", "last message repeated 5 times ---"],
        );
        check(
            &format!("{stamp} mac sockerfilterfw[1985] <Info>: allow"),
            ["mac", "sockerfilterfw", "1985", "allow"],
        );
        check(
            &format!("{stamp} dir1 /usr/sbin/cron[3]: x"),
            ["dir1", "cron", "3", "x"],
        );
        let iso = "2024-02-29T01:00:00.123456+01:00";
        check(
            &format!("{iso} dir1 systemd[1]: Started x."),
            ["dir1", "systemd", "1", "Started x."],
        );
        check(
            &format!("{iso} INFO periodic[7]: done"),
            ["", "periodic", "7", "done"],
        );
        check(
            &format!("<30>1 {iso} dir1 systemd 1 - -  Started x."),
            ["dir1", "systemd", "1", "Started x."],
        );
        check(
            &format!("57 <30>1 {iso} - - - ID7 [a@1 k=\"v \\\" ]\"][b] \u{feff}text"),
            ["", "", "", "text"],
        );
        check(&format!("<30>1 {iso} h app - - -"), ["h", "app", "", ""]);
        assert_eq!(parse("\tmany syslog parsers."), None);
        check(
            "2024-02-29 01:00:00 UTC [1] LOG:  ready",
            ["", "", "", "[1] LOG:  ready"],
        );
    }

    #[test]
    fn the_kernels_own_time_is_kept() {
        let line = parse("Feb 29 00:00:00 dir1 kernel: [  316.559919] wlan0: x").expect("a line");
        assert_eq!(line.uptime_us, Some(316_559_919));
        let other = parse("Feb 29 00:00:00 dir1 app: [17] x").expect("a line");
        assert_eq!((other.uptime_us, other.message), (Some(17_000_000), "x"));
    }

    #[test]
    fn records_without_line_ends_are_taken_apart() {
        let text = "<15>Mar  6 04:07:23 h a <b> x<14>Mar  6 04:07:23 h c d<3>e";
        let at = next_record(text).expect("a record");
        assert!(text[at..].starts_with("<14>"));
        assert_eq!(next_record(&text[at..]), None);
    }

    proptest::proptest! {
        #[test]
        fn hostile_lines_never_panic(line: String, near in "<[0-9]{1,4}>1? ?(Mar  6 04:07:23|2024-02-29T01:00:00Z) [ -~é\\[\\]\"]{0,60}") {
            let _ = (parse(&line), parse(&near), next_record(&line), next_record(&near));
        }
    }
}
