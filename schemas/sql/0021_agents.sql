-- Who may speak for an agent: invitations, certificates, and what agents are told to run.
-- Keys and not ids, as an agent may enrol before the site model knows it.

CREATE TABLE invitation (
    id              int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    organisation_id int NOT NULL REFERENCES organisation,
    site            text NOT NULL,
    agent           text NOT NULL,
    code_id         text NOT NULL UNIQUE,
    -- what a proof of knowing the code is checked with. It stays for a month after the end, so that whoever has the
    -- code hears what became of it: `used_at`, `withdrawn_at` and `expires_at` are what refuses it.
    proof_key       bytea,
    created_at      timestamptz NOT NULL DEFAULT now(),
    author          text NOT NULL,
    expires_at      timestamptz NOT NULL,
    used_at         timestamptz,
    withdrawn_at    timestamptz,
    -- attempts of somebody who had the whole code, after it was used, withdrawn or expired: it may be stolen
    refused         int NOT NULL DEFAULT 0,
    refused_at      timestamptz
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
    -- with those above it, and the digest of the request for it: who asks again as the answer got lost gets the same
    chain           text NOT NULL,
    csr_digest      bytea NOT NULL,
    invitation_id   int REFERENCES invitation,
    -- the one that it was renewed from, which ends when this one has been used
    renews          int REFERENCES agent_certificate,
    revoked_at      timestamptz,
    revoked_by      text,
    because         text,
    -- when the broker was told that it is not to be let in any more
    expelled_at     timestamptz,
    CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);
CREATE INDEX ON agent_certificate (organisation_id, site, agent);
CREATE INDEX ON agent_certificate (renews) WHERE renews IS NOT NULL;
CREATE INDEX ON agent_certificate (not_after) WHERE expelled_at IS NULL;

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
