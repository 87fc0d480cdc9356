-- What somebody has to know, and until it was delivered. Times are milliseconds since 1970.

CREATE TABLE alerts (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The same key again is the same trouble.
    key             TEXT NOT NULL,
    application     TEXT,
    gravity         INTEGER NOT NULL,
    title           TEXT NOT NULL,
    text            TEXT NOT NULL,
    fingerprint     TEXT NOT NULL,
    since           INTEGER NOT NULL,
    raised_at       INTEGER NOT NULL,
    times           INTEGER NOT NULL,
    -- When it was said last, and whether it ends when it is not said any more.
    said_at         INTEGER NOT NULL,
    lapses          INTEGER NOT NULL,
    lapsed          INTEGER NOT NULL DEFAULT 0,
    -- Since when it looks as if it were over.
    settling_at     INTEGER,
    over_how        TEXT,
    over_at         INTEGER,
    acknowledged_by TEXT,
    acknowledged_at INTEGER
);
CREATE UNIQUE INDEX alerts_open ON alerts (key) WHERE over_at IS NULL;
CREATE INDEX alerts_by_key ON alerts (key, id);
CREATE INDEX alerts_by_application ON alerts (application, id);

-- What is to be told of an alert, in this order.
CREATE TABLE alert_notes (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    alert   INTEGER NOT NULL REFERENCES alerts (id) ON DELETE CASCADE,
    kind    TEXT NOT NULL,
    at      INTEGER NOT NULL,
    gravity INTEGER NOT NULL,
    title   TEXT NOT NULL,
    text    TEXT NOT NULL
);
CREATE INDEX alert_notes_of ON alert_notes (alert);

-- The outbox: each note by each route, until it was taken there.
CREATE TABLE alert_deliveries (
    note         INTEGER NOT NULL REFERENCES alert_notes (id) ON DELETE CASCADE,
    route        TEXT NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    due_at       INTEGER NOT NULL,
    error        TEXT,
    delivered_at INTEGER,
    PRIMARY KEY (note, route)
) WITHOUT ROWID;
CREATE INDEX alert_deliveries_due ON alert_deliveries (route, due_at) WHERE delivered_at IS NULL;
