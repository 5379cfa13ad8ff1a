-- The calendar of a site beside its time zone.

ALTER TABLE site
    -- month and day, as in 07-01; every year has it
    ADD COLUMN fiscal_year_start text NOT NULL DEFAULT '01-01'
        CHECK (fiscal_year_start ~ '^\d\d-\d\d$' AND fiscal_year_start <> '02-29'),
    -- as the site model gives them: id, name, start, end, weekdays; times on the wall
    ADD COLUMN shifts jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(shifts) = 'array'),
    -- days on which no shift begins
    ADD COLUMN holidays date[] NOT NULL DEFAULT '{}';
