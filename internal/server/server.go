package server

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/changes"
	"github.com/coffer-vault/coffer/internal/vault/notification"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/rotation"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/version"
)

// Limits of one request.
const (
	// maxBodyBytes holds a value of secret.MaxValueBytes in base64 (4/3 of it) and
	// what stands beside it.
	maxBodyBytes    = 3 << 19
	bodyReadTimeout = 15 * time.Second
	// requestTimeout bounds the work on a request; the engine's operations have
	// their own, shorter limit.
	requestTimeout = 30 * time.Second
)

// Defaults of the limit per caller: far above what people and well-behaved programs
// need, and low enough that one caller in a loop leaves the others their share.
const (
	defaultRate  rate.Limit = 50
	defaultBurst int        = 100
)

// Vault is what the API serves; *vault.Engine is one.
type Vault interface {
	Read(context.Context, secret.Caller, secret.Ref) (secret.Secret, error)
	Put(context.Context, secret.Caller, secret.PutRequest) (secret.Metadata, error)
	Rotate(context.Context, secret.Caller, secret.PutRequest) (secret.Metadata, error)
	Patch(context.Context, secret.Caller, secret.PatchRequest) (secret.Metadata, error)
	Delete(context.Context, secret.Caller, secret.Path) error
	Update(context.Context, secret.Caller, secret.UpdateRequest) (secret.Metadata, error)
	Metadata(context.Context, secret.Caller, secret.Path) (secret.Metadata, error)
	Versions(context.Context, secret.Caller, secret.Path) ([]secret.Version, error)
	DeletedVersions(context.Context, secret.Caller, secret.Path) ([]secret.Version, error)
	Consumers(context.Context, secret.Caller, secret.Path) ([]secret.Consumer, error)
	ForgetConsumers(ctx context.Context, caller secret.Caller, cluster string, dryRun bool) (vault.ForgottenConsumers, error)
	Rollback(ctx context.Context, caller secret.Caller, to secret.Ref, expected *int64) (secret.Metadata, error)
	Promote(ctx context.Context, caller secret.Caller, path secret.Path, expected *int64) (secret.Metadata, error)
	Undelete(context.Context, secret.Caller, secret.Path) (secret.Metadata, error)
	Destroy(context.Context, secret.Caller, secret.Path) error
	DeleteVersions(ctx context.Context, caller secret.Caller, path secret.Path, versions ...int64) error
	UndeleteVersions(ctx context.Context, caller secret.Caller, path secret.Path, versions ...int64) error
	DestroyVersions(ctx context.Context, caller secret.Caller, path secret.Path, versions ...int64) error
	List(ctx context.Context, caller secret.Caller, prefix secret.Prefix, after secret.Path, limit int) ([]secret.Metadata, error)
	Overdue(context.Context, secret.Caller, secret.Prefix) ([]secret.Overdue, error)
	Rotations(context.Context, secret.Caller, secret.Prefix) ([]secret.Rotation, error)
	DefinedRotations(context.Context, secret.Caller, secret.Prefix) ([]vault.RotationStatus, error)
	ShowRotation(context.Context, secret.Caller, secret.Path) (vault.RotationStatus, []vault.RotationHistory, error)
	RunRotation(ctx context.Context, caller secret.Caller, path secret.Path, asked rotation.Request) (rotation.Run, error)
	ApproveRotation(context.Context, secret.Caller, secret.Path) (rotation.Run, error)
	CancelRotation(context.Context, secret.Caller, secret.Path) (rotation.Run, error)
	LeakReport(context.Context, secret.Caller, vault.LeakQuery) (vault.LeakReport, error)
	Leak(ctx context.Context, caller secret.Caller, path secret.Path, version int64, reason string) (*rotation.Run, error)
	Audit(context.Context, secret.Caller, audit.Query) (found []audit.Entry, next int64, err error)
	ExportAudit(context.Context, secret.Caller, audit.ExportQuery) (audit.ExportPage, error)
	Verification(context.Context, secret.Caller) (verify func(ctx context.Context, progress func(rows, remaining int64) error) (audit.Report, error), err error)
	Explain(ctx context.Context, caller, subject secret.Caller, path secret.Path, capability policy.Capability, complete func(context.Context, secret.Caller) secret.Caller) (policy.Explanation, error)
	Policies(context.Context, secret.Caller) (vault.PoliciesInForce, error)
	ShowPolicy(ctx context.Context, caller secret.Caller, name string) (vault.PoliciesInForce, error)
	KeyringStatus(context.Context, secret.Caller) (vault.KeyringStatus, error)
	AddKey(context.Context, secret.Caller) (vault.KeyID, error)
	PromoteKey(context.Context, secret.Caller, vault.KeyID) error
	RetireKey(context.Context, secret.Caller, vault.KeyID) error
	DestroyKey(context.Context, secret.Caller, vault.KeyID) error
	Rewrap(context.Context, secret.Caller) (vault.RewrapProgress, error)
	Backup(ctx context.Context, caller secret.Caller, recipients []string) (write func(context.Context, io.Writer) error, err error)
	Watch(ctx context.Context, caller secret.Caller, scope vault.Scope, from changes.Position, handle vault.WatchHandler) error
	Ready(context.Context) error
}

// Authenticator says who a bearer token belongs to; *authn.Authenticator is one.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (secret.Caller, error)
	// Known reports whether a token was accepted lately.
	Known(token string) bool
	// Environment is the environment that callers of the namespace have.
	Environment(ctx context.Context, namespace string) (string, error)
	ServiceAccountUID(ctx context.Context, namespace, name string) (string, error)
}

// Notifications sends tests to who is told of what happens; notify.Tester is one.
type Notifications interface {
	// Test sends one to the sink of that name, or to all when it is empty.
	Test(ctx context.Context, caller secret.Caller, sink string) ([]notification.Answer, error)
}

// Config is what a server works with. Vault and Authenticator are needed.
type Config struct {
	Vault         Vault
	Authenticator Authenticator
	// Notifications may be nil, when nobody is told of anything.
	Notifications Notifications
	// Logger defaults to slog.Default.
	Logger *slog.Logger
	// Registerer takes the metrics; none when nil.
	Registerer prometheus.Registerer
	// Rate and Burst limit each caller, in requests a second; defaults when 0.
	Rate  rate.Limit
	Burst int
	// Watches bounds what lasts.
	Watches WatchLimits
	// Ending is closed when the server is to stop: then watches end. It may be nil.
	Ending <-chan struct{}
}

// api is the state that the handlers share.
type api struct {
	vault         Vault
	authenticator Authenticator
	notifications Notifications
	limiters      *limiters[*rate.Limiter]  // of requests, by caller
	checks        *limiters[*addressChecks] // of tokens, by address
	turns         *turns
	bodies        bodies
	watches       *watches
	ending        <-chan struct{}
	metrics       *metrics
	holder        holder
	logger        *slog.Logger
	readiness     readiness
}

// New returns the handler of the whole API. TLS, and the timeouts of connections,
// are up to the http.Server that it is given to.
func New(c Config) http.Handler {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Rate == 0 {
		c.Rate = defaultRate
	}
	if c.Burst == 0 {
		c.Burst = defaultBurst
	}
	a := &api{
		vault: c.Vault, authenticator: c.Authenticator, notifications: c.Notifications,
		limiters: newLimiters(func() *rate.Limiter { return rate.NewLimiter(c.Rate, c.Burst) }),
		checks:   newLimiters(newAddressChecks), turns: newTurns(), bodies: newBodies(), holder: newHolder(), logger: c.Logger,
		watches: newWatches(c.Watches), ending: c.Ending, metrics: newMetrics(c.Registerer),
	}
	mux := http.NewServeMux()
	a.serveOpen(mux, a.register(mux))
	mux.HandleFunc("/", noRoute)
	return observe(mux, c.Logger, a.metrics)
}

// OpenAPI returns the description of the API, OpenAPI 3.1 in indented JSON.
func OpenAPI() []byte {
	return (&api{}).register(http.NewServeMux())
}

// register adds the operations to mux and returns their description.
func (a *api) register(mux *http.ServeMux) []byte {
	installProblems()
	config := huma.DefaultConfig("Coffer", version.API)
	config.Info.Description = "Secrets under paths: versions, access policies, rotation, audit. " +
		"A path that does not exist and one that the caller may not use give the same answer."
	config.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "A Kubernetes token for Coffer's audience, as the TokenRequest API issues it, or one of an OpenID Connect issuer that the manager's configuration names"},
	}
	config.Security = []map[string][]string{{"token": {}}}
	config.RejectUnknownQueryParameters = true // a misspelt version must not read the current one
	config.CreateHooks = nil                   // no $schema in bodies
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	h := humago.New(mux, config)
	h.UseMiddleware(a.authenticate(h), a.limit(h), a.queue(h))
	a.registerSecrets(h)
	a.registerProperties(h)
	a.registerVersions(h)
	a.registerLists(h)
	a.registerConsumers(h)
	a.registerRotations(h)
	a.registerLeaks(h)
	a.registerWatch(h)
	a.registerAudit(h)
	a.registerIdentity(h)
	a.registerPolicies(h)
	a.registerBackup(h)
	a.registerKeyring(h)
	a.registerNotifications(h)
	allowPathsInQueries(h)
	describeOpen(h.OpenAPI())
	description, err := json.MarshalIndent(h.OpenAPI(), "", "  ")
	if err != nil {
		panic(err) // the types are fixed: any test finds it
	}
	leaveBase64ToDecoder(h)
	return append(description, '\n')
}

// allowPathsInQueries describes that a path is written into a query as it is, with its slashes.
func allowPathsInQueries(h huma.API) {
	for _, route := range h.OpenAPI().Paths {
		for _, o := range []*huma.Operation{route.Get, route.Put, route.Post, route.Patch, route.Delete} {
			if o == nil {
				continue
			}
			for _, p := range o.Parameters {
				p.AllowReserved = p.In == "query" && (p.Name == "path" || p.Name == "prefix")
			}
		}
	}
}

// leaveBase64ToDecoder stops huma from matching values, up to 1.4 MB, against a regular
// expression: decoding them into bytes, which follows, finds what is no base64. The
// description is written by now and still says that they are.
func leaveBase64ToDecoder(h huma.API) {
	for _, schema := range h.OpenAPI().Components.Schemas.Map() {
		for _, property := range schema.Properties {
			property.ContentEncoding = ""
		}
	}
}

func noRoute(w http.ResponseWriter, r *http.Request) {
	writeProblem(w, newProblem(http.StatusNotFound, "the API has no "+r.Method+" at this URL; see /openapi.json"))
}
