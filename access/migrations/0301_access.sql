-- People who may log in. `totp` is the shared secret of the second factor,
-- `totp_step` the newest time step that was used up, `totp_offer` a secret that
-- was shown and not yet proven.
CREATE TABLE users (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    password TEXT NOT NULL,
    disabled INTEGER NOT NULL DEFAULT 0,
    made INTEGER NOT NULL,
    last_login INTEGER,
    totp BLOB,
    totp_step INTEGER NOT NULL DEFAULT 0,
    totp_offer BLOB
);
-- Browsers that are logged in, by the hash of their secret. One that is not
-- `complete` has given its password and still owes its code.
CREATE TABLE sessions (
    hash BLOB PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    user TEXT NOT NULL REFERENCES users(name) ON DELETE CASCADE,
    complete INTEGER NOT NULL,
    begun INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    confirmed_until INTEGER NOT NULL DEFAULT 0,
    address TEXT NOT NULL,
    agent TEXT NOT NULL
);
-- Programs. A token without an owner was made by root of the machine.
CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    hash BLOB NOT NULL,
    name TEXT NOT NULL,
    owner TEXT REFERENCES users(name) ON DELETE CASCADE,
    role TEXT NOT NULL,
    scopes TEXT NOT NULL,
    destructive INTEGER NOT NULL,
    made INTEGER NOT NULL,
    expires INTEGER,
    used INTEGER
);
CREATE UNIQUE INDEX tokens_of_owner ON tokens (ifnull(owner, ''), name);
-- Log-ins that failed, by name and address; an empty one stands for all.
CREATE TABLE failures (
    user TEXT NOT NULL,
    address TEXT NOT NULL,
    count INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (user, address)
);
-- From where a user has logged in: the lock that many addresses bring about
-- together does not hold there.
CREATE TABLE known_addresses (
    user TEXT NOT NULL REFERENCES users(name) ON DELETE CASCADE,
    address TEXT NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (user, address)
);
-- The one-time link of the first user, by the hash of its secret.
CREATE TABLE links (
    hash BLOB PRIMARY KEY,
    expires INTEGER NOT NULL
);
-- The audit trail: every entry holds the hash over itself and the one before.
CREATE TABLE trail (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    of_seq INTEGER,
    who TEXT NOT NULL,
    role TEXT NOT NULL,
    address TEXT NOT NULL,
    what TEXT NOT NULL,
    text TEXT NOT NULL,
    hash BLOB NOT NULL
);
-- Whoever changes it has to mean it.
CREATE TRIGGER trail_is_not_changed BEFORE UPDATE ON trail
BEGIN SELECT RAISE(ABORT, 'the audit trail is only written to'); END;
CREATE TRIGGER trail_is_not_shortened BEFORE DELETE ON trail
BEGIN SELECT RAISE(ABORT, 'the audit trail is only written to'); END;
