package vault_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/audit"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

// panicking is a keyring that panics, once, when rows of the audit log are linked and their writer's head is to be sealed.
type panicking struct {
	vault.Keyring
	armed, linked atomic.Bool
}

func (p *panicking) MAC(purpose string, parts ...[]byte) [32]byte {
	switch {
	case strings.HasPrefix(purpose, "vault/audit-row/"):
		p.linked.Store(true)
	case strings.HasPrefix(purpose, "vault/audit-head/"):
		if p.linked.Swap(false) && p.armed.Swap(false) {
			panic("a bug")
		}
	}
	return p.Keyring.MAC(purpose, parts...)
}

// TestAPanicGivesNoLaneBack whose head nobody knows: what is written later would follow rows that are not in the log.
func TestAPanicGivesNoLaneBack(t *testing.T) {
	for name, write := range map[string]func(*testing.T, *vaulttest.Env, *vault.Engine) error{
		"a change": func(t *testing.T, env *vaulttest.Env, engine *vault.Engine) error {
			_, err := engine.Put(t.Context(), env.Admin, secret.PutRequest{Path: vaulttest.Path(t, "a/b"), Value: vaulttest.Value(t, "w")})
			return err
		},
		"reads": func(_ *testing.T, _ *vaulttest.Env, engine *vault.Engine) error {
			return vault.FlushAudit(engine, audit.Entry{At: time.Now().UTC().Truncate(time.Microsecond), Action: audit.Read, Path: "a/b", Decision: audit.Allowed})
		},
		"an anchor": func(t *testing.T, _ *vaulttest.Env, engine *vault.Engine) error {
			_, err := vault.Anchor(t.Context(), engine)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			env, _ := quiet(t)
			var keys panicking
			engine, _ := newEngineOver(t, env, vault.Config{}, func(k vault.Keyring) vault.Keyring {
				keys.Keyring = k
				return &keys
			})
			put(t, engine, env.Admin, "c/d")
			again := func() {
				t.Helper()
				wantRead(t, engine, env.Admin, ref(t, "c/d", 0), "v") // something to anchor
				must(t, write(t, env, engine))
			}
			again() // the lane has rows
			wantRead(t, engine, env.Admin, ref(t, "c/d", 0), "v")
			func() {
				defer func() {
					if recover() == nil {
						t.Error("it did not panic")
					}
				}()
				keys.armed.Store(true)
				_ = write(t, env, engine)
			}()
			again()
			wantWhole(t, env, engine, "after a panic")
		})
	}
}

// heldInserts makes the database hold back the insertion of audit rows of an action; then is the rest of a trigger's body. The
// returned functions wait until one is held, and let go of them all.
func heldInserts(t *testing.T, env *vaulttest.Env, action audit.Action, then string) (held, letGo func()) {
	t.Helper()
	exec(t, env, `CREATE SEQUENCE attempts; CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF NEW.action = '`+string(action)+`' THEN PERFORM pg_advisory_xact_lock_shared(7); `+then+` END IF;
		RETURN NEW; END $$;
		CREATE TRIGGER hold BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION hold()`)
	holder := connect(t, env)
	if _, err := holder.Exec(t.Context(), `SELECT pg_advisory_lock(7)`); err != nil {
		t.Fatal(err)
	}
	return func() {
			awaitLock(t, env, `locktype = 'advisory' AND objid = 7`)
		}, func() {
			if _, err := holder.Exec(t.Context(), `SELECT pg_advisory_unlock(7)`); err != nil {
				t.Error(err)
			}
		}
}

// awaitLock waits until somebody waits in the database for a lock that is so.
func awaitLock(t *testing.T, env *vaulttest.Env, lock string) {
	t.Helper()
	conn := connect(t, env)
	eventually(t, "somebody who waits for a lock: "+lock, func() bool {
		var waits bool
		err := conn.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND
			database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND `+lock+`)`).Scan(&waits)
		must(t, err)
		return waits
	})
}

// lastWriter is the writer of the newest audit row of an action.
func lastWriter(t *testing.T, env *vaulttest.Env, action audit.Action) (writer uuid.UUID) {
	t.Helper()
	must(t, connect(t, env).QueryRow(t.Context(), `SELECT writer FROM audit WHERE action = $1 ORDER BY id DESC LIMIT 1`, string(action)).Scan(&writer))
	return writer
}

// TestWhoHangsUpDoesNotCutACommitOff: the write is committed, and its lane goes on.
func TestWhoHangsUpDoesNotCutACommitOff(t *testing.T) {
	env, _ := quiet(t)
	engine, _ := newEngine(t, env, vault.Config{})
	put(t, engine, env.Admin, "a/b")
	lane := lastWriter(t, env, audit.Put)
	held, letGo := heldInserts(t, env, audit.Put, "")
	ctx, hangUp := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := engine.Put(ctx, env.Admin, secret.PutRequest{Path: vaulttest.Path(t, "a/b"), Value: vaulttest.Value(t, "w")})
		ended <- err
	}()
	held()
	hangUp()
	select {
	case err := <-ended:
		t.Fatalf("the commit was given up: %v", err)
	case <-time.After(300 * time.Millisecond): // time to give up
	}
	letGo()
	must(t, <-ended)
	wantRead(t, engine, env.Admin, ref(t, "a/b", 0), "w")
	put(t, engine, env.Admin, "a/b")
	if got := lastWriter(t, env, audit.Put); got != lane {
		t.Errorf("the lane was lost: the next write is of %s, and was of %s", got, lane)
	}
	wantWhole(t, env, engine, "at the end")
}

// TestAnAnchorThatEndsWithTheEngineIsWhole: an engine that is closed waits for the commit of an anchor that is under way.
func TestAnAnchorThatEndsWithTheEngineIsWhole(t *testing.T) {
	env, _ := quiet(t)
	engine, _ := newEngine(t, env, vault.Config{})
	put(t, engine, env.Admin, "a/b")
	held, letGo := heldInserts(t, env, audit.Anchor, "")
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := vault.Anchor(ctx, engine)
		ended <- err
	}()
	held()
	end()
	select {
	case err := <-ended:
		t.Fatalf("the anchor was given up: %v", err)
	case <-time.After(300 * time.Millisecond): // time to give up
	}
	letGo()
	must(t, <-ended)
	wantWhole(t, env, engine, "at the end")
}

// TestAnAnchorThatFindsNothingTheSecondTime: it lost a race, and meanwhile another replica anchored all heads. What it had
// linked the first time was not written, so nothing follows it and nobody prints it.
func TestAnAnchorThatFindsNothingTheSecondTime(t *testing.T) {
	env, after := quiet(t)
	out := &output{}
	engine, _ := newEngine(t, env, vault.Config{AuditTail: out})
	endTail := vault.StartTail(t.Context(), engine)
	put(t, engine, env.Admin, "a/b")
	held, letGo := heldInserts(t, env, audit.Anchor, `IF nextval('attempts') = 1 THEN RAISE EXCEPTION 'a race' USING ERRCODE = 'serialization_failure'; END IF;`)
	type outcome struct {
		moved int
		err   error
	}
	anchored := make(chan outcome, 1)
	go func() {
		moved, err := vault.Anchor(t.Context(), engine)
		anchored <- outcome{moved, err}
	}()
	held()
	// The other replica comes between the attempts: it waits for the first, and the second waits behind it.
	other := connect(t, env)
	done := make(chan error, 1)
	go func() {
		done <- pgx.BeginFunc(t.Context(), other, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), `LOCK TABLE audit_writers IN ACCESS EXCLUSIVE MODE; UPDATE audit_writers SET anchored = seq`)
			return err
		})
	}()
	awaitLock(t, env, `relation = 'audit_writers'::regclass AND mode = 'AccessExclusiveLock'`)
	letGo()
	must(t, <-done)
	if got := <-anchored; got.err != nil || got.moved != 0 {
		t.Errorf("%d heads were anchored, error %v; want none", got.moved, got.err)
	}
	put(t, engine, env.Admin, "a/b")
	endTail()
	wantPrinted(t, env, after, out)
}
