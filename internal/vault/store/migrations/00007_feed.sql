-- +goose Up

-- Whose policies a change of kind policy is about; empty is anybody's, and so is every
-- other change.
ALTER TABLE changes ADD COLUMN cluster text COLLATE "C" NOT NULL DEFAULT '';

-- How far the removal of old changes went: every row with a lower xid is gone. One row,
-- or none when nothing was removed yet.
CREATE TABLE changes_removed (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    below     xid8    NOT NULL
);

-- +goose Down
DROP TABLE changes_removed;
ALTER TABLE changes DROP COLUMN cluster;
