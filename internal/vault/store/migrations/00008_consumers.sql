-- +goose Up

-- What the operator of each cluster acknowledged last. mac is keyed and covers revision,
-- and mac and path of all rows of the cluster in consumers, so that a row that was removed
-- is noticed as a changed one is. revision counts the changes.
CREATE TABLE consumer_sets (
    cluster  text   COLLATE "C" PRIMARY KEY,
    revision bigint NOT NULL,
    mac      bytea  NOT NULL
);

-- Who has which version of a path in a cluster, and how many of the workloads that use it
-- run with it. mac is keyed and covers every other column.
CREATE TABLE consumers (
    cluster   text        COLLATE "C" NOT NULL,
    kind      text        NOT NULL,
    namespace text        NOT NULL,
    name      text        NOT NULL,
    path      text        COLLATE "C" NOT NULL,
    uid       text        NOT NULL,
    version   bigint      NOT NULL,
    workloads integer     NOT NULL,
    rolled    integer     NOT NULL,
    state     text        NOT NULL,
    since     timestamptz NOT NULL,
    seen_at   timestamptz NOT NULL,
    mac       bytea       NOT NULL,
    PRIMARY KEY (cluster, namespace, name, kind, path)
);

-- Who read which version of a path over the API, and when last: written with the audit
-- rows of reads, but for repeated ones only every few minutes, and under the writer of
-- those, so that no writer waits for another. mac is keyed and covers every other column.
CREATE TABLE readers (
    path        text        COLLATE "C" NOT NULL,
    cluster     text        COLLATE "C" NOT NULL,
    caller_kind text        NOT NULL,
    caller      text        NOT NULL,
    namespace   text        NOT NULL,
    version     bigint      NOT NULL,
    writer      uuid        NOT NULL,
    read_at     timestamptz NOT NULL,
    mac         bytea       NOT NULL,
    PRIMARY KEY (path, cluster, caller_kind, caller, version, writer)
);
CREATE INDEX readers_by_time ON readers (read_at);

-- +goose Down
DROP TABLE readers;
DROP TABLE consumers;
DROP TABLE consumer_sets;
