package store

import (
	"strings"
	"testing"

	"github.com/coffer-vault/coffer/internal/vault/address"
)

// FuzzParseURL: an error about a database URL shows no part of it that could be a
// password.
func FuzzParseURL(f *testing.F) {
	for _, s := range [][2]string{
		{"postgres://user:", "@127.0.0.1:1/x?sslmode=disable"}, {"postgres://user:", "@127.0.0.1:port/x"}, {"", ""}, {"host=h password=", " port=x"},
		{"postgres://u:", "@h/x?pool_max_conns=many"}, {"postgres://h/x?password=", "&default_query_exec_mode=simple_protocol"}, {"postgres://u:%zz", "@h"},
		{"postgres://h/x?sslmode=", ""}, {"postgres://h/x?sslrootcert=", ""},
	} {
		f.Add(s[0], s[1])
	}
	const canary = "canary-7f3a9c"
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, files := range []address.Files{{}, {CA: "/nowhere"}} {
			l := &live{files: files}
			if _, err := l.parse(address.Address{URL: before + canary + after}); err != nil && strings.Contains(err.Error(), canary) {
				t.Fatalf("the error shows it: %v", err)
			}
		}
	})
}
