package debian_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/coffer-vault/coffer/hack/local/internal/debian"
)

func TestMissingNamesWhatIsNotThere(t *testing.T) {
	yes, no := func() bool { return true }, func() bool { return false }
	got := debian.Missing([]debian.Need{{"here", yes}, {"gone", no}, {"also-gone", no}})
	if diff := cmp.Diff([]string{"gone", "also-gone"}, got); diff != "" {
		t.Error(diff)
	}
}
