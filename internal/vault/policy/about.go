package policy

import "github.com/coffer-vault/coffer/internal/vault/secret"

// About returns the rules whose subjects name the caller, whatever their paths, their
// environments and the time.
func About(rules []Rule, caller secret.Caller) []Rule {
	var about []Rule
	for _, rule := range rules {
		if _, ok := rule.Subjects.find(caller); ok {
			about = append(about, rule)
		}
	}
	return about
}
