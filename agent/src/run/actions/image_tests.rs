//! Images on real disks, with the real restic.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lifeboat_failover::process::Action;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::Executor;
use crate::profile::{Profile, fill};
use crate::run::config::Loaded;
use crate::wire::{ImageFacts, Outcome, Values};

const PROFILE: &str = include_str!("../../../profiles/postfix-dovecot.toml");

/// A store, a repository and a scratch folder.
struct Bed {
    folder: tempfile::TempDir,
    mounts: Vec<PathBuf>,
}

impl Drop for Bed {
    fn drop(&mut self) {
        for point in &self.mounts {
            let _ = umount2(point, MntFlags::MNT_DETACH);
        }
    }
}

impl Bed {
    /// None, said loudly, where it cannot be tried.
    fn new() -> Option<Self> {
        if !Path::new("/usr/bin/restic").exists() || !nix::unistd::geteuid().is_root() {
            // Not by a macro: what those print is kept back while a test passes.
            let _ = writeln!(
                std::io::stderr(),
                "\nSKIPPED: images need root and /usr/bin/restic (apt-get install restic)"
            );
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let bed = Self {
            folder,
            mounts: Vec::new(),
        };
        fs::create_dir_all(bed.path("store/user01/cur")).expect("folders");
        fs::create_dir_all(bed.path("run")).expect("folders");
        bed.write("user01/cur/1", "first");
        bed.write("user01/cur/2", &"second ".repeat(100_000));
        std::os::unix::fs::symlink("1", bed.path("store/user01/cur/link")).expect("a link");
        Some(bed)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path("store").join(name), text).expect("written");
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path("store").join(name)).ok()
    }

    /// A small disk at a folder.
    fn small(&mut self, name: &str, size: &str) {
        let point = self.path(name);
        fs::create_dir_all(&point).expect("a folder");
        let options = format!("size={size}");
        mount(
            Some("none"),
            &point,
            Some("tmpfs"),
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .expect("mounted");
        self.mounts.push(point);
    }

    fn executor(&self, sent: &[(&str, &str)], password: &str) -> Executor {
        // The store is a plain folder here.
        let text = PROFILE.replace(
            "device = \"{device}\"\nfilesystem = \"{filesystem}\"\nguard = true\n",
            "",
        );
        let profile = Profile::parse(Path::new("p.toml"), &text).expect("a profile");
        let path = |name: &str| self.path(name).display().to_string();
        let values = |pairs: &[(&str, &str)]| -> Values {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        let (store, archive, scratch) = (path("store"), path("repository"), path("scratch"));
        let here = values(&[
            ("store", store.as_str()),
            ("archive", archive.as_str()),
            ("archive_scratch", scratch.as_str()),
            ("archive_password", password),
        ]);
        let own = values(&[
            ("application", "mail"),
            ("side", "secondary"),
            ("epoch", "1"),
        ]);
        let filled = fill(&profile, &own, &here, &values(sent)).expect("values");
        Executor {
            loaded: Arc::new(Loaded {
                profile,
                hash: Profile::hash(&text),
            }),
            values: filled,
            marks: self.path("run"),
            asked_in: String::new(),
        }
    }

    async fn ask(&self, action: Action, sent: &[(&str, &str)]) -> Outcome {
        self.executor(sent, "key").perform(action).await
    }

    async fn done(&self, action: Action, sent: &[(&str, &str)]) -> (bool, Option<ImageFacts>) {
        match self.ask(action, sent).await {
            Outcome::Done { changed, evidence } => (changed, ImageFacts::find(&evidence)),
            other => panic!("{action:?}: {other:?}"),
        }
    }

    async fn fails(&self, action: Action, sent: &[(&str, &str)]) -> String {
        match self.ask(action, sent).await {
            Outcome::Failed { reason, .. } => reason,
            other => panic!("{action:?}: {other:?}"),
        }
    }

    /// A first image, proved and placed; its digest.
    async fn image(&self, name: &str) -> String {
        let sent = [("image", name), ("first", "true"), ("levels", "24,48")];
        assert!(self.done(Action::TakeImage, &sent).await.0);
        let facts = self.done(Action::ProveImage, &sent).await.1.expect("facts");
        assert!(self.done(Action::PlaceImage, &sent).await.0);
        facts.digest.expect("a digest")
    }

    /// The biggest file of the repository: a pack.
    fn pack(&self) -> PathBuf {
        let mut packs = Vec::new();
        for folder in fs::read_dir(self.path("repository/data")).expect("packs") {
            packs.extend(fs::read_dir(folder.expect("a folder").path()).expect("packs"));
        }
        let packs = packs.into_iter().map(|entry| entry.expect("a pack").path());
        packs
            .max_by_key(|path| fs::metadata(path).expect("a pack").len())
            .expect("one")
    }
}

#[tokio::test]
async fn an_image_is_taken_proved_placed_and_restored() {
    let Some(bed) = Bed::new() else { return };
    let sent = [("image", "one"), ("first", "true"), ("levels", "24")];
    let (changed, facts) = bed.done(Action::TakeImage, &sent).await;
    assert!(changed && facts.expect("facts").files == 2);
    assert!(
        !bed.done(Action::TakeImage, &sent).await.0,
        "the same again is nothing new"
    );
    let proved = bed.done(Action::ProveImage, &sent).await.1.expect("facts");
    assert_eq!(
        (proved.files, proved.compared, proved.moved_on),
        (2, Some(2), Some(0))
    );
    assert!(!bed.path("scratch/trial").exists());
    assert!(bed.done(Action::PlaceImage, &sent).await.0);
    assert!(!bed.done(Action::PlaceImage, &sent).await.0);

    bed.write("user01/cur/1", "later");
    bed.write("user01/cur/3", "third");
    let digest = proved.digest.expect("a digest");
    let sent = [("image", "one"), ("digest", digest.as_str())];
    assert!(bed.done(Action::RestoreImage, &sent).await.0);
    assert_eq!(bed.read("user01/cur/1").as_deref(), Some("first"));
    assert_eq!(bed.read("user01/cur/3"), None);
    let names: Vec<_> = fs::read_dir(bed.path("store")).expect("there").collect();
    assert_eq!(names.len(), 1, "nothing of ours is left: {names:?}");
}

#[tokio::test]
async fn what_changes_meanwhile_is_left_out_and_a_wrong_image_is_found() {
    let Some(bed) = Bed::new() else { return };
    let sent = [("image", "one"), ("first", "true")];
    bed.done(Action::TakeImage, &sent).await;
    bed.write("user01/cur/1", "changed since");
    fs::remove_file(bed.path("store/user01/cur/2")).expect("removed");
    let facts = bed.done(Action::ProveImage, &sent).await.1.expect("facts");
    assert_eq!((facts.compared, facts.moved_on), (Some(0), Some(2)));
    // What is damaged on the disk of the archive is no image.
    let pack = bed.pack();
    let mut bytes = fs::read(&pack).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::set_permissions(&pack, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("set");
    fs::write(&pack, &bytes).expect("written");
    let says = bed.fails(Action::ProveImage, &sent).await;
    assert!(!says.is_empty());
    bed.write("user01/cur/1", "what users have");
    bed.fails(Action::RestoreImage, &sent).await;
    assert_eq!(bed.read("user01/cur/1").as_deref(), Some("what users have"));
}

#[tokio::test]
async fn levels_age_and_their_room_is_given_back() {
    let Some(bed) = Bed::new() else { return };
    bed.image("one").await;
    bed.write("user01/cur/4", "more");
    let sent = [("image", "two"), ("levels", "24"), ("forget", "one")];
    bed.done(Action::TakeImage, &sent).await;
    bed.done(Action::ProveImage, &sent).await;
    assert!(bed.done(Action::PlaceImage, &sent).await.0);
    let says = bed.fails(Action::RestoreImage, &[("image", "one")]).await;
    assert!(says.contains("there is no image one"), "{says}");
    assert!(bed.done(Action::RestoreImage, &[("image", "two")]).await.0);
}

#[tokio::test]
async fn each_trouble_has_its_own_words_and_changes_nothing() {
    let Some(bed) = Bed::new() else { return };
    let says = bed.fails(Action::TakeImage, &[("image", "one")]).await;
    assert!(says.contains("is its disk mounted"), "{says}");
    assert!(!bed.path("repository").exists());
    let digest = bed.image("one").await;
    let wrong = bed
        .executor(&[("image", "two")], "wrong")
        .perform(Action::TakeImage)
        .await;
    let Outcome::Failed { reason, .. } = wrong else {
        panic!("{wrong:?}")
    };
    assert!(reason.contains("password"), "{reason}");
    bed.write("user01/cur/1", "later");
    let says = bed
        .fails(Action::RestoreImage, &[("image", "one"), ("digest", "00")])
        .await;
    assert!(says.contains(&digest), "{says}");
    assert_eq!(bed.read("user01/cur/1").as_deref(), Some("later"));
    let says = bed.fails(Action::TakeImage, &[]).await;
    assert!(says.contains("no image was named"), "{says}");
}

#[tokio::test]
async fn a_full_disk_is_said_and_leaves_everything_as_it_was() {
    let Some(mut bed) = Bed::new() else { return };
    bed.small("repository", "2m");
    bed.small("scratch", "64m");
    bed.image("one").await;
    let noise: Vec<u8> = (0..8 << 20).map(|_| fastrand::u8(..)).collect();
    fs::write(bed.path("store/noise"), &noise).expect("written");
    let says = bed.fails(Action::TakeImage, &[("image", "two")]).await;
    assert!(says.contains("a disk is full"), "{says}");
    fs::remove_file(bed.path("store/noise")).expect("removed");
    bed.image("three").await;

    let Some(mut bed) = Bed::new() else { return };
    bed.small("scratch", "300k");
    bed.done(Action::TakeImage, &[("image", "one"), ("first", "true")])
        .await;
    let says = bed.fails(Action::ProveImage, &[("image", "one")]).await;
    assert!(says.contains("are free"), "{says}");
    assert!(!bed.path("scratch/trial").exists());
}

#[tokio::test]
async fn an_image_that_is_broken_off_is_taken_again() {
    let Some(bed) = Bed::new() else { return };
    let noise: Vec<u8> = (0..32 << 20).map(|_| fastrand::u8(..)).collect();
    fs::write(bed.path("store/noise"), &noise).expect("written");
    let sent = [("image", "one"), ("first", "true")];
    let executor = bed.executor(&sent, "key");
    let begun = tokio::spawn(async move { executor.perform(Action::TakeImage).await });
    let packs = bed.path("repository/data");
    // As soon as something is stored of it, it is killed.
    let stored = || {
        fs::read_dir(&packs)
            .into_iter()
            .flatten()
            .flatten()
            .any(|folder| {
                fs::read_dir(folder.path())
                    .into_iter()
                    .flatten()
                    .next()
                    .is_some()
            })
    };
    while !stored() && !begun.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!begun.is_finished(), "it was quicker than this test");
    begun.abort();
    assert!(begun.await.is_err());
    let facts = bed.done(Action::TakeImage, &sent).await.1.expect("facts");
    assert!(facts.bytes > 32 << 20);
    bed.done(Action::ProveImage, &sent).await;
}
