-- +goose Up

-- One row: which vault this database holds, and its keyset, wrapped by the root key.
CREATE TABLE vault (
    singleton      boolean     PRIMARY KEY DEFAULT true CHECK (singleton),
    id             uuid        NOT NULL,
    wrapped_keyset bytea       NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The head of a path. mac is keyed and covers every other column; revision
-- counts the writes of the row.
CREATE TABLE secrets (
    id                   uuid        PRIMARY KEY,
    path                 text        COLLATE "C" NOT NULL UNIQUE,
    current_version      bigint      NOT NULL,
    first_version        bigint      NOT NULL,
    last_version         bigint      NOT NULL,
    revision             bigint      NOT NULL,
    description          text        NOT NULL,
    tags                 jsonb       NOT NULL,
    rotate_after_days    integer     NOT NULL,
    allowed_services     text[]      NOT NULL,
    allowed_environments text[]      NOT NULL,
    deleted_at           timestamptz,
    mac                  bytea       NOT NULL,
    CHECK (first_version <= current_version AND current_version <= last_version)
);

-- One sealed version. The box is bound to the vault, the secret, its path and
-- the version number; mac covers who wrote it and when.
CREATE TABLE secret_versions (
    secret_id   uuid        NOT NULL REFERENCES secrets (id),
    version     bigint      NOT NULL CHECK (version > 0),
    wrapped_key bytea       NOT NULL,
    box         bytea       NOT NULL,
    created_at  timestamptz NOT NULL,
    created_by  text        NOT NULL,
    mac         bytea       NOT NULL,
    PRIMARY KEY (secret_id, version)
);
-- Sealed bytes do not compress: do not try.
ALTER TABLE secret_versions ALTER COLUMN box SET STORAGE EXTERNAL;

-- The policies of one cluster are one set with one keyed MAC, so that a removed
-- row is noticed as a changed one is. rules is json, not jsonb: the MAC is over
-- the text.
CREATE TABLE policy_sets (
    cluster  text   PRIMARY KEY,
    revision bigint NOT NULL,
    mac      bytea  NOT NULL
);
CREATE TABLE policies (
    cluster text NOT NULL REFERENCES policy_sets (cluster),
    name    text NOT NULL,
    rules   json NOT NULL,
    PRIMARY KEY (cluster, name)
);

-- The change feed: written in the transaction of the change. xid says when a row
-- may still become visible late (see package changes).
CREATE TABLE changes (
    position   bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid        xid8        NOT NULL DEFAULT pg_current_xact_id(),
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind       text        NOT NULL,
    path       text        COLLATE "C" NOT NULL,
    version    bigint      NOT NULL
);
CREATE INDEX changes_by_xid ON changes (xid);
CREATE INDEX changes_by_time ON changes (written_at);

-- One row an access, allowed or not. No column ever holds a value.
CREATE TABLE audit (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    cluster     text        NOT NULL,
    caller_kind text        NOT NULL,
    caller      text        NOT NULL,
    namespace   text        NOT NULL,
    caller_uid  text        NOT NULL,
    environment text        NOT NULL,
    action      text        NOT NULL,
    path        text        COLLATE "C" NOT NULL,
    version     bigint      NOT NULL,
    decision    text        NOT NULL,
    rule        text        NOT NULL,
    address     text        NOT NULL,
    request_id  text        NOT NULL
);
CREATE INDEX audit_by_path ON audit (path, id);
CREATE INDEX audit_by_caller ON audit (caller, id);
CREATE INDEX audit_by_time ON audit (at);

-- +goose Down
DROP TABLE audit;
DROP TABLE changes;
DROP TABLE policies;
DROP TABLE policy_sets;
DROP TABLE secret_versions;
DROP TABLE secrets;
DROP TABLE vault;
