package manifests

import (
	"crypto/rand"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

var vaultRotations = vaultSecrets.GroupVersion().WithResource("vaultrotations")

func TestVaultRotationSpecs(t *testing.T) {
	const of = `path: a/b, serviceAccountRef: {namespace: payments, name: rotator}, `
	const uuid = `method: {generate: {uuid: {}}}`
	method := func(m string) string { return `{` + of + `method: {` + m + `}}` }
	generate := func(g string) string { return method(`generate: {` + g + `}`) }
	postgres := func(p string) string {
		return method(`postgres: {credential: a/c, host: db, database: shop, ` + p + `}`)
	}
	runSpecs(t, "VaultRotation", "vaultrotations", "", []specTest{
		{name: "by hand only", spec: `{` + of + uuid + `}`},
		{name: "every month", spec: `{` + of + `schedule: {every: 30d}, ` + uuid + `}`},
		{name: "everything", spec: `
path: production/payments/database
serviceAccountRef: {namespace: payments, name: rotator.of.it}
schedule: {cron: "30 3 * * 0", timeZone: Europe/Berlin, windows: [{days: [Sat, Sun], from: "22:00", to: "24:00"}, {from: "00:00", to: "06:00"}], jitter: 1h30m}
method: {mysql: {credential: a/c, host: db, port: 3307, tls: {ca: pem, serverName: db}, alternatingUsers: [a, b], accountHost: "%", authentication: ed25519, endSessions: true,
  password: {length: 40, classes: [{name: lower, minimum: 1}, {characters: "-_"}], exclude: lo}}}
consumed: {grace: 0s, wait: 4h, then: Proceed}
onFailure: Hold
attempts: 3
suspend: true`},
		{name: "one role", spec: postgres(`role: app`)},
		{name: "two roles", spec: postgres(`alternatingRoles: [a, b], endSessions: true`)},
		{name: "Redis", spec: method(`redis: {credential: a/c, addresses: ["redis.example.org:6379", "[2001:db8::1]:6379"], user: app, persistence: none}`)},
		{name: "a webhook", spec: method(`webhook: {credential: a/c, url: "https://rotator.example.org:8443/coffer?a=b", tls: {ca: pem}, noOverlap: true}`)},
		{name: "a certificate", spec: generate(`authority: a/ca, certificate: {dnsNames: [a], usages: [client], lifetime: 2160h, renewBefore: 720h30m, key: {algorithm: EC, size: 256}}`)},
		{name: "keys", spec: generate(`sshKey: {algorithm: Ed25519, comment: a}`)},

		{name: "no path", spec: `{serviceAccountRef: {namespace: a, name: b}, ` + uuid + `}`, want: "spec.path"},
		{name: "a path upwards", spec: `{path: a/../b, serviceAccountRef: {namespace: a, name: b}, ` + uuid + `}`, want: "no '.' or '..' segment"},
		{name: "no account", spec: `{path: a, ` + uuid + `}`, want: "spec.serviceAccountRef"},
		{name: "no namespace", spec: `{path: a, serviceAccountRef: {name: b}, ` + uuid + `}`, want: "spec.serviceAccountRef.namespace"},
		{name: "a namespace that is none", spec: `{path: a, serviceAccountRef: {namespace: "a;b", name: b}, ` + uuid + `}`, want: "a namespace is like payments"},
		{name: "an account that is none", spec: `{path: a, serviceAccountRef: {namespace: a, name: "b $HOME"}, ` + uuid + `}`, want: "a service account's name is like rotator"},
		{name: "no method", spec: `{` + of + `}`, want: "spec.method"},
		{name: "an empty method", spec: `{` + of + `method: {}}`, want: "a rotation has one method"},
		{name: "two methods", spec: method(`generate: {uuid: {}}, webhook: {credential: a, url: "https://a"}`), want: "a rotation has one method"},
		{name: "an unknown method", spec: method(`oracle: {}`), want: "oracle"},
		{name: "an unknown setting", spec: postgres(`role: app, sslmode: disable`), want: "sslmode"},
		{name: "an empty schedule", spec: `{` + of + `schedule: {}, ` + uuid + `}`, want: "set exactly one of them"},
		{name: "every and cron", spec: `{` + of + `schedule: {every: 1d, cron: "@daily"}, ` + uuid + `}`, want: "set exactly one of them"},
		{name: "a time that is none", spec: `{` + of + `schedule: {every: often}, ` + uuid + `}`, want: "a time is like 30d"},
		{name: "a time of the smaller first", spec: `{` + of + `schedule: {every: 30m12h}, ` + uuid + `}`, want: "a time is like 30d"},
		{name: "a negative grace", spec: `{` + of + `consumed: {grace: -5m}, ` + uuid + `}`, want: "a time is like 30d"},
		{name: "no wait", spec: `{` + of + `consumed: {wait: 0s}, ` + uuid + `}`, want: "wait is longer than 0s"},
		{name: "another then", spec: `{` + of + `consumed: {then: Stop}, ` + uuid + `}`, want: "Unsupported value"},
		{name: "another onFailure", spec: `{` + of + `onFailure: Ignore, ` + uuid + `}`, want: "Unsupported value"},
		{name: "a zone in cron", spec: `{` + of + `schedule: {cron: "TZ=Europe/Berlin 0 3 * * *"}, ` + uuid + `}`, want: "the time zone is schedule.timeZone"},
		{name: "a day that is none", spec: `{` + of + `schedule: {every: 1d, windows: [{days: [Monday], from: "01:00", to: "02:00"}]}, ` + uuid + `}`, want: "Unsupported value"},
		{name: "a time of the day that is none", spec: `{` + of + `schedule: {every: 1d, windows: [{from: "24:00", to: "02:00"}]}, ` + uuid + `}`, want: "from is a time of the day"},
		{name: "minutes in place of a time", spec: `{` + of + `schedule: {every: 1d, windows: [{from: "01:00", to: "2"}]}, ` + uuid + `}`, want: "to is a time of the day"},
		{name: "too many attempts", spec: `{` + of + `attempts: 1001, ` + uuid + `}`, want: "spec.attempts"},

		{name: "nothing generated", spec: generate(``), want: "one thing is generated"},
		{name: "two generated", spec: generate(`uuid: {}, password: {}`), want: "one thing is generated"},
		{name: "a property of keys", spec: generate(`keyPair: {}, property: a`), want: "property is for a password or a uuid"},
		{name: "an authority of a password", spec: generate(`password: {}, authority: a`), want: "an authority signs a certificate"},
		{name: "a short password", spec: generate(`password: {length: 7}`), want: "8 to 256 characters"},
		{name: "a class of nothing", spec: generate(`password: {classes: [{minimum: 1}]}`), want: "either name"},
		{name: "a key of another size", spec: generate(`keyPair: {algorithm: RSA, size: 1024}`), want: "Unsupported value"},
		{name: "a certificate of nobody", spec: generate(`certificate: {usages: [server]}`), want: "the certificate names nobody"},
		{name: "a lifetime in days", spec: generate(`certificate: {commonName: a, lifetime: 90d}`), want: "like 2160h"},

		{name: "no role", spec: postgres(`port: 5432`), want: "set exactly one of them"},
		{name: "both kinds of role", spec: postgres(`role: a, alternatingRoles: [b, c]`), want: "set exactly one of them"},
		{name: "a role twice", spec: postgres(`alternatingRoles: [a, a]`), want: "two different roles"},
		{name: "three roles", spec: postgres(`alternatingRoles: [a, b, c]`), want: "alternatingRoles"},
		{name: "sessions of one role", spec: postgres(`role: a, endSessions: true`), want: "endSessions is for alternatingRoles"},
		{name: "no TLS with settings", spec: postgres(`role: a, tls: {disabled: true, serverName: db}`), want: "TLS is disabled and has settings"},
		{name: "a port that is none", spec: postgres(`role: a, port: 65536`), want: "port"},
		{name: "no user", spec: method(`mysql: {credential: a, host: db}`), want: "set exactly one of them"},
		{name: "a user twice", spec: method(`mysql: {credential: a, host: db, alternatingUsers: [a, a]}`), want: "two different users"},
		{name: "sessions of one user", spec: method(`mysql: {credential: a, host: db, user: a, endSessions: true}`), want: "endSessions is for alternatingUsers"},
		{name: "another authentication", spec: method(`mysql: {credential: a, host: db, user: a, authentication: plain}`), want: "Unsupported value"},
		{name: "no address", spec: method(`redis: {credential: a, addresses: [], user: a}`), want: "addresses"},
		{name: "an address without a port", spec: method(`redis: {credential: a, addresses: [cache], user: a}`), want: "an address is host:port"},
		{name: "another persistence", spec: method(`redis: {credential: a, addresses: ["a:1"], user: a, persistence: disk}`), want: "Unsupported value"},
		{name: "a url with a user", spec: method(`webhook: {credential: a, url: "https://me:pw@example.org"}`), want: "without a user"},
		{name: "a url of another kind", spec: method(`webhook: {credential: a, url: "file:///etc/passwd"}`), want: "the url is like"},
	})
}

// kubectl knows the short name, its table has the columns of docs/reference/vaultrotation.md, and kubectl explain tells what each field is for.
func TestVaultRotationColumns(t *testing.T) {
	config := cluster(t)
	client := rotationsOf(t, config)
	made(t)(client.Create(t.Context(), vaultRotation("columns", "api"), metav1.CreateOptions{}))
	status := `{"status": {"observedGeneration": 1, "nextRun": "2030-01-02T03:04:05Z", "lastRun": {"id": "1", "state": "propagating", "cause": "schedule",
		"startedAt": "2026-11-27T12:00:00Z", "consumers": "1/3"}, "conditions": [{"type": "Ready", "status": "True", "reason": "Rotating", "message": "",
		"lastTransitionTime": "2026-11-27T12:00:00Z"}]}}`
	if _, err := client.Patch(t.Context(), "columns", types.MergePatchType, []byte(status), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	header, row, _ := strings.Cut(kubectl(t, config, "get", "vrot", "columns"), "\n")
	if got, want := strings.Join(strings.Fields(header), " "), "NAME PATH READY STATUS STATE CONSUMERS LAST NEXT AGE"; got != want {
		t.Errorf("the columns are %s, want %s", got, want)
	}
	fields := strings.Fields(row)
	if len(fields) != 9 {
		t.Fatalf("the row is %s", row)
	}
	fields[6], fields[8] = "LAST", "AGE"
	if got, want := strings.Join(fields, " "), "columns a/b True Rotating propagating 1/3 LAST 2030-01-02T03:04:05Z AGE"; got != want {
		t.Errorf("the row is %s, want %s", got, want)
	}
	for _, field := range []string{"spec.schedule.windows", "spec.method.postgres.alternatingRoles", "status.lastRun.waitsFor"} {
		if got := kubectl(t, config, "explain", "vrot."+field); strings.Contains(got, "<no description>") || !strings.Contains(got, "DESCRIPTION") {
			t.Errorf("kubectl explain vrot.%s says\n%s", field, got)
		}
	}
}

// TestWhoMayNameAnAccountInAVaultRotation: all of these may write VaultRotations. What counts is the right to the account in its own namespace.
func TestWhoMayNameAnAccountInAVaultRotation(t *testing.T) {
	config := tenantCluster(t)
	for user, allowed := range map[string]bool{
		"writer": false, "group-owner": false, "account-writer": false,
		"api-owner": true, "api-deployer": true, "owner": true, "system:serviceaccount:flux:deployer": true,
	} {
		mayWriteRotations(t, config, user)
		client := rotationsOf(t, impersonating(config, user))
		name := "there-" + strings.ReplaceAll(user, ":", "-")
		made(t)(rotationsOf(t, config).Create(t.Context(), vaultRotation(name, "api"), metav1.CreateOptions{}))
		check := func(t *testing.T, account string, allowed bool, try func() error) {
			t.Helper()
			if allowed {
				eventually(t, try)
				return
			}
			eventually(t, func() error {
				err := try()
				if err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy") {
					return nil
				}
				return &notYet{err} // until the policy and the right to write are known
			})
			err := try()
			role := "coffer-token-" + account
			for _, want := range []string{
				user + " may not use the service account tenant/" + account + " in a VaultRotation",
				"kubectl -n tenant create role " + role + " --verb=create --resource=serviceaccounts/token --resource-name=" + account + " && ",
				"kubectl -n tenant create rolebinding " + role + " --role=" + role + " --user=" + user + " ;",
				"sync-as",
			} {
				if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want) {
					t.Errorf("refused with %v, want %q in it", err, want)
				}
			}
		}
		change := func(body string) func() error {
			return func() error {
				_, err := patch(t.Context(), client, name, body)
				return err
			}
		}
		t.Run(user+" creates", func(t *testing.T) {
			check(t, "api", allowed, func() error {
				_, err := client.Create(t.Context(), vaultRotation("new", "api"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				return err
			})
		})
		t.Run(user+" changes the path", func(t *testing.T) { check(t, "api", allowed, change(`{"spec": {"path": "b/c"}}`)) })
		t.Run(user+" asks for a rotation", func(t *testing.T) {
			check(t, "api", allowed, change(`{"metadata": {"annotations": {"vault.coffer.dev/rotate-requested-at": "1"}}}`))
		})
		t.Run(user+" names another account", func(t *testing.T) {
			check(t, "other", user == "owner" || user == "system:serviceaccount:flux:deployer", change(`{"spec": {"serviceAccountRef": {"name": "other"}}}`))
		})
		t.Run(user+" labels", func(t *testing.T) {
			if err := change(`{"metadata": {"labels": {"a": "b"}, "annotations": {"a": "b"}, "finalizers": ["example.com/x"]}}`)(); err != nil {
				t.Error(err)
			}
		})
	}
}

// The commands of a refusal do what they say.
func TestTheCommandsOfARotationRefusalGrant(t *testing.T) {
	config := tenantCluster(t)
	account := strings.ToLower(rand.Text()) // a new name each time, since the grant stays
	mayWriteRotations(t, config, "writer")
	client := rotationsOf(t, impersonating(config, "writer"))
	create := func() error {
		_, err := client.Create(t.Context(), vaultRotation("granted", account), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	var refusal string
	eventually(t, func() error {
		err := create()
		if err != nil && strings.Contains(err.Error(), "runs: ") {
			refusal = err.Error()
			return nil
		}
		return &notYet{err}
	})
	_, commands, _ := strings.Cut(refusal, "runs: ")
	commands, _, _ = strings.Cut(commands, " ;")
	for command := range strings.SplitSeq(commands, " && ") {
		kubectl(t, config, strings.Fields(command)[1:]...)
	}
	eventually(t, create)
}

// mayWriteRotations lets user write VaultRotations, and nothing more.
func mayWriteRotations(t *testing.T, config *rest.Config, user string) {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	const name = "write-vaultrotations"
	made(t)(client.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{"vault.coffer.dev"}, Resources: []string{"vaultrotations"}, Verbs: []string{"get", "create", "update", "patch"},
	}}}, metav1.CreateOptions{}))
	made(t)(client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name + ":" + user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}, metav1.CreateOptions{}))
}

func rotationsOf(t *testing.T, config *rest.Config) dynamic.ResourceInterface {
	t.Helper()
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client.Resource(vaultRotations)
}

func vaultRotation(name, account string) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
		"path": "a/b", "serviceAccountRef": map[string]any{"namespace": tenant, "name": account},
		"method": map[string]any{"generate": map[string]any{"uuid": map[string]any{}}},
	}}}
	object.SetGroupVersionKind(vaultRotations.GroupVersion().WithKind("VaultRotation"))
	object.SetName(name)
	return object
}
