package vault

import (
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/tink-crypto/tink-go/v2/tink"
	"golang.org/x/sync/semaphore"

	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/cache"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/envelope"
	"github.com/coffer-vault/coffer/internal/vault/group"
	"github.com/coffer-vault/coffer/internal/vault/keyring"
	"github.com/coffer-vault/coffer/internal/vault/store"
)

// operationTimeout bounds one operation: a database that is half open must not
// hold callers forever.
const operationTimeout = 10 * time.Second

// Keyring wraps data keys, computes keyed MACs and takes changes of the vault's
// keyset up. *keyring.Ring implements it.
type Keyring interface {
	envelope.KeyWrapper
	// MAC is stable for the life of the vault; it separates purposes and parts.
	MAC(purpose string, parts ...[]byte) [32]byte
	// Sealer seals what is handed out to be given back; it is stable for the life of the
	// vault.
	Sealer(purpose string) (tink.AEAD, error)
	// Keyset is the keyset in use.
	Keyset() *keyring.Keyset
	// Holds reports whether the key that wrapped a data key is in the keyset in use.
	Holds(wrapped []byte) bool
	// Reload takes the stored keyset into use.
	Reload(ctx context.Context) error
	// UseStored reads the stored keyset and takes it into use.
	UseStored(ctx context.Context, source keyring.Source) (k *keyring.Keyset, wrapped []byte, err error)
	// Use opens a stored keyset and takes it into use.
	Use(ctx context.Context, wrapped []byte) (*keyring.Keyset, error)
	// Seal wraps a keyset as it is stored.
	Seal(ctx context.Context, k *keyring.Keyset) (wrapped []byte, err error)
	// RootMoved reports whether Seal would wrap under another root key now than the one
	// that wrapped a stored keyset.
	RootMoved(ctx context.Context, wrapped []byte) (bool, error)
}

// Config is what an Engine works with. Store, VaultID and Keyring are needed.
type Config struct {
	Store   *store.Store
	VaultID store.ID
	Keyring Keyring
	// Caches hold sealed boxes, the nearest first; there may be none.
	Caches []cache.Layer
	// Announcer may be nil, and is started here; without it followers learn of changes by polling.
	Announcer *changes.Announcer
	// Waker wakes followers early; it may be nil.
	Waker changes.Waker
	// Clock dates versions and decides about expiry and overdue rotations;
	// time.Now when nil.
	Clock func() time.Time
	// Logger defaults to slog.Default.
	Logger *slog.Logger
	// Registerer takes the metrics; none when nil.
	Registerer prometheus.Registerer
	// Replica is the name of this process among those that serve the vault.
	Replica string
	// AuditHeads keeps heads of the audit log elsewhere; it may be nil.
	AuditHeads HeadsExporter
	// Owner is Store with the rights of who owns the schema; Store when nil.
	Owner *store.Store
	// AuditRetention is how many whole months of the audit log are kept beside the present one; all when 0.
	AuditRetention int
	// AuditTail gets the audit rows that this engine writes, as JSON lines; it may be nil.
	AuditTail io.Writer
	// RewrapBatch is how many data keys one transaction of a rewrap wraps anew; 500 when 0.
	RewrapBatch int
	// ReaderWindow is that of Options.
	ReaderWindow time.Duration
}

// Engine is the vault. It is safe for concurrent use, also by several processes
// on one database.
type Engine struct {
	store     *store.Store
	owner     *store.Store // store, or with more rights
	vaultID   store.ID
	keyring   Keyring
	cache     *cache.Cache
	announcer *changes.Announcer
	waker     *changes.SharedWaker // nil without Redis
	// watchGate lets watchReads watches at a time read Postgres.
	watchGate *semaphore.Weighted
	clock     func() time.Time
	logger    *slog.Logger
	metrics   *metrics
	replica   store.Replica
	chain     audit.Chain
	lanes     audit.Lanes
	committer audit.Committer
	lookups   *group.Calls[store.Wanted, store.Head]
	boxes     *group.Calls[store.BoxOf, []byte]
	heads     HeadsExporter
	tail      *audit.Tail // nil when there is none
	// positions seals places in the change feed.
	positions func() (changes.Positions, error)
	// unanchored is set when this process has written since the last anchor.
	unanchored atomic.Bool
	retention  int
	// rewrapBatch is Config.RewrapBatch, never 0.
	rewrapBatch int
	// readerWindow is Config.ReaderWindow, never 0.
	readerWindow time.Duration
	readers      readerLog
	// erasable is why the role of store may do more to the log than add rows; nil while it is not known.
	erasable atomic.Pointer[string]

	mu       sync.RWMutex
	policies map[string]*ruleSet // by cluster: the last verified set
	// rotations are the newest revisions of rotation sets that were verified, by cluster.
	rotations map[string]int64
	// renewals are the ends of rotated credentials that are known.
	renewals map[rotationName]renewal
}

// New returns an engine. Open makes one from addresses.
func New(c Config) *Engine {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Owner == nil {
		c.Owner = c.Store
	}
	if c.RewrapBatch == 0 {
		c.RewrapBatch = rewrapBatch
	}
	if c.ReaderWindow == 0 {
		c.ReaderWindow = DefaultReaderWindow
	}
	m := newMetrics(c.Registerer, c.Store.Statements)
	e := &Engine{
		store: c.Store, owner: c.Owner, retention: c.AuditRetention, vaultID: c.VaultID, keyring: c.Keyring, cache: cache.New(m.cacheRead, c.Caches...), announcer: c.Announcer,
		clock: c.Clock, logger: c.Logger, metrics: m,
		policies: map[string]*ruleSet{}, rotations: map[string]int64{}, replica: store.Replica{ID: uuid.New(), Name: c.Replica},
		watchGate: semaphore.NewWeighted(watchReads),
		heads:     c.AuditHeads, lookups: newLookups(c.Store), boxes: newBoxes(c.Store), rewrapBatch: c.RewrapBatch,
		readerWindow: c.ReaderWindow, readers: newReaderLog(),
		chain: audit.Chain{MAC: c.Keyring.MAC, Vault: c.VaultID},
	}
	e.positions = sync.OnceValues(e.newPositions)
	e.unanchored.Store(true) // what processes wrote that ended
	if c.AuditTail != nil {
		e.tail = &audit.Tail{Out: c.AuditTail, Read: c.Store.AuditOfWriters, Observer: &tailObserver{logger: c.Logger, metrics: m}}
	}
	e.committer.Flush, e.committer.Observe = e.flushAudit, m.auditFlush
	if c.Waker != nil {
		e.waker = changes.NewSharedWaker(c.Waker)
	}
	if e.announcer != nil {
		e.announcer.Start(e.announced)
	}
	return e
}

// now is the engine's time, as Postgres stores it: UTC, whole microseconds.
func (e *Engine) now() time.Time { return e.clock().UTC().Truncate(time.Microsecond) }

// Ready reports whether the engine can serve: whether Postgres answers. Redis is
// not needed.
func (e *Engine) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	return e.store.Ping(ctx)
}

// Fingerprint returns 64 hex digits that change when data changes and that tell
// nothing about it without the vault's keys: what may stand on a Kubernetes object
// in place of a hash. Different domains give unrelated fingerprints, and so do
// different splits of the same bytes.
func (e *Engine) Fingerprint(domain string, data ...[]byte) string {
	mac := e.keyring.MAC("fingerprint/"+domain, data...)
	return hex.EncodeToString(mac[:])
}
