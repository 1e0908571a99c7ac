package coffertest_test

import (
	"context"
	"testing"

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
	_ = func(t *testing.T) { // func TestPasswordLength(t *testing.T)
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
}
