// Package coffertest is a server for the tests of programs that use the sdk. It speaks
// HTTPS on a loopback address, keeps secrets in memory, and can be made to deny, to go
// away and to come back:
//
//	server := coffertest.NewServer(t)
//	server.Put("production/payments/database", "correct horse")
//	client := server.Client(t)
//	...
//	server.Put("production/payments/database", "battery staple") // a rotation
//	server.Outage()
//
// It answers as Coffer does what concerns values, versions, lists, reminders and watches,
// and that it is ready. It knows one caller, who may do everything that was not denied, and
// has no policies, audit log, keyring or automatic rotations: their operations are refused
// with a text that says so.
package coffertest
