-- Consumption shared out to products, by local day, and what the site model says for it.

-- What serves several lines; its rules are in the order of their days.
CREATE TABLE utility (
    id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id     int NOT NULL REFERENCES site,
    key         text NOT NULL,
    name        text NOT NULL,
    share       jsonb NOT NULL,
    UNIQUE (site_id, key)
);

CREATE TRIGGER model_grew AFTER INSERT ON utility REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION bump_model_version();
CREATE TRIGGER model_changed AFTER UPDATE ON utility REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION bump_model_version();

-- The line to which its output goes on.
ALTER TABLE line ADD COLUMN next text;
ALTER TABLE product
    ADD COLUMN price_dkk float8 CHECK (price_dkk > 0),
    ADD COLUMN co_products jsonb;
ALTER TABLE meter
    ADD COLUMN utility_id int REFERENCES utility,
    -- a production meter that counts this product, whatever the line's run
    ADD COLUMN product_id int REFERENCES product,
    ADD COLUMN origin text CHECK (origin IN ('virgin', 'recycled', 'reused', 'returned')),
    ADD COLUMN recycled_content float8 CHECK (recycled_content BETWEEN 0 AND 1),
    ADD COLUMN waste_code text,
    ADD COLUMN treatment text;

-- Days whose attribution has to be computed again: something that it rests on has changed. Whoever changes it says so
-- in the same transaction. to_day is the first day after.
CREATE TABLE attribution_due (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id     int NOT NULL REFERENCES site,
    -- both null: only the site model has changed, which the days tell themselves
    from_day    date,
    to_day      date CHECK (to_day > from_day),
    recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON attribution_due (site_id);
INSERT INTO attribution_due (site_id) SELECT id FROM site;

-- The days that are computed, and by which model of the site. A month stands beside its days, as their sum.
CREATE TABLE attributed_span (
    site_id     int NOT NULL REFERENCES site,
    is_month    bool NOT NULL,
    day         date NOT NULL,
    model       bytea NOT NULL,
    computed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (site_id, is_month, day)
);

-- How quantities come to their places, a few dozen ways at a site, so that rows of `attributed` are small and are summed
-- by numbers alone: in which phase of the line, by which rule, past which utilities (their keys), by which rules into each.
CREATE TABLE attribution_way (
    id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id     int NOT NULL REFERENCES site,
    phase       text NOT NULL,
    rule        text NOT NULL,
    via         text[] NOT NULL,
    hops        text[] NOT NULL,
    UNIQUE (site_id, phase, rule, via, hops)
);

-- What one rule gave of one meter to one place. Quantities are billionths of the meter's canonical unit, emissions
-- billionths of kg CO2e; `otherwise` is what another admissible rule would have given. Months know no runs.
CREATE TABLE attributed (
    site_id     int NOT NULL,
    is_month    bool NOT NULL,
    day         date NOT NULL,
    meter_id    int NOT NULL,
    line_id     int,
    run_id      bigint,
    product_id  int,
    way_id      int NOT NULL,
    measured    int8 NOT NULL,
    estimated   int8 NOT NULL,
    otherwise   int8 NOT NULL,
    location_measured   int8 NOT NULL,
    location_estimated  int8 NOT NULL,
    market_measured     int8 NOT NULL,
    market_estimated    int8 NOT NULL,
    -- quantities that had a factor, and those that had one of their hour
    location_known      int8 NOT NULL,
    market_known        int8 NOT NULL,
    location_hourly     int8 NOT NULL,
    market_hourly       int8 NOT NULL,
    market_by_location  int8 NOT NULL,
    factors             int[] NOT NULL
);
CREATE INDEX ON attributed (site_id, is_month, day);

-- What each meter counted. `used` is what of it counts as used by the site: of a part nothing, as its whole counts.
CREATE TABLE metered (
    site_id     int NOT NULL,
    is_month    bool NOT NULL,
    day         date NOT NULL,
    meter_id    int NOT NULL,
    measured    int8 NOT NULL,
    estimated   int8 NOT NULL,
    covered_ms  int8 NOT NULL,
    used_measured   int8 NOT NULL,
    used_estimated  int8 NOT NULL,
    -- quarters of which anything is known, and days that are measured for more than half
    quarters        int NOT NULL,
    usable_days     int NOT NULL,
    PRIMARY KEY (site_id, is_month, day, meter_id)
);

-- What lines did, by run.
CREATE TABLE line_time (
    site_id     int NOT NULL,
    is_month    bool NOT NULL,
    day         date NOT NULL,
    line_id     int NOT NULL,
    run_id      bigint,
    phase       text NOT NULL,
    product_id  int,
    milliseconds int8 NOT NULL
);
CREATE INDEX ON line_time (site_id, is_month, day);

CREATE TABLE attribution_finding (
    site_id     int NOT NULL,
    is_month    bool NOT NULL,
    day         date NOT NULL,
    meter_id    int NOT NULL,
    kind        text NOT NULL,
    quarters    int NOT NULL,
    amount      int8 NOT NULL,
    PRIMARY KEY (site_id, is_month, day, meter_id, kind)
);

-- A run changes its own days, and those of a changeover before it, which belongs to the run that follows: back to the
-- running one before, or to the line's first run. One without an end goes on. One that cuts short a run without an end
-- changes the days up to the next run, too, to which that one went on, or goes on when the cut is taken back.
CREATE FUNCTION attribution_due_of_runs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO attribution_due (site_id, from_day, to_day)
    SELECT site.id,
           min((least(running.start_at, changed.start_at) AT TIME ZONE site.time_zone)::date),
           max(greatest(coalesce((changed.end_at AT TIME ZONE site.time_zone)::date, 'infinity'),
                        CASE WHEN before.is_open THEN
                            coalesce((following.start_at AT TIME ZONE site.time_zone)::date, 'infinity') END) + 1)
    FROM changed JOIN line ON line.id = changed.line_id JOIN site ON site.id = line.site_id
    LEFT JOIN LATERAL (
        SELECT coalesce(
            (SELECT start_at FROM run
             WHERE run.line_id = changed.line_id AND run.state = 'running' AND run.start_at < changed.start_at
             ORDER BY run.start_at DESC LIMIT 1),
            (SELECT min(start_at) FROM run WHERE run.line_id = changed.line_id)
        ) AS start_at
    ) AS running ON true
    LEFT JOIN LATERAL (
        SELECT end_at IS NULL AS is_open FROM run
        WHERE run.line_id = changed.line_id AND run.start_at < changed.start_at
        ORDER BY run.start_at DESC, run.end_at DESC NULLS FIRST LIMIT 1
    ) AS before ON true
    LEFT JOIN LATERAL (
        SELECT min(start_at) AS start_at FROM run
        WHERE run.line_id = changed.line_id AND run.start_at > changed.start_at
    ) AS following ON true
    GROUP BY site.id;
    RETURN NULL;
END $$;
CREATE TRIGGER run_came AFTER INSERT ON run REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION attribution_due_of_runs();
CREATE TRIGGER run_was AFTER UPDATE ON run REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION attribution_due_of_runs();
CREATE TRIGGER run_is AFTER UPDATE ON run REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION attribution_due_of_runs();
CREATE TRIGGER run_went AFTER DELETE ON run REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION attribution_due_of_runs();
