//! Control centres that are killed by SIGKILL at every moment that matters: before an effect,
//! after it, after its line in the journal; in doing and in undoing.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use libtest_mimic::Trial;
use lifeboat_centre::{Centre, SwitchMoment};
use lifeboat_failover::process::{Ending, Kind, Phase};
use lifeboat_failover::state::State;
use nix::sys::signal::{Signal, raise};

use crate::bed::{Bed, NAME, PATIENCE, open, request, settings};
use crate::{runtime, trial};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("killed_at_every_moment_of_doing_it_goes_on", doing),
        trial("killed_at_every_moment_of_undoing_it_goes_on", undoing),
    ]
}

/// Where the children write down at which moments they died.
fn deaths(root: &Path) -> PathBuf {
    root.join("deaths")
}

fn line(moment: SwitchMoment) -> String {
    format!("{} {:?} {}", moment.step, moment.point, moment.undo)
}

/// `centre ROOT PORT over|undo`: a control centre that dies once at each moment, and ends when the
/// switch has ended.
pub fn child(words: &[String]) {
    let root = PathBuf::from(&words[0]);
    let port = words[1].parse().expect("a port");
    let undo = words[2] == "undo";
    let mut settings = settings(&root, port);
    let file = deaths(&root);
    settings.passing = Some(Arc::new(move |moment: SwitchMoment| {
        if !undo || moment.undo {
            die_once(&file, moment);
        }
    }));
    runtime().block_on(async {
        let centre = open(settings).await;
        live(&centre, undo).await;
    });
}

fn die_once(file: &Path, moment: SwitchMoment) {
    let line = line(moment);
    let before = std::fs::read_to_string(file).unwrap_or_default();
    if before.lines().any(|one| one == line) {
        return;
    }
    let open = std::fs::File::options()
        .append(true)
        .create(true)
        .open(file);
    writeln!(open.expect("a file"), "{line}").expect("written");
    raise(Signal::SIGKILL).expect("dead");
}

async fn live(centre: &Centre, undo: bool) {
    let mut request = request(Kind::SwitchOver);
    if undo {
        request.wishes.go_on = Some(false);
    }
    loop {
        let status = centre.status(NAME).await.expect("known");
        match status.process {
            Some(process) if process.record.ended_at.is_some() => return,
            Some(_) => {}
            // Refused until both agents are there.
            None => drop(centre.switch(NAME, request.clone()).await),
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Starts one control centre after another until one is not killed; says how many were.
async fn generations(bed: &Bed, word: &'static str) -> usize {
    let (root, port) = (bed.root.path().to_owned(), bed.port.to_string());
    let work = tokio::task::spawn_blocking(move || {
        for killed in 0..500 {
            let mut command = Command::new(std::env::current_exe().expect("this program"));
            command.arg("centre").arg(&root).args([&port, word]);
            let status = command.status().expect("it runs");
            if status.success() {
                return killed;
            }
            assert_eq!(status.signal(), Some(9), "killed, not failed");
        }
        panic!("it never comes to an end");
    });
    let limit = PATIENCE * 10;
    let done = tokio::time::timeout(limit, work).await;
    done.expect("in time").expect("no panic")
}

fn no_doubles(effects: &[String]) {
    let different: BTreeSet<&String> = effects.iter().collect();
    assert_eq!(
        different.len(),
        effects.len(),
        "an effect is doubled: {effects:?}"
    );
}

async fn doing() {
    let mut bed = Bed::new("").await;
    bed.close().await;
    let killed = generations(&bed, "over").await;
    bed.centre = Some(open(settings(bed.root.path(), bed.port)).await);
    let status = bed.status().await;
    let process = status.process.expect("there");
    assert_eq!(process.record.ending, Some(Ending::Done), "{process:#?}");
    assert_eq!(status.state.name, State::ResyncPrimary);
    assert!(bed.b.runs() && !bed.a.runs());
    no_doubles(&bed.a.effects());
    no_doubles(&bed.b.effects());
    // Nothing was left out, and it died three times in every step that does something.
    let done = |index: usize| {
        process
            .journal
            .iter()
            .any(|line| line.step == index && matches!(line.phase, Phase::Done { .. }))
    };
    let steps = &process.record.plan.steps;
    let acting = (0..steps.len()).filter(|index| done(*index)).count();
    let skipped = process
        .journal
        .iter()
        .filter(|line| matches!(line.phase, Phase::Skipped { .. }));
    assert_eq!(skipped.count(), 0, "{process:#?}");
    assert_eq!(killed, acting * 3, "{process:#?}");
}

async fn undoing() {
    let mut bed = Bed::new("").await;
    bed.close().await;
    let killed = generations(&bed, "undo").await;
    bed.centre = Some(open(settings(bed.root.path(), bed.port)).await);
    let status = bed.status().await;
    let process = status.process.expect("there");
    assert_eq!(
        process.record.ending,
        Some(Ending::Reverted),
        "{process:#?}"
    );
    assert_eq!(status.state.name, State::Normal);
    assert!(bed.a.runs() && !bed.b.runs());
    no_doubles(&bed.a.effects());
    no_doubles(&bed.b.effects());
    let undone = process
        .journal
        .iter()
        .filter(|line| line.phase == Phase::Undone)
        .map(|line| line.step)
        .collect::<BTreeSet<_>>();
    assert_eq!(undone.len(), 5, "{process:#?}");
    assert_eq!(killed, undone.len() * 3);
}
