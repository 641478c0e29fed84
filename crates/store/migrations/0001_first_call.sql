-- Times are milliseconds since the Unix epoch. Mxids and room ids are kept as the homeserver writes them.

CREATE TABLE transactions (
    id      TEXT    NOT NULL PRIMARY KEY,
    seen_at INTEGER NOT NULL
) STRICT;
CREATE INDEX transactions_by_age ON transactions (seen_at);

CREATE TABLE virtual_users (
    user_id      TEXT NOT NULL PRIMARY KEY,
    number       TEXT NOT NULL,
    display_name TEXT NOT NULL
) STRICT;

CREATE TABLE rooms (
    room_id      TEXT    NOT NULL PRIMARY KEY,
    user_id      TEXT    NOT NULL,
    virtual_user TEXT    NOT NULL,
    used_at      INTEGER NOT NULL
) STRICT;
CREATE INDEX rooms_by_pair ON rooms (user_id, virtual_user, used_at DESC);

CREATE TABLE call_records (
    id          TEXT    NOT NULL PRIMARY KEY,
    direction   TEXT    NOT NULL CHECK (direction IN ('outgoing', 'incoming')),
    user_id     TEXT    NOT NULL,
    number      TEXT    NOT NULL,
    started_at  INTEGER NOT NULL,
    answered_at INTEGER,
    ended_at    INTEGER,
    ended_by    TEXT    CHECK (ended_by IN ('caller', 'callee', 'gateway')),
    reason      TEXT,
    sip_status  INTEGER,
    audio       TEXT,
    stats       TEXT
) STRICT;
CREATE INDEX call_records_by_start ON call_records (started_at DESC);

-- One row per call in progress: what a gateway that starts after a crash needs to end both of its sides.
CREATE TABLE live_calls (
    record_id    TEXT    NOT NULL PRIMARY KEY REFERENCES call_records (id),
    owner        TEXT    NOT NULL,
    lease_until  INTEGER NOT NULL,
    answered     INTEGER NOT NULL,
    room_id      TEXT,
    call_id      TEXT,
    party_id     TEXT,
    virtual_user TEXT,
    version      TEXT,
    sip_dialog   TEXT
) STRICT;
CREATE INDEX live_calls_by_lease ON live_calls (lease_until);
