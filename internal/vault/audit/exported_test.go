package audit

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

func exportedHead(writer byte, seq int64) StoredHead {
	return StoredHead{Head: Head{Writer: uuid.UUID{writer}, Seq: seq, MAC: [MACSize]byte{writer}}, Seal: []byte{writer, byte(seq)}}
}

func TestMergeExportedKeepsTheHighestAndTheNewest(t *testing.T) {
	got := MergeExported(
		[]StoredHead{exportedHead(1, 5), exportedHead(2, 5), exportedHead(3, 5)},
		[]StoredHead{exportedHead(1, 6), exportedHead(2, 4), exportedHead(4, 1), exportedHead(4, 2)})
	want := []StoredHead{exportedHead(2, 5), exportedHead(3, 5), exportedHead(1, 6), exportedHead(4, 2)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	var many []StoredHead
	for range MaxExported + 10 {
		many = append(many, StoredHead{Head: Head{Writer: uuid.New(), Seq: 1}})
	}
	if got := MergeExported(want, many); len(got) != MaxExported || got[MaxExported-1].Writer != many[len(many)-1].Writer {
		t.Errorf("%d heads are kept, want the newest %d", len(got), MaxExported)
	}
}

func TestParseExportedReadsWhatWasWritten(t *testing.T) {
	want := []StoredHead{exportedHead(1, 5), exportedHead(2, 1<<40)}
	got, err := ParseExported(FormatExported(want))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for _, bad := range []string{"x", "x y", "x 1 00 zz", "x 1 00 00"} {
		got, err := ParseExported(bad + "\n" + FormatExported(want))
		if err == nil {
			t.Errorf("%q was taken for a head", bad)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("after %q (-want +got)\n%s", bad, diff)
		}
	}
}
