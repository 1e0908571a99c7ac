package sdk_test

import (
	"context"
	"fmt"

	"github.com/coffer-vault/coffer/sdk"
)

func ExampleClient_GetVersion() {
	server, client, end := inPod()
	defer end()
	server.Put("production/payments/database", "battery staple")

	first, err := client.GetVersion(context.Background(), "production/payments/database", 1)
	fmt.Println(first, err)
	// Output: production/payments/database@1 <nil>
}

func ExampleClient_GetLabel() {
	server, client, end := inPod()
	defer end()
	server.Put("production/payments/database", "battery staple")

	// What clients that were not told of the rotation may still send.
	previous, err := client.GetLabel(context.Background(), "production/payments/database", sdk.LabelPrevious)
	fmt.Println(previous, err)
	// Output: production/payments/database@1 <nil>
}

func ExampleClient_Versions() {
	server, client, end := inPod()
	defer end()
	server.Put("production/payments/database", "battery staple")

	versions, err := client.Versions(context.Background(), "production/payments/database")
	for _, v := range versions {
		fmt.Println(v.Version, v.Labels, v.State)
	}
	fmt.Println(err)
	// Output:
	// 2 [current] live
	// 1 [previous] live
	// <nil>
}

func ExampleClient_Promote() {
	_, client, end := inPod()
	defer end()
	ctx := context.Background()

	// First the database learns the new password, and then everybody else.
	_, err := client.Rotate(ctx, "production/payments/database", sdk.PutRequest{Value: []byte("battery staple"), Pending: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	current, err := client.Promote(ctx, "production/payments/database", sdk.PromoteRequest{})
	fmt.Println("version", current.Version, err)
	// Output: version 2 <nil>
}

func ExampleClient_Rollback() {
	server, client, end := inPod()
	defer end()
	server.Put("production/payments/database", "battery staple")

	current, err := client.Rollback(context.Background(), "production/payments/database", sdk.RollbackRequest{Version: 1})
	fmt.Println("version", current.Version, err)
	// Output: version 1 <nil>
}

func ExampleClient_DeleteVersions() {
	client, end := answering("POST /v1/secret/versions/delete", ``)
	defer end()

	fmt.Println(client.DeleteVersions(context.Background(), "production/payments/database", 1, 2))
	// Output: <nil>
}

func ExampleClient_UndeleteVersions() {
	client, end := answering("POST /v1/secret/versions/undelete", ``)
	defer end()

	fmt.Println(client.UndeleteVersions(context.Background(), "production/payments/database", 1, 2))
	// Output: <nil>
}

func ExampleClient_DestroyVersions() {
	client, end := answering("POST /v1/secret/versions/destroy", ``)
	defer end()

	fmt.Println(client.DestroyVersions(context.Background(), "production/payments/database", 1, 2)) // for good
	// Output: <nil>
}

func ExampleClient_Destroy() {
	client, end := answering("POST /v1/secret/destroy", ``)
	defer end()

	fmt.Println(client.Destroy(context.Background(), "production/payments/database")) // for good
	// Output: <nil>
}
