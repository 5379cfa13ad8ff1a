-- What answers of figures rest on, as numbers that go up with every change, in the transaction that makes it: an answer
-- that is remembered still holds while none of them has moved. What marks attribution_due needs no number beside that.

-- Of what is kept of a site's attribution.
CREATE TABLE site_revision (
    site_id     int PRIMARY KEY REFERENCES site,
    number      bigint NOT NULL
);
-- Of what people of an organisation say beside the site model.
CREATE TABLE organisation_revision (
    organisation_id int PRIMARY KEY REFERENCES organisation,
    number          bigint NOT NULL
);

CREATE FUNCTION bump_organisation_revision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO organisation_revision AS r (organisation_id, number)
    SELECT DISTINCT organisation_id, 1 FROM changed ORDER BY 1
    ON CONFLICT (organisation_id) DO UPDATE SET number = r.number + 1;
    RETURN NULL;
END $$;
DO $$
DECLARE
    said text;
BEGIN
    FOREACH said IN ARRAY ARRAY['driver_value', 'price_index', 'factor'] LOOP
        EXECUTE format('CREATE TRIGGER revision_grew AFTER INSERT ON %I REFERENCING NEW TABLE AS changed
                        FOR EACH STATEMENT EXECUTE FUNCTION bump_organisation_revision()', said);
        EXECUTE format('CREATE TRIGGER revision_changed AFTER UPDATE ON %I REFERENCING NEW TABLE AS changed
                        FOR EACH STATEMENT EXECUTE FUNCTION bump_organisation_revision()', said);
        EXECUTE format('CREATE TRIGGER revision_shrank AFTER DELETE ON %I REFERENCING OLD TABLE AS changed
                        FOR EACH STATEMENT EXECUTE FUNCTION bump_organisation_revision()', said);
    END LOOP;
END $$;

-- An exchange is told of before the roll-up has looked at it, and virtual meters have no part in attribution.
CREATE FUNCTION bump_revision_of_place() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO organisation_revision AS r (organisation_id, number)
    SELECT organisation_id, 1 FROM site
    WHERE id = CASE TG_TABLE_NAME
        WHEN 'virtual_meter' THEN (to_jsonb(coalesce(NEW, OLD)) ->> 'site_id')::int
        ELSE (SELECT site_id FROM meter WHERE meter.id = (to_jsonb(coalesce(NEW, OLD)) ->> 'meter_id')::int) END
    ON CONFLICT (organisation_id) DO UPDATE SET number = r.number + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER revision_changed AFTER INSERT OR UPDATE OR DELETE ON meter_exchange
    FOR EACH ROW EXECUTE FUNCTION bump_revision_of_place();
CREATE TRIGGER revision_changed AFTER INSERT OR UPDATE OR DELETE ON virtual_meter
    FOR EACH ROW EXECUTE FUNCTION bump_revision_of_place();
