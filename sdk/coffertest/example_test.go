package coffertest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/coffer-vault/coffer/internal/testkit"
	"github.com/coffer-vault/coffer/sdk"
	"github.com/coffer-vault/coffer/sdk/coffertest"
)

// passwordLength stands for the code under test.
func passwordLength(ctx context.Context, client *sdk.Client) (int, error) {
	password, err := client.Get(ctx, "production/payments/database")
	defer clear(password.Value)
	return len(password.Value), err
}

// TestPasswordLength is how a program tests its own code; the package's example shows it.
func TestPasswordLength(t *testing.T) {
	server := coffertest.NewServer(t)
	client := server.Client(t)
	if _, err := passwordLength(t.Context(), client); sdk.CodeOf(err) != sdk.CodeNotFoundOrDenied {
		t.Errorf("without a password: %v", err)
	}
	server.Put("production/payments/database", "correct horse")
	if n, err := passwordLength(t.Context(), client); n != 13 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

func ExampleNewServer() {
	test := func(t testing.TB) { // func TestPasswordLength(t *testing.T)
		server := coffertest.NewServer(t)
		client := server.Client(t)
		_, err := passwordLength(context.Background(), client)
		fmt.Println("without a password:", sdk.CodeOf(err))
		server.Put("production/payments/database", "correct horse")
		fmt.Println(passwordLength(context.Background(), client))
	}
	t := &testkit.Example{}
	defer t.Close()
	test(t)
	// Output:
	// without a password: not_found_or_denied
	// 13 <nil>
}

// inTest gives examples what a test has: a server with one secret, a client of it that
// tries nothing twice, and a t.
func inTest() (t *testkit.Example, server *coffertest.Server, client *sdk.Client) {
	t = &testkit.Example{}
	server = coffertest.NewServer(t)
	server.Put("a/b", "one")
	config := server.Config()
	config.Retries = -1
	client, err := sdk.New(config)
	if err != nil {
		panic(err)
	}
	return t, server, client
}

// read says what comes of a read.
func read(client *sdk.Client) string {
	found, err := client.Get(context.Background(), "a/b")
	if err != nil {
		return string(sdk.CodeOf(err))
	}
	return found.String()
}

func ExampleServer_Client() {
	t, server, _ := inTest()
	defer t.Close()

	fmt.Println(read(server.Client(t)))
	// Output: a/b@1
}

func ExampleServer_Config() {
	t, server, _ := inTest()
	defer t.Close()

	config := server.Config()
	config.UserAgent = "the-program/1.0"
	client, err := sdk.New(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(read(client))
	// Output: a/b@1
}

func ExampleServer_Setenv() {
	t, server, _ := inTest()
	defer t.Close()

	server.Setenv(t)
	client, err := sdk.New(sdk.Config{}) // as the program does
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(read(client))
	// Output: a/b@1
}

func ExampleServer_SetToken() {
	t, server, client := inTest()
	defer t.Close()

	server.SetToken("another")
	fmt.Println(read(client))
	fmt.Println(read(server.Client(t)))
	// Output:
	// unauthenticated
	// a/b@1
}

func ExampleServer_Put() {
	t, server, client := inTest()
	defer t.Close()

	fmt.Println("version", server.Put("a/b", "two")) // a rotation
	fmt.Println(read(client))
	// Output:
	// version 2
	// a/b@2
}

func ExampleServer_Delete() {
	t, server, client := inTest()
	defer t.Close()

	server.Delete("a/b")
	fmt.Println(read(client))
	// Output: not_found_or_denied
}

func ExampleServer_Deny() {
	t, server, client := inTest()
	defer t.Close()

	server.Deny("a/b")
	fmt.Println(read(client))
	// Output: not_found_or_denied
}

func ExampleServer_Allow() {
	t, server, client := inTest()
	defer t.Close()

	server.Deny("a/b")
	server.Allow("a/b")
	fmt.Println(read(client))
	// Output: a/b@1
}

func ExampleServer_Reads() {
	t, server, client := inTest()
	defer t.Close()

	fmt.Println(read(client))
	fmt.Println(read(client))
	fmt.Println(server.Reads("a/b"), "reads")
	// Output:
	// a/b@1
	// a/b@1
	// 2 reads
}

func ExampleServer_Outage() {
	t, server, client := inTest()
	defer t.Close()

	server.Outage()
	fmt.Println(read(client))
	// Output: unavailable
}

func ExampleServer_Recover() {
	t, server, client := inTest()
	defer t.Close()

	server.Outage()
	server.Put("a/b", "two")
	server.Recover()
	fmt.Println(read(client))
	// Output: a/b@2
}

func ExampleServer_Restart() {
	t, server, client := inTest()
	defer t.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	for found, err := range client.Follow(ctx, "a/b") {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(found)
		if found.Version == 2 {
			return
		}
		server.Restart() // what follows comes over another connection
		server.Put("a/b", "two")
	}
	// Output:
	// a/b@1
	// a/b@2
}

func ExampleServer_ForgetChanges() {
	t, server, client := inTest()
	defer t.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	for event, err := range client.Watch(ctx, sdk.WatchOptions{}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(event.Kind)
		if event.Kind == sdk.EventReset {
			return
		}
		server.ForgetChanges()
	}
	// Output:
	// position
	// reset
}
