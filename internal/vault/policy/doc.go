// Package policy decides who may do what on which path. Its decisions are pure: the
// rules, the caller, the path, the capability and the time go in, a Decision and its
// reasons come out. One evaluator serves every door, and the same evaluation is what
// `coffer explain` shows.
//
// Nothing is allowed by default. Allowing rules add up. A denying rule wins over
// every allowing one and over the access policy on the secret. See
// docs/design/policy.md.
package policy
