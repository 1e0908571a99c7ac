-- +goose Up

-- Labels: current_version is one already. 0 is none. amended_revision is that of the
-- last write of this row that has rows in amendments. destroyed_at says that all
-- versions of a deleted path were destroyed.
ALTER TABLE secrets
    ADD COLUMN previous_version bigint      NOT NULL DEFAULT 0,
    ADD COLUMN pending_version  bigint      NOT NULL DEFAULT 0,
    ADD COLUMN max_versions     integer     NOT NULL DEFAULT 0,
    ADD COLUMN amended_revision bigint      NOT NULL DEFAULT 0,
    ADD COLUMN destroyed_at     timestamptz,
    ADD CHECK (previous_version BETWEEN 0 AND last_version AND pending_version BETWEEN 0 AND last_version);

-- The state of a version: deletion marks a number that a deletion of the path took. A
-- destroyed version has neither wrapped key nor box.
ALTER TABLE secret_versions
    ADD COLUMN deletion         boolean     NOT NULL DEFAULT false,
    ADD COLUMN deleted_at       timestamptz,
    ADD COLUMN destroyed_at     timestamptz,
    ADD COLUMN amended_revision bigint      NOT NULL DEFAULT 0;
UPDATE secret_versions SET deletion = true WHERE wrapped_key = '';

-- Changes of a path that write no version: of a label or of the whole path (version
-- 0), or of the state of a version. Append-only: while a row is here, neither a head
-- row nor a version row from before it can be put back unnoticed.
CREATE TABLE amendments (
    secret_id uuid   NOT NULL REFERENCES secrets (id),
    version   bigint NOT NULL,
    revision  bigint NOT NULL,
    PRIMARY KEY (secret_id, version, revision)
);
CREATE INDEX amendments_by_revision ON amendments (secret_id, revision);

-- Writes that had an idempotency key. name is a keyed MAC of caller, path and key,
-- request one of all that was asked; mac is keyed and covers every other column.
CREATE TABLE idempotency_keys (
    name       bytea       PRIMARY KEY,
    request    bytea       NOT NULL,
    secret_id  uuid        NOT NULL REFERENCES secrets (id),
    version    bigint      NOT NULL,
    created_at timestamptz NOT NULL,
    mac        bytea       NOT NULL
);
CREATE INDEX idempotency_keys_by_time ON idempotency_keys (created_at);

-- +goose Down
DROP TABLE idempotency_keys;
DROP TABLE amendments;
ALTER TABLE secret_versions DROP COLUMN deletion, DROP COLUMN deleted_at, DROP COLUMN destroyed_at, DROP COLUMN amended_revision;
ALTER TABLE secrets DROP COLUMN previous_version, DROP COLUMN pending_version, DROP COLUMN max_versions,
    DROP COLUMN amended_revision, DROP COLUMN destroyed_at;
