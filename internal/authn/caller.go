package authn

import (
	"slices"
	"strings"
	"unicode/utf8"

	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Names that Kubernetes gives (k8s.io/apiserver/pkg/authentication/serviceaccount and
// k8s.io/apiserver/pkg/authentication/user).
const (
	serviceAccountPrefix = "system:serviceaccount:"
	anonymousUser        = "system:anonymous"
	unauthenticatedGroup = "system:unauthenticated"
)

// maxIdentity bounds a user's name and UID in bytes. Both stand in every audit row, and an index of the log has the name: Postgres
// refuses rows with entries of more than 2704 bytes, and then nobody would be denied either.
const maxIdentity = 1024

// callerOf makes a Caller of a reviewed identity. It refuses identities that are
// nobody's: the anonymous user, what looks like a service account and is not
// wholly one, and names that cannot stand in the audit log.
func callerOf(cluster string, user authenticationv1.UserInfo) (secret.Caller, error) {
	if user.Username == "" || user.Username == anonymousUser || slices.Contains(user.Groups, unauthenticatedGroup) {
		return secret.Caller{}, ErrUnauthenticated
	}
	if !recordable(user.Username) || !recordable(user.UID) {
		return secret.Caller{}, ErrUnauthenticated
	}
	account, ok := strings.CutPrefix(user.Username, serviceAccountPrefix)
	if !ok {
		return secret.Caller{
			Kind: secret.KindUser, Cluster: cluster, Name: user.Username, UID: user.UID, Groups: user.Groups,
		}, nil
	}
	namespace, name, ok := strings.Cut(account, ":")
	if !ok || namespace == "" || name == "" || strings.ContainsAny(account, "/*") || strings.Contains(name, ":") || user.UID == "" {
		return secret.Caller{}, ErrUnauthenticated
	}
	// The groups of a service account follow from its namespace; package policy takes
	// them from there, whatever the door.
	return secret.Caller{
		Kind: secret.KindServiceAccount, Cluster: cluster, Namespace: namespace, Name: name, UID: user.UID,
	}, nil
}

// recordable reports whether a name can stand in the audit log: Postgres takes UTF-8 without NUL only.
func recordable(name string) bool {
	return len(name) <= maxIdentity && utf8.ValidString(name) && !strings.ContainsRune(name, 0)
}
