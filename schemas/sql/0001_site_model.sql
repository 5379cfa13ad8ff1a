-- Who, where and what: the site model. Keys are what people and topics use, ids are what readings use.

CREATE TABLE organisation (
    id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key         text NOT NULL UNIQUE,
    name        text NOT NULL
);

CREATE TABLE site (
    id              int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id int NOT NULL REFERENCES organisation,
    key             text NOT NULL,
    name            text NOT NULL,
    time_zone       text NOT NULL,
    UNIQUE (organisation_id, key)
);

CREATE TABLE line (
    id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id     int NOT NULL REFERENCES site,
    key         text NOT NULL,
    name        text NOT NULL,
    UNIQUE (site_id, key)
);

CREATE TABLE product (
    id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id     int NOT NULL REFERENCES site,
    key         text NOT NULL,
    name        text NOT NULL,
    unit        text NOT NULL CHECK (unit IN ('pcs', 'kg')),
    family      text,
    mass_kg     float8 CHECK (mass_kg BETWEEN 1e-9 AND 1e6),
    UNIQUE (site_id, key)
);

CREATE TABLE agent (
    id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id     int NOT NULL REFERENCES site,
    key         text NOT NULL,
    name        text NOT NULL,
    UNIQUE (site_id, key)
);

-- What agents said of themselves, kept apart from the model, which only people change.
CREATE TABLE agent_report (
    organisation    text NOT NULL,
    site            text NOT NULL,
    agent           text NOT NULL,
    status          jsonb,
    status_at       timestamptz,
    offered_meters  jsonb,
    offered_at      timestamptz,
    PRIMARY KEY (organisation, site, agent)
);

CREATE TABLE meter (
    id              int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id         int NOT NULL REFERENCES site,
    key             text NOT NULL,
    name            text NOT NULL,
    agent_id        int NOT NULL REFERENCES agent,
    line_id         int REFERENCES line,
    parent_id       int REFERENCES meter,
    resource        text NOT NULL,
    carrier         text,
    kind            text NOT NULL CHECK (kind IN ('counter', 'interval', 'rate')),
    unit            text NOT NULL,
    canonical_unit  text NOT NULL,
    -- canonical units for one of `unit` (for a rate: over an hour); fixed when the meter is set up
    canonical_factor float8 NOT NULL CHECK (canonical_factor > 0),
    conversion      float8,
    -- 366 and 31 days at most
    max_gap_ms      bigint NOT NULL CHECK (max_gap_ms BETWEEN 1 AND 31622400000),
    interval_ms     bigint CHECK (interval_ms BETWEEN 1 AND 2678400000),
    share           jsonb,
    UNIQUE (site_id, key)
);
CREATE INDEX ON meter (agent_id);

-- Collectors keep the model in memory and read it again when this number has moved.
CREATE TABLE model_version (
    only_row    bool PRIMARY KEY DEFAULT true CHECK (only_row),
    version     bigint NOT NULL
);
INSERT INTO model_version (version) VALUES (1);

-- `changed` holds the rows that a statement wrote: one that wrote none leaves the number as it is.
CREATE FUNCTION bump_model_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM changed) THEN
        UPDATE model_version SET version = version + 1;
    END IF;
    RETURN NULL;
END $$;

DO $$
DECLARE
    part text;
BEGIN
    FOREACH part IN ARRAY ARRAY['organisation', 'site', 'line', 'product', 'agent', 'meter'] LOOP
        EXECUTE format('CREATE TRIGGER model_grew AFTER INSERT ON %I REFERENCING NEW TABLE AS changed
                        FOR EACH STATEMENT EXECUTE FUNCTION bump_model_version()', part);
        EXECUTE format('CREATE TRIGGER model_changed AFTER UPDATE ON %I REFERENCING NEW TABLE AS changed
                        FOR EACH STATEMENT EXECUTE FUNCTION bump_model_version()', part);
        EXECUTE format('CREATE TRIGGER model_shrank AFTER DELETE ON %I REFERENCING OLD TABLE AS changed
                        FOR EACH STATEMENT EXECUTE FUNCTION bump_model_version()', part);
    END LOOP;
END $$;
