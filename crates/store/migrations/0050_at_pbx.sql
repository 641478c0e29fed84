-- What a line's settings and those at its PBX were when they last agreed: text that its writer alone reads.
ALTER TABLE lines ADD COLUMN at_pbx TEXT;
