package vault_test

import (
	"testing"

	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/internal/vault/vaulttest"
)

func BenchmarkEngine(b *testing.B) {
	env := vaulttest.Start(b)
	path := vaulttest.Path(b, "production/payments/database")
	request := secret.PutRequest{Path: path, Value: vaulttest.Value(b, "a password of some length")}
	env.Put(b, path.String(), "v")
	for name, operate := range map[string]func() error{
		"Read": func() error { _, err := env.Engine.Read(b.Context(), env.Admin, secret.Ref{Path: path}); return err },
		"Check": func() error {
			_, err := env.Engine.Check(b.Context(), env.Admin, []secret.Ref{{Path: path}})
			return err
		},
		"Put": func() error { _, err := env.Engine.Put(b.Context(), env.Admin, request); return err },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := operate(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
