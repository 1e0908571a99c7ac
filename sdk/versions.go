package sdk

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// The labels of versions. A path has at most one version of each.
const (
	// LabelCurrent is what a read without a version gets.
	LabelCurrent = "current"
	// LabelPrevious was current before the last write, promotion or rollback.
	LabelPrevious = "previous"
	// LabelPending was written to be promoted later.
	LabelPending = "pending"
)

// The states of versions.
const (
	// VersionLive can be read.
	VersionLive = "live"
	// VersionDeleted cannot be read until it is undeleted.
	VersionDeleted = "deleted"
	// VersionDestroyed is gone for good.
	VersionDestroyed = "destroyed"
)

// Version describes one version of a path, without its value.
type Version struct {
	Version     int64     `json:"version" doc:"Number of the version, counted from 1"`
	Labels      []string  `json:"labels,omitempty" nullable:"false" doc:"Which of current, previous and pending it is"`
	State       string    `json:"state" doc:"live, deleted or destroyed" enum:"live,deleted,destroyed"`
	CreatedAt   time.Time `json:"createdAt" doc:"When the version was written"`
	CreatedBy   string    `json:"createdBy" doc:"Who wrote the version" example:"user:alice"`
	DeletedAt   time.Time `json:"deletedAt,omitzero" doc:"When the version was deleted on its own; absent when it was not"`
	DestroyedAt time.Time `json:"destroyedAt,omitzero" doc:"When the value was removed for good; absent when it was not"`
}

// VersionList is the versions of a path, newest first.
type VersionList struct {
	Items []Version `json:"items" nullable:"false" doc:"The versions, newest first, deleted and destroyed ones too"`
}

// RollbackRequest says what to roll back to. The zero RollbackRequest names the
// previous version.
type RollbackRequest struct {
	// Version is 0 for the previous one.
	Version int64 `json:"version,omitempty" minimum:"1" doc:"Version to make current; the previous one when absent"`
	// ExpectedVersion makes it happen only when this is the current version.
	ExpectedVersion *int64 `json:"expectedVersion,omitempty" minimum:"1" doc:"Roll back only when this is the current version"`
}

// PromoteRequest makes the pending version current. The zero PromoteRequest expects
// nothing.
type PromoteRequest struct {
	// ExpectedVersion makes it happen only when this is the current version.
	ExpectedVersion *int64 `json:"expectedVersion,omitempty" minimum:"1" doc:"Promote only when this is the current version"`
}

// VersionNumbers names single versions of a path.
type VersionNumbers struct {
	Versions []int64 `json:"versions" nullable:"false" minItems:"1" maxItems:"1000" doc:"Numbers of the versions"`
}

// GetLabel reads the version of path that has a label: LabelCurrent, LabelPrevious or
// LabelPending. It needs the read capability.
func (c *Client) GetLabel(ctx context.Context, path, label string) (Secret, error) {
	return c.get(ctx, path, label)
}

// Versions describes the versions of path, newest first, deleted and destroyed ones
// too. It needs the list or the read capability.
func (c *Client) Versions(ctx context.Context, path string) ([]Version, error) {
	return c.versions(ctx, url.Values{"path": {path}})
}

// DeletedVersions describes the versions of a path that is deleted as a whole, with the labels that Undelete
// gives them back; all of a destroyed path are destroyed. A path that is not deleted, or never was there, gives
// CodeNotFoundOrDenied. It needs the list or the read capability, by a VaultPolicy.
func (c *Client) DeletedVersions(ctx context.Context, path string) ([]Version, error) {
	return c.versions(ctx, url.Values{"path": {path}, "deleted": {"true"}})
}

func (c *Client) versions(ctx context.Context, query url.Values) ([]Version, error) {
	var out VersionList
	err := c.call(ctx, call{method: http.MethodGet, route: "/v1/secret/versions", query: query, repeatable: true}, &out)
	return out.Items, err
}

// Rollback makes a version current that was written before; the one that was current
// becomes the previous one. Nothing is written anew. It needs the rotate capability.
//
// Only a rollback to a version by number, without ExpectedVersion, is sent again when
// its answer is lost: a second one back to the previous version would undo the first.
func (c *Client) Rollback(ctx context.Context, path string, r RollbackRequest) (Metadata, error) {
	var out Metadata
	err := c.call(ctx, call{
		method: http.MethodPost, route: "/v1/secret/rollback", query: url.Values{"path": {path}}, body: r,
		repeatable: r.Version != 0 && r.ExpectedVersion == nil,
	}, &out)
	return out, err
}

// Promote makes the pending version of path current, and the current one previous. It
// needs the rotate capability. It is not sent again when its answer is lost: Versions
// shows what is current.
func (c *Client) Promote(ctx context.Context, path string, r PromoteRequest) (Metadata, error) {
	var out Metadata
	err := c.call(ctx, call{method: http.MethodPost, route: "/v1/secret/promote", query: url.Values{"path": {path}}, body: r}, &out)
	return out, err
}

// Undelete brings a deleted path back as it was. It needs the delete capability, by a
// VaultPolicy.
func (c *Client) Undelete(ctx context.Context, path string) (Metadata, error) {
	var out Metadata
	err := c.call(ctx, call{method: http.MethodPost, route: "/v1/secret/undelete", query: url.Values{"path": {path}}, repeatable: true}, &out)
	return out, err
}

// Destroy removes path with all its versions for good, whether it is deleted or not.
// It needs the delete capability.
func (c *Client) Destroy(ctx context.Context, path string) error {
	return c.call(ctx, call{method: http.MethodPost, route: "/v1/secret/destroy", query: url.Values{"path": {path}}, repeatable: true}, nil)
}

// DeleteVersions takes versions of path away until they are undeleted. The current
// one is refused with CodeConflict, and then none is deleted. It needs the delete
// capability.
func (c *Client) DeleteVersions(ctx context.Context, path string, versions ...int64) error {
	return c.amendVersions(ctx, "delete", path, versions)
}

// UndeleteVersions brings deleted versions of path back. It needs the delete
// capability.
func (c *Client) UndeleteVersions(ctx context.Context, path string, versions ...int64) error {
	return c.amendVersions(ctx, "undelete", path, versions)
}

// DestroyVersions removes the values of versions of path for good. The current one is
// refused with CodeConflict, and then none is destroyed. It needs the delete
// capability.
func (c *Client) DestroyVersions(ctx context.Context, path string, versions ...int64) error {
	return c.amendVersions(ctx, "destroy", path, versions)
}

func (c *Client) amendVersions(ctx context.Context, verb, path string, versions []int64) error {
	return c.call(ctx, call{
		method: http.MethodPost, route: "/v1/secret/versions/" + verb, query: url.Values{"path": {path}},
		body: VersionNumbers{Versions: append([]int64{}, versions...)}, repeatable: true,
	}, nil)
}
