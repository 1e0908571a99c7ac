package audit

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func at(t testing.TB, s string) time.Time {
	t.Helper()
	parsed, err := time.Parse("2006-01-02 15:04:05.999999 -0700", s)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func names(months []Month) (s []string) {
	for _, m := range months {
		s = append(s, m.String())
	}
	return s
}

func TestMonthOfIsInUTC(t *testing.T) {
	for when, want := range map[string]string{
		"2026-12-31 23:59:59.999999 +0000": "2026-12",
		"2027-01-01 00:00:00 +0000":        "2027-01",
		"2027-01-01 00:30:00 +0100":        "2026-12",
		"2026-11-30 23:30:00 -0100":        "2026-12",
		"2028-02-29 12:00:00 +0000":        "2028-02",
		"0001-01-01 00:00:00 +0000":        "0001-01",
	} {
		m := MonthOf(at(t, when))
		if m.String() != want {
			t.Errorf("%s is in %s, want %s", when, m, want)
		}
		if moment := at(t, when); moment.Before(m.Start()) || !moment.Before(m.End()) || MonthOf(m.End()) != m.Add(1) {
			t.Errorf("%s is not between %s and %s", when, m.Start(), m.End())
		}
	}
}

func TestMonthsToMake(t *testing.T) {
	part := func(from, to string) (p Part) {
		if from != "" {
			p.From = at(t, from+"-01 00:00:00 +0000").UTC()
		}
		if to != "" {
			p.To = at(t, to+"-01 00:00:00 +0000").UTC()
		}
		return p
	}
	month := func(s string) Month { return MonthOf(at(t, s+"-15 00:00:00 +0000")) }
	for name, c := range map[string]struct {
		now   string
		parts []Part
		rows  []Month
		want  []string
	}{
		"nothing there":                    {"2026-12-01 00:00:00 +0000", nil, nil, []string{"2026-12", "2027-01", "2027-02"}},
		"after the migration":              {"2026-11-30 23:59:59 +0000", []Part{part("", "2026-12")}, nil, []string{"2026-12", "2027-01"}},
		"an upgrade that came late":        {"2026-12-01 00:00:00 +0000", []Part{part("", "2026-12")}, []Month{month("2026-12")}, []string{"2026-12", "2027-01", "2027-02"}},
		"months that nobody made":          {"2027-03-05 00:00:00 +0000", []Part{part("", "2026-12")}, []Month{month("2026-12"), month("2027-02")}, []string{"2027-03", "2027-04", "2027-05", "2026-12", "2027-02"}},
		"all there":                        {"2026-12-31 00:00:00 +0000", []Part{part("", "2026-12"), part("2026-12", "2027-01"), part("2027-01", "2027-02"), part("2027-02", "2027-03")}, nil, nil},
		"a clock that is ahead":            {"2026-11-05 00:00:00 +0000", []Part{part("", "2027-02")}, []Month{month("2031-05")}, nil},
		"a clock that is behind":           {"2026-11-05 00:00:00 +0000", []Part{part("2026-11", "2027-02")}, []Month{month("1970-01")}, []string{"1970-01"}},
		"a part of everything":             {"2026-11-05 00:00:00 +0000", []Part{part("", "")}, []Month{month("1970-01")}, nil},
		"a part that holds half the month": {"2026-11-05 00:00:00 +0000", []Part{{From: at(t, "2026-11-03 00:00:00 +0000"), To: at(t, "2027-02-01 00:00:00 +0000")}}, nil, []string{"2026-11"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, names(MonthsToMake(at(t, c.now), c.parts, c.rows))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestExpired(t *testing.T) {
	var parts []Part
	first := MonthOf(at(t, "2025-10-01 00:00:00 +0000"))
	parts = append(parts, Part{Name: "first", To: first.Start()})
	for n := range 16 { // to 2027-01
		m := first.Add(n)
		parts = append(parts, Part{Name: m.String(), From: m.Start(), To: m.End()})
	}
	parts = append(parts, Part{Name: "endless", From: first.Add(16).Start()})
	for name, c := range map[string]struct {
		now  string
		keep int
		want []string
	}{
		"for ever":              {"2099-01-01 00:00:00 +0000", 0, nil},
		"a month":               {"2026-01-31 23:59:59 +0000", 1, []string{"first", "2025-10", "2025-11"}},
		"a month, the next day": {"2026-02-01 00:00:00 +0000", 1, []string{"first", "2025-10", "2025-11", "2025-12"}},
		"a year":                {"2026-12-31 23:59:59 +0000", 12, []string{"first", "2025-10", "2025-11"}},
		"in another time zone":  {"2027-01-01 00:30:00 +0100", 12, []string{"first", "2025-10", "2025-11"}},
		"nothing old enough":    {"2026-09-30 00:00:00 +0000", 12, nil},
		"only the first":        {"2026-10-01 00:00:00 +0000", 12, []string{"first"}},
		"below nothing":         {"2026-10-01 00:00:00 +0000", -1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, p := range Expired(at(t, c.now), c.keep, parts) {
				got = append(got, p.Name)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
