//! Time servers: chrony, ntp, timesyncd.

use super::{FactReader, Reference, is_host_like, lines, reference};

pub(super) struct Time;

impl FactReader for Time {
    fn claims(&self, file: &str) -> bool {
        let name = file.rsplit('/').next().unwrap_or(file);
        file.starts_with("etc/chrony")
            || matches!(name, "ntp.conf" | "ntpd.conf" | "ntpdate")
            || file.starts_with("etc/systemd/timesyncd.conf")
    }

    fn read(&self, file: &str, text: &str, out: &mut Vec<Reference>) {
        for (number, line) in lines(text) {
            let words: Vec<&str> = line
                .split(['=', ' ', '\t', '"'])
                .filter(|w| !w.is_empty())
                .collect();
            let hosts: &[&str] = match words.as_slice() {
                ["server" | "pool" | "peer" | "servers", host, ..] => std::slice::from_ref(host),
                ["NTP" | "FallbackNTP" | "NTPSERVERS", hosts @ ..] => hosts,
                _ => continue,
            };
            for host in hosts.iter().filter(|host| is_host_like(host)) {
                out.push(reference(file, (number, line), host, "time"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::facts::tests::check;

    #[test]
    fn time_servers() {
        check(
            "etc/chrony/chrony.conf",
            "pool 2.debian.pool.ntp.org iburst\nserver dir1 iburst\n",
            &[("2.debian.pool.ntp.org", "time", 1), ("dir1", "time", 2)],
        );
        check(
            "etc/systemd/timesyncd.conf",
            "[Time]\nNTP=dir1 10.0.0.10\n#FallbackNTP=x\n",
            &[("dir1", "time", 2), ("10.0.0.10", "time", 2)],
        );
    }
}
