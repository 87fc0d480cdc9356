//! Letting others go first.

use std::process::{Command, Stdio};

/// Gives this thread the lowest priority for processors and disks. What cannot
/// be had is done without: the work is only less considerate then.
pub fn lower_of_this_thread() {
    let thread = nix::unistd::gettid().to_string();
    for words in [
        &["ionice", "-c", "3", "-p", &thread][..],
        &["renice", "-n", "19", "-p", &thread],
    ] {
        let done = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !done.is_ok_and(|status| status.success()) {
            tracing::debug!(tool = words[0], "the priority of a thread was not lowered");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_is_nice_and_no_other() {
        let nice = |path: &str| {
            let stat = std::fs::read_to_string(path).unwrap();
            let after_name = stat.rsplit_once(')').unwrap().1.to_owned();
            after_name.split_whitespace().nth(16).unwrap().to_owned()
        };
        let before = nice("/proc/thread-self/stat");
        let lowered = std::thread::spawn(move || {
            lower_of_this_thread();
            nice("/proc/thread-self/stat")
        });
        assert_eq!(lowered.join().unwrap(), "19");
        assert_eq!(nice("/proc/thread-self/stat"), before);
    }
}
