package sdk_test

import (
	"context"
	"fmt"

	"github.com/coffer-vault/coffer/sdk"
)

func ExampleClient_Address() {
	client, err := sdk.New(sdk.Config{Address: "https://coffer.example", Token: "token"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(client.Address())
	// Output: https://coffer.example
}

func ExampleClient_DeletedVersions() {
	server, client, end := inPod()
	defer end()
	server.Delete("production/payments/database")

	versions, err := client.DeletedVersions(context.Background(), "production/payments/database")
	for _, v := range versions {
		fmt.Println("undelete brings back version", v.Version)
	}
	fmt.Println(err)
	// Output:
	// undelete brings back version 1
	// <nil>
}

func ExampleClient_Consumers() {
	client, end := answering("GET /v1/consumers", `{"items":[{"kind":"VaultSecret","cluster":"east","namespace":"payments","name":"database","version":6,"workloads":3,"rolledOut":2,"state":"RollingOut"}]}`)
	defer end()

	found, err := client.Consumers(context.Background(), "production/payments/database")
	for _, c := range found {
		fmt.Printf("%s %s/%s has version %d, and %d of %d workloads run with it\n", c.Kind, c.Namespace, c.Name, c.Version, c.RolledOut, c.Workloads)
	}
	fmt.Println(err)
	// Output:
	// VaultSecret payments/database has version 6, and 2 of 3 workloads run with it
	// <nil>
}

func ExampleClient_DefinedRotations() {
	client, end := answering("GET /v1/rotations", `{"items":[{"path":"production/payments/database","method":"postgres","every":"30d","runs":[{"state":"propagating","consumers":3,"moved":2}]}]}`)
	defer end()

	defined, err := client.DefinedRotations(context.Background(), "production/")
	for _, r := range defined {
		run := r.Runs[0]
		fmt.Printf("%s every %s: %s, %d of %d have moved\n", r.Path, r.Every, run.State, run.Moved, run.Consumers)
	}
	fmt.Println(err)
	// Output:
	// production/payments/database every 30d: propagating, 2 of 3 have moved
	// <nil>
}

func ExampleClient_ShowRotation() {
	client, end := answering("GET /v1/rotations/show", `{"path":"production/payments/database","runs":[{"state":"failed","steps":[{"state":"planned","detail":"asked for by operations/api"},{"state":"failed","detail":"the database refused it"}]}]}`)
	defer end()

	r, err := client.ShowRotation(context.Background(), "production/payments/database")
	for _, step := range r.Runs[0].Steps {
		fmt.Println(step.State, step.Detail)
	}
	fmt.Println(err)
	// Output:
	// planned asked for by operations/api
	// failed the database refused it
	// <nil>
}

func ExampleClient_RunRotation() {
	client, end := answering("POST /v1/rotations/run", `{"state":"planned","revokeOld":true}`)
	defer end()

	run, err := client.RunRotation(context.Background(), "production/payments/database", sdk.RunRotationRequest{RevokeOld: true})
	fmt.Println("the rotation is", run.State, err)
	// Output: the rotation is planned <nil>
}

func ExampleClient_ApproveRotation() {
	client, end := answering("POST /v1/rotations/approve", `{"state":"retiring"}`)
	defer end()

	run, err := client.ApproveRotation(context.Background(), "production/payments/database")
	fmt.Println("the rotation is", run.State, err)
	// Output: the rotation is retiring <nil>
}

func ExampleClient_CancelRotation() {
	client, end := answering("POST /v1/rotations/cancel", `{"state":"failed"}`)
	defer end()

	run, err := client.CancelRotation(context.Background(), "production/payments/database")
	fmt.Println("the rotation is", run.State, err)
	// Output: the rotation is failed <nil>
}

func ExampleClient_ForgetConsumers() {
	client, end := answering("POST /v1/consumers/forget", `{"consumers":12,"paths":3,"seenAt":"2026-03-01T00:00:00Z"}`)
	defer end()

	would, err := client.ForgetConsumers(context.Background(), sdk.ForgetConsumersRequest{Cluster: "west", DryRun: true})
	fmt.Println(would.Consumers, "consumers of", would.Paths, "paths, last heard of on", would.SeenAt.Format("2 January"), err)
	// Output: 12 consumers of 3 paths, last heard of on 1 March <nil>
}

func ExampleClient_LeakReport() {
	client, end := answering("GET /v1/leak", `{"path":"production/aws/key","version":3,"readers":[{"caller":"payments/api","via":"api","times":12}],"refused":[{"caller":"other/api","action":"read","times":1}],"holders":[{"kind":"ServiceAccount"}]}`)
	defer end()

	report, err := client.LeakReport(context.Background(), "production/aws/key", sdk.LeakQuery{Version: 3})
	for _, r := range report.Readers {
		fmt.Printf("%s read it %d times\n", r.Caller, r.Times)
	}
	fmt.Println(len(report.Refused), "was refused, and", len(report.Holders), "has it still;", err)
	// Output:
	// payments/api read it 12 times
	// 1 was refused, and 1 has it still; <nil>
}

func ExampleClient_Leak() {
	client, end := answering("POST /v1/leak", `{"run":{"state":"planned","revokeOld":true}}`)
	defer end()

	done, err := client.Leak(context.Background(), "production/aws/key", sdk.LeakRequest{Version: 3, Reason: "in a public repository"})
	fmt.Println("the rotation is", done.Run.State, err)
	// Output: the rotation is planned <nil>
}
