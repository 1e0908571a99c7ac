-- +goose Up

-- What is to be told, written with the change that it tells of and removed when it is delivered: once an event with an empty sink,
-- which a replica that knows the sinks replaces by a row for each of them. mac is keyed and covers the columns before it. Those
-- behind it say who delivers it, and when it is tried next, by the clock of the database: epoch counts who took it.
CREATE TABLE notifications (
    event        text        COLLATE "C" NOT NULL,
    sink         text        COLLATE "C" NOT NULL,
    at           timestamptz NOT NULL,
    body         json        NOT NULL,
    mac          bytea       NOT NULL,
    epoch        bigint      NOT NULL DEFAULT 0,
    leased_until timestamptz NOT NULL DEFAULT clock_timestamp(),
    look_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (event, sink)
);
CREATE INDEX notifications_to_deliver ON notifications (sink, look_at);

-- Of which paths was told that they are overdue: since when they are, when that was last, and how often.
CREATE TABLE overdue_notices (
    path    text        COLLATE "C" PRIMARY KEY,
    due_at  timestamptz NOT NULL,
    told_at timestamptz NOT NULL,
    times   integer     NOT NULL
);

-- +goose Down
DROP TABLE overdue_notices;
DROP TABLE notifications;
