package schedule

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
)

func at(t *testing.T, s string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func parse(t *testing.T, s Spec) Schedule {
	t.Helper()
	parsed, err := Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func days(n int) model.Duration { return model.Duration(time.Duration(n) * 24 * time.Hour) }

func TestNext(t *testing.T) {
	night := []Window{{From: "22:00", To: "04:00"}}
	for name, test := range map[string]struct {
		spec       Spec
		last, want string
	}{
		"every":                             {Spec{Every: days(30)}, "2026-03-01T10:00:00Z", "2026-03-31T10:00:00Z"},
		"every, over a switch":              {Spec{Every: days(1), TimeZone: "Europe/Berlin"}, "2026-03-28T10:00:00Z", "2026-03-29T10:00:00Z"},
		"every, in a window":                {Spec{Every: days(1), Windows: night}, "2026-03-01T23:00:00Z", "2026-03-02T23:00:00Z"},
		"every, behind midnight":            {Spec{Every: days(1), Windows: night}, "2026-03-01T03:59:00Z", "2026-03-02T03:59:00Z"},
		"every, before a window":            {Spec{Every: days(1), Windows: night}, "2026-03-01T04:00:00Z", "2026-03-02T22:00:00Z"},
		"window of a day":                   {Spec{Every: days(1), Windows: []Window{{Days: []string{"sat"}, From: "08:00", To: "09:00"}}}, "2026-03-01T10:00:00Z", "2026-03-07T08:00:00Z"},
		"window behind midnight of a day":   {Spec{Every: days(1), Windows: []Window{{Days: []string{"Friday"}, From: "22:00", To: "04:00"}}}, "2026-03-06T03:00:00Z", "2026-03-07T03:00:00Z"},
		"whole days":                        {Spec{Every: days(1), Windows: []Window{{Days: []string{"Mon"}, From: "00:00", To: "24:00"}}}, "2026-03-01T10:00:00Z", "2026-03-02T10:00:00Z"},
		"cron":                              {Spec{Cron: "30 3 * * 1"}, "2026-03-01T10:00:00Z", "2026-03-02T03:30:00Z"},
		"cron, by name":                     {Spec{Cron: "@monthly"}, "2026-03-01T10:00:00Z", "2026-04-01T00:00:00Z"},
		"cron, in a zone":                   {Spec{Cron: "30 3 * * *", TimeZone: "Asia/Kolkata"}, "2026-03-01T10:00:00Z", "2026-03-01T22:00:00Z"},
		"cron, skipped in spring":           {Spec{Cron: "30 2 * * *", TimeZone: "Europe/Berlin"}, "2026-03-28T10:00:00Z", "2026-03-29T01:00:00Z"},
		"cron, the day after":               {Spec{Cron: "30 2 * * *", TimeZone: "Europe/Berlin"}, "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"},
		"cron, the first of two":            {Spec{Cron: "30 2 * * *", TimeZone: "Europe/Berlin"}, "2026-10-24T10:00:00Z", "2026-10-25T00:30:00Z"},
		"cron, not the second of two":       {Spec{Cron: "30 2 * * *", TimeZone: "Europe/Berlin"}, "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
		"cron, asked between the two":       {Spec{Cron: "30 2 * * *", TimeZone: "Europe/Berlin"}, "2026-10-25T01:10:00Z", "2026-10-26T01:30:00Z"},
		"cron, half an hour skipped":        {Spec{Cron: "15 2 * * *", TimeZone: "Australia/Lord_Howe"}, "2026-10-03T00:00:00Z", "2026-10-03T15:30:00Z"},
		"cron, a day that there was not":    {Spec{Cron: "0 12 * * *", TimeZone: "Pacific/Apia"}, "2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z"},
		"window, skipped in spring":         {Spec{Every: days(1), TimeZone: "Europe/Berlin", Windows: []Window{{From: "02:10", To: "02:50"}}}, "2026-03-28T00:50:00Z", "2026-03-30T00:10:00Z"},
		"window, begun while it is skipped": {Spec{Every: days(1), TimeZone: "Europe/Berlin", Windows: []Window{{From: "02:30", To: "04:00"}}}, "2026-03-27T22:00:00Z", "2026-03-29T01:00:00Z"},
		"cron and window":                   {Spec{Cron: "0 12 * * *", Windows: night}, "2026-03-01T10:00:00Z", "2026-03-01T22:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := parse(t, test.spec).Next("a", at(t, test.last))
			if want := at(t, test.want); !ok || !got.Equal(want) {
				t.Errorf("%v %v, want %v", got, ok, want)
			}
		})
	}
	if got, ok := parse(t, Spec{}).Next("a", time.Now()); ok {
		t.Errorf("without a schedule it is due at %v", got)
	}
}

func TestParseRefuses(t *testing.T) {
	for want, s := range map[string]Spec{
		"give one of them":               {Every: days(1), Cron: "@daily"},
		"give at least 1m":               {Every: model.Duration(time.Second)},
		"such as Europe/Berlin":          {Every: days(1), TimeZone: "Europe/Nowhere"},
		`"Local" is not known`:           {Every: days(1), TimeZone: "Local"},
		"give none, or one above 0":      {Every: days(1), Jitter: -1},
		"write minute, hour":             {Cron: "* * *"},
		"is never due":                   {Cron: "0 0 30 2 *"},
		"as timeZone":                    {Cron: "TZ=UTC 0 0 * * *"},
		"give the time as every":         {Cron: "@every 1h"},
		"write it as 22:00":              {Every: days(1), Windows: []Window{{From: "1:00", To: "02:00"}}},
		`no day is called "Mo"`:          {Every: days(1), Windows: []Window{{Days: []string{"Mo"}, From: "01:00", To: "02:00"}}},
		"write 00:00, and the day after": {Every: days(1), Windows: []Window{{From: "24:00", To: "02:00"}}},
		"give at most 32":                {Every: days(1), Windows: make([]Window, MaxWindows+1)},
	} {
		if _, err := Parse(s); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", s, err, want)
		}
	}
}

// TestLast: what a wrong clock wrote does not put a rotation off.
func TestLast(t *testing.T) {
	now := at(t, "2026-03-01T10:00:00Z")
	for name, test := range map[string]struct {
		times []time.Time
		want  time.Time
	}{
		"none":                       {},
		"the newest":                 {[]time.Time{now.Add(-2), now.Add(-1), now.Add(-3), {}}, now.Add(-1)},
		"now":                        {[]time.Time{now}, now},
		"the clock was a year ahead": {[]time.Time{now.AddDate(1, 0, 0), now.Add(-1)}, now.Add(-1)},
	} {
		if got, ok := Last(now, test.times...); !got.Equal(test.want) || ok != !test.want.IsZero() {
			t.Errorf("%s: %v, %v", name, got, ok)
		}
	}
}
