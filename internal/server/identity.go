package server

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/coffer-vault/coffer/internal/vault/policy"
	"github.com/coffer-vault/coffer/internal/vault/secret"
	"github.com/coffer-vault/coffer/sdk"
)

type (
	explainInput struct {
		Path           string   `query:"path" required:"true" doc:"Path to ask about" example:"production/payments/database"`
		Capability     string   `query:"capability" enum:"read,list,write,rotate,delete,share,audit" default:"read" doc:"Capability to ask about"`
		Namespace      string   `query:"namespace" doc:"Namespace of the service account to ask about"`
		ServiceAccount string   `query:"serviceAccount" doc:"Service account to ask about; the caller when neither it nor user is given"`
		UID            string   `query:"uid" doc:"UID of the service account to suppose; that of the one which exists when absent"`
		Environment    string   `query:"environment" doc:"Environment to suppose; that of the namespace when absent"`
		User           string   `query:"user" doc:"User to ask about"`
		Group          []string `query:"group,explode" doc:"Groups that the user is in; may be repeated"`
	}
	explainOutput  struct{ Body sdk.Explanation }
	identityOutput struct{ Body sdk.Identity }
)

func (a *api) registerIdentity(h huma.API) {
	huma.Register(h, operation(http.MethodGet, "/v1/explain", "explain", "Explain whether someone may do something on a path"), a.explain)
	huma.Register(h, operation(http.MethodGet, "/v1/whoami", "whoami", "Say who the caller is"), a.whoami)
}

func (a *api) explain(ctx context.Context, in *explainInput) (*explainOutput, error) {
	path, err := parsePath(in.Path)
	if err != nil {
		return nil, err
	}
	subject, err := subjectOf(callerOf(ctx), in)
	if err != nil {
		return nil, err
	}
	found, err := a.vault.Explain(ctx, callerOf(ctx), subject, path, policy.Capability(in.Capability), a.complete)
	if err != nil {
		return nil, a.fail(ctx, "explain "+in.Path, err)
	}
	out := sdk.Explanation{
		Path: in.Path, Capability: in.Capability, Subject: found.Subject.String(), UID: found.Subject.UID, Environment: found.Subject.Environment,
		Allowed: found.Allowed, Rule: found.Rule, Until: found.Until, Matched: make([]sdk.RuleMatch, len(found.Matched)),
	}
	for i, m := range found.Matched {
		out.Matched[i] = sdk.RuleMatch{
			Rule: m.Rule, Effect: string(m.Effect), Outcome: string(m.Outcome), Path: m.Path.String(), Subject: m.Subject.String(),
			Environments: m.Environments, ExpiresAt: m.ExpiresAt,
		}
	}
	return &explainOutput{out}, nil
}

// subjectOf is who the question of caller is about, of the caller's cluster.
func subjectOf(caller secret.Caller, in *explainInput) (secret.Caller, error) {
	account := in.Namespace != "" || in.ServiceAccount != ""
	switch {
	case account && in.User != "":
		return secret.Caller{}, newProblem(http.StatusBadRequest, "a service account and a user were given; ask about one of them")
	case in.UID != "" && !account:
		return secret.Caller{}, newProblem(http.StatusBadRequest, "a uid is of a service account: give its namespace and serviceAccount too")
	case account && (in.Namespace == "" || in.ServiceAccount == ""):
		return secret.Caller{}, newProblem(http.StatusBadRequest, "a service account needs both namespace and serviceAccount")
	case account:
		return secret.Caller{
			Kind: secret.KindServiceAccount, Cluster: caller.Cluster, Namespace: in.Namespace, Name: in.ServiceAccount,
			UID: in.UID, Environment: in.Environment,
		}, nil
	case in.User != "":
		return secret.Caller{
			Kind: secret.KindUser, Cluster: caller.Cluster, Name: in.User, Groups: in.Group, Environment: in.Environment,
		}, nil
	default:
		return caller, nil
	}
}

// complete adds to a service account the UID and the environment that were not given. It
// asks the Kubernetes API server, so it is for callers only who may ask about the path.
func (a *api) complete(ctx context.Context, subject secret.Caller) secret.Caller {
	if subject.Kind != secret.KindServiceAccount {
		return subject
	}
	if subject.UID == "" {
		// As with the environment: to ask about an account to come is no error.
		subject.UID, _ = a.authenticator.ServiceAccountUID(ctx, subject.Namespace, subject.Name)
	}
	if subject.Environment == "" {
		// A namespace that is not there has none; to ask about it is no error.
		subject.Environment, _ = a.authenticator.Environment(ctx, subject.Namespace)
	}
	return subject
}

func (*api) whoami(ctx context.Context, _ *struct{}) (*identityOutput, error) {
	c := callerOf(ctx)
	return &identityOutput{sdk.Identity{
		Kind: string(c.Kind), Cluster: c.Cluster, Namespace: c.Namespace, Name: c.Name, UID: c.UID,
		Groups: c.Groups, Environment: c.Environment,
	}}, nil
}
