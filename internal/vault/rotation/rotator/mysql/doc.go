// Package mysql rotates the passwords of accounts of MariaDB, from version 10.4.2 on, and of MySQL, from 8.0 on.
//
// With one account Set ends the old password at once. With two alternating ones the idle account gets a new password
// and consumers move to it: both log in until the switch is done, and then the one that became idle is locked.
// docs/guides/rotators.md says what to prepare.
//
// The two accounts must have the same grants, and it is the owner who gives them. Set compares, and refuses with what
// is missing, before it changes anything. It copies nothing: for that the administrator would need every right itself,
// with the option to grant it.
package mysql
