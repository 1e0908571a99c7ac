// Package helm pins Helm, and checks with its libraries and kustomize's that the
// chart and config/default install the same objects.
package helm
