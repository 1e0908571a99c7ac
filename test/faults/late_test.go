//go:build failpoints

package faults

import "testing"

// TestLateEffects: an operation without an answer may take effect after others were answered, once, and not when a check
// has found that it did not.
func TestLateEffects(t *testing.T) {
	put := event{Op: "put", Request: "1", Key: "1", Value: "one"}
	deletion := event{Op: "delete", Request: "2"}
	read := event{Op: "read", Request: "3"}
	served := event{Op: "read", Request: "3", Version: 1, Value: "one", Done: true}
	refused := event{Op: "read", Request: "3", Refused: true, Done: true}
	again := event{Op: "put", Request: "4", Key: "1", Value: "one", Again: true}
	answer := func(e event, version int64) event {
		e.Version, e.Done = version, true
		return e
	}
	for name, test := range map[string]struct {
		events []event
		right  bool
	}{
		"later than an answer":  {[]event{put, answer(put, 1), deletion, read, served, read, refused}, true},
		"undone":                {[]event{put, answer(put, 1), deletion, read, refused, read, served}, false},
		"found not to be":       {[]event{put, answer(put, 1), deletion, {Op: found, Value: "current 1 previous 0 pending 0, described \"\": 1 is one;"}, read, refused}, false},
		"sent again, was there": {[]event{put, again, answer(again, 1), read, served}, true},
		"sent again, twice":     {[]event{put, again, answer(again, 2)}, false},
	} {
		h := &history{done: map[string]bool{}, paths: map[string]*state{}}
		for _, e := range test.events {
			h.done[e.Request] = h.done[e.Request] || e.Done
		}
		h.events = test.events
		if wrong, _ := h.replay(); (len(wrong) == 0) != test.right {
			t.Errorf("%s: %v", name, wrong)
		}
	}
}
