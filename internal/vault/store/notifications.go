package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// Notification is one event for one sink; Sink is empty while it is not known which there are. MAC covers all other fields but Epoch.
type Notification struct {
	Event, Sink string
	At          time.Time
	// Body is JSON, byte for byte as written.
	Body []byte
	MAC  []byte
	// Epoch counts who took it to deliver it; only the last one may remove it.
	Epoch int64
}

const notificationColumns = `event, sink, at, body::text, mac, epoch`

func scanNotification(row pgx.CollectableRow) (Notification, error) {
	var n Notification
	var body string
	err := row.Scan(&n.Event, &n.Sink, &n.At, &body, &n.MAC, &n.Epoch)
	n.Body = []byte(body)
	return n, err
}

// InsertNotification adds n; one that is there already stays.
func (t *Tx) InsertNotification(n *Notification) {
	t.batch.Queue(`INSERT INTO notifications (event, sink, at, body, mac) VALUES ($1, $2, $3, $4::text::json, $5) ON CONFLICT DO NOTHING`,
		n.Event, n.Sink, n.At, string(n.Body), n.MAC)
}

// TakeNewNotifications removes events that no sink was found for yet and returns them, the oldest first and at most limit. What another
// replica is about to take is passed over.
func (t *Tx) TakeNewNotifications(ctx context.Context, limit int) ([]Notification, error) {
	const doing = "take the events to tell of"
	rows, err := t.tx.Query(ctx, `WITH taken AS (DELETE FROM notifications WHERE sink = '' AND event IN (
			SELECT event FROM notifications WHERE sink = '' ORDER BY look_at LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING *)
		SELECT `+notificationColumns+` FROM taken ORDER BY at, event`, limit)
	if err != nil {
		return nil, translate(doing, err)
	}
	found, err := pgx.CollectRows(rows, scanNotification)
	return found, translate(doing, err)
}

// ClaimNotification takes what is to be delivered to sink and what nobody delivers, for lease; nil when there is nothing.
func (s *Store) ClaimNotification(ctx context.Context, sink string, lease time.Duration) (*Notification, error) {
	const doing = "take a notification"
	rows, err := s.pool.Query(ctx, `UPDATE notifications SET epoch = epoch + 1, leased_until = clock_timestamp() + $2::interval
		WHERE sink = $1 AND event = (SELECT event FROM notifications
			WHERE sink = $1 AND look_at <= clock_timestamp() AND leased_until <= clock_timestamp()
			ORDER BY look_at, at LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING `+notificationColumns, sink, lease)
	if err != nil {
		return nil, translate(doing, err)
	}
	found, err := pgx.CollectOneRow(rows, scanNotification)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return &found, translate(doing, err)
}

// RemoveNotification removes what nobody has taken since n was.
func (s *Store) RemoveNotification(ctx context.Context, n *Notification) error {
	_, err := s.pool.Exec(ctx, `DELETE FROM notifications WHERE event = $1 AND sink = $2 AND epoch = $3`, n.Event, n.Sink, n.Epoch)
	return translate("remove a notification", err)
}

// ReleaseNotification gives back what nobody has taken since n was, to be tried again after wait.
func (s *Store) ReleaseNotification(ctx context.Context, n *Notification, wait time.Duration) error {
	_, err := s.pool.Exec(ctx, `UPDATE notifications SET leased_until = clock_timestamp(), look_at = clock_timestamp() + $4::interval
		WHERE event = $1 AND sink = $2 AND epoch = $3`, n.Event, n.Sink, n.Epoch, wait)
	return translate("give a notification back", err)
}

// PostponeNotifications has nothing delivered to sink until wait is over.
func (s *Store) PostponeNotifications(ctx context.Context, sink string, wait time.Duration) error {
	_, err := s.pool.Exec(ctx, `UPDATE notifications SET look_at = greatest(look_at, clock_timestamp() + $2::interval) WHERE sink = $1`, sink, wait)
	return translate("postpone notifications", err)
}

// NotificationQueue is what waits to be delivered.
type NotificationQueue struct {
	// New says that there are events that no sink was found for yet.
	New bool
	// Sinks are those that something can be delivered to now.
	Sinks []string
	// Oldest is when the oldest event happened; nil when none waits.
	Oldest *time.Time
}

// NotificationQueue looks at what waits.
func (s *Store) NotificationQueue(ctx context.Context) (q NotificationQueue, err error) {
	err = s.pool.QueryRow(ctx, `SELECT coalesce(bool_or(sink = ''), false),
			coalesce(array_agg(DISTINCT sink) FILTER (WHERE sink <> '' AND look_at <= clock_timestamp() AND leased_until <= clock_timestamp()), '{}'), min(at)
		FROM notifications`).Scan(&q.New, &q.Sinks, &q.Oldest)
	return q, translate("look at the notifications", err)
}
