// Command clusterdns is CoreDNS with the few plugins the local environment's cluster needs. The whole of CoreDNS takes
// three times as long to build.
package main

import (
	"github.com/coredns/coredns/coremain"

	// Each registers its directive for the Corefile.
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() { coremain.Run() }
