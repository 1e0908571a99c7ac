// Package rotator says what changes a credential at the system that checks it, and what all that do it share. One
// package below it is for each kind of system.
//
// The steps of one rotation are Create, Set, Test, then, when everybody has moved to the new credential, Finish; or
// Revoke in place of Finish, when it failed. A step may be called again with the same arguments at any time before
// the next one, also by two callers at once. Who calls sees to it that no step comes after a later one: a rotator has
// no memory of its own, and could not tell.
//
// No error of a rotator holds a value, nor the text of a driver's error, which might. They wrap one of the errors of
// this package, by which the caller knows whether to try again.
package rotator
