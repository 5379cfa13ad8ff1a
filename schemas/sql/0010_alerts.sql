-- Alerts: conditions that somebody should hear of, once, and what was sent about them.

-- One open alert a rule and meter (or agent). `seen_at` is when its condition last held; it closes itself some time after.
CREATE TABLE alert (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id         int NOT NULL REFERENCES site,
    rule            text NOT NULL CHECK (rule IN ('silent', 'negative_rest', 'leak', 'spike')),
    meter           text,
    agent           text,
    since           timestamptz NOT NULL,
    seen            text NOT NULL,
    why             text NOT NULL,
    todo            text NOT NULL,
    opened_at       timestamptz NOT NULL,
    seen_at         timestamptz NOT NULL,
    closed_at       timestamptz,
    acknowledged_at timestamptz,
    acknowledged_by text,
    acknowledged_why text,
    -- when it was last put into a message, and when its end was
    told_at         timestamptz,
    end_told_at     timestamptz,
    CHECK (num_nonnulls(meter, agent) = 1),
    CHECK ((acknowledged_at IS NULL) = (acknowledged_by IS NULL))
);
CREATE UNIQUE INDEX ON alert (site_id, rule, coalesce(meter, ''), coalesce(agent, '')) WHERE closed_at IS NULL;
CREATE INDEX ON alert (site_id, id);

-- When each site was last looked at: several processes share the sites by it.
CREATE TABLE alert_check (
    site_id     int PRIMARY KEY REFERENCES site,
    checked_at  timestamptz NOT NULL DEFAULT '-infinity'
);

-- A message on its way to one channel; `message` is the same on all of them.
CREATE TABLE notification (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id         int NOT NULL REFERENCES site,
    message         uuid NOT NULL,
    channel         text NOT NULL CHECK (channel IN ('webhook', 'mqtt')),
    payload         jsonb NOT NULL,
    created_at      timestamptz NOT NULL,
    attempts        int NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    delivered_at    timestamptz,
    given_up_at     timestamptz,
    last_error      text
);
CREATE INDEX ON notification (next_attempt_at) WHERE delivered_at IS NULL AND given_up_at IS NULL;
CREATE INDEX ON notification (site_id, created_at);
