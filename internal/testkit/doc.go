// Package testkit gives tests the real servers Coffer works with: PostgreSQL, Redis, MariaDB and a
// kube-apiserver.
//
// Every server is private to the test process: it listens on a free loopback port, keeps its files in a scratch
// directory, and goes away with the process, also when that is killed (see package process). Tests never skip for a
// missing server: they fail and name the package to install.
package testkit
