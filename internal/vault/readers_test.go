package vault_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// reading is a service account or a user that reads over the API.
func reading(kind secret.ConsumerKind, namespace, name, state string, version int64) secret.Consumer {
	return secret.Consumer{Kind: kind, Cluster: "default", Namespace: namespace, Name: name, Version: version, State: state}
}

// TestReadersCountForAWhile: with what they read last for the window, and with what they
// read before that for as long as a cache may have it. What an operator reads it
// acknowledges itself, a rotation would wait for itself, and who was refused has nothing.
func TestReadersCountForAWhile(t *testing.T) {
	clock := &setClock{now: time.Now().UTC().Truncate(time.Second)}
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Clock: clock.Now})
	begin := clock.Now()
	env.Put(t, "p/a", "v")
	env.Put(t, "p/a", "w")
	api, operator := vaulttest.ServiceAccount("payments", "api", "production"), vaulttest.ServiceAccount("payments", "web", "production")
	operator.Address = secret.OperatorAddress
	alice := secret.Caller{Kind: secret.KindUser, Cluster: "default", Name: "alice"}
	for _, caller := range []secret.Caller{api, operator, alice} {
		env.AllowAll(t, caller, "p/**")
	}
	get := func(caller secret.Caller, version int64) {
		t.Helper()
		_, err := read(t, env.Engine, caller, ref(t, "p/a", version))
		must(t, err)
	}
	get(operator, 1)
	rotation := operator
	rotation.Address = secret.RotationAddress
	get(rotation, 1)
	_, err := read(t, env.Engine, vaulttest.ServiceAccount("orders", "worker", "production"), ref(t, "p/a", 1))
	wantError(t, err, secret.ErrDenied)
	wantConsumers(t, env.Engine, env.Admin, "p/a")
	get(api, 1)
	get(alice, 2)
	user := reading(secret.ConsumerUser, "", "alice", secret.StateReading, 2)
	wantConsumers(t, env.Engine, env.Admin, "p/a", reading(secret.ConsumerServiceAccount, "payments", "api", secret.StateReading, 1), user)

	clock.Set(begin.Add(20 * time.Minute))
	get(api, 0)
	wantConsumers(t, env.Engine, env.Admin, "p/a",
		reading(secret.ConsumerServiceAccount, "payments", "api", secret.StateCached, 1), reading(secret.ConsumerServiceAccount, "payments", "api", secret.StateReading, 2), user)
	clock.Set(begin.Add(66 * time.Minute)) // an hour in a cache, and what is written down may be five minutes old
	wantConsumers(t, env.Engine, env.Admin, "p/a", reading(secret.ConsumerServiceAccount, "payments", "api", secret.StateReading, 2), user)
	clock.Set(begin.Add(24*time.Hour + 6*time.Minute))
	wantConsumers(t, env.Engine, env.Admin, "p/a", reading(secret.ConsumerServiceAccount, "payments", "api", secret.StateReading, 2))
	clock.Set(begin.Add(25 * time.Hour))
	wantConsumers(t, env.Engine, env.Admin, "p/a")
	vault.Prune(t.Context(), env.Engine, time.Minute)
	if got := count(t, env, "readers"); got != "0" {
		t.Errorf("%s rows are kept of reads that count for nothing", got)
	}
}

// TestRepeatedReadsAreWrittenDownNowAndThen, and each only once.
func TestRepeatedReadsAreWrittenDownNowAndThen(t *testing.T) {
	clock := &setClock{now: time.Now().UTC().Truncate(time.Second)}
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Clock: clock.Now})
	env.Put(t, "p/a", "v")
	written := func() string {
		t.Helper()
		var rows string
		must(t, connect(t, env).QueryRow(t.Context(), `SELECT string_agg(xmin::text || read_at::text, ',') FROM readers`).Scan(&rows))
		return rows
	}
	get := func() {
		t.Helper()
		_, err := read(t, env.Engine, env.Admin, ref(t, "p/a", 0))
		must(t, err)
	}
	get()
	first := written()
	for i := range 10 {
		clock.Set(clock.Now().Add(29 * time.Second))
		get()
		if again := written(); again != first {
			t.Fatalf("read %d is written down: %s, then %s", i, first, again)
		}
	}
	clock.Set(clock.Now().Add(11 * time.Second))
	get()
	if again := written(); again == first {
		t.Error("a read after five minutes is not written down")
	}
	env.Put(t, "p/a", "w")
	clock.Set(clock.Now().Add(time.Second))
	get()
	clock.Set(clock.Now().Add(time.Second))
	_, err := read(t, env.Engine, env.Admin, ref(t, "p/a", 1)) // it went back to what it had
	must(t, err)
	back := holder("vaulttest", "", secret.StateReading, 1, 0, 0)
	back.Kind, back.Namespace, back.Name, back.UID = secret.ConsumerUser, "", "admin", ""
	cached := back
	cached.Version, cached.State = 2, secret.StateCached
	wantConsumers(t, env.Engine, env.Admin, "p/a", back, cached)
	exec(t, env, `DELETE FROM readers WHERE version = 2`)
	// Each writer of the log has a row of its own.
	if got := count(t, env, "(SELECT DISTINCT path, cluster, caller_kind, caller, version FROM readers) r"); got != "1" {
		t.Errorf("%s readers, want one", got)
	}
}

// TestReadsAtOnceCountOnce: several of one caller may go into one statement, and several
// processes may write them down.
func TestReadsAtOnceCountOnce(t *testing.T) {
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true})
	env.Put(t, "p/a", "v")
	env.Put(t, "p/b", "v")
	other := env.Open(t)
	errs := make(chan error)
	const reads = 40
	for i := range reads {
		engine, path := env.Engine, "p/a"
		if i%2 == 0 {
			engine = other
		}
		if i%3 == 0 {
			path = "p/b"
		}
		r := ref(t, path, 0)
		go func() {
			_, err := engine.Read(t.Context(), env.Admin, r)
			errs <- err
		}()
	}
	for range reads {
		must(t, <-errs)
	}
	for _, path := range []string{"p/a", "p/b"} {
		found, err := env.Engine.Consumers(t.Context(), env.Admin, vaulttest.Path(t, path))
		if err != nil || len(found) != 1 || found[0].State != secret.StateReading {
			t.Errorf("%s: %+v, %v", path, found, err)
		}
	}
}

// TestChangedReadersAreNoticed: nothing is said of the path until they have read again.
func TestChangedReadersAreNoticed(t *testing.T) {
	clock := &setClock{now: time.Now().UTC().Truncate(time.Second)}
	env := vaulttest.StartWith(t, vaulttest.Config{NoRedis: true, Clock: clock.Now})
	env.Put(t, "p/a", "v")
	for column, edit := range map[string]string{"version": "version + 1", "read_at": "read_at - interval '1 minute'", "caller": "'user:x'", "mac": "''"} {
		clock.Set(clock.Now().Add(6 * time.Minute))
		_, err := read(t, env.Engine, env.Admin, ref(t, "p/a", 0))
		must(t, err)
		exec(t, env, `CREATE TABLE kept AS SELECT * FROM readers; UPDATE readers SET `+fmt.Sprintf("%s = %s", column, edit))
		_, err = env.Engine.Consumers(t.Context(), env.Admin, vaulttest.Path(t, "p/a"))
		wantError(t, err, secret.ErrTampered)
		exec(t, env, `DELETE FROM readers; INSERT INTO readers SELECT * FROM kept; DROP TABLE kept`)
	}
}
