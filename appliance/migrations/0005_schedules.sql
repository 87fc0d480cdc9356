-- Tests that the daemon runs by itself, and when the next one is due.
CREATE TABLE schedules (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    site TEXT NOT NULL,
    settings TEXT NOT NULL,
    next_ms INTEGER
);
-- What became of each that was due; written before the test begins.
CREATE TABLE schedule_runs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    schedule INTEGER NOT NULL REFERENCES schedules(id) ON DELETE CASCADE,
    due_ms INTEGER NOT NULL,
    state TEXT NOT NULL,
    session TEXT,
    detail TEXT,
    ended_ms INTEGER
);
CREATE INDEX schedule_runs_by_schedule ON schedule_runs (schedule, seq);
