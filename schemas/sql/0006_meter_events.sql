-- What each meter can do and how it is judged; what was found in its readings, and what people said.

ALTER TABLE meter
    -- where the register begins again at zero, in the meter's unit: 100000 for five digits
    ADD COLUMN register_width float8 CHECK (register_width > 0 AND register_width < 'infinity'),
    -- the most that the meter can count, in the meter's unit an hour (for a rate: in its unit)
    ADD COLUMN rated_maximum float8 CHECK (rated_maximum > 0 AND rated_maximum < 'infinity'),
    ADD COLUMN dip_window_ms bigint NOT NULL DEFAULT 3600000 CHECK (dip_window_ms BETWEEN 1 AND 604800000),
    ADD COLUMN frozen_after_ms bigint CHECK (frozen_after_ms BETWEEN 1 AND 31622400000),
    -- how often the meter is expected to speak; none: what it was seen to do
    ADD COLUMN cadence_ms bigint CHECK (cadence_ms BETWEEN 1 AND 31622400000),
    -- percent of what is measured
    ADD COLUMN accuracy_class float8 CHECK (accuracy_class >= 0 AND accuracy_class <= 100);

-- Facts, like readings: versions, of which the newest (by id) counts, and which are never changed.

-- value: null takes a manual reading back. Where a meter said something for the same instant, this counts instead.
CREATE TABLE manual_reading (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_id    int NOT NULL REFERENCES meter,
    at          timestamptz NOT NULL,
    value       float8 CHECK (value > '-infinity' AND value < 'infinity'),
    author      text NOT NULL,
    reason      text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON manual_reading (meter_id, at, id);

-- Readings from `at` on are the new meter's. Both registers null: the record is taken back.
CREATE TABLE meter_exchange (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_id    int NOT NULL REFERENCES meter,
    at          timestamptz NOT NULL,
    last_old    float8 CHECK (last_old > '-infinity' AND last_old < 'infinity'),
    first_new   float8 CHECK (first_new > '-infinity' AND first_new < 'infinity'),
    author      text NOT NULL,
    reason      text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((last_old IS NULL) = (first_new IS NULL))
);
CREATE INDEX ON meter_exchange (meter_id, at, id);

-- decision: null gives the event back to the rules.
CREATE TABLE event_decision (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_id    int NOT NULL REFERENCES meter,
    kind        text NOT NULL,
    at          timestamptz NOT NULL,
    until       timestamptz NOT NULL CHECK (until >= at),
    state       text NOT NULL CHECK (state IN ('proposed', 'confirmed', 'overruled')),
    decision    text,
    author      text NOT NULL,
    reason      text NOT NULL,
    decided_at  timestamptz NOT NULL DEFAULT now(),
    CHECK ((state = 'proposed') = (decision IS NULL))
);
CREATE INDEX ON event_decision (meter_id, at, kind, id);

-- Derived, like consumption. `at` and `until` are the first and the last reading that the event is about (of a gap, of an
-- exchange: its beginning and its end), `before` and `after` their neighbours among the readings that count.
CREATE TABLE meter_event (
    meter_id        int NOT NULL,
    kind            text NOT NULL,
    at              timestamptz NOT NULL,
    until           timestamptz NOT NULL CHECK (until >= at),
    decision        text NOT NULL,
    readings        int NOT NULL,
    value           float8,
    until_value     float8,
    before_at       timestamptz,
    before_value    float8,
    after_at        timestamptz,
    after_value     float8,
    -- billionths of the canonical unit that count for the event's span
    quantity        int8,
    PRIMARY KEY (meter_id, kind, at)
);
CREATE INDEX ON meter_event (at);

-- Meters that the roll-up has seen: their first reading, and for those that have to be judged again when they next speak, from
-- where on.
CREATE TABLE rolled_meter (
    meter_id    int PRIMARY KEY,
    first_at    timestamptz NOT NULL,
    rough_from  timestamptz
);
DROP TABLE open_end;

-- Consumption is computed anew from the readings: what a register's fall comes to is judged otherwise from here on.
TRUNCATE consumption, pending;
UPDATE rollup_progress SET closed_to = NULL, computed_to = NULL;
ALTER TABLE rollup_progress ADD COLUMN steps int8 NOT NULL DEFAULT 0;
COMMENT ON COLUMN rollup_progress.closed_to IS
    'readings before this instant have been followed; one that comes later is late, and leaves a row in pending';
COMMENT ON COLUMN rollup_progress.computed_to IS 'quarters before this one stand in consumption';
