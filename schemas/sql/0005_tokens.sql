-- Programs sign in with tokens. Only a digest is kept: a token is shown once, when it is made.

CREATE TABLE token (
    id              int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id int NOT NULL REFERENCES organisation,
    name            text NOT NULL,
    digest          bytea NOT NULL UNIQUE,
    scopes          text[] NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,
    last_used_at    timestamptz
);
