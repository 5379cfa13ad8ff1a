-- Who may speak for an agent: invitations, certificates, and what agents are told to run.
-- Keys and not ids, as an agent may enrol before the site model knows it.

CREATE TABLE invitation (
    id              int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id int NOT NULL REFERENCES organisation,
    site            text NOT NULL,
    agent           text NOT NULL,
    code_id         text NOT NULL UNIQUE,
    -- gone once it is used, withdrawn or expired: a code is worth one enrolment
    proof_key       bytea,
    created_at      timestamptz NOT NULL DEFAULT now(),
    author          text NOT NULL,
    expires_at      timestamptz NOT NULL,
    used_at         timestamptz,
    withdrawn_at    timestamptz,
    -- attempts with a code that was used, withdrawn or expired, or with a wrong proof: somebody may have stolen it
    refused         int NOT NULL DEFAULT 0,
    refused_at      timestamptz,
    CHECK (proof_key IS NULL OR (used_at IS NULL AND withdrawn_at IS NULL))
);
CREATE INDEX ON invitation (organisation_id, site, agent);

CREATE TABLE agent_certificate (
    id              int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id int NOT NULL REFERENCES organisation,
    site            text NOT NULL,
    agent           text NOT NULL,
    -- hexadecimal, as in its common name
    serial          text NOT NULL UNIQUE,
    issued_at       timestamptz NOT NULL DEFAULT now(),
    not_after       timestamptz NOT NULL,
    invitation_id   int REFERENCES invitation,
    -- the one that it was renewed from, which ends when this one has been used
    renews          int REFERENCES agent_certificate,
    revoked_at      timestamptz,
    revoked_by      text,
    because         text,
    CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);
CREATE INDEX ON agent_certificate (organisation_id, site, agent);

CREATE TABLE agent_configuration (
    organisation_id int NOT NULL REFERENCES organisation,
    site            text NOT NULL,
    agent           text NOT NULL,
    version         bigint NOT NULL CHECK (version > 0),
    body            text NOT NULL,
    signature       text NOT NULL,
    sent_at         timestamptz NOT NULL,
    author          text NOT NULL,
    because         text,
    PRIMARY KEY (organisation_id, site, agent, version)
);
