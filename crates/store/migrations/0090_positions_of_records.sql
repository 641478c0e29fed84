-- Where a record stands among all that there ever were: what a tool that reads them page by page keeps. SQLite gives a rowid out
-- again once the highest ones are deleted, and VACUUM may change them all: no position is ever given out twice.
CREATE TABLE last_position (
    position INTEGER NOT NULL
) STRICT;

ALTER TABLE call_records ADD COLUMN position INTEGER;

-- What tools keep from before are rowids.
UPDATE call_records SET position = rowid;
CREATE UNIQUE INDEX call_records_by_position ON call_records (position);

-- How high rowids ever were is not known, where the highest are deleted: a gateway that has run goes on far behind any that a
-- tool may have kept.
INSERT INTO last_position (position)
SELECT coalesce(max(rowid), 0)
    + CASE WHEN count(*) > 0 OR EXISTS (SELECT 1 FROM transactions) THEN 1000000000 ELSE 0 END
FROM call_records;

CREATE TRIGGER call_records_position AFTER INSERT ON call_records BEGIN
    UPDATE last_position SET position = position + 1;
    UPDATE call_records SET position = (SELECT position FROM last_position) WHERE rowid = NEW.rowid;
END;
