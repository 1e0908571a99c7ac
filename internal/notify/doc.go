// Package notify delivers what the engine tells of to the sinks that an administrator names in a file: Slack-compatible and generic
// webhooks, and receivers of CloudEvents.
//
// Every replica has a Notifier. An event is routed by one of them, which makes a delivery of it for each sink that wants it; a
// delivery is taken with a lease, and removed when the sink answered. So an event arrives at least once, also when replicas are
// killed, and its id lets a receiver drop what comes again. A sink that is down holds no other one up.
//
// Requests go where webhook.Limits allow, and follow no redirect. Nothing that is sent or logged holds a value of the vault, nor
// the URL of a sink, which may be a secret.
package notify
