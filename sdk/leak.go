package sdk

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// The ways on which a reader comes.
const (
	// ViaAPI is over the API, by a token of its own.
	ViaAPI = "api"
	// ViaOperator is for a VaultSecret, in the name of its service account.
	ViaOperator = "operator"
	// ViaRotation is for the rotation of the path, in the name of its service account.
	ViaRotation = "rotation"
)

// LeakQuery says what is leaked.
type LeakQuery struct {
	// Version is 0 for the current one or, with Since, for all.
	Version int64
	// Since is from when on reads count; zero: since the version was written.
	Since time.Time
}

// LeakReport is who had a version of a path, and who has it still.
type LeakReport struct {
	Path    string `json:"path" doc:"Path of the secret"`
	Current int64  `json:"current" doc:"Number of the current version"`
	Version int64  `json:"version,omitempty" doc:"Version that the report is about; absent for all"`
	// WrittenAt and WrittenBy are zero for all versions.
	WrittenAt time.Time `json:"writtenAt,omitzero" doc:"When the version was written"`
	WrittenBy string    `json:"writtenBy,omitempty" doc:"Who wrote it, and so knows it"`
	Since     time.Time `json:"since" doc:"From when on reads count"`
	// CompleteSince is after Since when the log begins later, or is too long to be read.
	CompleteSince time.Time `json:"completeSince" doc:"From when on reads are told: later than since when the audit log does not go back as far, or is too long to be read"`
	// Readers and Refused are the last first.
	Readers []LeakReader `json:"readers" nullable:"false" doc:"Who read it, the last first"`
	Refused []LeakReader `json:"refused" nullable:"false" doc:"Whom something was refused on the path in that time, the last first"`
	Holders []Consumer   `json:"holders" nullable:"false" doc:"Who has it still, as GET /v1/consumers says"`
	// HoldersProblem says why Holders is empty though there may be some.
	HoldersProblem string `json:"holdersProblem,omitempty" doc:"Why it is not known who has it"`
	Changed        int64  `json:"changed,omitempty" doc:"Rows of the audit log about the path that fail their integrity check, and are not told of"`
	Unchained      int64  `json:"unchained,omitempty" doc:"Rows from before the audit log had an integrity check"`
	// Rotation is nil when none is defined and none is under way, and with RotationProblem.
	Rotation *RotationStatus `json:"rotation,omitempty" doc:"The rotation of the path, with its newest run; the one that is under way, if one is. Absent when none is defined"`
	// RotationProblem says why Rotation is nil though there are some.
	RotationProblem string `json:"rotationProblem,omitempty" doc:"Why it is not known which rotation is that of the path"`
}

// LeakReader is one that read a path, or was refused something there.
type LeakReader struct {
	Kind        string `json:"kind" doc:"ServiceAccount, User or System"`
	Caller      string `json:"caller" doc:"Who it is, as in the audit log" example:"payments/api"`
	Cluster     string `json:"cluster,omitempty" doc:"Its cluster"`
	Namespace   string `json:"namespace,omitempty" doc:"Namespace of the service account"`
	Environment string `json:"environment,omitempty" doc:"Its environment"`
	Via         string `json:"via" doc:"api; operator for a VaultSecret and rotation for the rotation of the path, both in the name of the service account" example:"api"`
	// Action is empty of a reader.
	Action   string    `json:"action,omitempty" doc:"What was refused; absent of a reader"`
	Versions []int64   `json:"versions,omitempty" doc:"Versions that it read"`
	Times    int64     `json:"times" doc:"How often"`
	FirstAt  time.Time `json:"firstAt" doc:"When first"`
	LastAt   time.Time `json:"lastAt" doc:"When last"`
	// Addresses are at most ten.
	Addresses []string `json:"addresses,omitempty" doc:"From where over the API, the last first; at most ten"`
}

// LeakRequest says that a version is leaked.
type LeakRequest struct {
	Version int64 `json:"version,omitempty" minimum:"0" doc:"Version that is leaked; the current one when absent"`
	// Reason may be empty.
	Reason string `json:"reason,omitempty" doc:"Why, for the audit log"`
}

// LeakResponse is what is done about a leak.
type LeakResponse struct {
	// Run is nil when no rotation is defined for the path, or the version is no more the current one.
	Run *RotationRun `json:"run,omitempty" doc:"The rotation that replaces the version; absent when none is defined, or the version is no more the current one"`
}

// LeakReport tells, from the audit log, who had a version of path, and who has it still. It needs the audit capability.
func (c *Client) LeakReport(ctx context.Context, path string, q LeakQuery) (LeakReport, error) {
	query := url.Values{"path": {path}}
	setInt(query, "version", q.Version)
	setTime(query, "since", q.Since)
	var out LeakReport
	err := c.call(ctx, call{method: http.MethodGet, route: "/v1/leak", query: query, repeatable: true}, &out)
	return out, err
}

// Leak says, for the audit log, that a version of path is leaked, and has its rotation replace it and retire the former credential without
// waiting for consumers. Where no rotation is defined, that is the caller's to do. It needs the rotate capability. Name the version
// where it may be sent twice.
func (c *Client) Leak(ctx context.Context, path string, r LeakRequest) (LeakResponse, error) {
	var out LeakResponse
	err := c.call(ctx, call{method: http.MethodPost, route: "/v1/leak", query: url.Values{"path": {path}}, body: r}, &out)
	return out, err
}
