// Package v1alpha1 holds Coffer's Kubernetes API: VaultSecret, ClusterVaultSecret,
// VaultRotation and VaultPolicy in the group vault.coffer.dev.
//
// +kubebuilder:object:generate=true
// +groupName=vault.coffer.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is vault.coffer.dev/v1alpha1.
var GroupVersion = schema.GroupVersion{Group: "vault.coffer.dev", Version: "v1alpha1"}

// SchemeBuilder collects the registration of this package's types.
var SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

// AddToScheme registers this package's types.
var AddToScheme = SchemeBuilder.AddToScheme

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&VaultSecret{}, &VaultSecretList{},
		&ClusterVaultSecret{}, &ClusterVaultSecretList{},
		&VaultPolicy{}, &VaultPolicyList{},
		&VaultRotation{}, &VaultRotationList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
