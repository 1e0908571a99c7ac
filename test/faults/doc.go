// Package faults kills a process that uses the vault at each named failpoint of the engine, and takes Postgres and Redis
// away from one that lives on, kills the operator at each of its writes, and checks what docs/design/security.md promises: `make faults`. Its tests need a build
// with the tag failpoints.
package faults
