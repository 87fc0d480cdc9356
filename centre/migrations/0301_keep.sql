-- Images of process 600. An image that is not yet `placed`, `failed` or
-- `forgotten` is gone on with when the control centre starts.
CREATE TABLE images (
    name TEXT PRIMARY KEY,
    application TEXT NOT NULL,
    side TEXT NOT NULL,
    levels TEXT NOT NULL,
    who TEXT NOT NULL,
    state TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    facts TEXT,
    failure TEXT
);
CREATE INDEX images_of ON images (application, started_at);
-- What the operator set since the application's file was read, and what
-- process 500 has to remember.
CREATE TABLE keeping (
    application TEXT PRIMARY KEY REFERENCES applications(name) ON DELETE CASCADE,
    archive INTEGER,
    autosync INTEGER,
    settled TEXT,
    held INTEGER NOT NULL DEFAULT 0
);
-- The last position of each side's data while it served.
CREATE TABLE positions (
    application TEXT NOT NULL REFERENCES applications(name) ON DELETE CASCADE,
    side TEXT NOT NULL,
    position TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (application, side)
);
-- Runs of process 700, and what was done in each.
CREATE TABLE restores (
    id TEXT PRIMARY KEY,
    application TEXT NOT NULL,
    request TEXT NOT NULL,
    stage TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    outcome TEXT
);
CREATE INDEX restores_of ON restores (application, started_at);
CREATE TABLE restore_lines (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    restore TEXT NOT NULL REFERENCES restores(id) ON DELETE CASCADE,
    at INTEGER NOT NULL,
    number TEXT NOT NULL,
    text TEXT NOT NULL
);
