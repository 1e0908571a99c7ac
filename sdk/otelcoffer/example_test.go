package otelcoffer_test

import (
	"fmt"

	"github.com/coffer-vault/coffer/sdk"
	"github.com/coffer-vault/coffer/sdk/otelcoffer"
)

func ExampleHooks() {
	hooks, err := otelcoffer.Hooks(otelcoffer.Options{}) // the providers that are set with otel
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = sdk.New(sdk.Config{Address: "https://coffer.example", Token: "token", Hooks: hooks})
	fmt.Println(err)
	// Output: <nil>
}
