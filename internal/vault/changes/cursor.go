package changes

import "time"

// Row is a Change with the transaction that wrote it.
type Row struct {
	Change
	XID uint64
	// Foreign rows are not the engine's: their path is none. They are passed over,
	// and count as delivered.
	Foreign bool
}

// Snapshot is one read of the feed.
type Snapshot struct {
	// Xmin is the oldest transaction still in progress.
	Xmin uint64
	// Now is when the database read, by its own clock.
	Now time.Time
	// Rows are the visible rows that were asked for, in the order of Position.
	Rows []Row
	// Truncated says that there are more rows than Rows.
	Truncated bool
}

// Cursor is how far a follower has come. See the package comment for its
// invariants.
type Cursor struct {
	horizon   uint64
	delivered map[int64]uint64 // position -> xid, for xid >= horizon
}

// NewCursor returns a cursor that stands at snapshot: its Rows count as
// delivered.
func NewCursor(snapshot Snapshot) *Cursor {
	c := &Cursor{delivered: map[int64]uint64{}}
	c.Advance(snapshot)
	return c
}

// Horizon is the lowest transaction id whose rows still have to be read.
func (c *Cursor) Horizon() uint64 { return c.horizon }

// Delivered returns the positions at or above the horizon not to be read again.
func (c *Cursor) Delivered() []int64 {
	positions := make([]int64, 0, len(c.delivered))
	for position := range c.delivered {
		positions = append(positions, position)
	}
	return positions
}

// Behind reports that the database's transaction ids went back: another database,
// or an old one restored, stands behind the address. The cursor means nothing
// there.
func (c *Cursor) Behind(snapshot Snapshot) bool { return snapshot.Xmin < c.horizon }

// Advance records that the rows of snapshot were delivered.
func (c *Cursor) Advance(snapshot Snapshot) {
	for _, row := range snapshot.Rows {
		c.delivered[row.Position] = row.XID
	}
	if snapshot.Truncated {
		return
	}
	c.horizon = max(c.horizon, snapshot.Xmin)
	for position, xid := range c.delivered {
		if xid < c.horizon {
			delete(c.delivered, position)
		}
	}
}
