package sdk

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// PolicySet says which VaultPolicies decide in the caller's cluster. All change together.
type PolicySet struct {
	Cluster  string `json:"cluster" doc:"Cluster of the caller"`
	Revision int64  `json:"revision" doc:"Revision of the policies in force; grows with each change"`
	// Since is in whole seconds, and later by one for each change that followed another one within the same second.
	Since time.Time `json:"since" doc:"When they came into force, to the second"`
}

// PolicyList is the VaultPolicies in force, by name.
type PolicyList struct {
	PolicySet
	Items []PolicySummary `json:"items" nullable:"false" doc:"The policies in force, by name"`
}

// PolicySummary is a VaultPolicy without its rules.
type PolicySummary struct {
	Name  string `json:"name" doc:"Name of the VaultPolicy" example:"payments"`
	Rules int    `json:"rules" doc:"Number of its rules in force"`
}

// Policy is a VaultPolicy as it decides. Rules that had ended when the policies were synced are not there.
type Policy struct {
	PolicySet
	Name  string       `json:"name" doc:"Name of the VaultPolicy" example:"payments"`
	Rules []PolicyRule `json:"rules" nullable:"false" doc:"Its rules in force, as in the VaultPolicy's spec"`
}

// PolicyRule is a rule as in a VaultPolicy's spec, with its number.
type PolicyRule struct {
	Index        int            `json:"index" doc:"Number of the rule in the VaultPolicy, from 1, as audit entries and explanations name it"`
	Effect       string         `json:"effect" doc:"Allow or Deny" enum:"Allow,Deny"`
	Paths        []string       `json:"paths" nullable:"false" doc:"Patterns of paths"`
	Capabilities []string       `json:"capabilities" nullable:"false" doc:"Capabilities that the rule is about"`
	Subjects     PolicySubjects `json:"subjects" doc:"Callers that the rule is about"`
	Environments []string       `json:"environments,omitempty" nullable:"false" doc:"Environments of callers that the rule is about; any when absent"`
	ExpiresAt    time.Time      `json:"expiresAt,omitzero" doc:"When the rule ends; never when absent"`
}

// PolicySubjects are the callers of a rule; one match is enough.
type PolicySubjects struct {
	ServiceAccounts []PolicyServiceAccount `json:"serviceAccounts,omitempty" nullable:"false" doc:"Service accounts of the cluster"`
	Users           []string               `json:"users,omitempty" nullable:"false" doc:"Names of users"`
	Groups          []string               `json:"groups,omitempty" nullable:"false" doc:"Names of groups"`
}

// PolicyServiceAccount names service accounts; "*" as Namespace or Name stands for any.
type PolicyServiceAccount struct {
	Namespace string `json:"namespace" doc:"Namespace, or * for any"`
	Name      string `json:"name" doc:"Name, or * for any"`
	UID       string `json:"uid,omitempty" doc:"UID of the one account that is meant"`
}

// Policies lists the VaultPolicies in force in the caller's cluster. It needs the audit capability on sys/policies.
func (c *Client) Policies(ctx context.Context) (PolicyList, error) {
	var out PolicyList
	err := c.call(ctx, call{method: http.MethodGet, route: "/v1/policies", repeatable: true}, &out)
	return out, err
}

// Policy shows a VaultPolicy that is in force in the caller's cluster. One that is not has CodeNotFoundOrDenied. It needs
// the audit capability on sys/policies.
func (c *Client) Policy(ctx context.Context, name string) (Policy, error) {
	var out Policy
	err := c.call(ctx, call{method: http.MethodGet, route: "/v1/policies/show", query: url.Values{"name": {name}}, repeatable: true}, &out)
	return out, err
}
