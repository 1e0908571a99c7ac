package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/coffer-vault/coffer/internal/cli/access"
	"github.com/coffer-vault/coffer/internal/version"
	"github.com/coffer-vault/coffer/sdk"
)

// defaultTimeout bounds a command, its retries included.
const defaultTimeout = time.Minute

// connection is the flags that say where the server is, and who asks. There is none for
// the token itself: command lines are seen by others.
type connection struct {
	address, caCert, tokenFile string
	timeout                    time.Duration

	kubeconfig, context, namespace, account string
}

func (c *connection) bind(flags *pflag.FlagSet) {
	flags.StringVar(&c.address, "address", "", "URL of the server ($"+sdk.EnvAddress+")")
	flags.StringVar(&c.caCert, "ca-cert", "", "file of certificates to trust ($"+sdk.EnvCACert+")")
	flags.StringVar(&c.tokenFile, "token-file", "", "file with the token ($"+sdk.EnvTokenFile+", or the token in $"+sdk.EnvToken+")")
	flags.DurationVar(&c.timeout, "timeout", defaultTimeout, "how long to wait for the server in all")
	flags.StringVar(&c.kubeconfig, "kubeconfig", "", "kubeconfig to get a token with ($KUBECONFIG, or that of kubectl)")
	flags.StringVar(&c.context, "context", "", "context of the kubeconfig; that of the login, or the current one, when not given")
	flags.StringVarP(&c.namespace, "namespace", "n", "", "namespace of the installation; that of the login, or "+access.DefaultNamespace+", when not given")
	flags.StringVar(&c.account, "as-service-account", "", "service account to be, as NAMESPACE/NAME, with a token that your kubeconfig gives; that of the login when not given")
}

// completeContexts offers the contexts of the kubeconfig.
func (c *connection) completeContexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = c.kubeconfig
	config, err := rules.Load()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for name := range config.Contexts {
		names = append(names, name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// asksKubeconfig reports whether a flag says to get the token with the kubeconfig.
func (c *connection) asksKubeconfig() bool {
	return c.kubeconfig != "" || c.context != "" || c.namespace != "" || c.account != ""
}

// givenToken is where a token is given without a kubeconfig; empty when none is.
func (c *connection) givenToken() string {
	if c.tokenFile != "" {
		return "--token-file"
	}
	for _, name := range []string{sdk.EnvToken, sdk.EnvTokenFile} {
		if os.Getenv(name) != "" {
			return "$" + name
		}
	}
	if _, err := os.Stat(sdk.DefaultTokenFile); err == nil {
		return sdk.DefaultTokenFile
	}
	return ""
}

// client returns a client of the server, with the token that is given or one that the
// kubeconfig gives. ctx ends the preparation, not the client.
func (s *session) client(ctx context.Context) (*sdk.Client, error) {
	c := &s.connection
	if c.tokenFile != "" && c.asksKubeconfig() {
		return nil, usagef("--token-file gives a token, and --as-service-account, --context, --kubeconfig and --namespace are for getting one: leave one of them out")
	}
	if !c.asksKubeconfig() && c.givenToken() != "" {
		return sdk.New(sdk.Config{Address: c.address, CACert: c.caCert, TokenFile: c.tokenFile, UserAgent: userAgent()})
	}
	login, err := s.login()
	if err != nil {
		return nil, err
	}
	client, _, err := s.connect(ctx, login)
	return client, err
}

func userAgent() string { return "coffer/" + version.String() }

// login is who to be and where: what is remembered, under what the flags say.
func (s *session) login() (login, error) {
	c := &s.connection
	remembered, err := readLogins()
	if err != nil {
		return login{}, err
	}
	l := remembered.pick(c.context)
	if c.kubeconfig != "" && c.context == "" {
		l.Context = "" // the current one of that file
	}
	if c.kubeconfig != "" || c.namespace != "" {
		l.Address = "" // of another installation, it may be
	}
	override(&l.Kubeconfig, c.kubeconfig)
	override(&l.Context, c.context)
	override(&l.Namespace, c.namespace)
	override(&l.ServiceAccount, c.account)
	override(&l.Address, c.address)
	if c.address == "" && l.Address == "" && !c.asksKubeconfig() {
		l.Address = os.Getenv(sdk.EnvAddress)
	}
	return l, nil
}

func override(remembered *string, given string) {
	if given != "" {
		*remembered = given
	}
}

// connect gets a token for l, and a client of its installation. What it opens is closed at the end
// of the program's run.
func (s *session) connect(ctx context.Context, l login) (*sdk.Client, access.Target, error) {
	ctx, cancel := context.WithTimeout(ctx, s.connection.timeout)
	defer cancel()
	target, err := l.target()
	if err != nil {
		return nil, target, err
	}
	installation, err := access.Open(target)
	if err != nil {
		return nil, target, err
	}
	if target.ServiceAccount.Name == "" {
		return nil, target, errNobody
	}
	s.closers = append(s.closers, installation.Close)
	caCert := s.connection.caCert
	if caCert == "" && !s.connection.asksKubeconfig() {
		caCert = os.Getenv(sdk.EnvCACert)
	}
	way, err := installation.Connect(ctx, access.Route{Address: l.Address, CACert: caCert})
	if err != nil {
		return nil, target, err
	}
	client, err := sdk.New(sdk.Config{Address: way.Address, Token: way.Token, HTTPClient: way.HTTP, UserAgent: userAgent()})
	return client, installation.Target(), err
}

// errNobody says that a kubeconfig alone does not say who to be.
var errNobody = &access.Error{
	Kind:    access.Credentials,
	Message: "there is no token, and no login that says which service account to be",
	Next: `Name a service account that you may create tokens for: coffer login --as-service-account NAMESPACE/NAME
Or, without a kubeconfig, set COFFER_TOKEN or COFFER_TOKEN_FILE.`,
}

// accessError returns what is wrong with the kubeconfig's way, when that is what err is about.
func accessError(err error) (*access.Error, bool) {
	return errors.AsType[*access.Error](err)
}

// target is l for package access.
func (l login) target() (access.Target, error) {
	t := access.Target{Kubeconfig: l.Kubeconfig, Context: l.Context, Namespace: l.Namespace, Audience: l.Audience, UserAgent: userAgent()}
	if l.ServiceAccount == "" {
		return t, nil
	}
	account, err := namespacedName("as-service-account", l.ServiceAccount)
	if err != nil {
		return t, fmt.Errorf("who to be: %w", err)
	}
	t.ServiceAccount.Namespace, t.ServiceAccount.Name = account.Namespace, account.Name
	return t, nil
}
