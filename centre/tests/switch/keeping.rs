//! Archives, restores and replication that is looked after, with the real restic.

use std::path::Path;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use lifeboat_centre::{ArchiveView, ImageState, RestoreRequest, RestoreView};
use lifeboat_failover::Side;
use lifeboat_failover::autosync::Session;
use lifeboat_failover::process::Kind;
use lifeboat_failover::safety::Process;

use crate::bed::{Bed, Host, NAME, PATIENCE, request};
use crate::trial;

pub fn trials() -> Vec<Trial> {
    if !Path::new("/usr/bin/restic").exists() {
        eprintln!("SKIPPED: archives and restores need /usr/bin/restic (apt-get install restic)");
        return vec![trial("replication_is_looked_after", replication)];
    }
    vec![
        trial("replication_is_looked_after", replication),
        trial("an_image_is_restored_and_nothing_newer_is_lost", restored),
        trial("control_centres_that_end_do_not_end_a_restore", broken_off),
        trial("a_damaged_image_changes_nothing", damaged),
        trial("levels_are_kept_by_themselves", levels),
        trial("what_may_not_run_beside_a_restore_is_refused", refused),
    ]
}

const QUICK: &str = "[autosync]\npatience_s = 0.5\n";

fn put(host: &Host, name: &str) {
    std::fs::write(host.folder.join("store").join(name), name).expect("written");
}

fn names(host: &Host) -> Vec<String> {
    let entries = std::fs::read_dir(host.folder.join("store")).expect("there");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry
            .expect("an entry")
            .file_name()
            .into_string()
            .expect("text")
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

async fn until(bed: &Bed, what: &str, mut wanted: impl AsyncFnMut(&Bed) -> bool) {
    let begin = Instant::now();
    while !wanted(bed).await {
        let autosync = bed.centre().autosync(NAME).await;
        let archive = bed.centre().archive(NAME).await;
        let restores = bed.centre().restores(NAME, 1).await;
        assert!(
            begin.elapsed() < PATIENCE * 2,
            "{what}: {autosync:#?}\n{archive:#?}\n{restores:#?}\n-- a --\n{}\n-- b --\n{}",
            bed.a.log(),
            bed.b.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn session(bed: &Bed, wanted: Session) {
    until(bed, &format!("{wanted:?}"), async |bed: &Bed| {
        let view = bed.centre().autosync(NAME).await.expect("known");
        view.session == Some(wanted) && view.doing.is_none()
    })
    .await;
}

const RUNNING: Session = Session::Running { healthy: true };

/// A bed whose stores hold `one`, replicated.
async fn ready(more: &str) -> Bed {
    let bed = Bed::with_stores(&format!("{QUICK}{more}")).await;
    put(&bed.a, "one");
    until(&bed, "it is mirrored", async |bed: &Bed| {
        names(&bed.b) == ["one"]
    })
    .await;
    session(&bed, RUNNING).await;
    bed
}

async fn replication() {
    let bed = ready("").await;
    bed.centre()
        .set_autosync(NAME, false, "test")
        .await
        .expect("known");
    session(&bed, Session::Paused).await;
    // It cannot be resumed, and somebody is told.
    bed.a.make("fails", "resume-replication");
    bed.centre()
        .set_autosync(NAME, true, "test")
        .await
        .expect("known");
    until(&bed, "the trouble is told", async |bed: &Bed| {
        let view = bed.centre().autosync(NAME).await.expect("known");
        view.trouble
            .is_some_and(|trouble| trouble.contains("ResumeReplication"))
    })
    .await;
    bed.a.heal("fails", "resume-replication");
    session(&bed, RUNNING).await;
    until(&bed, "the trouble is over", async |bed: &Bed| {
        bed.centre()
            .autosync(NAME)
            .await
            .expect("known")
            .trouble
            .is_none()
    })
    .await;
    // The primary is lost with something that nobody else has, and comes back.
    let mut bed = bed;
    put(&bed.a, "tail");
    bed.a.kill();
    bed.until("the primary is gone", |status| {
        status.agents[0].connected_since.is_none()
    })
    .await;
    bed.switch(Kind::SwitchOver).await;
    bed.until("the secondary serves", |_| bed.b.runs()).await;
    put(&bed.b, "two");
    bed.a.start();
    until(&bed, "both have everything", async |bed: &Bed| {
        names(&bed.a) == ["one", "tail", "two"] && names(&bed.b) == ["one", "tail", "two"]
    })
    .await;
    assert!(!bed.a.runs() && bed.b.runs());
}

async fn archive(bed: &Bed) -> ArchiveView {
    bed.centre().archive(NAME).await.expect("known")
}

/// Takes an image by hand; its name.
async fn image(bed: &Bed) -> String {
    let name = bed.centre().archive_now(NAME, "test").await.expect("begun");
    until(bed, "it is placed", async |bed: &Bed| {
        let view = archive(bed).await;
        let image = view
            .images
            .iter()
            .find(|image| image.name == name)
            .expect("there");
        assert_ne!(image.state, ImageState::Failed, "{image:#?}");
        image.state == ImageState::Placed
    })
    .await;
    name
}

fn wanted(image: &str) -> RestoreRequest {
    RestoreRequest {
        image: image.to_owned(),
        who: "test".to_owned(),
        why: "test".to_owned(),
        discard_newer: false,
    }
}

async fn restore(bed: &Bed) -> RestoreView {
    bed.centre()
        .restores(NAME, 1)
        .await
        .expect("known")
        .pop()
        .expect("there")
}

async fn ended(bed: &Bed) -> RestoreView {
    until(bed, "the restore ends", async |bed: &Bed| {
        restore(bed).await.record.ended_at.is_some()
    })
    .await;
    restore(bed).await
}

async fn restored() {
    let bed = ready("").await;
    let image = image(&bed).await;
    let facts = archive(&bed).await.images[0].facts.clone().expect("facts");
    assert_eq!(
        (facts.files, facts.compared, facts.digest.is_some()),
        (1, Some(1), true)
    );
    put(&bed.a, "two");
    bed.centre()
        .restore(NAME, wanted(&image))
        .await
        .expect("begun");
    let switch = bed
        .centre()
        .switch(NAME, request(Kind::SwitchOver))
        .await
        .expect_err("busy");
    assert!(
        switch.to_string().contains("a restore is in progress"),
        "{switch}"
    );
    let view = ended(&bed).await;
    assert_eq!(view.record.outcome.as_deref(), Some("done"), "{view:#?}");
    assert!(bed.a.runs() && !bed.b.runs());
    assert_eq!(names(&bed.a), ["one"]);
    assert_eq!(names(&bed.b), ["one"]);
    let numbers: Vec<&str> = view.lines.iter().map(|line| line.number.as_str()).collect();
    assert_eq!(numbers, ["708", "710", "718", "720+", "722", "724"]);
    // What the primary had is an image, and can be had back.
    let before = archive(&bed).await.images[0].clone();
    assert_eq!(
        (before.side, before.levels[0].as_str()),
        (Side::Primary, "before-restore")
    );
    session(&bed, RUNNING).await;
    bed.centre()
        .restore(NAME, wanted(&before.name))
        .await
        .expect("begun");
    let view = ended(&bed).await;
    assert_eq!(view.record.outcome.as_deref(), Some("done"), "{view:#?}");
    assert_eq!(names(&bed.a), ["one", "two"]);
}

async fn broken_off() {
    let mut bed = ready("").await;
    let image = image(&bed).await;
    put(&bed.a, "two");
    bed.centre()
        .restore(NAME, wanted(&image))
        .await
        .expect("begun");
    let (mut ends, begin) = (0, Instant::now());
    loop {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let view = restore(&bed).await;
        if view.record.ended_at.is_some() {
            assert_eq!(view.record.outcome.as_deref(), Some("done"), "{view:#?}");
            break;
        }
        assert!(
            view.record.stopped.is_none() && begin.elapsed() < PATIENCE * 3,
            "{view:#?}"
        );
        bed.reopen().await;
        bed.until("both agents are back", |status| {
            status
                .agents
                .iter()
                .all(|agent| agent.connected_since.is_some())
        })
        .await;
        ends += 1;
    }
    assert!(ends > 2, "it was too quick for this test");
    assert_eq!(names(&bed.a), ["one"]);
    assert_eq!(names(&bed.b), ["one"]);
    let kept = archive(&bed).await.images;
    let before = kept.iter().filter(|image| image.side == Side::Primary);
    assert_eq!(before.count(), 1, "{kept:#?}");
}

async fn damaged() {
    let bed = ready("").await;
    let image = image(&bed).await;
    put(&bed.a, "two");
    std::fs::rename(
        bed.root.path().join("repository/data"),
        bed.root.path().join("gone"),
    )
    .expect("renamed");
    bed.centre()
        .restore(NAME, wanted(&image))
        .await
        .expect("begun");
    let view = ended(&bed).await;
    assert_eq!(
        view.record.outcome.as_deref(),
        Some("failed, and taken back"),
        "{view:#?}"
    );
    assert!(bed.a.runs() && !bed.b.runs());
    assert_eq!(names(&bed.a), ["one", "two"]);
    assert_eq!(names(&bed.b), ["one", "two"], "a copy of the primary again");
    // What is observed may call it degrading for a while.
    assert_eq!(bed.status().await.state.active, Some(Side::Primary));
}

async fn levels() {
    // Every third of a second, and every hour.
    let text = "[archive]\nenabled = true\nlevel = [{ hours = 0.0001, keep = 2 }, { hours = 1 }]\n";
    let bed = ready(text).await;
    until(
        &bed,
        "three were placed, and two are left",
        async |bed: &Bed| {
            let view = archive(bed).await;
            let placed = view
                .images
                .iter()
                .filter(|image| image.state == ImageState::Placed);
            let hourly = placed
                .clone()
                .filter(|image| image.levels.iter().any(|level| level == "1"));
            hourly.count() == 1 && placed.count() == 3
        },
    )
    .await;
    bed.centre()
        .set_archive(NAME, false, "test")
        .await
        .expect("known");
    until(&bed, "it rests", async |bed: &Bed| {
        bed.status().await.working.is_empty()
    })
    .await;
    let count = archive(&bed).await.images.len();
    assert!(!archive(&bed).await.enabled && count >= 3);
}

async fn refused() {
    let bed = ready("").await;
    let nothing = bed
        .centre()
        .restore(NAME, wanted("24"))
        .await
        .expect_err("no image");
    assert!(nothing.to_string().contains("no image"), "{nothing}");
    let image = image(&bed).await;
    bed.b.make("hangs", "take-image");
    bed.centre().archive_now(NAME, "test").await.expect("begun");
    let busy = |error: lifeboat_centre::CentreError| {
        assert!(
            error.to_string().contains("an archive is in progress"),
            "{error}"
        );
    };
    busy(
        bed.centre()
            .archive_now(NAME, "test")
            .await
            .expect_err("one at a time"),
    );
    busy(
        bed.centre()
            .restore(NAME, wanted(&image))
            .await
            .expect_err("not beside it"),
    );
    busy(
        bed.centre()
            .switch(NAME, request(Kind::SwitchOver))
            .await
            .expect_err("not beside it"),
    );
    bed.until("it is being taken", |status| {
        status.working == [Process::Archive]
    })
    .await;
    bed.centre()
        .abandon_archive(NAME, "test")
        .await
        .expect("given up");
    bed.b.heal("hangs", "take-image");
    bed.until("it is given up", |status| status.working.is_empty())
        .await;
    let images = archive(&bed).await.images;
    assert_eq!(images[0].state, ImageState::Failed);
    // The secondary serves: nothing takes the place of its data.
    bed.switch(Kind::SwitchOver).await;
    bed.until("the secondary serves", |status| {
        status.state.active == Some(Side::Secondary)
    })
    .await;
    let active = bed
        .centre()
        .restore(NAME, wanted(&image))
        .await
        .expect_err("it serves");
    assert!(
        active.to_string().contains("the secondary serves users"),
        "{active}"
    );
}
