package vault

import (
	"fmt"
	"slices"
	"strings"
)

// maxUsedRules bounds what the audit row of a list or a search names.
const maxUsedRules = 5

// usedRules are those that allowed at least one entry of what is shown, in the order of the first entries.
type usedRules []string

func (u *usedRules) add(rule string) {
	if !slices.Contains(*u, rule) {
		*u = append(*u, rule)
	}
}

// String is what the audit row says, such as "VaultPolicy a rule 1, VaultPolicy b rule 2", or "… and 3 more".
func (u *usedRules) String() string {
	if len(*u) == 0 {
		return ruleNothingShown
	}
	named := strings.Join((*u)[:min(len(*u), maxUsedRules)], ", ")
	if more := len(*u) - maxUsedRules; more > 0 {
		named += fmt.Sprintf(" and %d more", more)
	}
	return named
}
