package issuers

import (
	"errors"
	"fmt"
	"slices"
)

// Claims with a meaning of their own.
const (
	claimEmail         = "email"
	claimEmailVerified = "email_verified"
)

var errEmail = errors.New("the claim email_verified is there and not true")

// identityOf maps claims. Its error names the claim that is not as it must be, and none of
// its values.
func (c *issuerConfig) identityOf(claims map[string]any) (Identity, error) {
	for _, rule := range c.ClaimValidationRules {
		if value, ok := claims[rule.Claim].(string); !ok || value != rule.RequiredValue {
			return Identity{}, fmt.Errorf("the claim %q is not the string that claimValidationRules require", rule.Claim)
		}
	}
	username := c.ClaimMappings.Username
	name, ok := claims[username.Claim].(string)
	if !ok || name == "" {
		return Identity{}, fmt.Errorf("the claim %q, which is to name the user, is missing or no string", username.Claim)
	}
	// As in Kubernetes: who may write any address into an account is not its owner.
	if verified, there := claims[claimEmailVerified]; username.Claim == claimEmail && there && verified != true {
		return Identity{}, errEmail
	}
	groups, err := c.groupsOf(claims)
	if err != nil {
		return Identity{}, err
	}
	return Identity{Name: username.Prefix + name, Groups: groups}, nil
}

// groupsOf takes a string, or a list of them, for the names of groups. A claim that is
// missing or null is none.
func (c *issuerConfig) groupsOf(claims map[string]any) ([]string, error) {
	mapping := c.ClaimMappings.Groups
	if mapping == nil || claims[mapping.Claim] == nil {
		return nil, nil
	}
	list, ok := claims[mapping.Claim].([]any)
	if !ok {
		list = []any{claims[mapping.Claim]}
	}
	var groups []string
	for _, item := range list {
		name, ok := item.(string)
		if !ok {
			return nil, fmt.Errorf("the claim %q, which is to name groups, is neither a string nor a list of strings", mapping.Claim)
		}
		if name != "" {
			groups = append(groups, mapping.Prefix+name)
		}
	}
	slices.Sort(groups)
	return slices.Compact(groups), nil
}
