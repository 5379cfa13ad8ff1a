-- What lines made when, and the economic side.

CREATE TABLE run (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    line_id     int NOT NULL REFERENCES line,
    key         text NOT NULL,
    state       text NOT NULL CHECK (state IN ('running', 'changeover', 'idle', 'down')),
    product_id  int REFERENCES product,
    order_number text,
    start_at    timestamptz NOT NULL,
    end_at      timestamptz CHECK (end_at > start_at),
    -- when the agent said so: a later word about the same run replaces an earlier one
    said_at     timestamptz NOT NULL,
    UNIQUE (line_id, key)
);
CREATE INDEX ON run (line_id, start_at);

CREATE TABLE driver_value (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id int NOT NULL REFERENCES organisation,
    site_id         int NOT NULL REFERENCES site,
    driver          text NOT NULL CHECK (driver IN ('revenue', 'value_added', 'production_volume')),
    -- whole local days of the site; to_date is the first day after
    from_date       date NOT NULL,
    to_date         date NOT NULL CHECK (to_date > from_date),
    value           numeric NOT NULL,
    unit            text NOT NULL,
    price_year      int,
    source          text NOT NULL,
    recorded_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (site_id, driver, from_date, to_date)
);
