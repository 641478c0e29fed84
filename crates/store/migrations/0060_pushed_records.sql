-- Whether a record that is complete has been pushed to where records go: 0 not yet, 1 taken, 2 refused there.
ALTER TABLE call_records ADD COLUMN pushed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX call_records_to_push ON call_records (ended_at) WHERE pushed = 0;
