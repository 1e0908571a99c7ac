package cli

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/coffer-vault/coffer/internal/version"
	"github.com/coffer-vault/coffer/sdk"
)

// defaultTimeout bounds a command, its retries included.
const defaultTimeout = time.Minute

// connection is the flags that say where the server is. There is none for the token
// itself: command lines are seen by others.
type connection struct {
	address, caCert, tokenFile string
	timeout                    time.Duration
}

func (c *connection) bind(flags *pflag.FlagSet) {
	flags.StringVar(&c.address, "address", "", "URL of the server ($"+sdk.EnvAddress+")")
	flags.StringVar(&c.caCert, "ca-cert", "", "file of certificates to trust ($"+sdk.EnvCACert+")")
	flags.StringVar(&c.tokenFile, "token-file", "", "file with the token ($"+sdk.EnvTokenFile+", or the token in $"+sdk.EnvToken+")")
	flags.DurationVar(&c.timeout, "timeout", defaultTimeout, "how long to wait for the server in all")
}

func (s *session) client() (*sdk.Client, error) {
	return sdk.New(sdk.Config{
		Address: s.connection.address, CACert: s.connection.caCert, TokenFile: s.connection.tokenFile,
		UserAgent: "coffer/" + version.String(),
	})
}
