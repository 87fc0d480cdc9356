-- What hosts consist of, when it changed, and where the two sites differ. Times are milliseconds
-- since 1970.

-- Lists of an inventory by the SHA-256 of their contents: what does not change is kept once.
CREATE TABLE inventory_lists (
    hash BLOB PRIMARY KEY,
    body BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE inventories (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    application TEXT NOT NULL,
    host        TEXT NOT NULL,
    side        TEXT NOT NULL,
    role        TEXT NOT NULL,
    -- When it was seen first and last.
    first_at    INTEGER NOT NULL,
    last_at     INTEGER NOT NULL
);
CREATE INDEX inventories_of ON inventories (application, host, id);

CREATE TABLE inventory_parts (
    inventory INTEGER NOT NULL REFERENCES inventories (id) ON DELETE CASCADE,
    category  TEXT NOT NULL,
    list      BLOB NOT NULL REFERENCES inventory_lists (hash),
    PRIMARY KEY (inventory, category)
) WITHOUT ROWID;
CREATE INDEX inventory_parts_by_list ON inventory_parts (list);

CREATE TABLE changes (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    application TEXT NOT NULL,
    host        TEXT NOT NULL,
    side        TEXT NOT NULL,
    at          INTEGER NOT NULL,
    category    TEXT NOT NULL,
    name        TEXT NOT NULL,
    before      TEXT,
    after       TEXT,
    verdict     TEXT NOT NULL,
    rule        TEXT NOT NULL,
    why         TEXT NOT NULL
);
CREATE INDEX changes_by_time ON changes (application, id);

CREATE TABLE divergences (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    application TEXT NOT NULL,
    role        TEXT NOT NULL,
    category    TEXT NOT NULL,
    name        TEXT NOT NULL,
    active      TEXT,
    passive     TEXT,
    verdict     TEXT NOT NULL,
    rule        TEXT NOT NULL,
    why         TEXT NOT NULL,
    since       INTEGER NOT NULL,
    -- Whether the other site still differed when it was looked at again.
    confirmed   INTEGER NOT NULL DEFAULT 0,
    -- By whose inventory it was seen first.
    seen_by     TEXT NOT NULL,
    until       INTEGER,
    accepted_by TEXT,
    accepted_at INTEGER
);
CREATE UNIQUE INDEX divergences_open ON divergences (application, role, category, name) WHERE until IS NULL;
CREATE INDEX divergences_by_time ON divergences (application, id);

-- What the operator wants to know of, and what not. The newest comes first.
CREATE TABLE change_preferences (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    application TEXT NOT NULL,
    rule        TEXT NOT NULL,
    who         TEXT NOT NULL,
    at          INTEGER NOT NULL
);
