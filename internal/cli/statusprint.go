package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/coffer-vault/coffer/sdk"
)

// printStatus writes a line for each part, with why where it is not shown. A part that was not asked for has none.
func (s *session) printStatus(i installationStatus) error {
	rows := [][2]string{{"Server", i.Server}, {"Client", i.Client}, {"Ready", "yes"}}
	if !i.Ready {
		rows[2][1] = "no: " + i.NotShown[partReady]
	}
	add := func(title, part string, shown bool, text func() string) {
		switch why, left := i.NotShown[part]; {
		case shown:
			rows = append(rows, [2]string{title, text()})
		case left:
			rows = append(rows, [2]string{title, "- (" + why + ")"})
		}
	}
	add("You", partYou, i.You != nil, func() string { return describeCaller(*i.You) })
	add("Policies", partPolicies, i.Policies != nil, func() string { return describePolicies(*i.Policies) })
	add("Overdue", partOverdue, i.Overdue != nil, func() string { return describeOverdue(*i.Overdue) })
	add("Keyring", partKeyring, i.Keyring != nil, func() string { return describeKeyring(*i.Keyring) })
	add("Audit log", partAudit, i.Audit != nil, func() string { return describeAudit(*i.Audit) })
	aligned := tabwriter.NewWriter(s.out, 0, 8, 3, ' ', 0)
	for _, row := range rows {
		if _, err := fmt.Fprintf(aligned, "%s:\t%s\n", row[0], printable(row[1])); err != nil {
			return err
		}
	}
	return aligned.Flush()
}

func describeCaller(me sdk.Identity) string {
	about := []string{me.Kind, "cluster " + me.Cluster}
	if me.Environment != "" {
		about = append(about, "environment "+me.Environment)
	}
	return nameOf(me) + " (" + strings.Join(about, ", ") + ")"
}

func describePolicies(p policiesStatus) string {
	return fmt.Sprintf("%d, in force since %s (revision %d)", p.Count, stamp(p.Since), p.Revision)
}

func describeOverdue(n int) string {
	if n == 0 {
		return "nothing"
	}
	return count(int64(n), "secret") + "; see coffer rotation overdue"
}

func describeKeyring(k sdk.KeyringStatus) string {
	var parts []string
	for _, key := range k.Keys {
		if key.State == sdk.KeyPrimary {
			parts = append(parts, "primary key "+keyName(key.ID)+" of "+count(int64(len(k.Keys)), "key"))
		}
	}
	if k.Root.Kind != "" {
		parts = append(parts, "root key "+k.Root.Kind+" ("+k.Root.State+")")
	}
	parts = append(parts, count(int64(len(k.Replicas)), "replica"))
	if n := underOldKeys(k); n > 0 {
		parts = append(parts, count(n, "version")+" under older keys")
	}
	if n := len(k.Findings); n > 0 {
		parts = append(parts, count(int64(n), "finding")+", see coffer keyring status")
	}
	return strings.Join(parts, ", ")
}

func describeAudit(r sdk.AuditReport) string {
	verified := fmt.Sprintf("%s of %s verified", count(r.Rows-r.Unchained, "row"), count(int64(r.Writers), "writer"))
	if n := int64(len(r.Findings)) + r.More; n > 0 {
		return verified + ", NOT as it was written: " + count(n, "finding") + ", see coffer audit verify"
	}
	return verified + ", whole"
}
