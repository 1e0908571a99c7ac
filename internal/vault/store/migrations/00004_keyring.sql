-- +goose Up

-- The key-encryption keys of the vault's keyset, without the keys: a version refers
-- to the one that wrapped its data key. Every change of the keyset writes all rows
-- anew, with the keyset's revision; mac is keyed and covers every other column.
CREATE TABLE key_encryption_keys (
    id         bigint      PRIMARY KEY CHECK (id BETWEEN 0 AND 4294967295),
    state      text        NOT NULL,
    created_at timestamptz NOT NULL,
    revision   bigint      NOT NULL,
    mac        bytea       NOT NULL
);

-- Who serves this vault, and the revision of the keyset each has loaded. It only
-- says how long a new key waits before it is used.
CREATE TABLE replicas (
    id              uuid        PRIMARY KEY,
    name            text        NOT NULL,
    keyset_revision bigint      NOT NULL,
    seen_at         timestamptz NOT NULL
);

-- kek_id is the key's id in Tink's prefix of the wrapped key; null for a version
-- that holds none, such as a deletion. With the foreign key no version is written
-- under a key that is destroyed, and no key is destroyed while a version needs it.
ALTER TABLE secret_versions ADD COLUMN kek_id bigint GENERATED ALWAYS AS (
    CASE WHEN length(wrapped_key) >= 5 AND get_byte(wrapped_key, 0) = 1 THEN
        (get_byte(wrapped_key, 1)::bigint << 24) + (get_byte(wrapped_key, 2)::bigint << 16)
            + (get_byte(wrapped_key, 3)::bigint << 8) + get_byte(wrapped_key, 4)::bigint
    END) STORED;
CREATE INDEX secret_versions_by_kek ON secret_versions (kek_id);

-- A vault from before this migration has one key. The engine signs its row when it
-- opens the keyset next.
INSERT INTO key_encryption_keys (id, state, created_at, revision, mac)
    SELECT DISTINCT kek_id, 'primary', now(), 0, ''::bytea FROM secret_versions WHERE kek_id IS NOT NULL;
ALTER TABLE secret_versions ADD CONSTRAINT secret_versions_kek_id_fkey
    FOREIGN KEY (kek_id) REFERENCES key_encryption_keys (id);

-- +goose Down
ALTER TABLE secret_versions DROP COLUMN kek_id;
DROP TABLE replicas;
DROP TABLE key_encryption_keys;
