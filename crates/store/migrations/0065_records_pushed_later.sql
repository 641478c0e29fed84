-- pushed is 3 for a record that could not be taken for so long that others go before it.
DROP INDEX call_records_to_push;
CREATE INDEX call_records_to_push ON call_records (pushed, ended_at) WHERE pushed IN (0, 3);
