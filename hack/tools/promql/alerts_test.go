package promql

import "testing"

// situations are what each alert is shown: at least one in which it has to fire, and one
// in which it must not.
var situations = map[string][]struct {
	name   string
	fires  bool
	series []string
}{
	"CofferIntegrityFailed": {
		{"the first of a replica", true, []string{`coffer_engine_operation_seconds_count{pod="a",operation="read",result="tampered"} _x30 1x5`}},
		{"one more", true, []string{`coffer_engine_operation_seconds_count{pod="a",operation="read",result="tampered"} 3x30 4x5`}},
		{"beside what is in order", true, []string{
			`coffer_engine_operation_seconds_count{pod="a",operation="read",result="ok"} 0+9x40`,
			`coffer_engine_operation_seconds_count{pod="b",operation="list",result="tampered"} _x20 1x20`,
		}},
		{"nothing of the kind", false, []string{
			`coffer_engine_operation_seconds_count{pod="a",operation="read",result="ok"} 0+9x40`,
			`coffer_engine_operation_seconds_count{pod="a",operation="read",result="denied"} _x20 1+1x20`,
		}},
	},
	"CofferIssuerUnreachable": {
		{"of one replica", true, []string{
			`coffer_issuer_key_fetches_total{pod="a",issuer="https://ci.example",result="failed"} 0x5 1+1x20`,
			`coffer_issuer_key_fetches_total{pod="a",issuer="https://ci.example",result="fetched"} 7x25`,
		}},
		{"it answers again after some minutes", false, []string{
			`coffer_issuer_key_fetches_total{pod="a",issuer="https://ci.example",result="failed"} 0x5 1+1x3 4x30`,
			`coffer_issuer_key_fetches_total{pod="a",issuer="https://ci.example",result="fetched"} 7x9 8x30`,
		}},
		{"no tokens come", false, []string{
			`coffer_issuer_key_fetches_total{pod="a",issuer="https://ci.example",result="failed"} 3x40`,
			`coffer_issuer_key_fetches_total{pod="a",issuer="https://ci.example",result="fetched"} 7x40`,
		}},
	},
	"CofferNamespaceLeftOut": {
		{"for a quarter of an hour", true, []string{`coffer_namespaces_left_out{pod="a",watch_namespace="shop",reason="NotFound"} 1x20`}},
		{"of one of two replicas", true, []string{
			`coffer_namespaces_left_out{pod="a",watch_namespace="shop",reason="RightsMissing"} 1x20`,
			`coffer_namespaces_left_out{pod="b",watch_namespace="shop",reason="RightsMissing"} 0x20`,
		}},
		{"until a restart", false, []string{`coffer_namespaces_left_out{pod="a",watch_namespace="shop",reason="Terminating"} 1x10 _x10`}},
		{"all are there", false, []string{`coffer_namespaces_left_out{pod="a",watch_namespace="shop",reason="NotFound"} 0x40`}},
	},
	"CofferAuditLogDamaged": {
		{"findings", true, []string{`coffer_audit_findings{pod="a"} 0x5 2x5`, `coffer_audit_findings{pod="b"} 0x10`}},
		{"an older database", true, []string{`coffer_audit_database_older{pod="a"} 0x5 1x5`}},
		{"a month that fails its check", true, []string{`coffer_audit_retention_refused{pod="a"} 0x5 1x5`}},
		{"all in order", false, []string{
			`coffer_audit_findings{pod="a"} 0x20`, `coffer_audit_database_older{pod="a"} 0x20`, `coffer_audit_retention_refused{pod="a"} 0x20`,
		}},
	},
	"CofferAuditRowsNotShipped": {
		{"the first of a replica", true, []string{`coffer_audit_tail_rows_total{pod="a",result="lost"} _x30 7x5`}},
		{"more", true, []string{`coffer_audit_tail_rows_total{pod="a",result="lost"} 7x30 8x5`}},
		{"printed, or never written", false, []string{
			`coffer_audit_tail_rows_total{pod="a",result="printed"} 0+100x60`, `coffer_audit_tail_rows_total{pod="a",result="unknown"} _x20 1+1x20`,
		}},
	},
	"CofferAuditMonthsMissing": {
		{"for more than a day", true, []string{`coffer_audit_months_missing{pod="a"} 0x5 1x1450`, `coffer_audit_months_missing{pod="b"} 0x1455`}},
		{"made within a day", false, []string{`coffer_audit_months_missing{pod="a"} 1x1400 0x200`}},
		{"all there", false, []string{`coffer_audit_months_missing{pod="a"} 0x1500`}},
	},
	"CofferNotificationsLate": {
		{"for long", true, []string{`coffer_notifications_oldest_seconds{pod="a"} 0+60x40`, `coffer_notifications_oldest_seconds{pod="b"} 0x40`}},
		{"delivered in time", false, []string{`coffer_notifications_oldest_seconds{pod="a"} 0+60x10 0x40`}},
		{"none waits", false, []string{`coffer_notifications_oldest_seconds{pod="a"} 0x40`}},
	},
	"CofferNotificationsGivenUp": {
		{"the first of a replica", true, []string{`coffer_notifications_total{pod="a",sink="chat",result="refused"} _x30 1x5`}},
		{"one more", true, []string{`coffer_notifications_total{pod="a",sink="chat",result="expired"} 3x30 4x5`}},
		{"tried again, and delivered", false, []string{
			`coffer_notifications_total{pod="a",sink="chat",result="failed"} 0+1x40`, `coffer_notifications_total{pod="a",sink="chat",result="delivered"} _x20 1+1x20`,
		}},
	},
	"CofferVaultUnavailable": {
		{"for ten minutes", true, []string{`coffer_engine_operation_seconds_count{pod="a",operation="read",result="unavailable"} _x5 1+1x10`}},
		{"on one replica after the other", true, []string{
			`coffer_engine_operation_seconds_count{pod="a",operation="read",result="unavailable"} 1+1x10 stale`,
			`coffer_engine_operation_seconds_count{pod="b",operation="read",result="unavailable"} _x5 1+1x10`,
		}},
		{"for a moment", false, []string{`coffer_engine_operation_seconds_count{pod="a",operation="read",result="unavailable"} 0x10 2x40`}},
		{"long ago", false, []string{`coffer_engine_operation_seconds_count{pod="a",operation="read",result="unavailable"} 900x60`}},
		{"denied", false, []string{`coffer_engine_operation_seconds_count{pod="a",operation="read",result="denied"} 0+9x60`}},
	},
	"CofferChangesLate": {
		{"a backlog", true, []string{`coffer_changes_lag_seconds{pod="a"} 5x5 65+60x10`, `coffer_changes_lag_seconds{pod="b"} 0x15`}},
		{"in good order", false, []string{`coffer_changes_lag_seconds{pod="a"} 5x60`}},
		{"for a moment", false, []string{`coffer_changes_lag_seconds{pod="a"} 5x5 90x3 5x30`}},
	},
	"CofferVaultSecretsStale": {
		{"without the database", true, []string{`coffer_vaultsecret_unsynced_seconds{reason="VaultUnavailable"} _x5 0+60x15`}},
		{"not come to", true, []string{`coffer_vaultsecret_unsynced_seconds{reason="Waiting"} 601x2`}},
		{"a write that fails", true, []string{`coffer_vaultsecret_unsynced_seconds{reason="SecretWriteFailed"} 601x2`}},
		{"for an unknown reason", true, []string{`coffer_vaultsecret_unsynced_seconds{reason="Other"} 601x2`}},
		{"over within ten minutes", false, []string{`coffer_vaultsecret_unsynced_seconds{reason="VaultUnavailable"} 0+60x9 stale`}},
		{"what its owner can mend", false, []string{`coffer_vaultsecret_unsynced_seconds{reason="Denied"} 0+60x60`}},
	},
	"CofferVaultSecretsRefused": {
		{"denied", true, []string{`coffer_vaultsecrets{reason="Denied"} 1x20`, `coffer_vaultsecrets{reason="Synced"} 40x20`}},
		{"a key that is not there", true, []string{`coffer_vaultsecrets{reason="PropertyNotFound"} 1x20`}},
		{"the leader changes meanwhile", true, []string{
			`coffer_vaultsecrets{pod="a",reason="Denied"} 1x9 stale`, `coffer_vaultsecrets{pod="b",reason="Denied"} _x9 1x10`,
		}},
		{"mended within a quarter of an hour", false, []string{`coffer_vaultsecrets{reason="Denied"} 1x14 0x30`}},
		{"one reason after the other", false, []string{
			`coffer_vaultsecrets{reason="ServiceAccountNotFound"} 1x10 0x20`, `coffer_vaultsecrets{reason="Denied"} 0x10 1x10 0x10`,
		}},
		{"all synced, rolling or suspended", false, []string{
			`coffer_vaultsecrets{reason="Synced"} 40x60`, `coffer_vaultsecrets{reason="RollingOut"} 2x60`, `coffer_vaultsecrets{reason="Suspended"} 1x60`,
			`coffer_vaultsecrets{reason="Denied"} 0x60`,
		}},
	},
	"CofferConsumersNotAcknowledged": {
		{"for ten minutes", true, []string{`coffer_acknowledgements_late_seconds{pod="a"} 0x5 0+60x10`, `coffer_acknowledgements_late_seconds{pod="b"} 0x15`}},
		{"for a moment", false, []string{`coffer_acknowledgements_late_seconds{pod="a"} 0x5 60x3 0x30`}},
		{"in good order", false, []string{`coffer_acknowledgements_late_seconds{pod="a"} 0x40`}},
	},
	"CofferRotationFailed": {
		{"the first of a replica", true, []string{`coffer_rotation_runs_total{pod="a",outcome="rolledBack"} _x30 1x5`}},
		{"one more", true, []string{`coffer_rotation_runs_total{pod="a",outcome="abandoned"} 3x30 4x5`}},
		{"done", false, []string{`coffer_rotation_runs_total{pod="a",outcome="done"} _x20 1+1x20`}},
	},
	"CofferRotationWaits": {
		{"one of all", true, []string{`coffer_rotation_runs_waiting{pod="a"} 0x5 1x10`, `coffer_rotation_runs_waiting{pod="b"} 0x5 1x10`}},
		{"approved at once", false, []string{`coffer_rotation_runs_waiting{pod="a"} 0x5 1x3 0x30`}},
		{"none", false, []string{`coffer_rotation_runs_waiting{pod="a"} 0x30`}},
	},
	"CofferRotationStuck": {
		{"a step that fails", true, []string{`coffer_rotation_failed_attempts{pod="a",state="created"} 0+1x20`}},
		{"once", false, []string{`coffer_rotation_failed_attempts{pod="a",state="created"} 0x5 1x3 0x30`}},
		{"of what is to be retired", false, []string{`coffer_rotation_failed_attempts{pod="a",state="retiring"} 0+1x20`}},
	},
	"CofferRotationCannotRevoke": {
		{"the new one", true, []string{`coffer_rotation_failed_attempts{pod="a",state="revoking"} 0+1x20`}},
		{"the former one", true, []string{`coffer_rotation_failed_attempts{pod="a",state="retiring"} 0+1x20`}},
		{"for a moment", false, []string{`coffer_rotation_failed_attempts{pod="a",state="revoking"} 0+1x4 0x30`}},
		{"in good order", false, []string{`coffer_rotation_failed_attempts{pod="a",state="revoking"} 0x30`, `coffer_rotation_failed_attempts{pod="a",state="set"} 7x30`}},
	},
	"CofferRotationOverdue": {
		{"for two hours", true, []string{`coffer_rotation_overdue_seconds{pod="a"} 0+60x120`}},
		{"within the hour", false, []string{`coffer_rotation_overdue_seconds{pod="a"} 0+60x50 0x30`}},
		{"none", false, []string{`coffer_rotation_overdue_seconds{pod="a"} 0x90`}},
	},
	"CofferSecretOverdue": {
		{"for more than a day", true, []string{
			`coffer_secret_overdue_seconds{pod="a",kind="reminder"} 86000+60x60`, `coffer_secret_overdue_seconds{pod="b",kind="reminder"} 86000+60x60`,
		}},
		{"for some hours", false, []string{`coffer_secret_overdue_seconds{pod="a",kind="reminder"} 0+600x60`}},
		{"rotated", false, []string{`coffer_secret_overdue_seconds{pod="a",kind="reminder"} 90000x10 0x30`}},
		{"a rotation, which has an alert of its own", false, []string{`coffer_secret_overdue_seconds{pod="a",kind="rotation"} 90000x60`}},
		{"none", false, []string{`coffer_secret_overdue_seconds{pod="a",kind="reminder"} 0x60`}},
	},
	"CofferRolloutsFailed": {
		{"failed", true, []string{`coffer_vaultsecrets{reason="RolloutFailed"} 0x5 1x10`}},
		{"rolled back", true, []string{`coffer_vaultsecrets{reason="RolledBack"} 0x5 1x10`}},
		{"rolling", false, []string{`coffer_vaultsecrets{reason="RollingOut"} 3x60`, `coffer_vaultsecrets{reason="RolledBack"} 0x60`}},
		{"failed for a moment", false, []string{`coffer_vaultsecrets{reason="RolloutFailed"} 1x3 0x30`}},
	},
}

// TestAlerts shows each alert what it is for, and what it is not for. None fires where
// there is nothing of Coffer.
func TestAlerts(t *testing.T) {
	rules := readRules(t)
	if len(rules) != len(situations) {
		t.Errorf("there are %d alerts, and situations for %d", len(rules), len(situations))
	}
	for _, r := range rules {
		t.Run(r.Alert, func(t *testing.T) {
			seen := map[bool]int{}
			for _, s := range situations[r.Alert] {
				seen[s.fires]++
				if got := r.fires(t, s.series...); got != s.fires {
					t.Errorf("%s: fires is %t", s.name, got)
				}
			}
			if seen[true] == 0 || seen[false] == 0 {
				t.Errorf("it is shown %d situations in which it fires and %d in which it does not; one of each is needed", seen[true], seen[false])
			}
			if r.fires(t, `up{job="something else"} 1x60`) {
				t.Error("it fires where there is no Coffer")
			}
		})
	}
}
