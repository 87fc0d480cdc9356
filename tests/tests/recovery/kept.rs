//! Recovery for production: the machines stay, whatever happens to the daemon.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use lifeboat_tests::eventually;
use serde_json::{Value, json};

use crate::bench::{BOOT, Bench, PROMPT, wait_running};

const NO_WORDS: [&str; 0] = [];

pub fn a_recovery_is_kept_and_survives_the_daemon(bench: &Bench) {
    let site = bench.dir1("kept");
    let daemon = bench.appliance.serve(NO_WORDS);
    bench.prepare(&site);
    let outcome = bench.session("recover", &site).json().run();
    outcome.expect_code(0);
    let report = outcome.json();
    assert_eq!(
        (&report["mode"], &report["ok"]),
        (&"recovery".into(), &true.into())
    );
    let session = report["session"].as_str().unwrap();
    assert_eq!(bench.listed(session)["state"], "kept");
    wait_running(bench);
    assert!(
        answers(bench, session),
        "control: its DNS is reached through the switch"
    );

    daemon.crash();
    wait_running(bench);
    let mut second = bench.appliance.serve(NO_WORDS);
    let said = second.wait_for(&format!("session {session}"), PROMPT);
    assert!(said.contains("kept; its switch runs"), "{said}");
    second.crash();

    // Now the switch too, while nobody watches.
    let running = wait_running(bench);
    running.switches[0].kill();
    let mut third = bench.appliance.serve(NO_WORDS);
    let said = third.wait_for(&format!("session {session}"), PROMPT);
    assert!(
        said.contains("kept; its switch had ended and runs again"),
        "{said}"
    );
    eventually("the machine's answer through the new switch", BOOT, || {
        answers(bench, session).then_some(())
    });

    // And once more under the eyes of the daemon.
    let running = wait_running(bench);
    running.switches[0].kill();
    eventually("another switch", PROMPT, || {
        let switches = bench.appliance.traces().switches;
        switches
            .iter()
            .any(|next| next.pid != running.switches[0].pid)
            .then_some(())
    });
    eventually("the machine's answer through it", BOOT, || {
        answers(bench, session).then_some(())
    });
    assert_eq!(
        wait_running(bench).guests,
        running.guests,
        "the machine was started anew"
    );

    bench
        .lifeboat(&["session", "stop", session])
        .run()
        .expect_code(0)
        .expect_said(&[]);
    bench.appliance.traces().expect_none();
    assert_eq!(bench.listed(session)["state"], "ended");
    third.stop().expect_code(0);
}

/// Whether the switch of a session gets a connection to dir1's DNS.
fn answers(bench: &Bench, session: &str) -> bool {
    let socket = bench.appliance.run_dir().join(session).join("control.sock");
    let probe = json!({"kind": "tcp", "address": "10.20.0.10", "port": 53});
    let request = json!({"request": "probe", "probe": probe, "timeout_ms": 4000});
    let ask = || -> std::io::Result<Value> {
        let mut stream = UnixStream::connect(socket)?;
        writeln!(stream, "{request}")?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    };
    let answer = ask().unwrap_or_default();
    assert_ne!(
        answer["response"], "error",
        "the probe is not understood: {answer}"
    );
    answer["result"]["ok"] == true
}
