package generate

import (
	"encoding/pem"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// SSHKey is a key pair as OpenSSH keeps it. Its private key has no passphrase.
type SSHKey struct {
	KeyPair `json:",inline"`
	// Comment at the end of the public key's line, such as "deploy@production".
	Comment string `json:"comment,omitempty"`
}

// Check says whether there are such keys.
func (k SSHKey) Check() error {
	if strings.ContainsFunc(k.Comment, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("%w: the comment of the SSH key has a control character; it is part of one line of authorized_keys", ErrSpec)
	}
	return k.KeyPair.Check()
}

func (k SSHKey) generate(Input) (map[string]string, error) {
	key, err := k.newKey()
	if err != nil {
		return nil, err
	}
	private, err := ssh.MarshalPrivateKey(key, k.Comment)
	if err != nil {
		return nil, fmt.Errorf("encode a private key for SSH: %w", err)
	}
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("encode a public key for SSH: %w", err)
	}
	line := strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(public)), "\n")
	if k.Comment != "" {
		line += " " + k.Comment
	}
	return map[string]string{PrivateKeyProperty: string(pem.EncodeToMemory(private)), PublicKeyProperty: line}, nil
}
