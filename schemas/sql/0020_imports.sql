-- History taken from files: each file is an epoch in the ledgers of the agents whose meters it holds.
CREATE TABLE file_import (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation    text NOT NULL,
    site            text NOT NULL,
    -- of the file's bytes, the mapping, and which meters were taken
    epoch           text NOT NULL,
    file            text NOT NULL,
    size            bigint NOT NULL,
    -- SHA-256 of the file's bytes
    digest          bytea NOT NULL,
    mapping         text NOT NULL,
    author          text NOT NULL,
    rows            bigint NOT NULL,
    -- pieces are the messages of the epoch; what they came to stands here in the transaction that stores them
    pieces_done     bigint NOT NULL DEFAULT 0,
    rows_done       bigint NOT NULL DEFAULT 0,
    stored          bigint NOT NULL DEFAULT 0,
    repeated        bigint NOT NULL DEFAULT 0,
    quarantined     bigint NOT NULL DEFAULT 0,
    -- known when all was read: rows and values that could not be read, and cells without a value
    left_out        bigint,
    blank           bigint,
    started_at      timestamptz NOT NULL DEFAULT now(),
    finished_at     timestamptz,
    UNIQUE (organisation, site, epoch)
);
CREATE INDEX ON file_import (organisation, site, file);
