-- Consumption by quarter of an hour, and what the roll-up needs to know to keep it current.

-- Quantities are whole billionths of the canonical unit, so that sums are exact in any order (docs/adr/0002).
CREATE TABLE consumption (
    meter_id    int NOT NULL,
    quarter     timestamptz NOT NULL,
    measured    int8 NOT NULL,
    estimated   int8 NOT NULL,
    covered_ms  int4 NOT NULL CHECK (covered_ms BETWEEN 0 AND 900000),
    PRIMARY KEY (meter_id, quarter)
);
SELECT create_hypertable('consumption', 'quarter', chunk_time_interval => interval '90 days',
                         create_default_indexes => false);

-- A reading older than closed_to is late and leaves a row in pending; quarters before computed_to have been rolled up.
-- closed_to moves first, alone, and computed_to follows in the transaction that writes the consumption.
CREATE TABLE rollup_progress (
    only_row    bool PRIMARY KEY DEFAULT true CHECK (only_row),
    closed_to   timestamptz,
    computed_to timestamptz,
    CHECK (computed_to IS NULL OR computed_to <= closed_to)
);
INSERT INTO rollup_progress DEFAULT VALUES;

-- Meters that had not spoken again when their last quarter was closed: they go on from final_to when they do.
CREATE TABLE open_end (
    meter_id    int PRIMARY KEY,
    final_to    timestamptz NOT NULL
);

CREATE TABLE pending (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    meter_id    int NOT NULL,
    from_at     timestamptz NOT NULL,
    to_at       timestamptz NOT NULL CHECK (to_at >= from_at)
);
