package cluster

import (
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"

	"github.com/coffer-vault/coffer/hack/local/internal/pki"
)

// Kubernetes's own names of its parts, to which it binds roles by itself; and cluster DNS, whose role is ours.
var users = map[string]pki.Subject{
	ControllerManager: {User: "system:kube-controller-manager"},
	Scheduler:         {User: "system:kube-scheduler"},
	Proxy:             {User: "system:kube-proxy"},
	Kubelet:           {User: "system:node:" + nodeName, Groups: []string{"system:nodes"}},
	DNS:               {User: "system:coredns"},
	"admin":           {User: "admin", Groups: []string{"system:masters"}},
}

// WriteCredentials makes the authority, the certificates and the kubeconfigs in the folder node (which the cluster's
// programs see as c.Base), and the administrator's kubeconfig at admin.
func (c *Cluster) WriteCredentials(node, admin string) error {
	certs := filepath.Join(node, "certs")
	if err := os.MkdirAll(certs, 0o700); err != nil {
		return fmt.Errorf("making a folder for certificates: %w", err)
	}
	ca, err := pki.NewAuthority("coffer-local")
	if err != nil {
		return err
	}
	if err := ca.Pair.Write(filepath.Join(certs, "ca.crt"), filepath.Join(certs, "ca.key")); err != nil {
		return err
	}
	for name, subject := range c.servers() {
		pair, err := ca.Issue(subject)
		if err != nil {
			return err
		}
		if err := pair.Write(filepath.Join(certs, name+".crt"), filepath.Join(certs, name+".key")); err != nil {
			return err
		}
	}
	if err := writeTokenKeys(certs); err != nil {
		return err
	}
	for name, subject := range users {
		pair, err := ca.Issue(subject)
		if err != nil {
			return err
		}
		files := []string{filepath.Join(node, name+".kubeconfig")}
		if name == "admin" {
			files = append(files, admin)
		}
		for _, file := range files {
			if err := writeKubeconfig(file, c.apiServer(), ca.Cert, pair); err != nil {
				return err
			}
		}
	}
	return nil
}

// servers are the certificates that are files of their own.
func (c *Cluster) servers() map[string]pki.Subject {
	return map[string]pki.Subject{
		"apiserver": {User: "kube-apiserver", Hosts: []string{
			c.State.Address, kubernetesServiceIP, "127.0.0.1", "localhost",
			"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + clusterDomain,
		}},
		"kubelet-server": {User: nodeName, Hosts: []string{c.State.Address, nodeName}},
		// As the API server introduces itself to kubelets.
		"apiserver-kubelet-client": {User: "kube-apiserver-kubelet-client", Groups: []string{"system:masters"}},
	}
}

// writeTokenKeys makes the key that service accounts' tokens are signed with.
func writeTokenKeys(certs string) error {
	public, private, err := pki.NewKeyPair()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(certs, "tokens.pub"), public, 0o644); err != nil {
		return fmt.Errorf("writing the tokens' key: %w", err)
	}
	if err := os.WriteFile(filepath.Join(certs, "tokens.key"), private, 0o600); err != nil {
		return fmt.Errorf("writing the tokens' key: %w", err)
	}
	return nil
}

func writeKubeconfig(file, server string, ca []byte, user pki.Pair) error {
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "coffer-local",
		"clusters": []any{map[string]any{"name": "coffer-local", "cluster": map[string]any{
			"server": server, "certificate-authority-data": ca,
		}}},
		"users": []any{map[string]any{"name": "user", "user": map[string]any{
			"client-certificate-data": user.Cert, "client-key-data": user.Key,
		}}},
		"contexts": []any{map[string]any{"name": "coffer-local", "context": map[string]any{
			"cluster": "coffer-local", "user": "user",
		}}},
	})
	if err != nil {
		return fmt.Errorf("encoding a kubeconfig: %w", err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return fmt.Errorf("writing a kubeconfig: %w", err)
	}
	return nil
}
