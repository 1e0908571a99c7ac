// Package e2e uses Coffer as people do: the coffer command and Kubernetes
// objects, against a running environment (make up) with a real kubelet. Its
// tests are built with the tag e2e and run by make test-e2e.
//
// The tests share one installation and run one after the other, since some of
// them stop a part of it. Each works in namespaces and paths of its own.
package e2e
