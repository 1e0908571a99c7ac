package policy

import (
	"slices"
	"strings"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// AccessRule is how decisions name the access policy on the secret.
const AccessRule = "the secret's access policy"

// accessGrants reports whether the access policy on a secret is about capability at
// all: reading, and listing what one may read. It is never about those who manage
// secrets.
func accessGrants(capability Capability) bool { return capability == Read || capability == List }

// findAccess returns the first of the allowed services that is the caller, who must
// be a service account.
func findAccess(access secret.AccessPolicy, c secret.Caller) (Subject, bool) {
	if c.Kind != secret.KindServiceAccount || c.Namespace == "" || c.Name == "" {
		return Subject{}, false
	}
	for _, service := range access.AllowedServices {
		if service == anyName {
			return Subject{Kind: kindServiceAccount, Namespace: anyName, Name: anyName}, true
		}
		namespace, name, ok := strings.Cut(service, "/")
		if ok && namespace == c.Namespace && nameMatches(name, c.Name) {
			return Subject{Kind: kindServiceAccount, Namespace: namespace, Name: name}, true
		}
	}
	return Subject{}, false
}

// environmentListed reports whether a caller of an environment, "" for none, is
// meant by the list. An empty list means nobody.
func environmentListed(list []string, environment string) bool {
	return slices.Contains(list, anyName) || environment != "" && slices.Contains(list, environment)
}
