-- The order of a site as it was worked out last, and a hash of what it was
-- worked out for: it is outdated when that is another now.
CREATE TABLE orders (
    site TEXT PRIMARY KEY,
    worked_out_ms INTEGER NOT NULL,
    basis TEXT NOT NULL,
    "order" TEXT NOT NULL
);
