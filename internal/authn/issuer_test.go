package authn

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/internal/authn/issuers"
	"github.com/coffer-vault/coffer/internal/vault/secret"
)

func TestCallerOfIssuer(t *testing.T) {
	long := strings.Repeat("a", maxIdentity-3)
	got, err := callerOfIssuer("east", issuers.Identity{Name: "ci:" + long, Subject: "7", Groups: []string{"ci:system:masters"}})
	if err != nil {
		t.Fatal(err)
	}
	want := secret.Caller{Kind: secret.KindUser, Cluster: "east", Name: "ci:" + long, UID: "7", Groups: []string{"ci:system:masters"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for name, identity := range map[string]issuers.Identity{
		"no name":                  {},
		"a service account":        {Name: "system:serviceaccount:payments:api"},
		"a component":              {Name: "system:kube-scheduler"},
		"a group of Kubernetes":    {Name: "ci:x", Groups: []string{"ci:a", "system:masters"}},
		"a name with a NUL":        {Name: "ci:\x00"},
		"a name of broken UTF-8":   {Name: "ci:\xff"},
		"a long name":              {Name: "ci:" + long + "a"},
		"a subject of broken UTF8": {Name: "ci:x", Subject: "\xff"},
		"a long subject":           {Name: "ci:x", Subject: long + "aaaa"},
	} {
		if caller, err := callerOfIssuer("east", identity); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("%s: got %v, %v", name, caller, err)
		}
	}
}
