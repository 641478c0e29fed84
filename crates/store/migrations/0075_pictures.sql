-- What was uploaded to the homeserver, by what it is (SHA-256, hexadecimal), so that a restart uploads nothing again.
CREATE TABLE uploads (
    digest TEXT NOT NULL PRIMARY KEY,
    mxc    TEXT NOT NULL
) STRICT;

-- The picture last given to a virtual user, and to the rooms of a home.
ALTER TABLE virtual_users ADD COLUMN picture TEXT;
ALTER TABLE homes ADD COLUMN picture TEXT;
