-- What agents see, and what is made of it. Times are milliseconds since 1970, by the control
-- centre's clock.

CREATE TABLE watched_hosts (
    application TEXT NOT NULL,
    host        TEXT NOT NULL,
    side        TEXT NOT NULL,
    role        TEXT NOT NULL,
    heard_at    INTEGER NOT NULL,
    PRIMARY KEY (application, host)
) WITHOUT ROWID;

CREATE TABLE metric_series (
    id          INTEGER PRIMARY KEY,
    application TEXT NOT NULL,
    host        TEXT NOT NULL,
    metric      TEXT NOT NULL,
    unit        TEXT NOT NULL,
    -- Observed range, sightings, trouble (JSON).
    judged      TEXT NOT NULL,
    UNIQUE (application, host, metric)
);

CREATE TABLE metric_samples (
    series INTEGER NOT NULL REFERENCES metric_series (id) ON DELETE CASCADE,
    at     INTEGER NOT NULL,
    -- Nothing when there was no number.
    value  REAL,
    -- 0 good, 1 bad, 2 unknown.
    state  INTEGER NOT NULL,
    text   TEXT,
    PRIMARY KEY (series, at)
) WITHOUT ROWID;

-- What remains of the samples when they are gone.
CREATE TABLE metric_hours (
    series INTEGER NOT NULL REFERENCES metric_series (id) ON DELETE CASCADE,
    hour   INTEGER NOT NULL,
    least  REAL,
    most   REAL,
    mean   REAL,
    looks  INTEGER NOT NULL,
    bad    INTEGER NOT NULL,
    PRIMARY KEY (series, hour)
) WITHOUT ROWID;

CREATE TABLE departures (
    id          INTEGER PRIMARY KEY,
    application TEXT NOT NULL,
    side        TEXT NOT NULL,
    host        TEXT NOT NULL,
    part        TEXT NOT NULL,
    subject     TEXT NOT NULL,
    level       TEXT NOT NULL,
    reason      TEXT NOT NULL,
    because_of  TEXT,
    since       INTEGER NOT NULL,
    until       INTEGER
);
CREATE INDEX departures_by_time ON departures (application, since);
CREATE UNIQUE INDEX departures_open ON departures (application, host, subject) WHERE until IS NULL;
