package audit

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// MaxExported bounds the heads kept outside of the database, to some 60 KiB. An anchor holds the heads before
// it, so the newest stand for the older ones.
const MaxExported = 256

// FormatExported writes heads as they are kept outside of the database: a line "writer seq mac seal" each.
func FormatExported(heads []StoredHead) string {
	var b strings.Builder
	for _, h := range heads {
		fmt.Fprintf(&b, "%s %x\n", strings.TrimSuffix(FormatHeads([]Head{h.Head}), "\n"), h.Seal)
	}
	return b.String()
}

// ParseExported reads what FormatExported wrote, leaving out lines that are not like it and saying so: the other lines still count.
func ParseExported(s string) ([]StoredHead, error) {
	var heads []StoredHead
	var errs []error
	for line := range strings.Lines(s) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		end := max(strings.LastIndex(line, " "), 0)
		seal, err := hex.DecodeString(strings.TrimSpace(line[end:]))
		if err != nil {
			errs = append(errs, errors.New("read audit heads: a seal is not in hex"))
			continue
		}
		head, err := ParseHeads(line[:end] + "\n")
		if err != nil || len(head) != 1 {
			errs = append(errs, errors.Join(errors.New("read audit heads: a line is not like \"writer seq mac seal\""), err))
			continue
		}
		heads = append(heads, StoredHead{Head: head[0], Seal: seal})
	}
	return heads, errors.Join(errs...)
}

// MergeExported adds moved heads to those exported before. Of one writer the highest stays. What moved last stands last, and
// at most MaxExported stay.
func MergeExported(before, moved []StoredHead) []StoredHead {
	at := make(map[[16]byte]int64, len(moved))
	for _, h := range moved {
		at[h.Writer] = max(at[h.Writer], h.Seq)
	}
	merged := make([]StoredHead, 0, len(before)+len(moved))
	for _, h := range before {
		if seq, moves := at[h.Writer]; moves && seq > h.Seq {
			continue
		}
		delete(at, h.Writer) // as new, or newer
		merged = append(merged, h)
	}
	for _, h := range moved {
		if seq, moves := at[h.Writer]; moves && seq == h.Seq {
			merged = append(merged, h)
			delete(at, h.Writer)
		}
	}
	return merged[max(0, len(merged)-MaxExported):]
}
