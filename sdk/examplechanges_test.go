package sdk_test

import (
	"context"
	"fmt"
	"time"

	"github.com/coffer-vault/coffer/sdk"
)

func ExampleClient_Watch() {
	server, client, end := inPod()
	defer end()
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
			server.Put("production/payments/database", "battery staple")
		case sdk.EventPolicy, sdk.EventReset:
			fmt.Println("read everything again")
		default:
			fmt.Println("read", event.Path, "again: version", event.Version)
			return
		}
	}
	// Output:
	// read everything once
	// read production/payments/database again: version 2
}

func ExampleClient_Follow() {
	server, client, end := inPod()
	defer end()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	for password, err := range client.Follow(ctx, "production/payments/database") {
		if err != nil {
			fmt.Println("deleted, or no longer allowed:", sdk.CodeOf(err))
			return
		}
		fmt.Println("connect anew with", password)
		if password.Version == 1 {
			server.Put("production/payments/database", "battery staple") // somebody rotates
		} else {
			server.Delete("production/payments/database")
		}
	}
	// Output:
	// connect anew with production/payments/database@1
	// connect anew with production/payments/database@2
	// deleted, or no longer allowed: not_found_or_denied
}

func ExampleNewCache() {
	_, client, end := inPod()
	defer end()
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
		fmt.Println(len(password.Value), "bytes of", password)
	}
	// Output:
	// 13 bytes of production/payments/database@1
	// 13 bytes of production/payments/database@1
}

func ExampleCache_Get() {
	_, client, end := inPod()
	defer end()
	cache := sdk.NewCache(client, sdk.CacheConfig{})
	defer cache.Close()

	password, err := cache.Get(context.Background(), "production/payments/database")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer clear(password.Value) // a copy
	fmt.Println(len(password.Value), "bytes, read lately:", password.Age() < time.Minute)
	// Output: 13 bytes, read lately: true
}

func ExampleCache_Follow() {
	server, client, end := inPod()
	defer end()
	server.Put("production/payments/stripe", "sk_test")
	cache := sdk.NewCache(client, sdk.CacheConfig{Prefix: "production/payments/"})
	defer cache.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	for _, path := range []string{"production/payments/database", "production/payments/stripe"} { // over one watch
		for found, err := range cache.Follow(ctx, path) {
			if err != nil {
				fmt.Println(err)
				return
			}
			fmt.Println("use", found)
			break // or go on: the next value comes with the next rotation
		}
	}
	// Output:
	// use production/payments/database@1
	// use production/payments/stripe@1
}

func ExampleCache_Close() {
	_, client, end := inPod()
	defer end()
	cache := sdk.NewCache(client, sdk.CacheConfig{})
	cache.Close() // drops all values

	_, err := cache.Get(context.Background(), "production/payments/database")
	fmt.Println(err)
	// Output: the cache is closed
}

func ExampleCachedSecret_Stale() {
	server, client, end := inPod()
	defer end()
	cache := sdk.NewCache(client, sdk.CacheConfig{MaxAge: time.Nanosecond}) // as after the usual minute
	defer cache.Close()
	if _, err := cache.Get(context.Background(), "production/payments/database"); err != nil {
		fmt.Println(err)
		return
	}
	server.Outage()

	password, err := cache.Get(context.Background(), "production/payments/database")
	if err != nil {
		fmt.Println(err)
		return
	}
	if password.Stale() {
		fmt.Println("the last value, since the server is away:", sdk.CodeOf(password.Outage))
	}
	// Output: the last value, since the server is away: unavailable
}

func ExampleCachedSecret_Age() {
	_, client, end := inPod()
	defer end()
	cache := sdk.NewCache(client, sdk.CacheConfig{})
	defer cache.Close()

	password, err := cache.Get(context.Background(), "production/payments/database")
	if err != nil {
		fmt.Println(err)
		return
	}
	if password.Age() > 10*time.Minute {
		fmt.Println("the server is away for long:", password.Outage)
	}
	fmt.Println(password)
	// Output: production/payments/database@1
}
