package sdk

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// RotationStatus is a rotation that is defined for a path, and how it stands.
type RotationStatus struct {
	Path string `json:"path" doc:"Path of the secret"`
	// Cluster and Name say where it is defined.
	Cluster string `json:"cluster" doc:"Cluster in which the rotation is defined"`
	Name    string `json:"name" doc:"Name of the rotation there"`
	Method  string `json:"method" doc:"Kind of the rotator or generator"`
	// Every, Cron and TimeZone are its schedule; without Every and Cron it is rotated by hand only.
	Every     string `json:"every,omitempty" doc:"Time between rotations, such as 30d"`
	Cron      string `json:"cron,omitempty" doc:"Cron line of the rotations"`
	TimeZone  string `json:"timeZone,omitempty" doc:"Time zone of the schedule; UTC when absent"`
	Suspended bool   `json:"suspended,omitempty" doc:"Nothing is due by time"`
	// Undefined: the rest is as it was when the newest run began.
	Undefined bool `json:"undefined,omitempty" doc:"The rotation is defined no more; its run that was under way goes on to its end"`
	// Next is zero while nothing is due by time, also because the path is being rotated.
	Next time.Time `json:"next,omitzero" doc:"When it is due next"`
	// OverdueSince is zero unless it is due by time and was not done, because no run began or the run failed.
	OverdueSince time.Time `json:"overdueSince,omitzero" doc:"Since when it is due and was not done, because no run began or the run failed"`
	// Runs are the newest: one in a list, up to ten of a single rotation, with those of other rotations of the path. There are none
	// before the first.
	Runs []RotationRun `json:"runs" nullable:"false" doc:"The newest runs, the newest first: one in a list, up to ten of a single rotation, with those of other rotations of the path"`
}

// RotationRun is one run of a rotation.
type RotationRun struct {
	ID string `json:"id" doc:"Identifies the run; the request ID of its audit entries"`
	// Cluster and Name are the rotation's.
	Cluster string `json:"cluster,omitempty" doc:"Cluster in which its rotation is, or was, defined"`
	Name    string `json:"name,omitempty" doc:"Name of its rotation there"`
	// State is "planned", "created", "set", "tested", "current", "propagating", "retiring" or "done", or after a failure "failed",
	// "withdrawing", "revoking", "rolledBack" or "abandoned". More may come.
	State string `json:"state" doc:"How far it is: planned, created, set, tested, current, propagating, retiring, done; or failed, withdrawing, revoking, rolledBack, abandoned. More may come" example:"propagating"`
	Ended bool   `json:"ended,omitempty" doc:"Nothing follows"`
	// WaitsFor is a sentence for people; empty when it waits for nothing.
	WaitsFor  string    `json:"waitsFor,omitempty" doc:"What the run waits for, for people"`
	Cause     string    `json:"cause" doc:"Why there is a run: schedule, hand or event. More may come"`
	By        string    `json:"by,omitempty" doc:"Who or, by an event, what asked for it"`
	RevokeOld bool      `json:"revokeOld,omitempty" doc:"The former credential is retired without waiting for consumers"`
	PlannedAt time.Time `json:"plannedAt" doc:"When the run began"`
	EnteredAt time.Time `json:"enteredAt" doc:"When the state began"`
	// From is the former version and To the new one; 0 until they are known.
	From int64 `json:"from,omitempty" doc:"Version that was current before"`
	To   int64 `json:"to,omitempty" doc:"Version that the run made"`
	// Consumers and Moved are of the last look; Moved of them have the version that is current.
	Consumers int    `json:"consumers" doc:"Consumers of the path, at the last look"`
	Moved     int    `json:"moved" doc:"How many of them have the version that is current"`
	Attempts  int    `json:"attempts,omitempty" doc:"How often the present step failed"`
	Problem   string `json:"problem,omitempty" doc:"Why it failed last"`
	FailedIn  string `json:"failedIn,omitempty" doc:"State in which the run failed"`
	Reason    string `json:"reason,omitempty" doc:"Why the run failed"`
	// Steps are told of a single rotation only.
	Steps []RotationStep `json:"steps,omitempty" doc:"What the run went through, in order; of a single rotation only"`
}

// RotationStep is one step of a run.
type RotationStep struct {
	At     time.Time `json:"at" doc:"When"`
	State  string    `json:"state" doc:"State of the run from then on"`
	Detail string    `json:"detail,omitempty" doc:"What it means for the run, for people"`
}

// RotationStatusList is the rotations that are defined, by cluster and name.
type RotationStatusList struct {
	Items []RotationStatus `json:"items" nullable:"false" doc:"The rotations of the secrets that the caller may list"`
}

// RunRotationRequest says how a rotation is to run.
type RunRotationRequest struct {
	// RevokeOld is for a credential that is leaked: the former one is retired as soon as the new one is current, and consumers that
	// have not moved break. A run that is under way counts as the one that is asked for, and waits for nobody any more.
	RevokeOld bool `json:"revokeOld,omitempty" doc:"Retire the former credential as soon as the new one is current, without waiting for consumers; a run that is under way counts as the one that is asked for"`
}

// DefinedRotations lists the rotations of the paths below prefix ("" for all), each with its newest run, and then those that are Undefined and
// whose run goes on. It needs the list capability.
func (c *Client) DefinedRotations(ctx context.Context, prefix string) ([]RotationStatus, error) {
	query := url.Values{}
	set(query, "prefix", prefix)
	var out RotationStatusList
	err := c.call(ctx, call{method: http.MethodGet, route: "/v1/rotations", query: query, repeatable: true}, &out)
	return out.Items, err
}

// ShowRotation tells of the rotation of path, also when it is Undefined, and of the path's last runs. Where several clusters have one it is that of
// the caller's, or else the one that ran last. It needs the list or the read capability.
func (c *Client) ShowRotation(ctx context.Context, path string) (RotationStatus, error) {
	var out RotationStatus
	err := c.call(ctx, call{method: http.MethodGet, route: "/v1/rotations/show", query: url.Values{"path": {path}}, repeatable: true}, &out)
	return out, err
}

// RunRotation has the rotation of path begin now. While the path is being rotated it is CodeConflict or, with RevokeOld, the run that is under
// way, which retires the former credential as soon as it can; CodeConflict then says that this goes back to the former one. It needs the
// rotate capability, and is not sent again when its answer is lost: ShowRotation shows whether it runs.
func (c *Client) RunRotation(ctx context.Context, path string, r RunRotationRequest) (RotationRun, error) {
	return c.changeRotation(ctx, "run", path, r)
}

// ApproveRotation lets the run of path that waits go on: without the consumers that have not moved, or with what failed. It needs the
// rotate capability.
func (c *Client) ApproveRotation(ctx context.Context, path string) (RotationRun, error) {
	return c.changeRotation(ctx, "approve", path, nil)
}

// CancelRotation has the run of path rolled back; one that cannot go on is given up. It needs the rotate capability.
func (c *Client) CancelRotation(ctx context.Context, path string) (RotationRun, error) {
	return c.changeRotation(ctx, "cancel", path, nil)
}

func (c *Client) changeRotation(ctx context.Context, verb, path string, body any) (RotationRun, error) {
	var out RotationRun
	err := c.call(ctx, call{method: http.MethodPost, route: "/v1/rotations/" + verb, query: url.Values{"path": {path}}, body: body}, &out)
	return out, err
}
