// Package vaulttest gives tests a whole vault: an engine on a real Postgres and a
// real Redis of the test's own.
package vaulttest
