package content

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"
)

// checkType refuses data that the type of the Secret promises something else of. An
// error names the key and what is wrong with it, and quotes nothing: also not an
// error of a parser, which may.
//
// What each type promises is in
// https://kubernetes.io/docs/concepts/configuration/secret/#secret-types; that the
// parts fit together Kubernetes does not check.
func checkType(kind corev1.SecretType, data map[string][]byte) error {
	var err error
	switch kind {
	case corev1.SecretTypeTLS:
		err = checkTLS(data)
	case corev1.SecretTypeDockerConfigJson:
		err = checkDockerConfigJSON(data)
	case corev1.SecretTypeDockercfg:
		err = checkDockercfg(data)
	case corev1.SecretTypeBasicAuth:
		err = checkBasicAuth(data)
	case corev1.SecretTypeSSHAuth:
		err = checkSSHAuth(data)
	default: // a type that somebody else gives a meaning to
	}
	if err != nil {
		return fmt.Errorf("%w %s: %w", ErrType, kind, err)
	}
	return nil
}

// required returns what key holds.
func required(data map[string][]byte, key string) ([]byte, error) {
	value, ok := data[key]
	switch {
	case !ok:
		return nil, fmt.Errorf("there is no key %s; name it in data or in target.template", key)
	case len(bytes.TrimSpace(value)) == 0:
		return nil, fmt.Errorf("%s is empty", key)
	}
	return value, nil
}

func checkTLS(data map[string][]byte) error {
	certificate, err := required(data, corev1.TLSCertKey)
	if err != nil {
		return err
	}
	key, err := required(data, corev1.TLSPrivateKeyKey)
	if err != nil {
		return err
	}
	if err := checkCertificates(certificate); err != nil {
		return fmt.Errorf("%s %w", corev1.TLSCertKey, err)
	}
	if err := checkPrivateKey(key); err != nil {
		return fmt.Errorf("%s %w", corev1.TLSPrivateKeyKey, err)
	}
	if _, err := tls.X509KeyPair(certificate, key); err != nil {
		return fmt.Errorf("%s is not the key of the first certificate in %s", corev1.TLSPrivateKeyKey, corev1.TLSCertKey)
	}
	return nil
}

func checkCertificates(text []byte) error {
	found := false
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return errors.New("holds a certificate that cannot be parsed")
		}
		found = true
	}
	if !found {
		return errors.New("holds no certificate in PEM (BEGIN CERTIFICATE)")
	}
	return nil
}

// checkPrivateKey takes the first block that tls.X509KeyPair takes.
func checkPrivateKey(text []byte) error {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return errors.New("holds no private key in PEM (BEGIN PRIVATE KEY)")
		}
		encrypted := block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED")
		switch {
		case encrypted:
			return errors.New("is protected by a passphrase, which no server could ask for; store the key without one")
		case block.Type != "PRIVATE KEY" && !strings.HasSuffix(block.Type, " PRIVATE KEY"):
			continue
		case !parses(block.Bytes):
			return errors.New("holds a private key that cannot be parsed; RSA, ECDSA and Ed25519 keys in PKCS #8, PKCS #1 or SEC 1 can")
		}
		return nil
	}
}

func parses(der []byte) bool {
	if _, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return true
	}
	if _, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return true
	}
	_, err := x509.ParseECPrivateKey(der)
	return err == nil
}

func checkDockerConfigJSON(data map[string][]byte) error {
	text, err := required(data, corev1.DockerConfigJsonKey)
	if err != nil {
		return err
	}
	var config map[string]json.RawMessage
	if err := json.Unmarshal(text, &config); err != nil || config == nil {
		return fmt.Errorf(`%s is not a JSON object like {"auths":{"registry.example.com":{"username":"…","password":"…"}}}`, corev1.DockerConfigJsonKey)
	}
	if err := checkAuths(config["auths"]); err != nil {
		return fmt.Errorf(`"auths" of %s %w`, corev1.DockerConfigJsonKey, err)
	}
	return nil
}

func checkDockercfg(data map[string][]byte) error {
	text, err := required(data, corev1.DockerConfigKey)
	if err != nil {
		return err
	}
	if err := checkAuths(text); err != nil {
		return fmt.Errorf("%s %w", corev1.DockerConfigKey, err)
	}
	return nil
}

// checkAuths reads an object with an object of credentials for each registry.
func checkAuths(text []byte) error {
	var auths map[string]map[string]json.RawMessage
	if len(text) == 0 || json.Unmarshal(text, &auths) != nil || auths == nil {
		return errors.New(`is missing, or not a JSON object like {"registry.example.com":{"username":"…","password":"…"}}`)
	}
	return nil
}

func checkBasicAuth(data map[string][]byte) error {
	for _, key := range []string{corev1.BasicAuthUsernameKey, corev1.BasicAuthPasswordKey} {
		if _, ok := data[key]; ok {
			return nil
		}
	}
	return fmt.Errorf("there is neither a key %s nor %s; name one in data or in target.template", corev1.BasicAuthUsernameKey, corev1.BasicAuthPasswordKey)
}

func checkSSHAuth(data map[string][]byte) error {
	text, err := required(data, corev1.SSHAuthPrivateKey)
	if err != nil {
		return err
	}
	_, err = ssh.ParseRawPrivateKey(text)
	if _, protected := errors.AsType[*ssh.PassphraseMissingError](err); err == nil || protected {
		return nil
	}
	return fmt.Errorf("%s holds no private key that can be parsed; write it as ssh-keygen does, with its line ends", corev1.SSHAuthPrivateKey)
}
