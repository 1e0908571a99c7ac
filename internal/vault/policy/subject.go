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
	// UID, when not empty, is that of the one account that is meant: another of the
	// same name, made after that was deleted, is not.
	UID string `json:"uid,omitempty"`
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
	// UID is of service accounts that are meant by it besides their name.
	UID string
}

// The kinds of a Subject.
const (
	kindServiceAccount = "serviceaccount"
	kindUser           = "user"
	kindGroup          = "group"
)

// String is how people read it: "serviceaccount payments/*", "group sre",
// "serviceaccount payments/api with UID 0ed1…".
func (s Subject) String() string {
	switch {
	case s.Kind == "":
		return ""
	case s.UID != "":
		return s.Kind + " " + s.Namespace + "/" + s.Name + " with UID " + s.UID
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
		return s.findAccount(c.Namespace, c.Name, c.UID)
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
func (s Subjects) findAccount(namespace, name, uid string) (Subject, bool) {
	if namespace == "" || name == "" {
		return Subject{}, false
	}
	for _, account := range s.ServiceAccounts {
		if account.names(namespace, name) && (account.UID == "" || account.UID == uid) {
			return account.subject(), true
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

// findNamesake returns the first entry of s that names the caller and means another
// account: one of the same name with another UID.
func (s Subjects) findNamesake(c secret.Caller) (Subject, bool) {
	if c.Kind != secret.KindServiceAccount || c.Namespace == "" || c.Name == "" {
		return Subject{}, false
	}
	for _, account := range s.ServiceAccounts {
		if account.names(c.Namespace, c.Name) && account.UID != "" && account.UID != c.UID {
			return account.subject(), true
		}
	}
	return Subject{}, false
}

func (a ServiceAccount) names(namespace, name string) bool {
	return nameMatches(a.Namespace, namespace) && nameMatches(a.Name, name)
}

func (a ServiceAccount) subject() Subject {
	return Subject{Kind: kindServiceAccount, Namespace: a.Namespace, Name: a.Name, UID: a.UID}
}

func nameMatches(pattern, name string) bool { return pattern == anyName || pattern == name }
