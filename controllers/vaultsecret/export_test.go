package vaultsecret

// SpecChecksum is what status.rejected has of the spec, for tests that write a status.
var SpecChecksum = specChecksum
