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

// Subject is one entry of Subjects: a service account, a user or a group.
type Subject struct {
	// Kind is "serviceaccount", "user" or "group".
	Kind string
	// Namespace is of service accounts; "*" stands for any, as in Name.
	Namespace, Name string
}

// The kinds of a Subject.
const (
	kindServiceAccount = "serviceaccount"
	kindUser           = "user"
	kindGroup          = "group"
)

// String is how people read it: "serviceaccount payments/*", "group sre".
func (s Subject) String() string {
	switch {
	case s.Kind == "":
		return ""
	case s.Kind == kindServiceAccount:
		return s.Kind + " " + s.Namespace + "/" + s.Name
	default:
		return s.Kind + " " + s.Name
	}
}

// MarshalText makes a Subject a JSON string.
func (s Subject) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// find returns the first entry of s that is about the caller. None ever is about
// Coffer itself.
func (s Subjects) find(c secret.Caller) (Subject, bool) {
	switch c.Kind {
	case secret.KindServiceAccount:
		return s.findAccount(c.Namespace, c.Name)
	case secret.KindUser:
		return s.findUser(c)
	default:
		return Subject{}, false
	}
}

func (s Subjects) findUser(c secret.Caller) (Subject, bool) {
	if slices.Contains(s.Users, c.Name) {
		return Subject{Kind: kindUser, Name: c.Name}, true
	}
	for _, group := range s.Groups {
		if slices.Contains(c.Groups, group) {
			return Subject{Kind: kindGroup, Name: group}, true
		}
	}
	return Subject{}, false
}

// findAccount takes the groups of a service account from its namespace and not from
// the caller: only a token's review brings groups along, and a rule must not depend
// on the door through which the account comes.
func (s Subjects) findAccount(namespace, name string) (Subject, bool) {
	if namespace == "" || name == "" {
		return Subject{}, false
	}
	for _, account := range s.ServiceAccounts {
		if nameMatches(account.Namespace, namespace) && nameMatches(account.Name, name) {
			return Subject{kindServiceAccount, account.Namespace, account.Name}, true
		}
	}
	for _, group := range s.Groups {
		if group == serviceAccountsGroup || group == authenticatedGroup ||
			group == serviceAccountGroupPrefix+namespace {
			return Subject{Kind: kindGroup, Name: group}, true
		}
	}
	if user := serviceAccountUserPrefix + namespace + ":" + name; slices.Contains(s.Users, user) {
		return Subject{Kind: kindUser, Name: user}, true
	}
	return Subject{}, false
}

func nameMatches(pattern, name string) bool { return pattern == anyName || pattern == name }
