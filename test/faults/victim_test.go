//go:build failpoints

package faults

// victim is a vault, and the log of those who worked on it and were killed.
type victim struct{ dsn, redis, root, log, output string }

func newVictim(t *testing.T) *victim {
	t.Helper()
	dir := t.TempDir()
	v := &victim{
		dsn: testkit.Postgres(t), redis: testkit.Redis(t),
		root: filepath.Join(dir, "root-key"), log: filepath.Join(dir, "log"), output: filepath.Join(dir, "output"),
	}
	var key [32]byte
	_, _ = rand.Read(key[:])
	for file, text := range map[string]string{v.root: "current: " + base64.StdEncoding.EncodeToString(key[:]) + "\n", v.log: "", v.output: ""} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	engine, closeEngine, err := open(t.Context(), v.dsn, v.redis, v.root)
	if err != nil {
		t.Fatal(err)
	}
	defer closeEngine()
	var paths []policy.Pattern
	for _, text := range []string{"**", "sys/**"} {
		pattern, err := policy.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, pattern)
	}
	set, err := policy.New("admin", []policy.Rule{{
		Effect: policy.Allow, Paths: paths, Capabilities: policy.Capabilities(), Subjects: policy.Subjects{Users: []string{"admin"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := engine.ReplacePolicies(t.Context(), cluster, []policy.Policy{set}); err != nil {
		t.Fatal(err)
	}
	return v
}

// check opens the vault again and looks at the invariants, before and after it goes on with what was cut off.
func (v *victim) check(t *testing.T, row *result, run uint64) {
	t.Helper()
	engine, closeEngine, err := open(t.Context(), v.dsn, v.redis, v.root)
	if err != nil {
		t.Fatalf("after the kill the vault does not open: %v", err)
	}
	defer closeEngine()
	h := v.judge(t, row, engine)
	v.goOn(t, engine, h, strconv.FormatUint(run, 10))
	h = v.judge(t, row, engine)
	row.hold(t, "I4", append(h.unaudited(t, v.dsn), auditFindings(t, engine)...))
	leaks := (&vaulttest.Env{DSN: v.dsn, RedisURL: v.redis}).Leaks(t, canary)
	if text, err := os.ReadFile(v.output); err != nil || bytes.Contains(text, []byte(canary)) {
		leaks = append(leaks, "the output of the killed process")
	}
	row.hold(t, "I6", leaks)
}

func (v *victim) judge(t *testing.T, row *result, engine *vault.Engine) *history {
	t.Helper()
	h := readHistory(t, v.log)
	i1, i2 := h.replay()
	row.hold(t, "I1", append(i1, h.judge(t.Context(), engine)...))
	row.hold(t, "I2", i2)
	return h
}

// goOn sends again, with their idempotency keys, the writes that were cut off in a run, and writes each path once more.
func (v *victim) goOn(t *testing.T, engine *vault.Engine, h *history, run string) {
	t.Helper()
	log, err := os.OpenFile(v.log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	w := newWorker(engine, log, "check-"+run)
	for _, e := range h.cut(run) {
		e.Again = true
		if err := w.step(t.Context(), e); err != nil {
			t.Fatalf("%s again: %v", e.Op, err)
		}
	}
	for path := range h.paths {
		if err := w.step(t.Context(), event{Op: "put", Path: path}); err != nil {
			t.Fatalf("put %s after the kill: %v", path, err)
		}
	}
}

// auditFindings are what the verification of the whole log says.
func auditFindings(t *testing.T, engine *vault.Engine) (found []string) {
	t.Helper()
	report, err := engine.VerifyAudit(t.Context(), admin("check"), nil)
	if err != nil {
		t.Fatalf("the audit log cannot be verified: %v", err)
	}
	for _, finding := range report.Findings {
		found = append(found, fmt.Sprintf("the audit log does not verify: %+v", finding))
	}
	return found
}
