-- What the control centre has once: its CA.
CREATE TABLE things (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
-- Tokens by the hash of their secret; used up by one key.
CREATE TABLE tokens (
    hash BLOB PRIMARY KEY,
    host TEXT NOT NULL,
    expires INTEGER NOT NULL,
    used_by BLOB,
    used_at INTEGER
);
-- Hosts whose agent joined, with the hash of its present key.
CREATE TABLE hosts (
    name TEXT PRIMARY KEY,
    key BLOB NOT NULL,
    joined_at INTEGER NOT NULL
);
-- Applications as their files were when they were added: `texts` holds the
-- descriptor and the profiles.
CREATE TABLE applications (
    name TEXT PRIMARY KEY,
    file TEXT NOT NULL,
    texts TEXT NOT NULL,
    added_at INTEGER NOT NULL
);
-- Where each application stands. `state` is the state machine's, `authority` the
-- record of who serves, `leased` the newest epoch in which a lease was asked for
-- by its holder, `autopilot` settings and memory of process 400.
CREATE TABLE standings (
    application TEXT PRIMARY KEY REFERENCES applications(name) ON DELETE CASCADE,
    state TEXT NOT NULL,
    authority TEXT NOT NULL,
    leased INTEGER NOT NULL DEFAULT 0,
    autopilot TEXT NOT NULL
);
-- To which host the first word on its lease was given, and to which start of
-- its agent. Once in the life of an application and host.
CREATE TABLE first_words (
    application TEXT NOT NULL REFERENCES applications(name) ON DELETE CASCADE,
    host TEXT NOT NULL,
    incarnation TEXT NOT NULL,
    given_at INTEGER NOT NULL,
    PRIMARY KEY (application, host)
);
-- Every change of state, with who, why and what was seen. Kept when the
-- application goes.
CREATE TABLE transitions (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    application TEXT NOT NULL,
    at INTEGER NOT NULL,
    number INTEGER,
    from_state TEXT NOT NULL,
    to_state TEXT NOT NULL,
    event TEXT NOT NULL,
    who TEXT NOT NULL,
    why TEXT NOT NULL,
    evidence TEXT NOT NULL
);
CREATE INDEX transitions_of ON transitions (application, seq);
-- Runs of process 300. `plan` was decided before the first step.
CREATE TABLE processes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    application TEXT NOT NULL,
    plan TEXT NOT NULL,
    wishes TEXT NOT NULL,
    came_from TEXT NOT NULL,
    who TEXT NOT NULL,
    why TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    abort_by TEXT,
    ended_at INTEGER,
    ending TEXT
);
CREATE INDEX processes_of ON processes (application, seq);
-- What was begun and what ended, in order.
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    process TEXT NOT NULL REFERENCES processes(id) ON DELETE CASCADE,
    at INTEGER NOT NULL,
    entry TEXT NOT NULL
);
CREATE INDEX journal_of ON journal (process, seq);
-- Who asked for what, written before it takes effect.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL
);
