package vault_test

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

const (
	linearClients = 6
	// linearEach is how many operations a client does.
	linearEach = 60
	// linearLost is how many commits lose their answer. Each can have happened or not,
	// at any later time, so the search grows with each.
	linearLost = 5
)

// TestVersionsAreLinearizable: clients of two replicas that do everything at once to
// three paths see what they would see if each operation happened at one moment between
// its call and its answer, also when the answers of some commits get lost.
func TestVersionsAreLinearizable(t *testing.T) {
	now := time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)
	proxy, through := testkit.Proxy(t, testkit.Postgres(t))
	env := vaulttest.StartWith(t, vaulttest.Config{DSN: through, Clock: func() time.Time { return now }, CacheBytes: 1 << 20})
	history := &history{env: env, at: now, begin: time.Now(), replicas: []*vault.Engine{env.Engine, env.Open(t)}}
	seed := rand.Uint64()

	var clients sync.WaitGroup
	for id := range linearClients {
		clients.Go(func() {
			c := &client{history: history, id: id, random: rand.New(rand.NewPCG(seed, uint64(id))), seen: map[string]int64{}}
			for range linearEach {
				c.step(t)
			}
		})
	}
	finished := make(chan struct{})
	go func() { clients.Wait(); close(finished) }()
	for range linearLost {
		lost := proxy.LoseAnswer(func(answer []byte) bool { return bytes.Contains(answer, []byte("COMMIT\x00")) })
		select {
		case <-lost:
		case <-finished:
		}
	}
	<-finished
	proxy.Heal()
	last := &client{history: history, id: linearClients, random: rand.New(rand.NewPCG(seed, linearClients)), seen: map[string]int64{}}
	for _, p := range linearPaths {
		last.run(t, operation{action: audit.Versions, path: p})
		last.run(t, operation{action: audit.Read, path: p})
	}
	history.check(t, seed)
}

var linearPaths = []string{"linear/a", "linear/b", "linear/c"}

// history is what was asked and answered.
type history struct {
	env      *vaulttest.Env
	at       time.Time // of the engines' clocks
	begin    time.Time
	replicas []*vault.Engine

	mu         sync.Mutex
	operations []porcupine.Operation
}

// client does one operation after the other.
type client struct {
	*history
	id     int
	random *rand.Rand
	seen   map[string]int64 // the newest version it knows of, by path
	values int
}

// step does a random operation.
func (c *client) step(t *testing.T) {
	o := operation{path: linearPaths[c.random.IntN(len(linearPaths))], action: linearActions[c.random.IntN(len(linearActions))]}
	near := max(1, c.seen[o.path]+[]int64{-2, -1, 0, 0, 0, 1}[c.random.IntN(6)])
	switch o.action {
	case audit.Put, audit.Rotate:
		c.values++
		o.value = fmt.Sprintf("value %d of %d", c.values, c.id)
		o.pending = c.random.IntN(4) == 0
		if c.random.IntN(8) == 0 {
			o.maximum = new(c.random.IntN(5))
		}
	case audit.Read:
		o.label = []secret.Label{"", "", secret.Previous, secret.Pending}[c.random.IntN(4)]
		if o.label == "" && c.random.IntN(2) == 0 {
			o.version = near
		}
	case audit.Rollback:
		if c.random.IntN(2) == 0 {
			o.version = near
		}
	case audit.DeleteVersions, audit.UndeleteVersions, audit.DestroyVersions:
		o.versions = []int64{near}
	case audit.Update:
		o.description = new(fmt.Sprintf("by %d", c.id))
	default:
	}
	switch o.action {
	case audit.Put, audit.Rotate, audit.Rollback, audit.Promote, audit.Update:
		if c.random.IntN(3) == 0 {
			o.expected = new(near)
		}
	default:
	}
	c.run(t, o)
}

// Some more often than others, so that there is something to do the others to.
var linearActions = []audit.Action{
	audit.Put, audit.Put, audit.Put, audit.Put, audit.Put, audit.Put, audit.Rotate, audit.Rotate,
	audit.Read, audit.Read, audit.Read, audit.Read, audit.Read, audit.Read, audit.Metadata, audit.Versions, audit.Versions, audit.Versions,
	audit.Rollback, audit.Rollback, audit.Promote, audit.Promote, audit.Promote, audit.Update, audit.Update,
	audit.Delete, audit.Undelete, audit.Undelete, audit.Destroy,
	audit.DeleteVersions, audit.DeleteVersions, audit.UndeleteVersions, audit.DestroyVersions, audit.DestroyVersions,
}

func (c *client) run(t *testing.T, o operation) {
	o.caller, o.at = c.env.Admin, c.at
	engine := c.replicas[c.random.IntN(len(c.replicas))]
	call := time.Since(c.begin)
	outcome := o.do(t.Context(), engine)
	done := porcupine.Operation{
		ClientId: c.id, Input: o, Output: outcome, Call: call.Nanoseconds(), Return: time.Since(c.begin).Nanoseconds(),
	}
	if outcome == unknown {
		done.Return = math.MaxInt64 // it may happen at any later time, or, after all else, never
	}
	var number int64
	if _, err := fmt.Sscanf(outcome, "{Path:"+o.path+" Version:%d", &number); err == nil {
		c.seen[o.path] = number
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.operations = append(c.operations, done)
}

// linearModel is spec as porcupine wants it, for the history of one path.
var linearModel = porcupine.Model{
	Init: func() any { return spec{} },
	Step: func(state, input, output any) (bool, any) {
		next, outcome := state.(spec).apply(input.(operation), everything)
		return output == unknown || output == outcome, next
	},
	Equal: reflect.DeepEqual,
	Hash: func(state any) uint64 {
		s := state.(spec)
		return uint64(s.current<<48 ^ s.previous<<32 ^ s.pending<<16 ^ s.last)
	},
}

// check looks for an order of each path's operations, and prints those that have none.
func (h *history) check(t *testing.T, seed uint64) {
	outcomes := map[string]int{}
	for _, p := range linearPaths {
		var about []porcupine.Operation
		for _, o := range h.operations {
			if o.Input.(operation).path == p {
				about = append(about, o)
				outcomes[kindOf(o.Output.(string))]++
			}
		}
		result, info := porcupine.CheckOperationsVerbose(linearModel, about, time.Minute)
		switch result {
		case porcupine.Ok:
		case porcupine.Unknown:
			t.Errorf("%s, seed %d: no answer within a minute about %d operations", p, seed, len(about))
		default:
			t.Errorf("%s, seed %d: there is no order of these operations that gives these answers:\n%s", p, seed, printed(about, info))
		}
	}
	t.Logf("seed %d, outcomes %v", seed, outcomes)
	if outcomes["answer"] < linearClients*linearEach/5 || outcomes[conflict] == 0 || outcomes[unknown] == 0 {
		t.Errorf("seed %d: these outcomes show little: %v", seed, outcomes)
	}
}

// kindOf is an outcome without what it tells.
func kindOf(outcome string) string {
	if strings.ContainsAny(outcome, "{[") {
		return "answer"
	}
	return outcome
}

// printed is the longest order that there is of a beginning, and then what does not fit
// behind it, by the time of the call.
func printed(operations []porcupine.Operation, info porcupine.LinearizationInfo) string {
	var longest []porcupine.Operation
	for _, partial := range info.PartialLinearizationsOperations()[0] {
		if len(partial) > len(longest) {
			longest = partial
		}
	}
	var b strings.Builder
	ordered := map[string]bool{}
	for _, o := range longest {
		ordered[printedOne(o)] = true
		b.WriteString(printedOne(o))
	}
	b.WriteString("--- and what does not fit:\n")
	slices.SortFunc(operations, func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
	for _, o := range operations {
		if text := printedOne(o); !ordered[text] {
			b.WriteString(text)
		}
	}
	return b.String()
}

func printedOne(o porcupine.Operation) string {
	end := time.Duration(o.Return).String()
	if o.Return == math.MaxInt64 {
		end = "?"
	}
	return fmt.Sprintf("client %d, %s to %s: %s: %s\n", o.ClientId, time.Duration(o.Call), end, o.Input, o.Output)
}
