-- Raw readings older than the retention, in Parquet files (schemas/archive.py says how they are laid out).

-- frozen_to and archived_to move alone, behind the roll-up's gate; version counts every change of what the archive holds.
CREATE TABLE archive_progress (
    only_row    bool PRIMARY KEY DEFAULT true CHECK (only_row),
    -- whose archive it is, in the marker at its root, too; none: nothing was ever archived
    id          uuid,
    -- a folder or an S3-compatible store, without credentials
    url         text,
    -- a reading older than this leaves a row in archive_late: what holds it is being copied, or was
    frozen_to   timestamptz,
    -- a reading older than this may stand in the archive already: look there first
    archived_to timestamptz,
    version     int8 NOT NULL DEFAULT 0
);
INSERT INTO archive_progress DEFAULT VALUES;

-- A row appears in the transaction that drops the readings from the table, so each reading is in one place or the other.
-- restored_at: its readings are back in the table, and the file no longer counts.
CREATE TABLE archive_file (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id         int NOT NULL,
    path            text NOT NULL UNIQUE,
    month           date NOT NULL,
    first_at        timestamptz NOT NULL,
    last_at         timestamptz NOT NULL,
    readings        bigint NOT NULL CHECK (readings > 0),
    bytes           bigint NOT NULL,
    -- of the file's bytes
    sha256          bytea NOT NULL,
    -- of its footer, which nothing else guards; looked at whenever the file is opened
    footer_sha256   bytea NOT NULL,
    manifest_bytes  bigint NOT NULL DEFAULT 0,
    archived_at     timestamptz NOT NULL DEFAULT now(),
    verified_at     timestamptz NOT NULL DEFAULT now(),
    restored_at     timestamptz,
    -- until then what was restored is left in the table
    keep_until      timestamptz,
    CHECK (last_at >= first_at)
);
CREATE INDEX ON archive_file (site_id, last_at) WHERE restored_at IS NULL;
CREATE INDEX ON archive_file (last_at) WHERE restored_at IS NULL;

-- Files that do not count: those being written, and those whose readings stand elsewhere by now (in the table again, or
-- in a file that many were merged into). A row is committed before its file is begun, so none is ever forgotten.
CREATE TABLE archive_leftover (
    path            text PRIMARY KEY,
    remove_after    timestamptz NOT NULL DEFAULT now()
);

-- What was written into a frozen span, a row a meter and day. It matters only to whoever is copying that span.
CREATE TABLE archive_late (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_id    int NOT NULL,
    from_at     timestamptz NOT NULL,
    to_at       timestamptz NOT NULL CHECK (to_at >= from_at)
);
