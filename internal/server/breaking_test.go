package server_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pb33f/libopenapi"
	"github.com/pb33f/libopenapi/what-changed/model"

	"github.com/coffer-vault/coffer/internal/server"
)

// baselineFile is the API that clients were promised last: the description of the last
// release. A release copies openapi.json over it, and empties announced.
var baselineFile = filepath.Join("..", "..", "docs", "reference", "openapi-baseline.json")

// announced are the changes since then that break clients and are meant; each has a line
// in CHANGELOG.md too.
var announced = []string{
	`allowReserved: "" became "true"`, // of a query's path: what is escaped is still understood
	`format: "int32" became "int64" (line 659 of the baseline)`,
	`format: "int32" became "int64" (line 682 of the baseline)`,
	`format: "int32" became "int64" (line 2364 of the baseline)`,
	`format: "int32" became "int64" (line 2472 of the baseline)`,
	`format: "int32" became "int64" (line 2590 of the baseline)`,
}

// TestNoUnannouncedBreak: what worked with the last release works, or is announced.
func TestNoUnannouncedBreak(t *testing.T) {
	baseline, err := os.ReadFile(baselineFile)
	must(t, err)
	found := breaks(t, baseline, server.OpenAPI())
	for _, change := range found {
		if !slices.Contains(announced, change) {
			t.Errorf("clients of the last release break: %s; if that is meant, say so in CHANGELOG.md and in announced", change)
		}
	}
	for _, change := range announced {
		if !slices.Contains(found, change) {
			t.Errorf("announced, and not so: %s", change)
		}
	}
}

// breaks are the changes from one description to another that break clients.
func breaks(t *testing.T, from, to []byte) []string {
	t.Helper()
	before, err := libopenapi.NewDocument(from)
	must(t, err)
	after, err := libopenapi.NewDocument(to)
	must(t, err)
	changes, err := libopenapi.CompareDocuments(before, after)
	must(t, err)
	var found []string
	if changes == nil {
		return nil
	}
	for _, c := range changes.GetAllChanges() {
		if c.Breaking {
			found = append(found, fmt.Sprintf("%s: %q became %q%s", c.Property, c.Original, c.New, lineOf(c)))
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// lineOf says where in the baseline what changed stands.
func lineOf(c *model.Change) string {
	if c.Context == nil || c.Context.OriginalLine == nil {
		return ""
	}
	return fmt.Sprintf(" (line %d of the baseline)", *c.Context.OriginalLine)
}
