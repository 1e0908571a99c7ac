// Package rollout makes workloads follow Secrets: it finds the Deployments,
// StatefulSets, DaemonSets and Argo Rollouts whose pods use a Secret, or that are named, stamps
// their pod template with the keyed checksum of the Secret's content, so that their
// own controllers replace the pods, and says how far each has come.
//
// A stamp waits until the Secrets of the workload have not changed for a while, and
// all that are to be stamped then go in one write (see [Request], [Peer] and
// [Wait]). Each Secret keeps its own wait in its own status; whoever's is over looks at
// those of the others, so that it needs neither a lock nor a memory that a new leader
// does not have.
//
// The rule for a stamp (see [Workload.NeedsStamp]):
//
//   - a stamp that is not the current checksum is replaced;
//   - a workload without a stamp gets one only when the content changes, or its
//     stamp for that change is Pending, and the workload is older than the change:
//     its pods may have started with the old content.
//
// A rollout that a stamp began can be watched (see [Request]) until it has succeeded or
// failed (see [Report]): by the workload's state, and by its new pods, those that carry
// the stamp. They are listed while the rollout is under way and only then.
//
// Everything is derived from the objects and the last written status, so that a
// crash between the write of a Secret and the stamp loses nothing, and a restart
// rolls nothing.
package rollout
