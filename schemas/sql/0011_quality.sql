-- What the data quality needs to know of agents and meters.

ALTER TABLE agent_report
    -- when a status last came straight from the agent or as its last will, by our clock
    ADD COLUMN heard_at timestamptz,
    -- how far the agent's clock was ahead of ours then; negative: behind
    ADD COLUMN clock_ahead_ms bigint;

ALTER TABLE meter
    -- whether a night base load above its norm is told as a leak
    ADD COLUMN watch_nights bool NOT NULL DEFAULT true;
