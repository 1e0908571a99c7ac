// Package redisacl rotates the password of a user of Redis's ACL, from Redis 6 on.
//
// Such a user may have several passwords, so one user suffices: Set adds the new one beside the old, Finish takes the
// old away. The server is given SHA-256 hashes only, as its ACL keeps them. Passwords are added and taken away by
// themselves, so two rotators that do the same at one time do no harm to each other.
//
// Redis does not replicate its ACL: a rotation is about every server that is named.
package redisacl
