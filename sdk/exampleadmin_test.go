package sdk_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"

	"github.com/coffer-vault/coffer/sdk"
)

// answering is a client of a server that gives one answer to one operation, for what the
// test server does not do.
func answering(operation, answer string) (client *sdk.Client, end func()) {
	mux := http.NewServeMux()
	mux.HandleFunc(operation, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if answer == "" {
			w.WriteHeader(http.StatusNoContent)
		}
		_, _ = io.WriteString(w, answer)
	})
	s := httptest.NewServer(mux)
	client, err := sdk.New(sdk.Config{Address: s.URL, Token: "token"})
	if err != nil {
		panic(err)
	}
	return client, s.Close
}

func ExampleClient_Ready() {
	client, end := answering("GET /readyz", ``)
	defer end()

	fmt.Println(client.Ready(context.Background()))
	// Output: <nil>
}

func ExampleClient_Update() {
	client, end := answering("PATCH /v1/secret", `{"path":"production/payments/database","version":7,"rotateAfterDays":30}`)
	defer end()

	about, err := client.Update(context.Background(), "production/payments/database", sdk.UpdateRequest{RotateAfterDays: new(30)})
	fmt.Println("version", about.Version, "is due each", about.RotateAfterDays, "days", err)
	// Output: version 7 is due each 30 days <nil>
}

func ExampleClient_Rotations() {
	client, end := answering("GET /v1/rotation", `{"items":[{"path":"production/payments/database","version":7,"rotateAfterDays":30,"dueAt":"2026-03-01T00:00:00Z"}]}`)
	defer end()

	all, err := client.Rotations(context.Background(), "production/")
	for _, r := range all {
		fmt.Println(r.Path, "is due on", r.DueAt.Format("2 January"))
	}
	fmt.Println(err)
	// Output:
	// production/payments/database is due on 1 March
	// <nil>
}

func ExampleClient_Overdue() {
	client, end := answering("GET /v1/rotation/overdue", `{"items":[{"path":"production/payments/database","version":7,"daysOverdue":4}]}`)
	defer end()

	late, err := client.Overdue(context.Background(), "production/")
	for _, o := range late {
		fmt.Println(o.Path, "is", o.DaysOverdue, "days overdue")
	}
	fmt.Println(err)
	// Output:
	// production/payments/database is 4 days overdue
	// <nil>
}

func ExampleClient_Explain() {
	client, end := answering("GET /v1/explain", `{"subject":"payments/api","capability":"read","allowed":false,"rule":"VaultPolicy contractors rule 2","matched":[]}`)
	defer end()

	answer, err := client.Explain(context.Background(), sdk.ExplainQuery{
		Path: "production/payments/database", Namespace: "payments", ServiceAccount: "api",
	})
	fmt.Println(answer.Subject, "may", answer.Capability+":", answer.Allowed, "by", answer.Rule, err)
	// Output: payments/api may read: false by VaultPolicy contractors rule 2 <nil>
}

func ExampleClient_Policies() {
	client, end := answering("GET /v1/policies", `{"cluster":"east","revision":1769853600,"since":"2026-01-31T09:59:59Z","items":[{"name":"payments","rules":2}]}`)
	defer end()

	found, err := client.Policies(context.Background())
	for _, p := range found.Items {
		fmt.Println(p.Name, "has", p.Rules, "rules in force since", found.Since.Format("2 January"))
	}
	fmt.Println(err)
	// Output:
	// payments has 2 rules in force since 31 January
	// <nil>
}

func ExampleClient_Policy() {
	client, end := answering("GET /v1/policies/show", `{"name":"payments","rules":[{"index":1,"effect":"Allow","paths":["production/payments/**"],"capabilities":["read"],"subjects":{"groups":["sre"]}}]}`)
	defer end()

	found, err := client.Policy(context.Background(), "payments")
	for _, r := range found.Rules {
		fmt.Println("rule", r.Index, r.Effect, r.Capabilities, "on", r.Paths, "to", r.Subjects.Groups)
	}
	fmt.Println(err)
	// Output:
	// rule 1 Allow [read] on [production/payments/**] to [sre]
	// <nil>
}

func ExampleAuditActions() {
	fmt.Println(slices.Contains(sdk.AuditActions(), "rotate"))
	// Output: true
}

func ExampleClient_Audit() {
	client, end := answering("GET /v1/audit", `{"items":[{"caller":"payments/api","action":"read","path":"production/payments/database","version":7,"decision":"allowed"}]}`)
	defer end()

	page, err := client.Audit(context.Background(), sdk.AuditQuery{Prefix: "production/payments/", Action: "read"})
	for _, row := range page.Items {
		fmt.Println(row.Caller, row.Action, row.Path, "version", row.Version, row.Decision)
	}
	fmt.Println(err)
	// Output:
	// payments/api read production/payments/database version 7 allowed
	// <nil>
}

func ExampleClient_ExportAuditPage() {
	client, end := answering("POST /v1/audit/export", `{"items":[],"next":"e1.x"}`)
	defer end()

	page, err := client.ExportAuditPage(context.Background(), sdk.AuditExportRequest{FromNow: true})
	fmt.Println("what is written from now on comes after", page.Next, err)
	// Output: what is written from now on comes after e1.x <nil>
}

func ExampleClient_ExportAudit() {
	client, end := answering("POST /v1/audit/export", `{"items":[{"writer":"3f0c6f5e-5a5e-4a44-9f3c-0b1d7a6f9d11","seq":1,"action":"read"}],"next":"e1.x"}`)
	defer end()

	position := "" // that of the time before, from a file
	position, err := client.ExportAudit(context.Background(), sdk.AuditExportRequest{After: position}, func(page sdk.AuditPage) error {
		fmt.Println(len(page.Items), "rows") // ship them; an error ends the export before this page
		return nil
	})
	fmt.Println("go on after", position, err)
	// Output:
	// 1 rows
	// go on after e1.x <nil>
}

func ExampleClient_VerifyAudit() {
	client, end := answering("POST /v1/audit/verify", `{"rows":5000,"remaining":4000}
{"rows":9000,"report":{"rows":9000,"writers":2,"findings":[]}}`)
	defer end()

	report, err := client.VerifyAudit(context.Background(), func(rows, remaining int64) { fmt.Println(rows, "rows,", remaining, "to go") })
	fmt.Println(report.Rows, "rows,", len(report.Findings), "findings", err)
	// Output:
	// 5000 rows, 4000 to go
	// 9000 rows, 0 findings <nil>
}

func ExampleClient_Backup() {
	client, end := answering("POST /v1/backup", "age-encryption.org/v1\n…")
	defer end()

	var file bytes.Buffer // of no use after an error
	err := client.Backup(context.Background(), []string{"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"}, &file)
	fmt.Println(file.Len() > 0, err)
	// Output: true <nil>
}

func ExampleClient_TestNotifications() {
	client, end := answering("POST /v1/notifications/test", `{"sinks":[{"sink":"chat","kind":"slack","delivered":true},{"sink":"siem","kind":"webhook","delivered":false,"detail":"it did not answer in time"}]}`)
	defer end()

	answers, err := client.TestNotifications(context.Background(), "")
	for _, a := range answers {
		fmt.Printf("%s: delivered %t %q\n", a.Sink, a.Delivered, a.Detail)
	}
	fmt.Println(err)
	// Output:
	// chat: delivered true ""
	// siem: delivered false "it did not answer in time"
	// <nil>
}

func ExampleClient_KeyringStatus() {
	client, end := answering("GET /v1/keyring", `{"root":{"kind":"kms","state":"current"},"keys":[{"id":17,"state":"primary","versions":120}],"replicas":[]}`)
	defer end()

	status, err := client.KeyringStatus(context.Background())
	for _, key := range status.Keys {
		fmt.Println(key.ID, "is", key.State, "and wraps", key.Versions, "versions")
	}
	fmt.Println(err)
	// Output:
	// 17 is primary and wraps 120 versions
	// <nil>
}

func ExampleClient_KeyringAdd() {
	client, end := answering("POST /v1/keyring/keys", `{"id":18}`)
	defer end()

	id, err := client.KeyringAdd(context.Background()) // not used before it is promoted
	fmt.Println(id, err)
	// Output: 18 <nil>
}

func ExampleClient_KeyringPromote() {
	client, end := answering("POST /v1/keyring/keys/18/promote", ``)
	defer end()

	fmt.Println(client.KeyringPromote(context.Background(), 18))
	// Output: <nil>
}

func ExampleClient_KeyringRewrap() {
	client, end := answering("POST /v1/keyring/rewrap", `{"rewrapped":120,"remaining":0}`)
	defer end()

	for {
		progress, err := client.KeyringRewrap(context.Background())
		if err != nil {
			fmt.Println(err)
			return
		}
		if progress.Remaining == progress.Failed {
			fmt.Println("all but", progress.Failed, "are under the primary key")
			return
		}
	}
	// Output: all but 0 are under the primary key
}

func ExampleClient_KeyringRetire() {
	client, end := answering("POST /v1/keyring/keys/17/retire", ``)
	defer end()

	fmt.Println(client.KeyringRetire(context.Background(), 17))
	// Output: <nil>
}

func ExampleClient_KeyringDestroy() {
	client, end := answering("DELETE /v1/keyring/keys/17", ``)
	defer end()

	fmt.Println(client.KeyringDestroy(context.Background(), 17)) // for good
	// Output: <nil>
}
