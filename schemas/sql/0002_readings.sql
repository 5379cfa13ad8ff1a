-- What meters said, and the proof that all of it arrived.

-- No foreign key to meter: it would be checked row by row on the way in, and the collector has looked already.
CREATE TABLE reading (
    meter_id    int NOT NULL,
    at          timestamptz NOT NULL,
    value       float8 NOT NULL,
    quality     int2 NOT NULL,
    -- time first: new readings then land at the index's end (docs/adr/0003)
    PRIMARY KEY (at, meter_id)
);
SELECT create_hypertable('reading', 'at', chunk_time_interval => interval '7 days',
                         create_default_indexes => false);

-- Per agent and epoch: everything up to stored_seq is committed, and what lies beyond is in ledger_ahead.
CREATE TABLE ledger (
    organisation    text NOT NULL,
    site            text NOT NULL,
    agent           text NOT NULL,
    epoch           text NOT NULL,
    stored_seq      bigint NOT NULL DEFAULT 0,
    highest_seq     bigint NOT NULL DEFAULT 0,
    -- messages that the agent says were confirmed to it, of which this database knows nothing
    adopted         bigint NOT NULL DEFAULT 0,
    messages        bigint NOT NULL DEFAULT 0,
    readings        bigint NOT NULL DEFAULT 0,
    stored          bigint NOT NULL DEFAULT 0,
    repeated        bigint NOT NULL DEFAULT 0,
    quarantined     bigint NOT NULL DEFAULT 0,
    first_at        timestamptz NOT NULL DEFAULT now(),
    last_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organisation, site, agent, epoch),
    CHECK (readings = stored + repeated + quarantined)
);

CREATE TABLE ledger_ahead (
    organisation    text NOT NULL,
    site            text NOT NULL,
    agent           text NOT NULL,
    epoch           text NOT NULL,
    seq             bigint NOT NULL,
    PRIMARY KEY (organisation, site, agent, epoch, seq)
);

-- What could not be stored, with its reason. `payload` is a message that can be sent again as it stands.
CREATE TABLE quarantine (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at     timestamptz NOT NULL DEFAULT now(),
    reason          text NOT NULL,
    detail          text NOT NULL,
    topic           text NOT NULL,
    organisation    text,
    site            text,
    agent           text,
    epoch           text,
    seq             bigint,
    readings        int NOT NULL,
    content_type    text NOT NULL,
    payload         bytea NOT NULL,
    -- the same bytes on the same topic are one entry, however often they come
    digest          bytea NOT NULL,
    times           int NOT NULL DEFAULT 1,
    UNIQUE (digest)
);
CREATE INDEX ON quarantine (organisation, id);
