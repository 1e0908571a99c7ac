// Package postgres rotates the passwords of PostgreSQL roles, from version 13 on.
//
// With one role, Set ends the old password at once. With two alternating roles the idle one gets a new password and
// consumers move to it: both log in until the switch is done, and then the one that became idle may not log in any
// more. docs/guides/rotators.md says what to prepare.
//
// The two roles must have the same rights, and it is the owner who gives them: each is a member of the same group
// roles, and neither owns or was granted anything itself. Set compares, and refuses with the statement that mends it,
// before it changes anything. It copies nothing: for that the administrator would need the right to grant every group,
// and so could have all of it for itself.
package postgres
