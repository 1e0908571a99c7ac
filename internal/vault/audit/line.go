package audit

import (
	"encoding/hex"
	"encoding/json"

	"github.com/google/uuid"
)

// lineLog tells the lines of a Tail from others in one stream.
const lineLog = "audit"

// line is a row as a Tail prints it: the fields of an export, and Log.
type line struct {
	Log string `json:"log"`
	Entry
	Writer   string `json:"writer,omitempty"`
	Seq      int64  `json:"seq,omitempty"`
	Previous string `json:"previous,omitempty"`
	MAC      string `json:"mac,omitempty"`
	Heads    string `json:"heads,omitempty"`
}

// appendLine appends r as a line of JSON.
func appendLine(b []byte, r *Row) ([]byte, error) {
	l := line{Log: lineLog, Entry: r.Entry, Heads: r.Heads}
	if r.Writer != uuid.Nil {
		l.Writer, l.Seq, l.Previous, l.MAC = r.Writer.String(), r.Seq, hex.EncodeToString(r.Previous), hex.EncodeToString(r.MAC)
	}
	encoded, err := json.Marshal(l)
	if err != nil {
		return b, err
	}
	return append(append(b, encoded...), '\n'), nil
}
