// Package failpoint names the places at which the fault tests kill the process.
// Only a build with the tag failpoints has them: in any other, Hit does nothing and
// costs nothing.
package failpoint

// Variable is the environment variable that arms one failpoint of a process:
// "put/before-commit", or "put/before-commit:3" for the third time it is reached.
const Variable = "COFFER_FAILPOINT"

// The steps at which an operation can be killed. An operation is an audit action or
// another name of a flow, such as "rewrap".
const (
	// Begun: authorised, and nothing written.
	Begun = "begun"
	// BeforeCommit: all is written in a transaction that is not committed.
	BeforeCommit = "before-commit"
	// AfterCommit: committed, and neither announced nor answered.
	AfterCommit = "after-commit"
)

// The steps of a write to the API server of Kubernetes.
const (
	// BeforeWrite: all is decided, and nothing is sent.
	BeforeWrite = "before-write"
	// AfterWrite: the API server has it, and nothing else followed.
	AfterWrite = "after-write"
	// Removed: what is to be made anew is gone, and not there again.
	Removed = "removed"
)

// The steps of what is done to another system, such as the operations "rotation-set" and "notification-deliver".
const (
	// BeforeAction: the run, or the event, is this process's, and nothing is done.
	BeforeAction = "before-action"
	// AfterAction: it is done, and the database does not say so.
	AfterAction = "after-action"
)

// The steps of the operation "rollback", by which the operator takes a Secret and its
// workloads back to older versions.
const (
	// Decided: the status says so, and the Secret is not written.
	Decided = "decided"
	// SecretWritten: the Secret holds the older versions, and no workload is stamped.
	SecretWritten = "secret-written"
	// Stamped: workloads are stamped, and the status does not say so.
	Stamped = "stamped"
)
