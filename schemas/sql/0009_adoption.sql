-- Replay of what is in quarantine, and what waits there for a meter that nobody has set up yet.

ALTER TABLE quarantine
    -- readings that the ledger counts as quarantined for it: they move to stored and repeated when it is replayed
    ADD COLUMN counted bigint NOT NULL DEFAULT 0,
    -- what became of it when it was replayed; the row stays, so that anybody can see that it was here
    ADD COLUMN stored bigint NOT NULL DEFAULT 0,
    ADD COLUMN repeated bigint NOT NULL DEFAULT 0,
    ADD COLUMN tried_at timestamptz,
    -- null: it waits
    ADD COLUMN replayed_at timestamptz,
    -- the entry whose replay left this over
    ADD COLUMN left_of bigint REFERENCES quarantine;
-- A plain reading counts each time it comes, a message with a seq once.
UPDATE quarantine SET counted = CASE
    WHEN epoch IS NOT NULL THEN readings
    WHEN reason IN ('unknown agent', 'unknown meter', 'wrong unit', 'value is not a finite number',
                    'value beyond what can be stored', 'time in the future', 'time before 2000',
                    'another value for the same instant') THEN readings::bigint * times
    ELSE 0 END;
CREATE INDEX ON quarantine (organisation, id) WHERE replayed_at IS NULL;
CREATE INDEX ON quarantine (epoch, seq) WHERE counted > 0;

-- Which meters an entry that waits speaks of, where its readings could be told apart and the name is a key.
CREATE TABLE quarantine_meter (
    entry_id    bigint NOT NULL REFERENCES quarantine ON DELETE CASCADE,
    meter       text NOT NULL,
    -- empty where it can't be shown
    unit        text NOT NULL,
    readings    int NOT NULL,
    -- instants from 2000 to 2200 only: others are no instants, but a clock's mistake
    first_at    timestamptz,
    last_at     timestamptz,
    last_value  float8,
    PRIMARY KEY (entry_id, meter, unit)
);
DO $$
DECLARE
    entry record;
    body jsonb;
BEGIN
    FOR entry IN
        SELECT id, payload FROM quarantine
        WHERE reason IN ('unknown agent', 'unknown meter', 'wrong unit', 'value is not a finite number',
                         'value beyond what can be stored', 'time in the future', 'time before 2000',
                         'another value for the same instant')
    LOOP
        BEGIN
            -- NaN and Infinity are kept as they came, which PostgreSQL does not read.
            body := regexp_replace(convert_from(entry.payload, 'UTF8'), '([\[,:]\s*)(NaN|-?Infinity)(?=\s*[],}])',
                                   '\1null', 'g')::jsonb;
            IF jsonb_typeof(body -> 'meter') = 'string' THEN
                body := jsonb_build_object(
                    'meters', jsonb_build_array(body -> 'meter'), 'units', jsonb_build_array(body -> 'unit'),
                    'meter', '[0]'::jsonb, 'at', jsonb_build_array(body -> 'at'),
                    'value', jsonb_build_array(body -> 'value'));
            END IF;
            INSERT INTO quarantine_meter (entry_id, meter, unit, readings, first_at, last_at, last_value)
            SELECT entry.id, meter, unit, count(*), to_timestamp(min(at) FILTER (WHERE is_instant) / 1000.0),
                   to_timestamp(max(at) FILTER (WHERE is_instant) / 1000.0),
                   (array_agg(value ORDER BY at DESC) FILTER (WHERE is_instant))[1]
            FROM (
                SELECT body -> 'meters' ->> place AS meter, left(body -> 'units' ->> place, 20) AS unit, at, value,
                       at BETWEEN 946684800000 AND 7258118400000 AS is_instant
                FROM (
                    SELECT (body -> 'meter' ->> n)::int AS place, (body -> 'at' ->> n)::numeric AS at,
                           (body -> 'value' ->> n)::float8 AS value
                    FROM generate_series(0, jsonb_array_length(body -> 'at') - 1) AS n
                ) AS row
            ) AS readings
            WHERE meter ~ '^[a-z0-9][a-z0-9._-]{0,62}$'
            GROUP BY meter, unit;
        EXCEPTION WHEN others THEN
            -- It can still be replayed, only not found by its meter.
            RAISE NOTICE 'quarantine entry % is not listed by its meters: %', entry.id, SQLERRM;
        END;
    END LOOP;
END $$;

-- What somebody asked to be replayed. A collector takes it up between batches; a filter that is null takes all.
CREATE TABLE quarantine_replay (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation    text,
    site            text,
    agent           text,
    meters          text[],
    reason          text,
    entry           bigint,
    requested_at    timestamptz NOT NULL DEFAULT now(),
    -- entries up to this one are tried; set when the first collector takes it up
    up_to           bigint,
    done_to         bigint NOT NULL DEFAULT 0,
    tried           bigint NOT NULL DEFAULT 0,
    stored          bigint NOT NULL DEFAULT 0,
    repeated        bigint NOT NULL DEFAULT 0,
    -- readings that stay in quarantine, by reason (an entry without readings counts one)
    refused         jsonb NOT NULL DEFAULT '{}',
    finished_at     timestamptz
);
CREATE INDEX ON quarantine_replay (id) WHERE finished_at IS NULL;
CREATE INDEX ON quarantine_replay (organisation, id);
