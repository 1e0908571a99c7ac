package sdk_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/coffer-vault/coffer/sdk"
)

// example is a stand-in for a server that knows one secret.
func example() (*sdk.Client, func()) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/v1/watch":
			_, _ = w.Write([]byte("id: c1.x\ndata: {\"kind\":\"position\"}\n\n" +
				"id: c1.y\ndata: {\"kind\":\"rotate\",\"path\":\"production/payments/database\",\"version\":8}\n\n"))
		case r.URL.Query().Get("path") != "production/payments/database":
			w.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(w).Encode(sdk.Problem{Status: 404, Code: sdk.CodeNotFoundOrDenied, Detail: "the path does not exist, or you may not do this"})
		case r.Method == http.MethodGet:
			_ = json.NewEncoder(w).Encode(sdk.Secret{
				Metadata: sdk.Metadata{Path: "production/payments/database", Version: 7}, Value: []byte("correct horse"),
			})
		default:
			_ = json.NewEncoder(w).Encode(sdk.Metadata{Path: "production/payments/database", Version: 8})
		}
	}))
	client, err := sdk.New(sdk.Config{Address: s.URL, Token: "token"}) // sdk.Config{} in a pod
	if err != nil {
		panic(err)
	}
	return client, s.Close
}

func ExampleClient_Get() {
	client, closeServer := example()
	defer closeServer()

	password, err := client.Get(context.Background(), "production/payments/database")
	if err != nil {
		fmt.Println("cannot start without the password:", err)
		return
	}
	fmt.Println(password) // prints without the value
	fmt.Println(len(password.Value), "bytes")
	// Output:
	// production/payments/database@7
	// 13 bytes
}

func ExampleClient_Rotate() {
	client, closeServer := example()
	defer closeServer()

	current := int64(7)
	written, err := client.Rotate(context.Background(), "production/payments/database", sdk.PutRequest{
		Value:           []byte("battery staple"),
		ExpectedVersion: &current, // nobody else rotated meanwhile
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("version", written.Version)
	// Output: version 8
}

func ExampleCodeOf() {
	client, closeServer := example()
	defer closeServer()

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

func ExampleClient_Watch() {
	client, closeServer := example()
	defer closeServer()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	for event, err := range client.Watch(ctx, sdk.WatchOptions{Prefix: "production/payments/"}) {
		if err != nil {
			fmt.Println("cannot watch:", err)
			return
		}
		switch event.Kind {
		case sdk.EventPosition:
			fmt.Println("read everything once") // whatever changes from now on comes
		case sdk.EventPolicy, sdk.EventReset:
			fmt.Println("read everything again")
		default:
			fmt.Println("read", event.Path, "again: version", event.Version)
			return
		}
	}
	// Output:
	// read everything once
	// read production/payments/database again: version 8
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

func ExampleNewCache() {
	client, closeServer := example()
	defer closeServer()
	cache := sdk.NewCache(client, sdk.CacheConfig{
		Prefix:   "production/payments/", // what changes here is known at once
		MaxStale: 30 * time.Minute,       // how long an outage may be
	})
	defer cache.Close()

	for range 2 { // the second read is answered from memory
		password, err := cache.Get(context.Background(), "production/payments/database")
		if err != nil {
			fmt.Println(err)
			return
		}
		if password.Stale() {
			fmt.Println("the last value, of", password.Age(), "ago:", password.Outage)
		}
		fmt.Println(len(password.Value), "bytes of", password)
	}
	// Output:
	// 13 bytes of production/payments/database@7
	// 13 bytes of production/payments/database@7
}

func ExampleClient_Follow() {
	client, closeServer := example()
	defer closeServer()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	for password, err := range client.Follow(ctx, "production/payments/database") {
		if err != nil {
			fmt.Println("deleted, or no longer allowed:", err)
			return
		}
		fmt.Println("connect anew with", password)
		return // or go on: the next value comes with the next rotation
	}
	// Output: connect anew with production/payments/database@7
}

func ExampleHooks() {
	hooks := sdk.Hooks{
		Attempt: func(ctx context.Context, a sdk.Attempt) (context.Context, func(sdk.AttemptResult)) {
			return ctx, func(r sdk.AttemptResult) { fmt.Println(a.Operation, a.Path, "attempt", a.Number, "ok:", r.Err == nil) }
		},
		CacheRead: func(_ context.Context, r sdk.CacheRead) { fmt.Println(r.Outcome, r.Path) },
	}
	_, err := sdk.New(sdk.Config{Address: "https://coffer.example", Token: "token", Hooks: hooks})
	fmt.Println(err)
	// Output: <nil>
}
