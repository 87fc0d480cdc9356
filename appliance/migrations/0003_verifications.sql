-- What became of reading captured volumes again: when every byte was last
-- compared, what was damaged, how far an unfinished reading came.
CREATE TABLE verifications (
    path TEXT PRIMARY KEY,
    record TEXT NOT NULL
);
