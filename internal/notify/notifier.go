package notify

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/coffer-vault/coffer/internal/configfile"
	"github.com/coffer-vault/coffer/internal/failpoint"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/notification"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Usual times of a Notifier.
const (
	usualLook = 2 * time.Second
	// usualOverdue is how often is looked for what is overdue: people count it in days.
	usualOverdue = 10 * time.Minute
	// usualLease is longer than any request may take; after it another replica delivers what one that is gone did not.
	usualLease = 2 * maxTimeout
	// giveUpAfter is for a sink that is down over a night; what is older is of little use.
	giveUpAfter = 24 * time.Hour
	// orphanAfter is longer than a changed file takes to come into all pods: until then a sink may be known to other replicas only.
	orphanAfter = 10 * time.Minute
	orphanRetry = time.Minute
)

// deliverFlow names the failpoints of a delivery.
const deliverFlow = "notification-deliver"

// Vault is what the notifier needs of the engine. *vault.Engine implements it.
type Vault interface {
	NotificationQueue(ctx context.Context) (vault.NotificationQueue, error)
	RouteNotifications(ctx context.Context, route func(*notification.Event) (sinks []string)) (routed int, err error)
	ClaimNotification(ctx context.Context, sink string, lease time.Duration) (*vault.NotificationClaim, error)
	SettleNotification(ctx context.Context, c *vault.NotificationClaim) error
	RetryNotification(ctx context.Context, c *vault.NotificationClaim, wait time.Duration, whole bool) error
	TellOverdue(ctx context.Context, every time.Duration) (more bool, err error)
}

// Options are what a Notifier works with. Vault and Config are needed.
type Options struct {
	Vault  Vault
	Config *configfile.File[*Config]
	// Logger defaults to slog.Default.
	Logger *slog.Logger
	// Registerer takes the metrics; none when nil.
	Registerer prometheus.Registerer
	// Look is how often is looked for what is to be delivered, Overdue for what is overdue, and Lease how long a delivery is this
	// replica's; two seconds, ten minutes and one minute when 0.
	Look, Overdue, Lease time.Duration
	// Pace is the time between attempts.
	Pace Pace
}

// Notifier delivers what the engine tells of.
type Notifier struct {
	Options
	metrics *metrics

	mu   sync.Mutex
	busy map[string]bool // sinks that are delivered to
	wait sync.WaitGroup
}

// New returns a notifier.
func New(o Options) *Notifier {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Look == 0 {
		o.Look = usualLook
	}
	if o.Overdue == 0 {
		o.Overdue = usualOverdue
	}
	if o.Lease == 0 {
		o.Lease = usualLease
	}
	if o.Pace == (Pace{}) {
		o.Pace = UsualPace()
	}
	return &Notifier{Options: o, metrics: newMetrics(o.Registerer), busy: map[string]bool{}}
}

// NeedLeaderElection is false: every replica delivers.
func (*Notifier) NeedLeaderElection() bool { return false }

// Start delivers until ctx ends, and then waits for the requests that are under way, which it cuts off. It is what a manager
// of controller-runtime runs.
func (n *Notifier) Start(ctx context.Context) error {
	defer n.wait.Wait()
	look := time.NewTicker(n.Look)
	defer look.Stop()
	var overdue time.Time
	for {
		if !time.Now().Before(overdue) {
			overdue = time.Now().Add(n.tellOverdue(ctx))
		}
		n.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
	}
}

// tellOverdue returns when to do so again.
func (n *Notifier) tellOverdue(ctx context.Context) time.Duration {
	more, err := n.Vault.TellOverdue(ctx, n.Config.Get(ctx).overdue)
	switch {
	case err != nil:
		n.warn(ctx, err, "secrets that are overdue were not looked for; trying again")
	case more:
		return n.Look
	}
	return n.Overdue
}

// look routes what is new, and begins to deliver what can be.
func (n *Notifier) look(ctx context.Context) {
	config := n.Config.Get(ctx)
	queue, err := n.Vault.NotificationQueue(ctx)
	if err != nil {
		n.warn(ctx, err, "notifications were not looked for; trying again")
		return
	}
	n.metrics.oldest.Set(queue.Age.Seconds())
	if queue.New && n.route(ctx, config) {
		if queue, err = n.Vault.NotificationQueue(ctx); err != nil {
			n.warn(ctx, err, "notifications were not looked for; trying again")
			return
		}
	}
	for _, name := range queue.Sinks {
		n.begin(ctx, config.sink(name), name)
	}
}

// route reports whether something was routed.
func (n *Notifier) route(ctx context.Context, config *Config) bool {
	some := false
	for ctx.Err() == nil {
		routed, err := n.Vault.RouteNotifications(ctx, config.route)
		if err != nil {
			n.warn(ctx, err, "events were not routed; trying again")
		}
		if routed == 0 {
			break
		}
		some = true
	}
	return some
}

// begin delivers to a sink, unless this replica does already. One at a time: a chat shows them in their order.
func (n *Notifier) begin(ctx context.Context, s *sink, name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.busy[name] {
		return
	}
	n.busy[name] = true
	n.wait.Go(func() {
		defer func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			delete(n.busy, name)
		}()
		for ctx.Err() == nil && n.next(ctx, s, name) {
		}
	})
}

// next delivers one event to a sink, which is nil when the file does not name it. It reports whether to go on: a sink that did not take one is
// left alone until the next look.
func (n *Notifier) next(ctx context.Context, s *sink, name string) bool {
	claim, err := n.Vault.ClaimNotification(ctx, name, n.Lease)
	switch {
	case errors.Is(err, secret.ErrTampered):
		n.metrics.count(name, resultTampered)
		n.Logger.ErrorContext(ctx, "a notification is dropped: the database holds one that Coffer has not written", "sink", name, "error", err)
		return true
	case err != nil:
		n.warn(ctx, err, "no notification could be taken; trying again")
		return false
	case claim == nil:
		return false
	case s == nil:
		return n.orphan(ctx, claim)
	}
	failpoint.Hit(deliverFlow, failpoint.BeforeAction)
	err = s.deliver(ctx, &claim.Event, time.Now())
	if err == nil {
		failpoint.Hit(deliverFlow, failpoint.AfterAction)
	}
	return n.settle(ctx, claim, err)
}

// settle takes note of how a delivery went.
func (n *Notifier) settle(ctx context.Context, c *vault.NotificationClaim, err error) bool {
	why := &refusal{}
	attributes := []any{"sink", c.Sink, "event", c.Event.ID, "type", string(c.Event.Type), "attempts", c.Attempts, "error", err}
	switch {
	case err == nil:
		return n.remove(ctx, c, resultDelivered)
	case errors.As(err, &why) && why.permanent:
		n.Logger.ErrorContext(ctx, "a notification is given up: its sink refuses it", attributes...)
		return n.remove(ctx, c, resultRefused)
	case c.Age >= giveUpAfter:
		n.Logger.ErrorContext(ctx, "a notification is given up: its sink has not taken it for a day", attributes...)
		return n.remove(ctx, c, resultExpired)
	}
	if ctx.Err() == nil { // not because this replica ends
		n.metrics.count(c.Sink, resultFailed)
		n.Logger.WarnContext(ctx, "a notification was not delivered; trying again", attributes...)
	}
	wait := max(n.Pace.wait(c.Attempts), why.after)
	if err := n.Vault.RetryNotification(ctx, c, wait, why.after > 0); err != nil {
		n.warn(ctx, err, "a notification was not given back; it is tried again when its lease has ended")
	}
	return false
}

// orphan waits until every replica knows that there is no such sink any more.
func (n *Notifier) orphan(ctx context.Context, c *vault.NotificationClaim) bool {
	if c.Age >= orphanAfter {
		n.Logger.WarnContext(ctx, "a notification is dropped: its sink is not named any more", "sink", c.Sink, "event", c.Event.ID, "type", string(c.Event.Type))
		return n.remove(ctx, c, resultDropped)
	}
	if err := n.Vault.RetryNotification(ctx, c, orphanRetry, false); err != nil {
		n.warn(ctx, err, "a notification was not given back; it is tried again when its lease has ended")
	}
	return true
}

func (n *Notifier) remove(ctx context.Context, c *vault.NotificationClaim, result string) bool {
	n.metrics.count(c.Sink, result)
	if err := n.Vault.SettleNotification(ctx, c); err != nil {
		n.warn(ctx, err, "a notification that is delivered, or given up, was not removed; it comes again when its lease has ended")
		return false
	}
	return true
}

// warn logs what goes wrong with the vault, unless this replica ends.
func (n *Notifier) warn(ctx context.Context, err error, what string) {
	if ctx.Err() == nil {
		n.Logger.WarnContext(ctx, what, "error", err) //nolint:sloglint // each caller gives a constant
	}
}
