// Package manifests applies config/ to a real kube-apiserver, and checks what the
// CRDs refuse and what the manager may do. That the chart is the same as
// config/default is checked in hack/tools/helm.
package manifests
