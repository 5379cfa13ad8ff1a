-- Driver values of lines and product families, and price indices.

ALTER TABLE driver_value
    -- NULL: of the whole organisation
    ALTER COLUMN site_id DROP NOT NULL,
    -- of one of them at most; of none: of the whole site
    ADD COLUMN line_id int REFERENCES line,
    ADD COLUMN family text,
    ADD COLUMN product_id int REFERENCES product,
    ADD CHECK (num_nonnulls(line_id, family, product_id) <= (site_id IS NOT NULL)::int),
    DROP CONSTRAINT driver_value_site_id_driver_from_date_to_date_key,
    ADD CONSTRAINT driver_value_of_a_span UNIQUE NULLS NOT DISTINCT
        (organisation_id, site_id, line_id, family, product_id, driver, from_date, to_date);

-- How high prices were in a year, on any scale: money of different years is compared by the ratio of two of them.
CREATE TABLE price_index (
    organisation_id int NOT NULL REFERENCES organisation,
    key             text NOT NULL,
    year            int NOT NULL CHECK (year BETWEEN 1900 AND 2200),
    value           numeric NOT NULL CHECK (value > 0),
    source          text NOT NULL,
    recorded_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (organisation_id, key, year)
);
