package app

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/address"
	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator/webhook"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// envPrefix and a flag's name in upper snake case name the environment variable
// that sets the flag when the command line does not.
const envPrefix = "COFFER_"

// defaultCacheSize holds the values of some ten thousand paths, and is small beside
// what the operator's own caches take.
const defaultCacheSize = "64Mi"

// Config is all that an administrator can set.
type Config struct {
	// DatabaseFiles and RedisFiles hold the connection URLs and what is needed to log
	// in, and may change while this process runs; DatabaseURL and RedisURL, from the
	// environment, win over the URLs in them.
	DatabaseFiles, RedisFiles address.Files
	DatabaseURL, RedisURL     string
	// OwnerFiles and OwnerURL are of the role that owns the tables; without a URL the ordinary role does. Its
	// authorities are those of DatabaseFiles.
	OwnerFiles address.Files
	OwnerURL   string
	// AuditRetentionMonths is how many whole months of the audit log are kept beside the present one; all when 0.
	AuditRetentionMonths int
	// ReaderWindow is how long who read a version over the API counts as one that has it.
	ReaderWindow time.Duration
	// Root is where the root key comes from; PreviousRoot, if any, opens the keyset
	// until it is wrapped under Root.
	Root, PreviousRoot RootKey

	// WebhookLimits is where webhooks of rotations may be, beside public addresses by https.
	WebhookLimits webhook.Limits

	// CacheSize bounds the sealed values kept in memory, in bytes.
	CacheSize resource.QuantityValue

	ClusterName string
	// WatchNamespaces are those to work in, sorted; all of the cluster when empty.
	WatchNamespaces    stringList
	DefaultEnvironment string
	LeaderElect        bool
	LeaderElectionID   string

	APIBindAddress         string
	MetricsBindAddress     string
	HealthProbeBindAddress string

	// Namespace is where this process runs and keeps its lease and certificate.
	Namespace  string
	APIService string
	APITLSSANs stringList
	APITLSDir  string

	TokenAudience string
	// OIDCConfig is a file that names OpenID Connect issuers, and may change while this
	// process runs; there are none when it is empty.
	OIDCConfig string
	LogLevel   slog.Level
	// AuditLog is where the audit rows that this process writes are printed: auditStdout, or
	// nowhere when empty.
	AuditLog string
}

// auditStdout is the only value of --audit-log. Logs go to standard error, so that it has nothing else.
const auditStdout = "stdout"

// stringList is a flag that may be given several times or hold a comma-separated
// list.
type stringList []string

func (l *stringList) String() string { return strings.Join(*l, ",") }

func (l *stringList) Set(s string) error {
	for item := range strings.SplitSeq(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			*l = append(*l, item)
		}
	}
	return nil
}

// networkList is a stringList of networks.
type networkList []netip.Prefix

func (l *networkList) String() string {
	var texts []string
	for _, n := range *l {
		texts = append(texts, n.String())
	}
	return strings.Join(texts, ",")
}

func (l *networkList) Set(s string) error {
	var items stringList
	_ = items.Set(s)
	for _, item := range items {
		network, err := netip.ParsePrefix(item)
		if err != nil {
			return fmt.Errorf("%q is no network: write one such as 10.96.0.0/12", item)
		}
		*l = append(*l, network.Masked())
	}
	return nil
}

// ParseConfig reads the command line and the environment. Usage and flag errors
// are written to output; flag.ErrHelp is returned after -h.
func ParseConfig(args []string, getenv func(string) string, output io.Writer) (Config, error) {
	c := Config{
		DatabaseURL: getenv(envPrefix + "DATABASE_URL"),
		RedisURL:    getenv(envPrefix + "REDIS_URL"),
		OwnerURL:    getenv(envPrefix + "DATABASE_OWNER_URL"),
		Namespace:   getenv("POD_NAMESPACE"),
	}
	fs := flag.NewFlagSet("manager", flag.ContinueOnError)
	fs.SetOutput(output)
	c.bind(fs)
	config.RegisterFlags(fs)
	if err := fs.Parse(args); err != nil {
		return Config{}, err
	}
	if fs.NArg() > 0 {
		return Config{}, fmt.Errorf("unexpected argument %q; see --help", fs.Arg(0))
	}
	if err := setFromEnvironment(fs, getenv); err != nil {
		return Config{}, err
	}
	c.OwnerFiles.CA = c.DatabaseFiles.CA
	slices.Sort(c.WatchNamespaces)
	c.WatchNamespaces = slices.Compact(c.WatchNamespaces)
	return c, c.validate()
}

func (c *Config) bind(fs *flag.FlagSet) {
	bindFiles(fs, &c.DatabaseFiles, "database", "Postgres", "")
	bindOwnerFiles(fs, &c.OwnerFiles)
	fs.IntVar(&c.AuditRetentionMonths, "audit-retention-months", 0, "whole months of the audit log to keep beside the present one; older ones are dropped. 0 keeps all")
	fs.DurationVar(&c.ReaderWindow, "reader-window", vault.DefaultReaderWindow, "how long who read a version over the API counts as a consumer that has it")
	bindFiles(fs, &c.RedisFiles, "redis", "Redis", "; without either, the vault works without Redis")
	c.Root.bind(fs, "root-", "")
	c.PreviousRoot.bind(fs, "root-previous-", "after a change of the root key, the former one: ")
	c.CacheSize.Quantity = resource.MustParse(defaultCacheSize)
	fs.Var(&c.CacheSize, "cache-size", "bytes of sealed values kept in memory, such as 64Mi; 0 keeps none")
	c.bindWebhooks(fs)
	fs.StringVar(&c.ClusterName, "cluster-name", "default", "name of this cluster among those that share the database")
	fs.Var(&c.WatchNamespaces, "watch-namespaces", "namespace to work in, with rights that are limited to it; may be repeated or hold a list. All of the cluster when empty")
	fs.StringVar(&c.DefaultEnvironment, "default-environment", "", "environment of namespaces without the label vault.coffer.dev/environment; none when empty")
	fs.BoolVar(&c.LeaderElect, "leader-elect", true, "let one replica at a time reconcile; all serve the API")
	fs.StringVar(&c.LeaderElectionID, "leader-election-id", "coffer.vault.coffer.dev", "name of the lease")
	fs.StringVar(&c.APIBindAddress, "api-bind-address", ":8443", "address of the HTTPS API")
	fs.StringVar(&c.MetricsBindAddress, "metrics-bind-address", ":8080", "address of the metrics; 0 turns them off")
	fs.StringVar(&c.HealthProbeBindAddress, "health-probe-bind-address", ":8081", "address of the probes")
	fs.StringVar(&c.Namespace, "namespace", c.Namespace, "namespace of this installation; POD_NAMESPACE when empty")
	fs.StringVar(&c.APIService, "api-service", "coffer", "name of the API's Service, for its certificate")
	fs.Var(&c.APITLSSANs, "api-tls-san", "further DNS name or IP address for the API's certificate; may be repeated")
	fs.StringVar(&c.APITLSDir, "api-tls-dir", "", "folder with a supplied tls.crt and tls.key; self-managed when empty")
	fs.StringVar(&c.TokenAudience, "token-audience", "coffer", "audience that bearer tokens must be issued for")
	fs.StringVar(&c.OIDCConfig, "oidc-config", "", "file that names OpenID Connect issuers whose tokens are believed besides those of Kubernetes; read again when it changes")
	fs.StringVar(&c.AuditLog, "audit-log", "", "stdout: print each audit row that this replica writes as a JSON line on standard output, once it is durable; nowhere when empty")
	fs.TextVar(&c.LogLevel, "log-level", slog.LevelInfo, "debug, info, warn or error")
}

// bindWebhooks binds the flags about where webhooks of rotations may be.
func (c *Config) bindWebhooks(fs *flag.FlagSet) {
	fs.Var((*stringList)(&c.WebhookLimits.Hosts), "webhook-allowed-hosts",
		"host, such as a Service, at which a webhook of a rotation may be although its address is private; may be repeated or hold a list. Public addresses are always allowed")
	fs.Var((*networkList)(&c.WebhookLimits.Networks), "webhook-allowed-networks",
		"network, such as 10.96.0.0/12, in which every address may be that of a webhook of a rotation, also a special one; may be repeated or hold a list")
	fs.BoolVar(&c.WebhookLimits.AllowHTTP, "webhook-allow-http", false, "let rotations call webhooks by http, which sends credentials in the clear")
}

// bindFiles binds the flags of the files of one server. They are read again for
// each new connection.
func bindFiles(fs *flag.FlagSet, files *address.Files, name, server, without string) {
	fs.StringVar(&files.URL, name+"-url-file", "/etc/coffer/"+name+"/url",
		"file with the "+server+" URL; "+envPrefix+strings.ToUpper(name)+"_URL wins over it"+without)
	fs.StringVar(&files.Password, name+"-password-file", "", "file with the password for "+server+", in place of one in the URL")
	fs.StringVar(&files.CA, name+"-ca-file", "", "file with the certificates of the authorities of "+server+", in PEM")
	fs.StringVar(&files.Cert, name+"-cert-file", "", "file with the certificate to show to "+server+", in PEM")
	fs.StringVar(&files.Key, name+"-key-file", "", "file with that certificate's key, in PEM")
}

// bindOwnerFiles binds the flags of the role that owns the tables. It logs in to the server of the
// ordinary role, so the authorities are the same.
func bindOwnerFiles(fs *flag.FlagSet, files *address.Files) {
	fs.StringVar(&files.URL, "database-owner-url-file", "/etc/coffer/database/owner-url",
		"file with the Postgres URL of the role that owns the tables; "+envPrefix+"DATABASE_OWNER_URL wins over it. Without either, the ordinary role owns them, and may remove audit rows")
	fs.StringVar(&files.Password, "database-owner-password-file", "", "file with the password of that role, in place of one in the URL")
	fs.StringVar(&files.Cert, "database-owner-cert-file", "", "file with the certificate to show to Postgres as that role, in PEM")
	fs.StringVar(&files.Key, "database-owner-key-file", "", "file with that certificate's key, in PEM")
}

func setFromEnvironment(fs *flag.FlagSet, getenv func(string) string) error {
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var errs []error
	fs.VisitAll(func(f *flag.Flag) {
		name := envPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value := getenv(name)
		if given[f.Name] || value == "" {
			return
		}
		if err := f.Value.Set(value); err != nil {
			errs = append(errs, fmt.Errorf("environment variable %s: %w", name, err))
		}
	})
	return errors.Join(errs...)
}

func (c *Config) validate() error {
	if err := errors.Join(c.Root.validate(true), c.PreviousRoot.validate(false)); err != nil {
		return err
	}
	switch {
	case c.Namespace == "":
		return errors.New("the namespace of this installation is not known: set --namespace or POD_NAMESPACE")
	case c.CacheSize.Sign() < 0:
		return errors.New("--cache-size is negative: give a size such as 64Mi, or 0 for no cache")
	case c.AuditRetentionMonths < 0:
		return errors.New("--audit-retention-months is negative: give a number of months, or 0 to keep all")
	case c.ReaderWindow < secret.MaxCacheAge:
		return fmt.Errorf("--reader-window is %s: give at least %s, since clients may keep a value in memory for that long", c.ReaderWindow, secret.MaxCacheAge)
	case c.AuditLog != "" && c.AuditLog != auditStdout:
		return fmt.Errorf("--audit-log is %q: write stdout, or leave it out", c.AuditLog)
	case c.ClusterName == "":
		return errors.New("--cluster-name is empty: name this cluster, such as default")
	}
	for _, name := range c.WatchNamespaces {
		if len(validation.IsDNS1123Label(name)) > 0 {
			return fmt.Errorf("--watch-namespaces has %q, which no namespace can be called: write names such as payments,checkout", name)
		}
	}
	return nil
}
