-- Which way energy flows through a meter, and meters that are signed sums of others.

ALTER TABLE meter
    ADD COLUMN direction text NOT NULL DEFAULT 'import' CHECK (direction IN ('import', 'export', 'generation'));

-- Ids are one name space with those of meters. `parent` and the keys of `terms` name meters or virtual meters.
CREATE TABLE virtual_meter (
    id              int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site_id         int NOT NULL REFERENCES site,
    key             text NOT NULL,
    name            text NOT NULL,
    resource        text NOT NULL,
    canonical_unit  text NOT NULL,
    line_id         int REFERENCES line,
    parent          text,
    -- what each term is multiplied with
    terms           jsonb NOT NULL CHECK (jsonb_typeof(terms) = 'object' AND terms <> '{}'),
    UNIQUE (site_id, key)
);
