package v1alpha1

// RotationMethod is how the new credential is made: exactly one of its fields is set.
// docs/guides/rotators.md says what each needs.
//
// +kubebuilder:validation:XValidation:rule="[has(self.generate), has(self.postgres), has(self.mysql), has(self.redis), has(self.webhook)].filter(set, set).size() == 1",message="a rotation has one method: set exactly one of generate, postgres, mysql, redis and webhook"
type RotationMethod struct {
	// Generate makes a value that no system has to be told of: an encryption key, a token of
	// one's own, a certificate.
	// +optional
	Generate *GenerateMethod `json:"generate,omitempty"`
	// Postgres changes the password of a role of PostgreSQL, or of two in turn.
	// +optional
	Postgres *PostgresMethod `json:"postgres,omitempty"`
	// MySQL changes the password of an account of MariaDB or MySQL, or of two in turn.
	// +optional
	MySQL *MySQLMethod `json:"mysql,omitempty"`
	// Redis changes the password of a user of the ACL of Redis.
	// +optional
	Redis *RedisMethod `json:"redis,omitempty"`
	// Webhook has a service of one's own take the steps (docs/reference/webhook-rotator.md).
	// +optional
	Webhook *WebhookMethod `json:"webhook,omitempty"`
}

// GenerateMethod makes one kind of value.
//
// +kubebuilder:validation:XValidation:rule="[has(self.password), has(self.uuid), has(self.sshKey), has(self.keyPair), has(self.certificate)].filter(set, set).size() == 1",message="one thing is generated: set exactly one of password, uuid, sshKey, keyPair and certificate"
// +kubebuilder:validation:XValidation:rule="!has(self.property) || has(self.password) || has(self.uuid)",message="property is for a password or a uuid: the others make several properties, whose names are theirs"
// +kubebuilder:validation:XValidation:rule="!has(self.authority) || has(self.certificate)",message="an authority signs a certificate: set certificate, or leave authority out"
type GenerateMethod struct {
	// Password makes the property password, or the one that property names. {} is one of 32
	// letters and digits.
	// +optional
	Password *PasswordGenerator `json:"password,omitempty"`
	// UUID makes the property uuid, or the one that property names. Write {}.
	// +optional
	UUID *UUIDGenerator `json:"uuid,omitempty"`
	// SSHKey makes the properties privateKey, in OpenSSH's form, and publicKey, a line of
	// authorized_keys.
	// +optional
	SSHKey *SSHKeyGenerator `json:"sshKey,omitempty"`
	// KeyPair makes the properties privateKey (PKCS #8) and publicKey, in PEM.
	// +optional
	KeyPair *KeyPairGenerator `json:"keyPair,omitempty"`
	// Certificate makes the properties certificate, with its chain, privateKey and ca.
	// +optional
	Certificate *CertificateGenerator `json:"certificate,omitempty"`
	// Property is where a password or a UUID goes, such as token.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Property string `json:"property,omitempty"`
	// Authority is the path of the secret whose properties certificate and privateKey sign
	// the certificate, such as platform/ca; one that signs itself is made without it.
	// +optional
	Authority VaultPath `json:"authority,omitempty"`
}

// PasswordGenerator says what new passwords are like. Every password that fits is as likely
// as any other.
type PasswordGenerator struct {
	// Length in characters, from 8 to 256; 32 when 0.
	// +optional
	// +kubebuilder:validation:Maximum=256
	// +kubebuilder:validation:XValidation:rule="self == 0 || self >= 8",message="a password has 8 to 256 characters"
	Length int32 `json:"length,omitempty"`
	// Classes are the characters that it is made of, such as {name: lower, minimum: 1};
	// lower, upper and digits, at least one of each, when empty.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Classes []CharacterClass `json:"classes,omitempty"`
	// Exclude are characters that it never has, such as l1o0.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Exclude string `json:"exclude,omitempty"`
}

// CharacterClass is a set of characters: a named one, or those listed.
//
// +kubebuilder:validation:XValidation:rule="has(self.name) != has(self.characters)",message="a class has either name (lower, upper, digits or symbols) or characters: set exactly one of them"
type CharacterClass struct {
	// Name is lower, upper, digits or symbols.
	// +optional
	Name CharacterClassName `json:"name,omitempty"`
	// Characters of printable ASCII, such as "-_.".
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	Characters string `json:"characters,omitempty"`
	// Minimum is how many of them a password has at least.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=256
	Minimum int32 `json:"minimum,omitempty"`
}

// CharacterClassName names a class of characters.
// +kubebuilder:validation:Enum=lower;upper;digits;symbols
type CharacterClassName string

// UUIDGenerator has nothing to say: a random UUID is made.
type UUIDGenerator struct{}

// KeyPairGenerator says which keys are made.
type KeyPairGenerator struct {
	// Algorithm is Ed25519 (used when empty), RSA or EC.
	// +optional
	Algorithm KeyAlgorithm `json:"algorithm,omitempty"`
	// Size in bits: of an RSA key 2048, 3072 (when 0) or 4096, of an EC key 256 (when 0),
	// 384 or 521; an Ed25519 key has none.
	// +optional
	// +kubebuilder:validation:Enum=0;256;384;521;2048;3072;4096
	Size int32 `json:"size,omitempty"`
}

// SSHKeyGenerator says which SSH keys are made.
type SSHKeyGenerator struct {
	KeyPairGenerator `json:",inline"`
	// Comment at the end of the public key's line, such as deploy@production.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Comment string `json:"comment,omitempty"`
}

// KeyAlgorithm is a kind of key.
// +kubebuilder:validation:Enum=RSA;EC;Ed25519
type KeyAlgorithm string

// CertificateGenerator says what the certificate is about. It is due before its end, without
// a schedule too.
//
// +kubebuilder:validation:XValidation:rule="has(self.commonName) || has(self.dnsNames) || has(self.ipAddresses) || has(self.uris) || has(self.emailAddresses)",message="the certificate names nobody: set commonName, or one of dnsNames, ipAddresses, uris and emailAddresses"
type CertificateGenerator struct {
	// CommonName of the subject, at most 64 bytes; clients look at dnsNames.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	CommonName string `json:"commonName,omitempty"`
	// Organizations of the subject.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	Organizations []string `json:"organizations,omitempty"`
	// DNSNames that it is for, such as db.example.org.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	DNSNames []string `json:"dnsNames,omitempty"`
	// IPAddresses that it is for, such as 192.0.2.1.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=64
	IPAddresses []string `json:"ipAddresses,omitempty"`
	// URIs that it is for, such as spiffe://example.org/payments.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	URIs []string `json:"uris,omitempty"`
	// EmailAddresses that it is for.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	EmailAddresses []string `json:"emailAddresses,omitempty"`
	// Usages are server (used when empty) and client.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=2
	Usages []CertificateUsage `json:"usages,omitempty"`
	// Lifetime is how long it counts, such as 2160h (used when empty): at least 10m, at most
	// 87600h.
	// +optional
	Lifetime CertificateDuration `json:"lifetime,omitempty"`
	// RenewBefore is how long before its end a new one is made, such as 720h; a third of the
	// lifetime when empty.
	// +optional
	RenewBefore CertificateDuration `json:"renewBefore,omitempty"`
	// Key is the kind of key: EC of 256 bits when empty.
	// +optional
	Key KeyPairGenerator `json:"key,omitzero"`
}

// CertificateDuration is a time such as 2160h, with the units h, m and s.
//
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?$')",message="a certificate's time is like 2160h or 720h30m: numbers with the units h, m and s"
type CertificateDuration string

// CertificateUsage is what a certificate may be shown for.
// +kubebuilder:validation:Enum=server;client
type CertificateUsage string

// SystemTLS is how a system is spoken to. When empty, its certificate is checked against the
// machine's authorities.
//
// +kubebuilder:validation:XValidation:rule="!has(self.disabled) || !self.disabled || (!has(self.ca) && !has(self.serverName))",message="TLS is disabled and has settings: leave out disabled, or ca and serverName"
type SystemTLS struct {
	// CA holds the authorities to believe in place of the machine's, in PEM.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32768
	CA string `json:"ca,omitempty"`
	// ServerName is the name in the certificate when it is not the host.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	ServerName string `json:"serverName,omitempty"`
	// Disabled sends everything in the clear, the administrator's password included.
	// +optional
	Disabled bool `json:"disabled,omitempty"`
}

// PostgresMethod changes the password of roles of PostgreSQL.
//
// +kubebuilder:validation:XValidation:rule="has(self.role) != has(self.alternatingRoles)",message="the roles are either alternatingRoles, two that take turns so that nobody is locked out, or role: set exactly one of them"
// +kubebuilder:validation:XValidation:rule="!has(self.endSessions) || !self.endSessions || has(self.alternatingRoles)",message="endSessions is for alternatingRoles: the sessions of one role are those of the new password too"
type PostgresMethod struct {
	// Credential is the path of the secret, with username and password, that the rotator
	// logs in with, such as platform/rotators/shop.
	// +required
	Credential VaultPath `json:"credential"`
	// Host of the server, such as db.example.org.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Host string `json:"host"`
	// Port of the server; 5432 when 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
	// Database that is connected to, and whose objects are looked at for rights.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Database string `json:"database"`
	// TLS is how the server is spoken to.
	// +optional
	TLS SystemTLS `json:"tls,omitzero"`
	// Role is the one whose password changes; whoever still uses the old one fails to log in
	// until it has the new one.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Role string `json:"role,omitempty"`
	// AlternatingRoles are two, such as [app_a, app_b], of which consumers use one.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=2
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:XValidation:rule="self.size() != 2 || self[0] != self[1]",message="alternatingRoles are two different roles, such as [app_a, app_b]"
	AlternatingRoles []string `json:"alternatingRoles,omitempty"`
	// EndSessions ends the sessions that the former of two roles still has when it is
	// retired.
	// +optional
	EndSessions bool `json:"endSessions,omitempty"`
	// Password says what new passwords are like.
	// +optional
	Password PasswordGenerator `json:"password,omitzero"`
}

// MySQLMethod changes the password of accounts of MariaDB or MySQL.
//
// +kubebuilder:validation:XValidation:rule="has(self.user) != has(self.alternatingUsers)",message="the accounts are either alternatingUsers, two that take turns so that nobody is locked out, or user: set exactly one of them"
// +kubebuilder:validation:XValidation:rule="!has(self.endSessions) || !self.endSessions || has(self.alternatingUsers)",message="endSessions is for alternatingUsers: the sessions of one user are those of the new password too"
type MySQLMethod struct {
	// Credential is the path of the secret, with username and password, that the rotator
	// logs in with, such as platform/rotators/shop.
	// +required
	Credential VaultPath `json:"credential"`
	// Host of the server, such as db.example.org.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Host string `json:"host"`
	// Port of the server; 3306 when 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`
	// TLS is how the server is spoken to.
	// +optional
	TLS SystemTLS `json:"tls,omitzero"`
	// User is the one whose password changes; whoever still uses the old one fails to log in
	// until it has the new one.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=80
	User string `json:"user,omitempty"`
	// AlternatingUsers are two, such as [app_a, app_b], of which consumers use one.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=2
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=80
	// +kubebuilder:validation:XValidation:rule="self.size() != 2 || self[0] != self[1]",message="alternatingUsers are two different users, such as [app_a, app_b]"
	AlternatingUsers []string `json:"alternatingUsers,omitempty"`
	// AccountHost is the part after @ of the accounts' names; % when empty.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=255
	AccountHost string `json:"accountHost,omitempty"`
	// Authentication is how MariaDB keeps the password: mysql_native_password (used when
	// empty) or ed25519. MySQL uses the account's own way.
	// +optional
	Authentication MySQLAuthentication `json:"authentication,omitempty"`
	// EndSessions ends the sessions that the former of two users still has when it is
	// retired.
	// +optional
	EndSessions bool `json:"endSessions,omitempty"`
	// Password says what new passwords are like.
	// +optional
	Password PasswordGenerator `json:"password,omitzero"`
}

// MySQLAuthentication is how MariaDB keeps a password.
// +kubebuilder:validation:Enum=mysql_native_password;ed25519
type MySQLAuthentication string

// RedisMethod changes the password of a user of Redis.
type RedisMethod struct {
	// Credential is the path of the secret, with username and password, that the rotator
	// logs in with, such as platform/rotators/cache.
	// +required
	Credential VaultPath `json:"credential"`
	// Addresses, as host:port, of every server that has the user: a master and its replicas,
	// or each node of a Cluster.
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=3
	// +kubebuilder:validation:items:MaxLength=260
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^.+:[0-9]{1,5}$')",message="an address is host:port, such as redis.example.org:6379"
	Addresses []string `json:"addresses"`
	// TLS is how the servers are spoken to.
	// +optional
	TLS SystemTLS `json:"tls,omitzero"`
	// User of the ACL, such as app; default is the one of requirepass.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	User string `json:"user"`
	// Persistence is how a server keeps its ACL through a restart: aclFile (used when empty),
	// configFile or none.
	// +optional
	Persistence RedisPersistence `json:"persistence,omitempty"`
	// Password says what new passwords are like.
	// +optional
	Password PasswordGenerator `json:"password,omitzero"`
}

// RedisPersistence is how a server keeps its ACL through a restart.
// +kubebuilder:validation:Enum=aclFile;configFile;none
type RedisPersistence string

// WebhookMethod has a service of one's own take the steps.
type WebhookMethod struct {
	// Credential is the path of the secret whose property signingKey signs the requests,
	// such as platform/rotators/hook.
	// +required
	Credential VaultPath `json:"credential"`
	// URL of the service, such as https://rotator.example.org/coffer. It has no user.
	// +required
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^https?://[^/@#]+([/?][^#]*)?$')",message="the url is like https://rotator.example.org/coffer, without a user and a fragment"
	URL string `json:"url"`
	// TLS is how the service's certificate is checked.
	// +optional
	TLS WebhookTLS `json:"tls,omitzero"`
	// NoOverlap says that the service ends the old credential at once when it sets the new
	// one.
	// +optional
	NoOverlap bool `json:"noOverlap,omitempty"`
}

// WebhookTLS is how the certificate of a webhook is checked.
type WebhookTLS struct {
	// CA holds the authorities to believe in place of the machine's, in PEM.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32768
	CA string `json:"ca,omitempty"`
}
