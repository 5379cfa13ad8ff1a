-- What operators need: entries that somebody gave up, who did what with the quarantine, and since when messages miss.

ALTER TABLE quarantine
    -- a person said that it is not to be stored; the row, its payload and its readings in the ledger stay
    ADD COLUMN dropped_at timestamptz,
    ADD CHECK (dropped_at IS NULL OR replayed_at IS NULL);
-- What waits, by reason: counted now and then.
CREATE INDEX ON quarantine (reason) INCLUDE (readings) WHERE replayed_at IS NULL AND dropped_at IS NULL;

ALTER TABLE quarantine_replay
    -- null: asked for before this was kept
    ADD COLUMN author text,
    ADD COLUMN because text;

-- What was done with an entry, and who said so. It only grows.
CREATE TABLE quarantine_history (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entry_id    bigint NOT NULL REFERENCES quarantine ON DELETE CASCADE,
    at          timestamptz NOT NULL DEFAULT now(),
    act         text NOT NULL CHECK (act IN ('replayed', 'refused again', 'dropped', 'reopened')),
    author      text,
    because     text,
    -- the replay that did it
    replay      bigint
);
CREATE INDEX ON quarantine_history (entry_id, id);

ALTER TABLE ledger
    -- while messages before highest_seq are missing: when stored_seq last moved on, or the hole was first seen
    ADD COLUMN missing_since timestamptz;
UPDATE ledger SET missing_since = last_at WHERE highest_seq > stored_seq;
