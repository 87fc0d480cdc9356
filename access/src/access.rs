//! The handle: what is kept, how long things last, and who is who.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::error::{AccessError, Reason, refused};
use crate::password::Passwords;
use crate::secret::{Hash, Secret};
use crate::store::Store;
use crate::store::sessions::Session;
use crate::store::tokens::Token;
use crate::trail::{Entry, Head, Trail, Verdict};

/// How long the second step of a log-in may take after the first.
const SECOND_STEP_MS: i64 = 5 * 60 * 1000;
/// How long a one-time link is good.
const LINK_MS: i64 = 24 * 3600 * 1000;

/// How long things last, and what the machine is called.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Names by which a browser may ask for the machine, besides `localhost` and addresses.
    pub names: Vec<String>,
    /// Where the console is, for links: `https://host:8443`.
    pub url: Option<String>,
    /// A session that nobody uses ends after this.
    pub idle: Duration,
    /// Every session ends after this.
    pub absolute: Duration,
    /// How long a password that was given again counts.
    pub confirmed: Duration,
    /// Tells the time.
    pub clock: Clock,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            url: None,
            idle: Duration::from_secs(30 * 60),
            absolute: Duration::from_secs(12 * 3600),
            confirmed: Duration::from_secs(5 * 60),
            clock: Clock::default(),
        }
    }
}

impl Settings {
    pub(crate) fn idle_ms(&self) -> i64 {
        millis(self.idle)
    }

    pub(crate) fn absolute_ms(&self) -> i64 {
        millis(self.absolute)
    }

    pub(crate) fn confirmed_ms(&self) -> i64 {
        millis(self.confirmed)
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 4)
}

/// Users, sessions, tokens and the audit trail of one machine; cheap to clone.
#[derive(Clone)]
pub struct Access(Arc<Inner>);

struct Inner {
    store: Store,
    trail: Trail,
    passwords: Passwords,
    settings: Settings,
    changes: watch::Sender<()>,
}

impl Access {
    /// Opens or creates the database `file`; its audit trail has files of its own beside it.
    pub async fn open(file: &Path, settings: Settings) -> Result<Self, AccessError> {
        let store = Store::open(file).await?;
        let trail = Trail::open(store.pool.clone(), file, settings.clock.clone()).await?;
        Ok(Self(Arc::new(Inner {
            store,
            trail,
            passwords: Passwords::new()?,
            settings,
            changes: watch::Sender::new(()),
        })))
    }

    /// Closes it, so that nothing stays in the write-ahead log.
    pub async fn close(&self) {
        self.0.store.close().await;
    }

    /// Whether anybody can log in at all.
    pub async fn has_users(&self) -> Result<bool, AccessError> {
        self.0.store.has_users().await
    }

    /// A link by which the first administrator is made, once; an earlier one is worth nothing
    /// from now on. What it proves lies behind the `#`: browsers send that to nobody, and it is in
    /// no log.
    pub async fn first_user_link(&self) -> Result<String, AccessError> {
        if self.has_users().await? {
            return Err(refused(
                Reason::Conflict,
                "there are users already: `lifeboat access user` makes others and sets passwords",
            ));
        }
        let Some(url) = &self.0.settings.url else {
            return Err(refused(
                Reason::Conflict,
                "the console is not served: start `lifeboat serve --listen ADDRESS:PORT`",
            ));
        };
        let secret = Secret::fresh()?;
        let expires = self.now() + LINK_MS;
        self.0.store.put_link(&secret.hash(), expires).await?;
        Ok(format!("{url}/first-user#{}", secret.0))
    }

    /// Reads the whole audit trail. `noted`: an entry that was noted elsewhere and must be in it.
    pub async fn verify(&self, noted: Option<&Head>) -> Result<Verdict, AccessError> {
        self.0.trail.verify(noted).await
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn trail(&self) -> &Trail {
        &self.0.trail
    }

    pub(crate) fn passwords(&self) -> &Passwords {
        &self.0.passwords
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn now(&self) -> i64 {
        self.0.settings.clock.now()
    }

    /// Who waits for a session to end looks again.
    pub(crate) fn changed(&self) {
        self.0.changes.send_replace(());
    }

    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.0.changes.subscribe()
    }

    pub(crate) async fn tell(&self, entry: Entry) -> Result<(), AccessError> {
        self.0.trail.append(entry).await.map(drop)
    }

    /// A session that counts: complete, used lately, not too old.
    pub(crate) async fn session(&self, hash: &Hash) -> Result<Option<Session>, AccessError> {
        let session = self.0.store.session(hash).await?;
        Ok(session.filter(|session| session.complete && self.is_alive(session)))
    }

    /// A session that gave its password and still owes its code.
    pub(crate) async fn half_session(&self, hash: &Hash) -> Result<Option<Session>, AccessError> {
        let session = self.0.store.session(hash).await?;
        let is_young = |session: &Session| self.now() < session.begun + SECOND_STEP_MS;
        Ok(session.filter(|session| !session.complete && is_young(session)))
    }

    pub(crate) fn is_alive(&self, session: &Session) -> bool {
        let now = self.now();
        let settings = self.settings();
        now < session.seen + settings.idle_ms() && now < session.begun + settings.absolute_ms()
    }

    /// A token that counts.
    pub(crate) async fn token(&self, id: &str) -> Result<Option<Token>, AccessError> {
        let token = self.0.store.token(id).await?;
        Ok(token.filter(|token| token.expires.is_none_or(|expires| self.now() < expires)))
    }
}
