//! Several sessions at once.

use crate::bench::{Bench, PROMPT, machine};
use lifeboat_tests::eventually;

/// The same machine twice, with one address and one MAC: nothing collides,
/// because each session has a network of its own.
pub fn two_sessions_with_the_same_addresses_run_side_by_side(bench: &Bench) {
    let daemon = bench.appliance.serve([""; 0]);
    let sites = [bench.dir1("left"), bench.dir1("right")];
    bench.prepare(&sites[0]);
    let mut clients = sites
        .each_ref()
        .map(|site| bench.session("test", site).json().start());
    let ids = clients
        .each_mut()
        .map(|client| client.wait_for_session(PROMPT));
    assert_ne!(ids[0], ids[1]);
    eventually("both machines at once", PROMPT, || {
        let traces = bench.appliance.traces();
        (traces.domains.len() == 2 && traces.switches.len() == 2).then_some(())
    });
    for client in clients {
        let outcome = client.finish();
        outcome.expect_code(0);
        let report = outcome.json();
        assert_eq!(report["ok"], true, "{:#}", report["problems"]);
        assert_eq!(machine(&report, "dir1")["outcome"], "ready");
        assert_eq!(report["network"]["isolation"]["canaries_escaped"], 0);
        assert_eq!(report["network"]["isolation"]["control_seen"], true);
    }
    bench.appliance.traces().expect_none();
    daemon.stop().expect_code(0);
}
