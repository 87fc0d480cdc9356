-- What the operator said about the order of a site on the command line; the
-- dependencies of the site file are not repeated here. Removed with the site.
CREATE TABLE operator_words (
    site TEXT NOT NULL,
    before TEXT NOT NULL,
    after TEXT NOT NULL,
    verdict TEXT NOT NULL,
    said_at TEXT NOT NULL,
    PRIMARY KEY (site, before, after)
);
