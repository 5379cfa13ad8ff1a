-- kg CO2e per unit, with source, version and validity.

-- The area whose electricity factors hold at the site: DK1, DK2 …
ALTER TABLE site ADD COLUMN grid_area text;

-- What an organisation counts with. Every change is a version of its own; none is ever changed or removed, as figures
-- remember the one that they used. The newest version of a key counts; one that is withdrawn counts no more.
CREATE TABLE factor (
    id              int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id int NOT NULL REFERENCES organisation,
    key             text NOT NULL,
    version         int NOT NULL CHECK (version > 0),
    is_withdrawn    bool NOT NULL DEFAULT false,
    carrier         text NOT NULL,
    scope           text NOT NULL CHECK (scope IN ('scope_1', 'scope_2')),
    -- none: in the location-based figure and in the market-based one, as a fuel's
    basis           text CHECK (basis IN ('location', 'market', 'residual_mix')),
    -- none: everywhere
    area            text,
    unit            text NOT NULL CHECK (unit IN ('kWh', 'm3', 'kg')),
    -- kg per unit; none: by hour, in factor_hour
    value           numeric CHECK (value >= 0),
    gas             text NOT NULL CHECK (gas IN ('CO2', 'CO2e')),
    -- whole local days of a site; to_date is the first day after. By hour: the days in UTC that the hours lie in.
    from_date       date NOT NULL,
    to_date         date CHECK (to_date > from_date),
    source          text NOT NULL,
    licence         text NOT NULL,
    remark          text,
    author          text NOT NULL,
    reason          text NOT NULL,
    recorded_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (organisation_id, key, version)
);

CREATE TABLE factor_hour (
    factor_id   int NOT NULL REFERENCES factor,
    hour        timestamptz NOT NULL,
    kg_per_unit float8 NOT NULL CHECK (kg_per_unit >= 0 AND kg_per_unit < 'Infinity'),
    PRIMARY KEY (factor_id, hour)
);

CREATE VIEW current_factor AS
SELECT * FROM (
    SELECT DISTINCT ON (organisation_id, key) * FROM factor ORDER BY organisation_id, key, version DESC
) AS newest WHERE NOT is_withdrawn;

-- At a place in another area other factors hold.
CREATE FUNCTION grid_area_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO attribution_due (site_id, from_day, to_day)
    SELECT NEW.id, min(from_date), current_date + 1 FROM current_factor
    WHERE organisation_id = NEW.organisation_id AND area IS NOT NULL
    HAVING min(from_date) <= current_date;
    RETURN NULL;
END $$;
CREATE TRIGGER grid_area_changed AFTER UPDATE OF grid_area ON site
FOR EACH ROW WHEN (OLD.grid_area IS DISTINCT FROM NEW.grid_area) EXECUTE FUNCTION grid_area_changed();
