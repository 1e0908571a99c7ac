-- +goose Up

-- The rotations of one cluster are one set with one keyed MAC, as its policies are. definition is json, not jsonb: the MAC
-- is over the text. since is when the name came to be defined.
CREATE TABLE rotation_sets (
    cluster  text   PRIMARY KEY,
    revision bigint NOT NULL,
    mac      bytea  NOT NULL
);
CREATE TABLE rotations (
    cluster    text        NOT NULL REFERENCES rotation_sets (cluster),
    name       text        NOT NULL,
    definition json        NOT NULL,
    since      timestamptz NOT NULL,
    PRIMARY KEY (cluster, name)
);

-- One run of a rotation. mac is keyed and covers all columns before it. Those behind it say who works on it, and when it is looked
-- at next, by the clock of the database: epoch counts who took it, and only the last one may write.
CREATE TABLE rotation_runs (
    id           uuid        PRIMARY KEY,
    cluster      text        NOT NULL,
    name         text        NOT NULL,
    path         text        COLLATE "C" NOT NULL,
    due_at       timestamptz NOT NULL,
    planned_at   timestamptz NOT NULL,
    ended        boolean     NOT NULL,
    revision     bigint      NOT NULL,
    record       json        NOT NULL,
    mac          bytea       NOT NULL,
    epoch        bigint      NOT NULL DEFAULT 0,
    leased_until timestamptz NOT NULL DEFAULT clock_timestamp(),
    look_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- A path has one run at a time, and a rotation one for each time that it is due, whichever replicas plan it.
CREATE UNIQUE INDEX rotation_runs_active ON rotation_runs (path) WHERE NOT ended;
CREATE UNIQUE INDEX rotation_runs_due ON rotation_runs (cluster, name, due_at);
CREATE INDEX rotation_runs_by_name ON rotation_runs (cluster, name, planned_at);
CREATE INDEX rotation_runs_to_look_at ON rotation_runs (look_at) WHERE NOT ended;

-- What a run went through: append-only, so that while a row is here no older row of the run can be put back unnoticed. mac is keyed
-- and covers every other column.
CREATE TABLE rotation_steps (
    run_id uuid        NOT NULL REFERENCES rotation_runs (id),
    number bigint      NOT NULL,
    state  text        NOT NULL,
    detail text        NOT NULL,
    at     timestamptz NOT NULL,
    mac    bytea       NOT NULL,
    PRIMARY KEY (run_id, number)
);

-- +goose Down
DROP TABLE rotation_steps;
DROP TABLE rotation_runs;
DROP TABLE rotations;
DROP TABLE rotation_sets;
