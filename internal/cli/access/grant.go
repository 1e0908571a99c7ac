package access

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// right is what somebody lacks in a namespace. It is about one object when name is not
// empty.
type right struct {
	namespace, role, verb, resource, name string
}

// grant says with which commands an administrator gives a right to the user of the
// kubeconfig.
func (i *Installation) grant(ctx context.Context, r right) string {
	user := "YOU"
	review, err := i.kube.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err == nil && review.Status.UserInfo.Username != "" {
		user = review.Status.UserInfo.Username
	}
	return "An administrator of the cluster gives you the right with:\n" + r.commands(user)
}

// serviceAccountPrefix begins the user names of service accounts, as Kubernetes documents.
const serviceAccountPrefix = "system:serviceaccount:"

// commands are two commands of kubectl that give r to user.
func (r right) commands(user string) string {
	role := fmt.Sprintf("  kubectl -n %s create role %s --verb=%s --resource=%s", ShellWord(r.namespace), ShellWord(r.role), r.verb, r.resource)
	if r.name != "" {
		role += " --resource-name=" + ShellWord(r.name)
	}
	subject := "--user=" + ShellWord(user)
	if account, ok := strings.CutPrefix(user, serviceAccountPrefix); ok {
		subject = "--serviceaccount=" + ShellWord(account)
	}
	binding := r.role + "-" + strings.Trim(notInNames.ReplaceAllString(strings.ToLower(user), "-"), "-.")
	return fmt.Sprintf("%s\n  kubectl -n %s create rolebinding %s --role=%s %s", role, ShellWord(r.namespace), ShellWord(binding), ShellWord(r.role), subject)
}

// notInNames is what names of objects have not.
var notInNames = regexp.MustCompile(`[^a-z0-9.-]+`)

// plainWord needs no quotes in a shell.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_.,/:@%+-]+$`)

// ShellWord quotes s for a shell where it must.
func ShellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
