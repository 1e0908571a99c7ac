package vault

import (
	"context"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/coffer-vault/coffer/internal/failpoint"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/notification"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

var notificationsPart = secret.System("notifications")

// routeFlow names the failpoints of a transaction that finds sinks for events.
const routeFlow = "notification-route"

// routeBatch bounds how many events one transaction finds sinks for.
const routeBatch = 100

// NotificationQueue is what waits to be delivered.
type NotificationQueue struct {
	// New says that there are events that are not routed yet.
	New bool
	// Sinks are those that something can be delivered to now.
	Sinks []string
	// Age is that of the oldest event; 0 when none waits.
	Age time.Duration
}

// NotificationClaim is an event that this process delivers to a sink, until its lease ends.
type NotificationClaim struct {
	Event notification.Event
	Sink  string
	// Attempts counts the claims of it, this one included.
	Attempts int
	// Age is since when it waits.
	Age time.Duration

	row *store.Notification
}

// tell writes events, which are then durable with what else the transaction writes.
func (e *Engine) tell(tx *store.Tx, events ...notification.Event) error {
	if !e.notify {
		return nil
	}
	for i := range events {
		events[i].Vault = uuid.UUID(e.vaultID).String()
		row, err := e.sealNotification(&events[i], "")
		if err != nil {
			return err
		}
		tx.InsertNotification(row)
	}
	return nil
}

// NotificationQueue looks at what waits.
//
// Errors: secret.ErrUnavailable.
func (e *Engine) NotificationQueue(ctx context.Context) (NotificationQueue, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	found, err := e.store.NotificationQueue(ctx)
	if err != nil {
		return NotificationQueue{}, err
	}
	q := NotificationQueue{New: found.New, Sinks: found.Sinks}
	if found.Oldest != nil {
		q.Age = max(e.now().Sub(*found.Oldest), 0)
	}
	return q, nil
}

// RouteNotifications has each event that is not routed yet delivered to the sinks that route names, of which there may be none. Every event is
// routed once, by one replica. It returns how many were.
//
// Errors: secret.ErrUnavailable.
func (e *Engine) RouteNotifications(ctx context.Context, route func(*notification.Event) (sinks []string)) (routed int, err error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	var refused []error
	err = e.inTx(ctx, func(tx *store.Tx) error {
		rows, err := tx.TakeNewNotifications(ctx, routeBatch)
		if err != nil {
			return err
		}
		routed, refused = len(rows), nil
		for i := range rows {
			event, err := e.openNotification(&rows[i])
			if err != nil {
				refused = append(refused, err)
				continue
			}
			if err := e.addressNotification(tx, &event, route(&event)); err != nil {
				return err
			}
		}
		if failpoint.Enabled && routed > 0 { // there all is written before the commit
			if err := tx.Flush(ctx); err != nil {
				return err
			}
			failpoint.Hit(routeFlow, failpoint.BeforeCommit)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	if routed > 0 {
		failpoint.Hit(routeFlow, failpoint.AfterCommit)
	}
	for _, finding := range refused {
		e.logger.ErrorContext(ctx, "a notification is dropped", "error", finding)
	}
	return routed, nil
}

func (e *Engine) addressNotification(tx *store.Tx, event *notification.Event, sinks []string) error {
	for _, sink := range sinks {
		row, err := e.sealNotification(event, sink)
		if err != nil {
			return err
		}
		tx.InsertNotification(row)
	}
	return nil
}

// ClaimNotification takes an event that is to be delivered to sink and that no replica delivers; nil when there is none. It is
// this process's until lease is over, or until it is settled.
//
// Errors: secret.ErrTampered (it was not written by an engine, and is dropped), secret.ErrUnavailable.
func (e *Engine) ClaimNotification(ctx context.Context, sink string, lease time.Duration) (*NotificationClaim, error) {
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	row, err := e.store.ClaimNotification(ctx, sink, lease)
	if err != nil || row == nil {
		return nil, err
	}
	event, err := e.openNotification(row)
	if err != nil {
		return nil, errors.Join(err, e.store.RemoveNotification(ctx, row))
	}
	return &NotificationClaim{Event: event, Sink: row.Sink, Attempts: int(row.Epoch), Age: max(e.now().Sub(row.At), 0), row: row}, nil
}

// SettleNotification takes note that an event was delivered, or that it is given up.
//
// Errors: secret.ErrUnavailable.
func (e *Engine) SettleNotification(ctx context.Context, c *NotificationClaim) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), operationTimeout)
	defer cancel()
	return e.store.RemoveNotification(ctx, c.row)
}

// RetryNotification gives an event back, to be delivered after wait. With whole, nothing is delivered to its sink before.
//
// Errors: secret.ErrUnavailable.
func (e *Engine) RetryNotification(ctx context.Context, c *NotificationClaim, wait time.Duration, whole bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), operationTimeout)
	defer cancel()
	if whole {
		if err := e.store.PostponeNotifications(ctx, c.Sink, wait); err != nil {
			return err
		}
	}
	return e.store.ReleaseNotification(ctx, c.row, wait)
}

// AdmitNotificationTest authorises a test of the sinks, which needs write on sys/notifications, and returns the event to send.
//
// Errors: secret.ErrDenied, secret.ErrTampered, secret.ErrUnavailable.
func (e *Engine) AdmitNotificationTest(ctx context.Context, caller secret.Caller) (_ notification.Event, err error) {
	ctx, done := e.begin(ctx, audit.NotificationTest)
	defer func() { done(err) }()
	if err := e.admit(ctx, caller, audit.NotificationTest, notificationsPart, policy.Write); err != nil {
		return notification.Event{}, err
	}
	event := notification.TestBy(caller.String(), e.now())
	event.Vault = uuid.UUID(e.vaultID).String()
	return event, nil
}

// openNotification reads an event that verifies. What a later version of Coffer says of it besides is left out. Its errors wrap
// secret.ErrTampered.
func (e *Engine) openNotification(row *store.Notification) (event notification.Event, err error) {
	if !hmac.Equal(row.MAC, e.notificationMAC(row)) {
		return event, fmt.Errorf("%w: a notification for the sink %q is not as it was written", secret.ErrTampered, row.Sink)
	}
	if err := json.Unmarshal(row.Body, &event); err != nil {
		return event, fmt.Errorf("%w: a notification for the sink %q is no event: %w", secret.ErrTampered, row.Sink, err)
	}
	return event, nil
}

func (e *Engine) sealNotification(event *notification.Event, sink string) (*store.Notification, error) {
	body, err := json.Marshal(event)
	if err != nil {
		return nil, fmt.Errorf("%w: the event %s: %w", secret.ErrInvalid, event.ID, err)
	}
	row := &store.Notification{Event: event.ID, Sink: sink, At: event.Time, Body: body}
	row.MAC = e.notificationMAC(row)
	return row, nil
}

func (e *Engine) notificationMAC(n *store.Notification) []byte {
	mac := e.keyring.MAC(purposeNotification, e.vaultID[:], []byte(n.Event), []byte(n.Sink), timeBytes(n.At), n.Body)
	return mac[:]
}
