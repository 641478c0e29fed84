-- Who took the place of the telephone, and who had forwarded the call: numbers, as in "number".
ALTER TABLE call_records ADD COLUMN transferred_to TEXT;
ALTER TABLE call_records ADD COLUMN forwarded_by TEXT;
