package cli

import (
	"bufio"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/coffer-vault/coffer/internal/cli/access"
)

func (s *session) loginCommand() *cobra.Command {
	var audience string
	cmd := &cobra.Command{
		Use:   "login [NAME]",
		Short: "Choose the installation and the service account that commands use",
		Long: `Choose the service account to be, in the cluster of a context of your kubeconfig, and remember
the choice under a name, that of the context when none is given. The server is asked who it
takes you to be, so that a login which succeeds also works.

No token is stored. Each command asks the cluster for one, which ends within the hour; you need
the right to create tokens for the service account (create on serviceaccounts/token). The
authority of the server's certificate is read from the ConfigMap coffer-ca. Where the Service
is not reachable from here, commands go through a port-forward to a pod that is ready.

The choice is in $XDG_CONFIG_HOME/coffer/config.yaml (~/.config when that is not set). A token
in the environment wins over it.`,
		Example: `  coffer login --as-service-account payments/alice
  coffer login staging --context staging-admin --as-service-account payments/alice
  coffer login --as-service-account payments/alice --address https://coffer.example`,
		Args: atMostOneName,
	}
	cmd.Flags().StringVar(&audience, "audience", access.DefaultAudience, "audience that the server's tokens are for (--token-audience of the manager)")
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.ask(func(cmd *cobra.Command, args []string) error {
		return s.logIn(cmd, strings.Join(args, ""), audience, output.value)
	})
	return cmd
}

func atMostOneName(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usagef("expected at most one name, got %d arguments", len(args))
	}
	return nil
}

func (s *session) logIn(cmd *cobra.Command, name, audience, output string) error {
	remembered, err := readLogins()
	if err != nil {
		return err
	}
	l, err := s.newLogin(audience)
	if err != nil {
		return err
	}
	client, target, err := s.connect(cmd.Context(), l)
	if err != nil {
		return err
	}
	ctx, cancel := s.limit(cmd)
	defer cancel()
	me, err := client.Whoami(ctx)
	if err != nil {
		return err
	}
	l.Context, l.Namespace, l.Name = target.Context, target.Namespace, name
	if name == "" {
		l.Name = target.Context
	}
	remembered.add(l)
	if err := remembered.write(); err != nil {
		return err
	}
	if err := s.printLogin(l, output, s.line("Logged in to %s as %s/%s. No token is stored.", l.Name, me.Namespace, me.Name)); err != nil {
		return err
	}
	if given := s.connection.givenToken(); given != "" {
		_, _ = fmt.Fprintf(s.err, "Note: a token is given by %s, which wins over this login.\n", given)
	}
	return nil
}

// newLogin is what the flags say, and nothing that is remembered but the service account
// of the same context.
func (s *session) newLogin(audience string) (login, error) {
	c := &s.connection
	if c.tokenFile != "" {
		return login{}, usagef("login is for getting tokens with the kubeconfig: leave --token-file out")
	}
	account := c.account
	if account == "" {
		if _, ok := terminalOf(s.in); !ok {
			return login{}, usagef("say which service account to be: --as-service-account NAMESPACE/NAME")
		}
		_, _ = fmt.Fprint(s.err, "Service account to be, as NAMESPACE/NAME: ")
		answer, err := s.readLine(bufio.NewReader(s.in), "the service account")
		if err != nil {
			return login{}, err
		}
		account = strings.TrimSpace(answer)
	}
	if _, err := namespacedName("as-service-account", account); err != nil {
		return login{}, err
	}
	l := login{Context: c.context, Namespace: c.namespace, ServiceAccount: account, Address: c.address}
	if audience != access.DefaultAudience {
		l.Audience = audience
	}
	if c.kubeconfig != "" {
		var err error
		if l.Kubeconfig, err = filepath.Abs(c.kubeconfig); err != nil {
			return login{}, fmt.Errorf("name the kubeconfig: %w", err)
		}
	}
	return l, nil
}

func (s *session) logout() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "logout [NAME]",
		Short: "Forget a login",
		Long: `Forget the current login, or the named one. Nothing is asked of a server: there is no token to
take back, and those that commands were given end by themselves within the hour.`,
		Example: "  coffer logout staging",
		Args:    atMostOneName, ValidArgsFunction: completeLogins,
	}
	cmd.Flags().BoolVar(&all, "all", false, "forget all logins")
	output := addFormat(cmd, formatTable, formatJSON, formatYAML, formatName)
	cmd.RunE = s.do(func(_ *cobra.Command, args []string) error {
		remembered, err := readLogins()
		if err != nil {
			return err
		}
		if all {
			if len(args) > 0 {
				return usagef("--all forgets every login: leave the name out")
			}
			return s.forget(remembered.Logins, logins{}, output.value, s.line("All logins are forgotten."))
		}
		l, err := remembered.asked(args)
		if err != nil {
			return err
		}
		remembered.remove(l.Name)
		return s.forget([]login{l}, remembered, output.value, s.line("Login %s is forgotten.", l.Name))
	})
	return cmd
}

// forget remembers only what is left, and prints what is forgotten.
func (s *session) forget(forgotten []login, left logins, output string, text func() error) error {
	if err := left.write(); err != nil {
		return err
	}
	return printAll(s, output, forgotten, nameOfLogin, text)
}

// asked returns the login that args names, the current one when it names none.
func (l logins) asked(args []string) (login, error) {
	if len(args) == 0 {
		found, ok := l.named(l.Current)
		if !ok {
			return login{}, errNoLogin
		}
		return found, nil
	}
	found, ok := l.named(args[0])
	if !ok {
		return login{}, &access.Error{
			Kind: access.Credentials, Message: fmt.Sprintf("there is no login %q", args[0]), Next: "See which there are: coffer context list",
		}
	}
	return found, nil
}

var errNoLogin = &access.Error{
	Kind: access.Credentials, Message: "no login is current",
	Next: "See which there are: coffer context list; make one with: coffer login --as-service-account NAMESPACE/NAME",
}
