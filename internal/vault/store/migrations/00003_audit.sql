-- +goose Up

-- The log becomes a table of months. Rows written so far are its first partition,
-- which ends where the next month begins; they have no writer: they are from before
-- the chain.
ALTER TABLE audit RENAME TO audit_first;
DROP INDEX audit_by_path, audit_by_caller, audit_by_time;
ALTER TABLE audit_first DROP CONSTRAINT audit_pkey;
ALTER TABLE audit_first
    ALTER COLUMN id DROP IDENTITY,
    -- What an anchor or a checkpoint says of other writers: lines "writer seq mac".
    ADD COLUMN heads    text   COLLATE "C" NOT NULL DEFAULT '',
    -- One writer's rows are numbered 1, 2, 3 … without a gap. previous is the mac of
    -- its row before; mac is keyed and covers every other column.
    ADD COLUMN writer   uuid   NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    ADD COLUMN seq      bigint NOT NULL DEFAULT 0,
    ADD COLUMN previous bytea  NOT NULL DEFAULT '',
    ADD COLUMN mac      bytea  NOT NULL DEFAULT '';

-- No column of a table owns the sequence: partitions come and go.
CREATE SEQUENCE audit_id;
SELECT setval('audit_id', (SELECT coalesce(max(id), 0) + 1 FROM audit_first), false);

-- The defaults of id and at are for replicas of the release before, while they are
-- replaced.
CREATE TABLE audit (LIKE audit_first INCLUDING DEFAULTS) PARTITION BY RANGE (at);
ALTER TABLE audit ALTER COLUMN id SET DEFAULT nextval('audit_id');
ALTER TABLE audit ADD PRIMARY KEY (id, at);
CREATE INDEX audit_by_path ON audit (path, id);
CREATE INDEX audit_by_caller ON audit (caller, id);
CREATE INDEX audit_by_time ON audit (at);
-- Nearly all entries are allowed reads and lists. What is asked for is often the rest.
CREATE INDEX audit_refused ON audit (decision, id) WHERE decision <> 'allowed';
CREATE INDEX audit_by_rare_action ON audit (action, id) WHERE action NOT IN ('read', 'metadata', 'list');

-- +goose StatementBegin
DO $$
DECLARE
    boundary timestamptz := date_trunc('month', clock_timestamp(), 'UTC') + interval '1 month';
BEGIN
    EXECUTE format('ALTER TABLE audit ATTACH PARTITION audit_first FOR VALUES FROM (MINVALUE) TO (%L)', boundary);
END
$$;
-- +goose StatementEnd
-- Takes rows for which no month was made. An insert must never fail for that.
CREATE TABLE audit_default PARTITION OF audit DEFAULT;

-- The last row of each writer, written in the transaction of that row. seal is keyed
-- and covers writer, seq and mac. anchored is the highest seq of the writer that an
-- anchor in the log holds.
CREATE TABLE audit_writers (
    writer   uuid   PRIMARY KEY,
    seq      bigint NOT NULL,
    mac      bytea  NOT NULL,
    seal     bytea  NOT NULL,
    anchored bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50); -- every flush updates a row: leave room for it on its page

-- +goose Down
DROP TABLE audit_writers;
ALTER TABLE audit RENAME TO audit_months;
CREATE TABLE audit AS SELECT id, at, cluster, caller_kind, caller, namespace, caller_uid, environment, action, path,
    version, decision, rule, address, request_id FROM audit_months;
DROP TABLE audit_months;
DROP SEQUENCE audit_id;
ALTER TABLE audit ALTER COLUMN id SET NOT NULL, ADD PRIMARY KEY (id);
ALTER TABLE audit ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY;
SELECT setval(pg_get_serial_sequence('audit', 'id'), (SELECT coalesce(max(id), 0) + 1 FROM audit), false);
ALTER TABLE audit ALTER COLUMN at SET DEFAULT clock_timestamp();
CREATE INDEX audit_by_path ON audit (path, id);
CREATE INDEX audit_by_caller ON audit (caller, id);
CREATE INDEX audit_by_time ON audit (at);
