// Package migration follows the migration guide: its commands, in their order, on the sample
// project, against a real API server, operator and vault.
package migration
