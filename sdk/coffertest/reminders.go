package coffertest

import (
	"net/http"
	"net/url"
	"time"

	"github.com/coffer-vault/coffer/sdk"
)

const day = 24 * time.Hour

// listReminders has the paths with a reminder. None is overdue within a test, unless it lasts for days.
func (s *Server) listReminders(_ *http.Request, q url.Values) (any, *sdk.Problem) {
	items, p := s.reminders(q.Get("prefix"))
	if p != nil {
		return nil, p
	}
	return sdk.RotationList{Items: items}, nil
}

func (s *Server) listOverdue(_ *http.Request, q url.Values) (any, *sdk.Problem) {
	items, p := s.reminders(q.Get("prefix"))
	if p != nil {
		return nil, p
	}
	out := sdk.OverdueList{Items: []sdk.Overdue{}}
	for _, r := range items {
		if r.Overdue {
			out.Items = append(out.Items, sdk.Overdue{
				Path: r.Path, Version: r.Version, RotateAfterDays: r.RotateAfterDays, RotatedAt: r.RotatedAt, DaysOverdue: int(time.Since(r.DueAt) / day),
			})
		}
	}
	return out, nil
}

func (s *Server) reminders(below string) ([]sdk.Rotation, *sdk.Problem) {
	prefix, p := parsePrefix(below)
	if p != nil {
		return nil, p
	}
	items := []sdk.Rotation{}
	for _, m := range s.list(prefix, "", len(s.secrets)) {
		if m.RotateAfterDays == 0 {
			continue
		}
		due := m.CreatedAt.Add(time.Duration(m.RotateAfterDays) * day)
		items = append(items, sdk.Rotation{
			Path: m.Path, Version: m.Version, RotateAfterDays: m.RotateAfterDays, RotatedAt: m.CreatedAt, DueAt: due, Overdue: time.Now().After(due),
		})
	}
	return items, nil
}
