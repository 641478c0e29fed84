-- The rooms of ours that each person with a line has: the telephony space, and the call history in it. A home is settled
-- once both stand as they should, named in this language.
CREATE TABLE homes (
    user_id    TEXT    NOT NULL PRIMARY KEY,
    space_id   TEXT,
    history_id TEXT,
    language   TEXT,
    settled    INTEGER NOT NULL
) STRICT;

-- Call rooms: whether one stands in the person's space, whether another has taken its place (an upgrade), and whether
-- the person was told that it is encrypted.
ALTER TABLE rooms ADD COLUMN in_space INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rooms ADD COLUMN replaced INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rooms ADD COLUMN told_encrypted INTEGER NOT NULL DEFAULT 0;

-- How far each call is told in the person's history: told and due are 0 nothing, 1 begun, 2 answered, 3 ended.
CREATE TABLE history (
    record_id TEXT    NOT NULL PRIMARY KEY REFERENCES call_records (id) ON DELETE CASCADE,
    due       INTEGER NOT NULL,
    told      INTEGER NOT NULL,
    event_id  TEXT
) STRICT;
CREATE INDEX history_due ON history (record_id) WHERE told < due;

-- What is waiting in each person's mailbox, and what their history says of it.
CREATE TABLE mailboxes (
    user_id  TEXT    NOT NULL PRIMARY KEY,
    fresh    INTEGER NOT NULL,
    kept     INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    event_id TEXT
) STRICT;

-- The device that picked up, where its network tells.
ALTER TABLE call_records ADD COLUMN device TEXT;
