-- The newest word of people about readings, in one place.

-- `factor` means kg CO2e per unit here, and nothing else.
ALTER TABLE meter RENAME COLUMN canonical_factor TO to_canonical;

-- What counts now: of each fact the newest version, unless that takes it back. An older version is void wherever one looks,
-- also where the newest reaches less far. "No newer one" rather than DISTINCT ON: conditions on any column, such as a span of
-- time, then narrow down what is read.
CREATE VIEW current_manual_reading WITH (security_invoker) AS
SELECT v.meter_id, v.at, v.value, v.author, v.reason, v.recorded_at FROM manual_reading AS v
WHERE v.value IS NOT NULL AND NOT EXISTS (
    SELECT FROM manual_reading AS n WHERE n.meter_id = v.meter_id AND n.at = v.at AND n.id > v.id
);

CREATE VIEW current_exchange WITH (security_invoker) AS
SELECT v.meter_id, v.at, v.last_old, v.first_new, v.author, v.reason, v.recorded_at FROM meter_exchange AS v
WHERE v.last_old IS NOT NULL AND NOT EXISTS (
    SELECT FROM meter_exchange AS n WHERE n.meter_id = v.meter_id AND n.at = v.at AND n.id > v.id
);

CREATE VIEW current_decision WITH (security_invoker) AS
SELECT v.meter_id, v.kind, v.at, v.until, v.state, v.decision, v.author, v.reason, v.decided_at FROM event_decision AS v
WHERE v.decision IS NOT NULL AND NOT EXISTS (
    SELECT FROM event_decision AS n
    WHERE n.meter_id = v.meter_id AND n.at = v.at AND n.kind = v.kind AND n.id > v.id
);
