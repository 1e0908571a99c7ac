package coffertest

import (
	"net/http"
	"strings"

	"github.com/coffer-vault/coffer/sdk"
)

// Coffer's limits of a path.
const (
	maxPathBytes    = 512
	maxPathSegments = 16
)

// checkPath refuses what is no path of a secret: 1 to 16 segments of [a-z0-9._-].
func checkPath(path string) *sdk.Problem {
	if path == "" {
		return problem(http.StatusUnprocessableEntity, sdk.CodeInvalid, "there is no path; write it like production/payments/database")
	}
	segments := strings.Split(path, "/")
	bad := len(path) > maxPathBytes || len(segments) > maxPathSegments
	for _, segment := range segments {
		bad = bad || segment == "" || segment == "." || segment == ".." || strings.ContainsFunc(segment, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
		})
	}
	if bad {
		return problem(http.StatusBadRequest, sdk.CodeInvalid, "%.600q is no path; write it like production/payments/database", path)
	}
	return nil
}

// parsePrefix returns "" or a prefix with its closing slash.
func parsePrefix(prefix string) (string, *sdk.Problem) {
	if prefix == "" {
		return "", nil
	}
	prefix = strings.TrimSuffix(prefix, "/")
	return prefix + "/", checkPath(prefix)
}

func below(path, prefix string) bool { return strings.HasPrefix(path, prefix) }
