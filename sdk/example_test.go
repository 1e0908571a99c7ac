package sdk_test

import (
	"context"
	"fmt"
	"time"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/sdk"
	"github.com/coffer-vault/coffer/sdk/coffertest"
)

// inPod gives examples what a program in a pod has: a server, which knows one secret, and
// a client of it.
func inPod() (server *coffertest.Server, client *sdk.Client, end func()) {
	t := &testkit.Example{}
	server = coffertest.NewServer(t)
	server.Put("production/payments/database", "correct horse")
	return server, server.Client(t), t.Close
}

func ExampleNew() {
	t := &testkit.Example{}
	defer t.Close()
	server := coffertest.NewServer(t)
	server.Setenv(t) // a pod has a mounted token and the Service's name instead

	client, err := sdk.New(sdk.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	who, err := client.Whoami(context.Background())
	fmt.Println(who.Name, err)
	// Output: tester <nil>
}

func ExampleClient_Close() {
	t := &testkit.Example{}
	defer t.Close()
	server := coffertest.NewServer(t)
	server.Setenv(t)

	client, err := sdk.New(sdk.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close() // in a program that goes on without it
	_, err = client.Whoami(context.Background())
	fmt.Println(err)
	// Output: <nil>
}

func ExampleClient_Whoami() {
	_, client, end := inPod()
	defer end()

	who, err := client.Whoami(context.Background())
	fmt.Println(who.Kind, who.Name, err)
	// Output: User tester <nil>
}

func ExampleClient_Get() {
	_, client, end := inPod()
	defer end()

	password, err := client.Get(context.Background(), "production/payments/database")
	if err != nil {
		fmt.Println("cannot start without the password:", err)
		return
	}
	defer clear(password.Value)
	fmt.Println(password) // prints without the value
	fmt.Println(len(password.Value), "bytes")
	// Output:
	// production/payments/database@1
	// 13 bytes
}

func ExampleClient_Put() {
	_, client, end := inPod()
	defer end()

	written, err := client.Put(context.Background(), "production/payments/stripe", sdk.PutRequest{
		Value:       []byte("sk_test"),
		Description: new("the key of the payment provider"),
		Access:      &sdk.AccessPolicy{AllowedServices: []string{"payments/api"}, AllowedEnvironments: []string{"production"}},
	})
	fmt.Println("version", written.Version, err)
	// Output: version 1 <nil>
}

func ExampleClient_Rotate() {
	_, client, end := inPod()
	defer end()

	written, err := client.Rotate(context.Background(), "production/payments/database", sdk.PutRequest{
		Value:           []byte("battery staple"),
		ExpectedVersion: new(int64(1)), // nobody else rotated meanwhile
	})
	fmt.Println("version", written.Version, err)
	// Output: version 2 <nil>
}

func ExampleClient_Patch() {
	server, client, end := inPod()
	defer end()
	server.Put("production/payments/database", `{"user":"app","password":"correct horse"}`)

	written, err := client.Patch(context.Background(), "production/payments/database", sdk.PatchRequest{
		Properties: map[string]any{"password": "battery staple"}, // the user stays
	})
	fmt.Println("version", written.Version, err)
	// Output: version 3 <nil>
}

func ExampleClient_Delete() {
	_, client, end := inPod()
	defer end()

	if err := client.Delete(context.Background(), "production/payments/database"); err != nil {
		fmt.Println(err)
		return
	}
	_, err := client.Get(context.Background(), "production/payments/database")
	fmt.Println(sdk.CodeOf(err))
	// Output: not_found_or_denied
}

func ExampleClient_Undelete() {
	server, client, end := inPod()
	defer end()
	server.Delete("production/payments/database")

	back, err := client.Undelete(context.Background(), "production/payments/database")
	fmt.Println("version", back.Version, err)
	// Output: version 1 <nil>
}

func ExampleClient_Metadata() {
	_, client, end := inPod()
	defer end()

	about, err := client.Metadata(context.Background(), "production/payments/database")
	fmt.Println("version", about.Version, "by", about.CreatedBy, err)
	// Output: version 1 by user:tester <nil>
}

func ExampleClient_List() {
	server, client, end := inPod()
	defer end()
	server.Put("production/payments/stripe", "sk_test")

	found, err := client.List(context.Background(), "production/payments/")
	for _, about := range found {
		fmt.Println(about.Path)
	}
	fmt.Println(err)
	// Output:
	// production/payments/database
	// production/payments/stripe
	// <nil>
}

func ExampleClient_ListPage() {
	server, client, end := inPod()
	defer end()
	server.Put("production/payments/stripe", "sk_test")

	for after := ""; ; {
		page, err := client.ListPage(context.Background(), "production/payments/", after, 1)
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, about := range page.Items {
			fmt.Println(about.Path)
		}
		if after = page.Next; after == "" {
			return
		}
	}
	// Output:
	// production/payments/database
	// production/payments/stripe
}

func ExampleCodeOf() {
	_, client, end := inPod()
	defer end()

	_, err := client.Get(context.Background(), "production/payments/stripe")
	switch sdk.CodeOf(err) {
	case sdk.CodeNotFoundOrDenied:
		fmt.Println("ask for access:", err)
	case sdk.CodeUnavailable:
		fmt.Println("try again later")
	default:
		fmt.Println(err)
	}
	// Output: ask for access: the path does not exist, or you may not do this
}

func ExampleSecret_Property() {
	// As client.Get(ctx, "production/payments/database") gives it.
	database := sdk.Secret{
		Metadata: sdk.Metadata{Path: "production/payments/database", Version: 7},
		Value:    []byte(`{"user":"app","password":"correct horse"}`),
	}
	user, err := database.Property("user")
	fmt.Println(user, err)
	_, err = database.Property("host")
	fmt.Println(err)
	// Output:
	// app <nil>
	// read property "host" of production/payments/database@7: the value has no such property; names count in their exact case
}

func ExampleSecret_Text() {
	key := sdk.Secret{Metadata: sdk.Metadata{Path: "production/payments/stripe", Version: 1}, Value: []byte("sk_test")}
	fmt.Println(len(key.Text()), "bytes of", key) // key itself prints without the value
	// Output: 7 bytes of production/payments/stripe@1
}

func ExampleSecret_Bytes() {
	key := sdk.Secret{Metadata: sdk.Metadata{Path: "production/payments/signing", Version: 1}, Value: []byte{1, 2, 3}}
	kept := key.Bytes()
	clear(key.Value)
	fmt.Println(len(kept), "bytes of", key, "are kept:", kept[2] == 3)
	// Output: 3 bytes of production/payments/signing@1 are kept: true
}

func ExampleSecret_Decode() {
	// As client.Get(ctx, "production/payments/database") gives it.
	secret := sdk.Secret{
		Metadata: sdk.Metadata{Path: "production/payments/database", Version: 7},
		Value:    []byte(`{"user":"app","password":"correct horse","port":"5432"}`),
	}
	var database struct {
		User     string        `coffer:"user"`
		Password []byte        `coffer:"password"`
		Port     int           `coffer:"port,optional"`
		Timeout  time.Duration `coffer:"timeout,optional"`
	}
	database.Timeout = 5 * time.Second // stays when the value says nothing
	if err := secret.Decode(&database); err != nil {
		fmt.Println("cannot start:", err)
		return
	}
	defer clear(database.Password)
	fmt.Println(database.User, database.Port, database.Timeout)
	// Output: app 5432 5s
}

func ExampleHooks() {
	t := &testkit.Example{}
	defer t.Close()
	server := coffertest.NewServer(t)
	server.Put("production/payments/database", "correct horse")
	config := server.Config()

	config.Hooks.Attempt = func(ctx context.Context, a sdk.Attempt) (context.Context, func(sdk.AttemptResult)) {
		return ctx, func(r sdk.AttemptResult) { fmt.Println(a.Operation, a.Path, "attempt", a.Number, "ok:", r.Err == nil) }
	}
	client, err := sdk.New(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := client.Get(context.Background(), "production/payments/database"); err != nil {
		fmt.Println(err)
	}
	// Output: GET /v1/secret production/payments/database attempt 1 ok: true
}
