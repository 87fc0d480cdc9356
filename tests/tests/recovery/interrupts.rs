//! Daemon, command and switch die in the middle of a session.

use lifeboat_tests::{Appliance, SiteFile, eventually, processes};
use nix::sys::signal::Signal;

use crate::bench::{BOOT, Bench, PROMPT, children_of, is_there, machine, wait_running};

const NO_WORDS: [&str; 0] = [];

pub fn a_killed_daemon_is_cleaned_up_by_the_next(bench: &Bench) {
    let site = bench.dir1("killed");
    let daemon = bench.appliance.serve(NO_WORDS);
    bench.prepare(&site);
    let mut client = bench.session("test", &site).start();
    let session = client.wait_for_session(PROMPT);
    let running = wait_running(bench);
    assert_eq!(running.private_daemons, [], "the daemon is used");
    daemon.crash();
    let outcome = client.finish();
    outcome.expect_code(1).expect_one_error();
    outcome.expect_said(&[
        "the daemon ended in the middle of its work",
        "start it again",
    ]);
    // The control: it is there until the next daemon comes.
    bench.appliance.traces().expect_running();
    let mut next = bench.appliance.serve(NO_WORDS);
    let said = next.wait_for(&format!("session {session}"), PROMPT);
    assert!(said.contains("torn down"), "{said}");
    bench.appliance.traces().expect_none();
    let listed = bench.listed(&session);
    assert_eq!(listed["state"], "interrupted", "{listed}");
    next.stop().expect_code(0);
}

/// `kill -9` at each step of the way: the next daemon finds and removes what
/// that step had made, and the same work then succeeds.
pub fn a_daemon_may_be_killed_at_any_step(shared: &Bench) {
    // A state of its own, where nothing is imported and prepared yet.
    let bench = &Bench {
        appliance: Appliance::new(),
        figure4: shared.figure4.clone(),
    };
    let begun = [
        "import: ",
        "inject drivers: ",
        "start switch: ",
        "dir1             starting",
    ];
    let ending = ["gate closed", "check captured volumes: ", "tear down: "];
    for (number, step) in begun.into_iter().chain(ending).enumerate() {
        eprintln!("    killed at `{}`", step.trim());
        let site = closed_site(bench, number);
        let daemon = bench.appliance.serve(NO_WORDS);
        let mut client = bench.session("test", &site).start();
        client.wait_for(step, BOOT);
        let children = children_of(daemon.pid());
        daemon.crash();
        client.finish().expect_code(1);
        let next = bench.appliance.serve(NO_WORDS);
        bench.lifeboat(&["session", "list"]).run().expect_code(0);
        bench.appliance.traces().expect_none();
        let sessions = bench.lifeboat(&["session", "list"]).json().run().json();
        for session in sessions.as_array().into_iter().flatten() {
            let state = session["state"].as_str().unwrap();
            assert!(["interrupted", "ended"].contains(&state), "{session}");
        }
        eventually("the end of its children", PROMPT, || {
            children.iter().all(|child| !is_there(child)).then_some(())
        });
        next.stop().expect_code(0);
    }
    bench.prepare(&closed_site(bench, 0));
}

/// dir1 with a gate that fails at once; a different card each time, so that its
/// preparation is not one of an earlier step.
fn closed_site(bench: &Bench, number: usize) -> SiteFile {
    let name = format!("step{number}");
    let site = bench
        .dir1(&name)
        .gates("dir1", "[[gate]]\ntcp = 4711\ntimeout_s = 1\n");
    // Later steps begin with a prepared machine.
    if number > 1 {
        site
    } else {
        site.mac("dir1", &format!("52:54:00:20:01:{number:02x}"))
    }
}

pub fn an_interrupt_tears_down(bench: &Bench) {
    let site = bench.dir1("interrupted");
    bench.prepare(&site);
    let mut client = bench.session("test", &site).start();
    let session = client.wait_for_session(PROMPT);
    let running = wait_running(bench);
    assert_eq!(
        running.private_daemons.len(),
        1,
        "control: its daemon is seen"
    );
    client.signal(Signal::SIGINT);
    let outcome = client.finish();
    outcome
        .expect_code(1)
        .expect_said(&["interrupted", &session]);
    bench.appliance.traces().expect_none();
    let listed = bench.listed(&session);
    assert_eq!(listed["state"], "ended", "{listed}");
    assert!(
        listed["detail"].as_str().unwrap().contains("stopped"),
        "{listed}"
    );
    let report = bench.lifeboat(&["report", &session]).json().run().json();
    assert_eq!(report["ok"], false);
}

/// Not even a command that is killed, and so can ask for nothing, leaves things.
pub fn a_killed_command_leaves_nothing(bench: &Bench) {
    let site = bench.dir1("orphaned");
    bench.prepare(&site);
    let mut client = bench.session("test", &site).start();
    client.wait_for_session(PROMPT);
    let running = wait_running(bench);
    assert_eq!(
        running.private_daemons.len(),
        1,
        "control: its daemon is seen"
    );
    client.signal(Signal::SIGKILL);
    // The daemon still holds the client's standard error, so only the end of
    // the process itself is awaited.
    eventually("the end of the command", PROMPT, || {
        client.has_ended().then_some(())
    });
    eventually("the end of everything that it started", PROMPT, || {
        bench.appliance.traces().is_empty().then_some(())
    });
}

pub fn the_switch_may_die(bench: &Bench) {
    let site = bench.dir1("switchless");
    bench.prepare(&site);
    let file = bench.appliance.path("switchless.json");
    let mut client = bench
        .session("test", &site)
        .words(["--report"])
        .words([&file])
        .start();
    client.wait_for_session(PROMPT);
    let running = wait_running(bench);
    let [switch] = &running.switches[..] else {
        panic!("one switch was expected: {running}");
    };
    switch.kill();
    let next = eventually("another switch", PROMPT, || {
        let switches = bench.appliance.traces().switches;
        switches.into_iter().find(|next| next.pid != switch.pid)
    });
    let outcome = client.finish();
    outcome
        .expect_code(0)
        .expect_said(&["warning: the switch had ended; it was started again"]);
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(report["ok"], true, "{:#}", report["problems"]);
    assert_eq!(machine(&report, "dir1")["outcome"], "ready");
    assert_eq!(report["network"]["isolation"]["host_interfaces"], 0);
    assert_eq!(
        processes(&next.command).len(),
        0,
        "the second switch is left"
    );
}
