// Package notification holds what Coffer tells people and their systems of by itself: the types of events, and which of them
// there are when a run of a rotation changes. It is pure. The engine keeps events until they are delivered, and package notify
// delivers them. No event holds a value of the vault.
package notification
