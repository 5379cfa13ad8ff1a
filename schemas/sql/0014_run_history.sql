-- What was said of runs before, and runs that never were.

-- Who said what stands, and why; null where a program said it: an agent, an MES, a file.
ALTER TABLE run ADD COLUMN author text, ADD COLUMN reason text;

-- A row without a state says that the run was removed: it never was. It stands until the run is said again, so nobody
-- replaces it.
CREATE TABLE run_version (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    line_id     int NOT NULL REFERENCES line,
    key         text NOT NULL,
    state       text,
    product_id  int REFERENCES product,
    order_number text,
    start_at    timestamptz CHECK ((start_at IS NULL) = (state IS NULL)),
    end_at      timestamptz,
    said_at     timestamptz NOT NULL,
    author      text,
    reason      text,
    replaced_at timestamptz CHECK ((replaced_at IS NULL) = (state IS NULL))
);
CREATE INDEX ON run_version (line_id, key);

CREATE FUNCTION keep_run_version() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO run_version (line_id, key, state, product_id, order_number, start_at, end_at, said_at, author, reason,
                             replaced_at)
    VALUES (OLD.line_id, OLD.key, OLD.state, OLD.product_id, OLD.order_number, OLD.start_at, OLD.end_at, OLD.said_at,
            OLD.author, OLD.reason, now());
    RETURN NULL;
END $$;
CREATE TRIGGER run_corrected AFTER UPDATE ON run FOR EACH ROW
    WHEN ((OLD.line_id, OLD.key, OLD.state, OLD.product_id, OLD.order_number, OLD.start_at, OLD.end_at, OLD.author,
           OLD.reason)
          IS DISTINCT FROM
          (NEW.line_id, NEW.key, NEW.state, NEW.product_id, NEW.order_number, NEW.start_at, NEW.end_at, NEW.author,
           NEW.reason))
    EXECUTE FUNCTION keep_run_version();
CREATE TRIGGER run_removed AFTER DELETE ON run FOR EACH ROW EXECUTE FUNCTION keep_run_version();

-- What was said before the run was removed does not bring it back, however late it comes.
CREATE FUNCTION pass_by_removed_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM run_version
        WHERE line_id = NEW.line_id AND key = NEW.key AND state IS NULL AND said_at >= NEW.said_at
    ) THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER run_said BEFORE INSERT ON run FOR EACH ROW EXECUTE FUNCTION pass_by_removed_run();

-- Takes a run back, also one that is only heard of later; false where something newer was said of it.
CREATE FUNCTION remove_run(of_line int, run_key text, at timestamptz, who text, why text) RETURNS bool
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM run WHERE line_id = of_line AND key = run_key AND said_at <= at;
    IF EXISTS (SELECT FROM run WHERE line_id = of_line AND key = run_key)
       OR EXISTS (SELECT FROM run_version
                  WHERE line_id = of_line AND key = run_key AND state IS NULL AND said_at >= at) THEN
        RETURN false;
    END IF;
    INSERT INTO run_version (line_id, key, said_at, author, reason) VALUES (of_line, run_key, at, who, why);
    RETURN true;
END $$;
