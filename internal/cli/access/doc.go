// Package access is how a person reaches an installation with nothing but a kubeconfig:
// a token for Coffer's audience by TokenRequest, the authority of the server's
// certificate from the ConfigMap that publishes it, and a port-forward where the Service
// is not reachable from here.
//
// Its errors are of type Error and say what to do next. None holds a token.
package access
