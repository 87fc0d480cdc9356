-- Sites known to this appliance; the site file itself stays the truth.
CREATE TABLE sites (
    name TEXT PRIMARY KEY,
    file TEXT NOT NULL,
    added_at TEXT NOT NULL
);
-- Captured volumes as they were at import.
CREATE TABLE volumes (
    path TEXT PRIMARY KEY,
    volume TEXT NOT NULL,
    imported_at TEXT NOT NULL
);
-- Prepared machines, by the hash of everything that went into them.
CREATE TABLE prepared (
    key TEXT PRIMARY KEY,
    site TEXT NOT NULL,
    machine TEXT NOT NULL,
    prepared TEXT NOT NULL,
    made_at TEXT NOT NULL
);
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    site TEXT NOT NULL,
    mode TEXT NOT NULL,
    state TEXT NOT NULL,
    started_at TEXT NOT NULL,
    ended_at TEXT,
    detail TEXT,
    report TEXT
);
-- What a session made, written before it is made: the list that tear-down and
-- the start after a crash work through.
CREATE TABLE resources (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    session TEXT NOT NULL REFERENCES sessions(id) ON DELETE CASCADE,
    resource TEXT NOT NULL,
    removed_at TEXT
);
-- What a session did, in order; with the resources, the log of its steps.
CREATE TABLE steps (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    session TEXT NOT NULL REFERENCES sessions(id) ON DELETE CASCADE,
    at TEXT NOT NULL,
    step TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL
);
-- Who asked for what, written before it takes effect.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL
);
