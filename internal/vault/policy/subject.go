package policy

import (
	"slices"

	"github.com/coffer-vault/coffer/internal/vault/secret"
)

// Subjects are the callers that a rule is about; one match is enough.
type Subjects struct {
	ServiceAccounts []ServiceAccount `json:"serviceAccounts,omitempty"`
	// Users and Groups are the names that Kubernetes gives, compared as they are. A
	// service account is also the user system:serviceaccount:<namespace>:<name> and a
	// member of system:serviceaccounts, system:serviceaccounts:<namespace> and
	// system:authenticated, as everywhere in Kubernetes.
	Users  []string `json:"users,omitempty"`
	Groups []string `json:"groups,omitempty"`
}

// ServiceAccount names service accounts; "*" as Namespace or Name stands for any.
type ServiceAccount struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// The names of Kubernetes for service accounts as users and their groups
// (k8s.io/apiserver/pkg/authentication/serviceaccount, k8s.io/apiserver/pkg/authentication/user).
const (
	serviceAccountUserPrefix  = "system:serviceaccount:"
	serviceAccountsGroup      = "system:serviceaccounts"
	serviceAccountGroupPrefix = "system:serviceaccounts:"
	authenticatedGroup        = "system:authenticated"
)

// includes reports whether the caller is one of s. Coffer itself never is.
func (s Subjects) includes(c secret.Caller) bool {
	switch c.Kind {
	case secret.KindServiceAccount:
		return s.includesAccount(c.Namespace, c.Name)
	case secret.KindUser:
		return slices.Contains(s.Users, c.Name) ||
			slices.ContainsFunc(c.Groups, func(g string) bool { return slices.Contains(s.Groups, g) })
	default:
		return false
	}
}

// includesAccount takes the groups of a service account from its namespace and not
// from the caller: only a token's review brings groups along, and a rule must not
// depend on the door through which the account comes.
func (s Subjects) includesAccount(namespace, name string) bool {
	if namespace == "" || name == "" {
		return false
	}
	for _, account := range s.ServiceAccounts {
		if nameMatches(account.Namespace, namespace) && nameMatches(account.Name, name) {
			return true
		}
	}
	for _, group := range s.Groups {
		if group == serviceAccountsGroup || group == authenticatedGroup ||
			group == serviceAccountGroupPrefix+namespace {
			return true
		}
	}
	return slices.Contains(s.Users, serviceAccountUserPrefix+namespace+":"+name)
}

func nameMatches(pattern, name string) bool { return pattern == anyName || pattern == name }
