package secret

import "time"

// Ref names a version of a path: by its number, or by a label. Without either it is
// the current one.
type Ref struct {
	Path    Path
	Version int64
	// Label is empty when Version is not 0.
	Label Label
}

// AccessPolicy is the policy on the secret itself: who may read it besides those
// whom a VaultPolicy allows. The zero AccessPolicy allows nobody. A read needs a
// match in both lists.
type AccessPolicy struct {
	// AllowedServices are "namespace/serviceaccount", "namespace/*" or "*".
	AllowedServices []string `json:"allowedServices"`
	// AllowedEnvironments are environment names or "*".
	AllowedEnvironments []string `json:"allowedEnvironments"`
}

// Metadata is everything about a secret but its value.
type Metadata struct {
	Path    Path
	Version int64
	// Description, Tags and RotateAfterDays (0: no reminder) are the owner's.
	Description     string
	Tags            map[string]string
	RotateAfterDays int
	Access          AccessPolicy
	// MaxVersions is how many versions the path keeps; 0 is all.
	MaxVersions int
	// Labels are those of this version, in the order current, previous, pending.
	Labels []Label
	// CreatedAt and CreatedBy are of this version, not of the path.
	CreatedAt time.Time
	CreatedBy string
}

// Secret is one opened version. Clear its Value after use.
type Secret struct {
	Metadata
	Value Value
}

// PutRequest writes a new version of a path. A nil field leaves what the path
// has; on a new path it is the zero value.
type PutRequest struct {
	Path            Path
	Value           Value
	Description     *string
	Tags            map[string]string
	RotateAfterDays *int
	// Access replaces the policy on the secret; it needs the share capability.
	Access *AccessPolicy
	// ExpectedVersion, when not nil, is compare-and-set: the write happens only
	// when the current version is this one; 0 means the path must not exist.
	ExpectedVersion *int64
	// Pending writes a version that is not current but has the label pending, in place
	// of another; Promote makes it current. The path must exist.
	Pending bool
	// MaxVersions is how many versions the path keeps, 0 for all, at most
	// MaxVersionsLimit. A write destroys the oldest beyond that, but none that has a
	// label; destroyed ones do not count.
	MaxVersions *int
	// IdempotencyKey, when not empty, makes a repeated request one request: for
	// IdempotencyKeyLife the same caller, path and key get what the first one got. It
	// is 1 to MaxIdempotencyKeyBytes printable ASCII characters.
	IdempotencyKey string
}

// PatchRequest changes properties of the current value of a path, in a new version.
type PatchRequest struct {
	Path Path
	// Patch is a JSON Merge Patch (RFC 7396), an object: null removes a property,
	// anything else sets it.
	Patch Value
	// ExpectedVersion and IdempotencyKey are as in PutRequest.
	ExpectedVersion *int64
	IdempotencyKey  string
}

// UpdateRequest changes what stands beside the value of a path, without a new
// version. A nil field leaves what the path has.
type UpdateRequest struct {
	Path            Path
	Description     *string
	Tags            map[string]string
	RotateAfterDays *int
	// MaxVersions is as in PutRequest; it takes effect with the next write.
	MaxVersions *int
	// Access replaces the policy on the secret; it needs the share capability, and
	// alone no other.
	Access *AccessPolicy
	// ExpectedVersion, when not nil, is compare-and-set on the current version.
	ExpectedVersion *int64
}

// Rotation is how a path with a reminder stands.
type Rotation struct {
	Path            Path
	Version         int64
	RotateAfterDays int
	// RotatedAt is when the current version was written, and DueAt when the next is due.
	RotatedAt, DueAt time.Time
	Overdue          bool
}

// Overdue is a path whose current version is older than its RotateAfterDays.
type Overdue struct {
	Path            Path
	Version         int64
	RotateAfterDays int
	RotatedAt       time.Time
	// DaysOverdue counts whole days past the due time, at least 0.
	DaysOverdue int
}
