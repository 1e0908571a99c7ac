package secret

import "fmt"

// Kind says what sort of identity a Caller is.
type Kind string

// The kinds of caller.
const (
	// KindServiceAccount is a Kubernetes service account.
	KindServiceAccount Kind = "ServiceAccount"
	// KindUser is any other identity that the API server, or an OpenID Connect issuer of
	// the manager's configuration, vouches for.
	KindUser Kind = "User"
	// KindSystem is Coffer itself: the policy controller, key maintenance. It
	// cannot be named in a token.
	KindSystem Kind = "System"
)

// OperatorAddress is the Address of what an operator asks, in the name of service accounts
// and of its own. A request never has it.
const OperatorAddress = "operator"

// RotationAddress is the Address of what a rotation asks, in the name of its service account.
// A request never has it.
const RotationAddress = "rotation"

// Caller is who asks. Its fields come from places the caller cannot write: a
// TokenReview answer, the signed claims of a token, or the metadata of a Kubernetes object.
type Caller struct {
	Kind Kind
	// Cluster is the name of the cluster that the identity belongs to.
	Cluster string
	// Namespace and Name say which service account; Namespace is empty for the
	// other kinds and Name is then the user name.
	Namespace, Name string
	// UID is the service account's UID, for the audit log and for rules that mean one
	// account: it tells a recreated account from the former one. All other rules go by
	// Namespace and Name. A user's, for the audit log only, is what vouches for it calls it.
	UID string
	// Groups are the user's groups; empty for service accounts read from objects.
	Groups []string
	// Environment is the namespace's environment, such as "production".
	Environment string
	// Address is where the request came from: an IP, or OperatorAddress.
	Address string
	// RequestID ties the audit row to a request or a reconcile.
	RequestID string
}

// String names the caller as audit rows and messages do:
// "payments/api" for a service account, "user:alice", "system:policy-sync".
func (c Caller) String() string {
	switch c.Kind {
	case KindServiceAccount:
		return c.Namespace + "/" + c.Name
	case KindSystem:
		return "system:" + c.Name
	default:
		return fmt.Sprintf("user:%s", c.Name)
	}
}
