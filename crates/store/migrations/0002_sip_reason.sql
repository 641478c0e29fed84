-- What the telephone side said of its own when a call ended: the Reason and Warning headers.

ALTER TABLE call_records ADD COLUMN sip_reason TEXT;
ALTER TABLE call_records ADD COLUMN sip_warning TEXT;
