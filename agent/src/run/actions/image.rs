//! Images of a store: taken, proved by a trial restore, put into levels, restored in earnest.
//!
//! restic keeps them. An image carries the tags `image-NAME` and `began-MILLISECONDS`, once it is
//! proved also `proved` and `level-N`. Its snapshot's id changes with the tags, its name does not.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::statvfs::statvfs;
use serde::Deserialize;

use super::trees::{self, Contents, LeftOut, Same, Stop, StopOnDrop};
use super::{Did, Executor, Failed, Stepped};
use crate::profile::Archive;
use crate::run::command::{Given, Output, run};
use crate::wire::ImageFacts;

/// The oldest restic that compresses.
const OLDEST: (u32, u32) = (0, 14);
/// Not every file could be read: on a store that is in use some vanish meanwhile. What is missing
/// is found by the comparison.
const INCOMPLETE: i32 = 3;
/// The clock of a filesystem lags behind the other one.
const CLOCKS_MS: u64 = 1000;

/// The archive with this host's values.
struct Keeper<'a> {
    executor: &'a Executor,
    archive: &'a Archive,
    image: String,
    repository: String,
    password: String,
    folder: PathBuf,
    into: PathBuf,
    scratch: PathBuf,
    limit: Duration,
    environment: Vec<(&'static str, String)>,
}

/// A snapshot, as restic lists it.
#[derive(Debug, Clone, Deserialize)]
struct Snapshot {
    id: String,
    #[serde(default)]
    tags: Option<Vec<String>>,
}

/// The last line of `restic backup --json`.
#[derive(Debug, Deserialize)]
struct Summary {
    total_files_processed: u64,
    total_bytes_processed: u64,
    data_added: u64,
}

impl Snapshot {
    fn tagged(&self, tag: &str) -> bool {
        self.tags.iter().flatten().any(|one| one == tag)
    }

    fn began(&self) -> Option<u64> {
        let tags = self.tags.iter().flatten();
        let mut began = tags.filter_map(|tag| tag.strip_prefix("began-")?.parse().ok());
        began.next()
    }
}

impl Executor {
    fn keeper(&self) -> Result<Keeper<'_>, Failed> {
        let archive = self.loaded.profile.archive.as_ref();
        let archive = archive.ok_or_else(|| Failed::new("the profile has no `[archive]`"))?;
        let image = self.values.value("image").filter(|name| !name.is_empty());
        let image = image.ok_or_else(|| Failed::new("no image was named"))?;
        let folder = PathBuf::from(self.values.text(&archive.folder)?);
        let into = match &archive.into {
            Some(into) => PathBuf::from(self.values.text(into)?),
            None => folder.clone(),
        };
        let (scratch, repository) = (
            PathBuf::from(self.values.text(&archive.scratch)?),
            self.values.text(&archive.repository)?,
        );
        if repository.is_empty() {
            return Err(Failed::new(
                "this host has no repository for images: set its parameter",
            ));
        }
        Ok(Keeper {
            executor: self,
            archive,
            image: image.to_owned(),
            password: self.values.text(&archive.password)?,
            folder,
            into,
            limit: Duration::from_secs(archive.within_s.into()),
            environment: vec![
                ("RESTIC_REPOSITORY", repository.clone()),
                (
                    "RESTIC_CACHE_DIR",
                    scratch.join("cache").display().to_string(),
                ),
                ("TMPDIR", scratch.display().to_string()),
            ],
            repository,
            scratch,
        })
    }

    /// 616-620.
    pub(super) async fn take_image(&self) -> Stepped {
        let keeper = self.keeper()?;
        keeper.prepare().await?;
        if let Some(snapshot) = keeper.find(&keeper.image).await?.pop() {
            let facts = keeper.facts(&snapshot);
            return Ok(Did::already(facts.line()));
        }
        let began = now();
        let output = keeper.backup(began).await?;
        if !matches!(output.code, Some(0 | INCOMPLETE)) {
            // What was stored of it is not needed: a full disk gets its room back.
            let _ = keeper.restic(&["prune"], Path::new("/")).await;
            return Err(keeper.failed("taking an image", &output));
        }
        let last = output
            .printed
            .lines()
            .rev()
            .find_map(|line| serde_json::from_str(line).ok());
        let summary: Summary = last.ok_or_else(|| {
            Failed(format!(
                "restic said nothing of an image: {}",
                output.line()
            ))
        })?;
        let facts = ImageFacts {
            image: keeper.image.clone(),
            began,
            files: summary.total_files_processed,
            bytes: summary.total_bytes_processed,
            added: Some(summary.data_added),
            digest: None,
            compared: None,
            moved_on: None,
        };
        Ok(Did::changed(facts.line()))
    }

    /// A trial restore, compared with what the image was taken of.
    pub(super) async fn prove_image(&self) -> Stepped {
        let keeper = self.keeper()?;
        let snapshot = keeper.the_image().await?;
        let began = snapshot.began().unwrap_or_default();
        let trial = keeper.scratch.join("trial");
        let proved = keeper.prove(&snapshot, &trial, began).await;
        let removed = trees::remove(&trial);
        let (contents, same) = proved?;
        removed.map_err(|error| Failed(format!("the trial restore cannot be removed: {error}")))?;
        let facts = ImageFacts {
            files: contents.files,
            bytes: contents.bytes,
            digest: Some(contents.digest),
            compared: Some(same.compared),
            moved_on: Some(same.moved_on),
            ..keeper.facts(&snapshot)
        };
        Ok(Did::already(facts.line()))
    }

    /// 622-624.
    pub(super) async fn place_image(&self) -> Stepped {
        let keeper = self.keeper()?;
        keeper.unlock().await?;
        let mut tags = vec!["proved".to_owned()];
        tags.extend(keeper.list("levels").map(|level| format!("level-{level}")));
        let snapshots = keeper.find(&keeper.image).await?;
        let placed = |one: &Snapshot| tags.iter().all(|tag| one.tagged(tag));
        let mut changed = !snapshots.iter().any(placed);
        if changed {
            let snapshot = keeper.the_image().await?;
            let tags = tags.join(",");
            keeper
                .must("tagging an image", &["tag", "--add", &tags, &snapshot.id])
                .await?;
        }
        changed |= keeper.forget().await?;
        let evidence = format!("image {} is {}", keeper.image, tags.join(", "));
        Ok(if changed {
            Did::changed(evidence)
        } else {
            Did::already(evidence)
        })
    }

    /// 710-712. What is there now goes only when the image lies beside it, whole and proved.
    pub(super) async fn restore_image(&self) -> Stepped {
        let keeper = self.keeper()?;
        let into = keeper.into.clone();
        let finished = on_thread(move |_| trees::finish(&into)).await?;
        if finished.as_ref() == Some(&keeper.image) {
            return Ok(Did::changed(format!(
                "image {} is in its place",
                keeper.image
            )));
        }
        let snapshot = keeper.the_image().await?;
        let into = keeper.into.clone();
        let staged = on_thread(move |_| trees::stage(&into)).await?;
        let restored = keeper.stage(&snapshot, &staged).await;
        let contents = match restored {
            Ok(contents) => contents,
            Err(why) => {
                // The store is as it was; a full disk gets its room back.
                let _ = trees::remove(&staged);
                return Err(why);
            }
        };
        let (into, image) = (keeper.into.clone(), keeper.image.clone());
        on_thread(move |_| trees::exchange(&into, &image)).await?;
        let facts = ImageFacts {
            files: contents.files,
            bytes: contents.bytes,
            digest: Some(contents.digest),
            ..keeper.facts(&snapshot)
        };
        Ok(Did::changed(facts.line()))
    }
}

impl Keeper<'_> {
    fn list(&self, name: &str) -> impl Iterator<Item = &str> {
        let value = self.executor.values.value(name).unwrap_or_default();
        value.split(',').filter(|one| !one.is_empty())
    }

    fn facts(&self, snapshot: &Snapshot) -> ImageFacts {
        ImageFacts {
            image: self.image.clone(),
            began: snapshot.began().unwrap_or_default(),
            files: 0,
            bytes: 0,
            added: None,
            digest: None,
            compared: None,
            moved_on: None,
        }
    }

    async fn restic(&self, arguments: &[&str], folder: &Path) -> Result<Output, Failed> {
        let words = arguments.iter().map(|word| (*word).to_owned());
        // What it prints is read: nothing else is to stand there.
        let program = [self.archive.program.clone(), "--quiet".to_owned()];
        let argv: Vec<String> = program.into_iter().chain(words).collect();
        let password = format!("{}\n", self.password);
        let given = Given {
            input: Some(&password),
            folder,
            environment: &self.environment,
            ..Given::changes(self.limit, Some(&self.executor.marks))
        };
        Ok(run(&argv, given).await?)
    }

    async fn must(&self, what: &str, arguments: &[&str]) -> Result<Output, Failed> {
        let output = self.restic(arguments, Path::new("/")).await?;
        match output.code {
            Some(0) => Ok(output),
            _ => Err(self.failed(what, &output)),
        }
    }

    /// What restic says, in words that tell what to do.
    fn failed(&self, what: &str, output: &Output) -> Failed {
        let repository = &self.repository;
        let says = |text: &str| output.complained.contains(text) || output.printed.contains(text);
        let why = if says("no space left on device") {
            format!(
                "a disk is full: give room to the repository {repository} or to {}",
                self.scratch.display()
            )
        } else if says("wrong password or no key found") {
            format!("the password does not open the repository {repository}")
        } else if says("Is there a repository at the following location") {
            format!("there is no repository at {repository}: is its disk mounted, its host there?")
        } else {
            output.line()
        };
        Failed(format!("{what}: {why}"))
    }

    /// The program is new enough, the repository is there, and nobody dead locks it.
    async fn prepare(&self) -> Result<(), Failed> {
        std::fs::create_dir_all(&self.scratch)
            .map_err(|error| Failed(format!("{}: {error}", self.scratch.display())))?;
        let version = self
            .must("asking restic for its version", &["version"])
            .await?;
        match parse_version(&version.printed) {
            Some(version) if version >= OLDEST => {}
            _ => {
                let line = version.line();
                return Err(Failed(format!(
                    "restic 0.14 or newer is needed, this is {line}"
                )));
            }
        }
        let first = self.executor.values.value("first") == Some("true");
        let there = self.restic(&["cat", "config"], Path::new("/")).await?;
        if there.code == Some(0) {
            return self.unlock().await;
        }
        // Only for the first image: a disk that is not mounted must not look like a new archive.
        let absent = there.complained.contains("Is there a repository");
        match absent && first {
            true => self
                .must(
                    "making a repository",
                    &["init", "--repository-version", "2"],
                )
                .await
                .map(|_| ()),
            false => Err(self.failed("opening the archive", &there)),
        }
    }

    /// Takes away the locks of processes that are dead; those of live ones stay.
    async fn unlock(&self) -> Result<(), Failed> {
        self.must("looking at the archive's locks", &["unlock"])
            .await
            .map(|_| ())
    }

    async fn backup(&self, began: u64) -> Result<Output, Failed> {
        let (image, began) = (format!("image-{}", self.image), format!("began-{began}"));
        let host = self
            .executor
            .values
            .value("application")
            .unwrap_or("application");
        let left_out: Vec<String> = LeftOut(self.archive.exclude.clone())
            .patterns()
            .map(|pattern| format!("--exclude={pattern}"))
            .collect();
        let mut arguments = vec![
            "backup",
            "--json",
            "--one-file-system",
            "--host",
            host,
            "--tag",
            &image,
            "--tag",
            &began,
        ];
        arguments.extend(left_out.iter().map(String::as_str));
        arguments.push(".");
        if !self.folder.is_dir() {
            return Err(Failed(format!("{} is not there", self.folder.display())));
        }
        self.restic(&arguments, &self.folder).await
    }

    /// All snapshots of an image: more than one when tagging was broken off; the best comes last.
    async fn find(&self, image: &str) -> Result<Vec<Snapshot>, Failed> {
        let tag = format!("image-{image}");
        let output = self
            .must("listing images", &["snapshots", "--json", "--tag", &tag])
            .await?;
        let found: Result<Option<Vec<Snapshot>>, _> = serde_json::from_str(output.printed.trim());
        let mut found = found
            .map_err(|error| Failed(format!("restic's list of images cannot be read: {error}")))?
            .unwrap_or_default();
        found.sort_by_key(|one| one.tagged("proved"));
        Ok(found)
    }

    async fn the_image(&self) -> Result<Snapshot, Failed> {
        let found = self.find(&self.image).await?.pop();
        found.ok_or_else(|| {
            Failed(format!(
                "there is no image {} in the repository {}",
                self.image, self.repository
            ))
        })
    }

    /// Restores into an empty folder and reads everything of it.
    async fn stage(&self, snapshot: &Snapshot, folder: &Path) -> Result<Contents, Failed> {
        self.room(snapshot, folder).await?;
        let target = folder.display().to_string();
        // From the archive itself: what a cache remembers of it proves nothing.
        let arguments = ["--no-cache", "restore", &snapshot.id, "--target", &target];
        self.must("restoring an image", &arguments).await?;
        let (root, left_out) = (folder.to_owned(), LeftOut(self.archive.exclude.clone()));
        let contents = on_thread(move |stop| trees::contents(&root, &left_out, stop)).await?;
        let wanted = self
            .executor
            .values
            .value("digest")
            .filter(|digest| !digest.is_empty());
        if wanted.is_some_and(|wanted| wanted != contents.digest) {
            return Err(Failed(format!(
                "the image {} is not what it was when it was proved: its digest is {}",
                self.image, contents.digest
            )));
        }
        if let Some(proof) = &self.archive.proof {
            let argv = self.executor.values.with("folder", &target).all(proof)?;
            let output = self.executor.command(&argv, self.limit).await?;
            if output.code != Some(0) {
                return Err(Failed(format!("the image is not good: {}", output.line())));
            }
        }
        Ok(contents)
    }

    /// Whether a restore fits, asked before it begins.
    async fn room(&self, snapshot: &Snapshot, folder: &Path) -> Result<(), Failed> {
        #[derive(Deserialize)]
        struct Size {
            total_size: u64,
        }
        let arguments = [
            "--no-cache",
            "stats",
            "--json",
            "--mode",
            "restore-size",
            &snapshot.id,
        ];
        let output = self.must("measuring an image", &arguments).await?;
        let size: Size = serde_json::from_str(output.printed.trim())
            .map_err(|error| Failed(format!("the image's size cannot be read: {error}")))?;
        let disk =
            statvfs(folder).map_err(|error| Failed(format!("{}: {error}", folder.display())))?;
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        match size.total_size > free {
            true => Err(Failed(format!(
                "the image needs {} bytes in {}, where {free} are free",
                size.total_size,
                folder.display()
            ))),
            false => Ok(()),
        }
    }

    async fn prove(
        &self,
        snapshot: &Snapshot,
        trial: &Path,
        began: u64,
    ) -> Result<(Contents, Same), Failed> {
        let trial = trial.to_owned();
        let folder = trial.clone();
        on_thread(move |_| trees::empty(&folder)).await?;
        let contents = self.stage(snapshot, &trial).await?;
        let (live, left_out) = (self.folder.clone(), LeftOut(self.archive.exclude.clone()));
        let began = i64::try_from(began.saturating_sub(CLOCKS_MS) / 1000).unwrap_or_default();
        let same =
            on_thread(move |stop| trees::compare(&trial, &live, began, &left_out, stop)).await?;
        Ok((contents, same))
    }

    /// Forgets the images that grew too old, and gives their room back.
    async fn forget(&self) -> Result<bool, Failed> {
        let mut old = Vec::new();
        for image in self.list("forget") {
            old.extend(self.find(image).await?.into_iter().map(|one| one.id));
        }
        // Of an image whose tagging was broken off one snapshot is enough.
        let mut twins = self.find(&self.image).await?;
        twins.pop();
        old.extend(twins.into_iter().map(|one| one.id));
        if old.is_empty() {
            return Ok(false);
        }
        let mut arguments = vec!["forget", "--prune"];
        arguments.extend(old.iter().map(String::as_str));
        self.must("forgetting old images", &arguments).await?;
        Ok(true)
    }
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_whitespace().nth(1)?.split('.');
    let mut number = || numbers.next()?.parse().ok();
    Some((number()?, number()?))
}

fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Reads and moves files beside everything else; ends when the action is broken off.
async fn on_thread<T: Send + 'static>(
    work: impl FnOnce(&Stop) -> io::Result<T> + Send + 'static,
) -> Result<T, Failed> {
    let stop = Stop::default();
    let _guard = StopOnDrop(stop.clone());
    let done = tokio::task::spawn_blocking(move || work(&stop)).await;
    done.map_err(|error| Failed(error.to_string()))?
        .map_err(|error| Failed(full(&error)))
}

fn full(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull => format!("the disk is full: {error}"),
        _ => error.to_string(),
    }
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod on_disk;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_restic_is_known() {
        let version = parse_version("restic 0.14.0 compiled with go1.19.8 on linux/amd64");
        assert_eq!(version, Some((0, 14)));
        assert!(parse_version("restic 0.11.0 (v0.11.0)") < Some(OLDEST));
        assert_eq!(parse_version("sh: restic: not found"), None);
    }
}
