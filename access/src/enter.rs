//! Log-in, in one step or two, and the password given again.
//!
//! ```text
//! nobody --password--> half a session --code--> session     (users with a second factor)
//! nobody --password---------------------------> session
//! ```
//!
//! Every arrow makes a session with a new secret and ends the one before. An attempt is counted
//! before anything is looked at and taken back when it succeeds; a user who does not exist takes
//! as long as one who does.

use crate::access::Access;
use crate::error::{AccessError, Reason, Refused, refused};
use crate::guard::Caller;
use crate::role::Role;
use crate::second_factor;
use crate::secret::{Hash, Secret, identifier};
use crate::store::failures::{Attempt, LOCK_MS};
use crate::store::sessions::Session;
use crate::store::users::User;
use crate::trail::Entry;

/// The name under which failures of names that cannot exist are counted.
const NOBODY: &str = "?";

/// A session that was just made, and its secret.
pub(crate) struct Made {
    pub session: Session,
    pub secret: Secret,
}

impl Access {
    /// The first step. `earlier`: what the browser's cookie was until now.
    pub(crate) async fn log_in(
        &self,
        caller: &Caller,
        earlier: Option<Hash>,
        (name, password): (&str, &str),
    ) -> Result<Made, AccessError> {
        let name = if is_name(name) { name } else { NOBODY };
        let attempt = self.begin(caller, name).await?;
        let user = self.store().user(name).await?.filter(|user| !user.disabled);
        let hash = user.as_ref().map(|user| user.password.as_str());
        let is_right = self.passwords().is_right(hash, password).await?;
        let Some(user) = user.filter(|_| is_right) else {
            return Err(self.failed(caller, name, attempt).await?);
        };
        if user.totp.is_some() {
            self.store().forgive_attempt(name, &caller.origin).await?;
            return self.begin_session(caller, earlier, &user, false).await;
        }
        self.enter(caller, earlier, &user).await
    }

    /// The second step: `half` is the session of the first.
    pub(crate) async fn give_code(
        &self,
        caller: &Caller,
        half: &Session,
        code: &str,
    ) -> Result<Made, AccessError> {
        let attempt = self.begin(caller, &half.user).await?;
        let user = self.existing(&half.user).await?;
        if !self.is_code(&user, code).await? {
            return Err(self.failed(caller, &half.user, attempt).await?);
        }
        self.enter(caller, Some(half.hash), &user).await
    }

    /// The password given again in a session; counted as log-ins are.
    pub(crate) async fn confirm(
        &self,
        caller: &Caller,
        name: &str,
        (password, code): (&str, Option<&str>),
    ) -> Result<(), AccessError> {
        let attempt = self.begin(caller, name).await?;
        let user = self.existing(name).await?;
        let hash = Some(user.password.as_str());
        let is_password = self.passwords().is_right(hash, password).await?;
        let needs_code = user.totp.is_some();
        let is_code = !needs_code || self.is_code(&user, code.unwrap_or_default()).await?;
        if is_password && is_code {
            return self.store().forgive_all(name, &caller.origin).await;
        }
        Err(self.failed(caller, name, attempt).await?)
    }

    /// Whether this is a user's password; counted as log-ins are.
    pub(crate) async fn check_password(
        &self,
        caller: &Caller,
        user: &User,
        password: &str,
    ) -> Result<(), AccessError> {
        let attempt = self.begin(caller, &user.name).await?;
        let hash = Some(user.password.as_str());
        match self.passwords().is_right(hash, password).await? {
            true => {
                self.store()
                    .forgive_attempt(&user.name, &caller.origin)
                    .await
            }
            false => Err(self.failed(caller, &user.name, attempt).await?),
        }
    }

    /// A session of a user who has given everything.
    pub(crate) async fn enter(
        &self,
        caller: &Caller,
        earlier: Option<Hash>,
        user: &User,
    ) -> Result<Made, AccessError> {
        let mut entry = Entry::event(&user.name, &caller.address, "log-in", "");
        entry.role = user.role.word().to_owned();
        self.tell(entry).await?;
        let (store, now) = (self.store(), self.now());
        store.forgive_all(&user.name, &caller.origin).await?;
        store.logged_in(&user.name, &caller.origin, now).await?;
        self.begin_session(caller, earlier, user, true).await
    }

    async fn begin_session(
        &self,
        caller: &Caller,
        earlier: Option<Hash>,
        user: &User,
        complete: bool,
    ) -> Result<Made, AccessError> {
        if let Some(hash) = earlier {
            self.store().end_session(&hash).await?;
        }
        let (secret, now) = (Secret::fresh()?, self.now());
        let settings = self.settings();
        let oldest = now - settings.absolute_ms();
        self.store()
            .forget_sessions(oldest, now - settings.idle_ms())
            .await?;
        let session = Session {
            hash: secret.hash(),
            id: identifier()?,
            user: user.name.clone(),
            role: user.role,
            totp: user.totp.is_some(),
            complete,
            begun: now,
            seen: now,
            confirmed_until: 0,
            address: caller.address.clone(),
            agent: caller.agent.clone(),
        };
        self.store().put_session(&session).await?;
        self.changed();
        Ok(Made { session, secret })
    }

    async fn existing(&self, name: &str) -> Result<User, AccessError> {
        let user = self.store().user(name).await?;
        user.ok_or_else(|| refused(Reason::LogIn, "log in: this user is gone"))
    }

    /// Whether a code is right; a right one is used up.
    async fn is_code(&self, user: &User, code: &str) -> Result<bool, AccessError> {
        let Some(secret) = &user.totp else {
            return Ok(false);
        };
        match second_factor::step(&user.name, secret, code, self.now()) {
            Ok(step) => self.store().use_step(&user.name, step).await,
            Err(error) if error.reason() == Reason::Wrong => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn begin(&self, caller: &Caller, name: &str) -> Result<Attempt, AccessError> {
        let now = self.now();
        let attempt = self
            .store()
            .begin_attempt(name, &caller.origin, now)
            .await?;
        match attempt {
            Attempt::Locked { until } => Err(locked(until - now)),
            counted => Ok(counted),
        }
    }

    /// Notes a failure; what it says is the same whatever was wrong.
    async fn failed(
        &self,
        caller: &Caller,
        name: &str,
        attempt: Attempt,
    ) -> Result<AccessError, AccessError> {
        let locks = attempt == Attempt::Counted { last: true };
        let text = match locks {
            true => "refused; locked from here",
            false => "refused",
        };
        self.tell(Entry::event(name, &caller.address, "log-in", text))
            .await?;
        tracing::warn!(name, address = caller.address, locks, "a log-in failed");
        Ok(match locks {
            true => locked(LOCK_MS),
            false => refused(Reason::Wrong, "name, password or code is wrong"),
        })
    }
}

fn locked(wait_ms: i64) -> AccessError {
    let seconds = u64::try_from(wait_ms / 1000 + 1).unwrap_or(1);
    let minutes = seconds.div_ceil(60);
    AccessError::Refused(Refused {
        reason: Reason::Locked,
        text: format!(
            "too many failures: try again in {minutes} min, or have `lifeboat access user unlock NAME` run on the machine"
        ),
        retry_after: Some(seconds),
    })
}

/// Whether a user can have this name. It goes into headers, log lines and commands.
pub(crate) fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let begins = bytes.next().is_some_and(|first| first.is_ascii_lowercase());
    let goes_on = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
    };
    begins && name.len() <= 32 && bytes.all(goes_on)
}

/// Refuses a name that a user cannot have.
pub(crate) fn check_name(name: &str) -> Result<(), AccessError> {
    // Whoever reads the trail must not take a user for root of the machine or the daemon.
    let is_taken = ["root", "daemon", "api"].contains(&name);
    match is_name(name) && !is_taken {
        true => Ok(()),
        false => Err(refused(
            Reason::Invalid,
            "a name has 1 to 32 of `a-z 0-9 . _ -`, begins with a letter, and is not `root`, `daemon` or `api`",
        )),
    }
}

impl Access {
    /// Makes a user.
    pub(crate) async fn make_user(
        &self,
        name: &str,
        role: Role,
        password: &str,
    ) -> Result<(), AccessError> {
        check_name(name)?;
        let hash = self.passwords().hash(name, password).await?;
        self.store().add_user(name, role, &hash, self.now()).await
    }
}
