//! Passwords: what is asked of them, and how they are kept (argon2id).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;

use crate::error::{AccessError, Reason, refused};

const SHORTEST: usize = 12;
const LONGEST: usize = 256;
/// Each takes 19 MiB and a core for some tens of milliseconds.
const AT_ONCE: usize = 2;
/// Who comes when so many wait is sent away.
const WAITING: usize = 32;

/// Hashes passwords, a few at a time. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    /// Of nobody: verified against where no user is, so that the time tells nothing.
    of_nobody: Arc<str>,
}

/// Somebody who waits for a turn.
struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Passwords {
    pub fn new() -> Result<Self, AccessError> {
        let secret = crate::secret::Secret::fresh()?;
        Ok(Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Arc::default(),
            of_nobody: hashed(&secret.0)?.into(),
        })
    }

    /// Refuses a password that is too easy, and hashes a good one.
    pub async fn hash(&self, name: &str, password: &str) -> Result<String, AccessError> {
        judge(name, password)?;
        let password = password.to_owned();
        self.in_turn(move || hashed(&password)).await?
    }

    /// Whether this is the password with that hash; no hash: nobody's.
    pub async fn is_right(&self, hash: Option<&str>, password: &str) -> Result<bool, AccessError> {
        let is_somebody = hash.is_some();
        let hash = hash.map_or_else(|| self.of_nobody.to_string(), str::to_owned);
        let password: String = password.chars().take(LONGEST + 1).collect();
        let matches = self.in_turn(move || verified(&hash, &password)).await??;
        Ok(matches && is_somebody)
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, AccessError> {
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(self.waiting.clone());
        if before >= WAITING {
            return Err(refused(
                Reason::Busy,
                "too many log in at this moment: try again in some seconds",
            ));
        }
        let ending = |_| AccessError::Interrupted("hash a password");
        let turn = self.turns.clone().acquire_owned().await;
        let turn = turn.map_err(|_| AccessError::Interrupted("hash a password"))?;
        let work = tokio::task::spawn_blocking(move || {
            // Kept until the work is done, also when the asker has left.
            let _turn = turn;
            work()
        });
        work.await.map_err(ending)
    }
}

fn judge(name: &str, password: &str) -> Result<(), AccessError> {
    let length = password.chars().count();
    if !(SHORTEST..=LONGEST).contains(&length) {
        let text = format!("a password has {SHORTEST} to {LONGEST} characters");
        return Err(refused(Reason::Invalid, text));
    }
    let letters = password.to_lowercase();
    let distinct: std::collections::BTreeSet<char> = letters.chars().collect();
    if distinct.len() < 5 || (name.len() > 3 && letters.contains(name)) {
        return Err(refused(
            Reason::Invalid,
            "this password is too easy: it repeats few characters, or holds the name",
        ));
    }
    Ok(())
}

fn hashed(password: &str) -> Result<String, AccessError> {
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash: PasswordHash| hash.to_string())
        .map_err(|error| AccessError::Hash(error.to_string()))
}

fn verified(hash: &str, password: &str) -> Result<bool, AccessError> {
    let hash = PasswordHash::new(hash).map_err(|_| AccessError::Value("password"))?;
    let verified = Argon2::default().verify_password(password.as_bytes(), &hash);
    match verified {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(AccessError::Hash(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_right_password_is_right() {
        let passwords = Passwords::new().unwrap();
        let hash = passwords
            .hash("ann", "correct horse battery")
            .await
            .unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        let right = |hash: Option<&'static str>, word: &'static str| {
            let passwords = passwords.clone();
            async move { passwords.is_right(hash, word).await.unwrap() }
        };
        let kept: &'static str = Box::leak(hash.into_boxed_str());
        assert!(right(Some(kept), "correct horse battery").await);
        assert!(!right(Some(kept), "correct horse batterz").await);
        assert!(!right(None, "correct horse battery").await);
    }

    #[test]
    fn easy_passwords_are_refused() {
        for easy in [
            "",
            "short",
            "aaaaaaaaaaaaaaaa",
            "annabel-annabel-1",
            &"x y z w v ".repeat(30),
        ] {
            assert!(judge("annabel", easy).is_err(), "{easy}");
        }
        assert!(judge("annabel", "correct horse battery").is_ok());
    }
}
