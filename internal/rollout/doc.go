// Package rollout makes workloads follow the Secrets they use: it finds the
// Deployments, StatefulSets and DaemonSets whose pods use a Secret, stamps their
// pod template with the keyed checksum of the Secret's content, so that their
// own controllers replace the pods, and says how far each has come.
//
// The rule for a stamp (see [Workload.NeedsStamp]):
//
//   - a stamp that is not the current checksum is replaced;
//   - a workload without a stamp gets one only when the content changes, or a
//     stamp for that change failed, and the workload is older than the change:
//     its pods may have started with the old content.
//
// Everything is derived from the objects and the last written status, so that a
// crash between the write of a Secret and the stamp loses nothing, and a restart
// rolls nothing.
package rollout
