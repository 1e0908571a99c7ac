package server

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coffer-vault/coffer/internal/vault"
	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/sdk"
)

type (
	policyInput struct {
		Name string `query:"name" required:"true" minLength:"1" maxLength:"253" doc:"Name of the VaultPolicy" example:"payments"`
	}
	policiesOutput struct{ Body sdk.PolicyList }
	policyOutput   struct{ Body sdk.Policy }
)

func (a *api) registerPolicies(h huma.API) {
	huma.Register(h, operation(http.MethodGet, "/v1/policies", "listPolicies", "List the VaultPolicies in force in the caller's cluster"), a.policies)
	huma.Register(h, operation(http.MethodGet, "/v1/policies/show", "showPolicy", "Describe the rules of a VaultPolicy that are in force"), a.showPolicy)
}

func (a *api) policies(ctx context.Context, _ *struct{}) (*policiesOutput, error) {
	found, err := a.vault.Policies(ctx, callerOf(ctx))
	if err != nil {
		return nil, a.fail(ctx, "list the policies", err)
	}
	out := sdk.PolicyList{PolicySet: policySetOf(found), Items: make([]sdk.PolicySummary, len(found.Policies))}
	for i, p := range found.Policies {
		out.Items[i] = sdk.PolicySummary{Name: p.Name, Rules: len(p.Rules)}
	}
	return &policiesOutput{out}, nil
}

func (a *api) showPolicy(ctx context.Context, in *policyInput) (*policyOutput, error) {
	found, err := a.vault.ShowPolicy(ctx, callerOf(ctx), in.Name)
	if err != nil {
		return nil, a.fail(ctx, "show the policy "+in.Name, err)
	}
	p := found.Policies[0]
	out := sdk.Policy{PolicySet: policySetOf(found), Name: p.Name, Rules: make([]sdk.PolicyRule, len(p.Rules))}
	for i := range p.Rules {
		out.Rules[i] = policyRuleOf(&p.Rules[i])
	}
	return &policyOutput{out}, nil
}

func policySetOf(p vault.PoliciesInForce) sdk.PolicySet {
	return sdk.PolicySet{Cluster: p.Cluster, Revision: p.Revision, Since: p.Since}
}

func policyRuleOf(r *policy.Rule) sdk.PolicyRule {
	out := sdk.PolicyRule{
		Index: r.Index, Effect: string(r.Effect), Paths: make([]string, len(r.Paths)), Capabilities: make([]string, len(r.Capabilities)),
		Subjects: sdk.PolicySubjects{Users: r.Subjects.Users, Groups: r.Subjects.Groups}, Environments: r.Environments, ExpiresAt: r.ExpiresAt,
	}
	for i, p := range r.Paths {
		out.Paths[i] = p.String()
	}
	for i, c := range r.Capabilities {
		out.Capabilities[i] = string(c)
	}
	for _, s := range r.Subjects.ServiceAccounts {
		out.Subjects.ServiceAccounts = append(out.Subjects.ServiceAccounts, sdk.PolicyServiceAccount{Namespace: s.Namespace, Name: s.Name, UID: s.UID})
	}
	return out
}
