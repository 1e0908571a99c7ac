// Package rotation holds the terms of a rotation: what its owner defines, and the state machine that a run goes through.
//
//	planned ── created ── set ── tested ── current ── propagating ── retiring ── done
//	   └──────────┴────────┴───────┴──────────┴───────────┴── failed ── withdrawing ── revoking ── rolled back
//
// It is pure. A run says which action is next (Run.Next), whoever runs it does that, and the run is told how it went
// (Run.After). An action may be done more than once, since who does it may be killed before its run is stored: so every one can
// be repeated. The former credential is given up only when every consumer has the new one, or when the owner says so; and when the
// former one is put back, the new one is revoked only when no consumer has it any more. Where the system accepts one credential at a time
// (Run.NoOverlap) there is no such order, and the new one is revoked as soon as the former one is put back.
package rotation
