-- Every line that there has been and whose data is not erased, with what its person has set.
CREATE TABLE lines (
    user_id             TEXT    NOT NULL PRIMARY KEY,
    do_not_disturb      INTEGER NOT NULL DEFAULT 0,
    forward_always      TEXT,
    forward_busy        TEXT,
    forward_no_answer   TEXT,
    no_answer_seconds   INTEGER,
    forward_unreachable TEXT,
    withheld            INTEGER NOT NULL DEFAULT 0,
    language            TEXT
) STRICT;

-- Rooms in which a person writes commands to the service account.
CREATE TABLE command_rooms (
    room_id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL
) STRICT;
CREATE INDEX command_rooms_by_user ON command_rooms (user_id);

-- A line's last call; what is erased with it.
CREATE INDEX call_records_by_user ON call_records (user_id, started_at DESC);

-- Where the line has sent the call.
ALTER TABLE call_records ADD COLUMN forwarded_to TEXT;
