//go:build failpoints

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Enabled reports whether this build has failpoints.
const Enabled = true

// armed is what Variable asks for: the failpoint and which time it counts.
var armed = sync.OnceValues(func() (string, int64) {
	name, times, given := strings.Cut(os.Getenv(Variable), ":")
	if !given {
		return name, 1
	}
	n, err := strconv.ParseInt(times, 10, 64)
	if err != nil || n < 1 {
		panic("failpoint: " + Variable + " is not like put/before-commit:3")
	}
	return name, n
})

var hits atomic.Int64

// Hit kills the process with SIGKILL, as a node that loses power does, when the
// failpoint "operation/step" is armed and this is the time it was armed for.
func Hit(operation, step string) {
	name, times := armed()
	if name != operation+"/"+step || hits.Add(1) != times {
		return
	}
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}
