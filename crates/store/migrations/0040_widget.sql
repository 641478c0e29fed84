-- Where the widget in the history of each home leads.
ALTER TABLE homes ADD COLUMN widget TEXT;
