package content

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	corev1 "k8s.io/api/core/v1"
)

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// newPair makes a self-signed certificate and its key, both in PEM.
func newPair(t testing.TB) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("CERTIFICATE", der), pemOf("PRIVATE KEY", pkcs8)
}

func sshKey(t testing.TB, passphrase string) string {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(block))
}

func TestTypes(t *testing.T) {
	certificate, key := newPair(t)
	otherCertificate, otherKey := newPair(t)
	legacy, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(legacy))
	const canary = "c4nary-s3cret"
	type data = map[string]string
	tests := map[string]struct {
		kind corev1.SecretType
		data data
		want string // in the error; none when empty
	}{
		"tls":                         {corev1.SecretTypeTLS, data{"tls.crt": certificate, "tls.key": key}, ""},
		"tls, a chain":                {corev1.SecretTypeTLS, data{"tls.crt": certificate + otherCertificate, "tls.key": key, "ca.crt": otherCertificate}, ""},
		"tls, text around":            {corev1.SecretTypeTLS, data{"tls.crt": "subject: x\n" + certificate, "tls.key": "\n" + key + "\n"}, ""},
		"tls without certificate":     {corev1.SecretTypeTLS, data{"tls.key": key}, "there is no key tls.crt"},
		"tls without key":             {corev1.SecretTypeTLS, data{"tls.crt": certificate}, "there is no key tls.key"},
		"tls, an empty key":           {corev1.SecretTypeTLS, data{"tls.crt": certificate, "tls.key": "\n"}, "tls.key is empty"},
		"tls, another key":            {corev1.SecretTypeTLS, data{"tls.crt": certificate, "tls.key": otherKey}, "tls.key is not the key of the first certificate in tls.crt"},
		"tls, another kind of key":    {corev1.SecretTypeTLS, data{"tls.crt": certificate, "tls.key": pkcs1}, "tls.key is not the key of the first certificate"},
		"tls, the chain turned round": {corev1.SecretTypeTLS, data{"tls.crt": otherCertificate + certificate, "tls.key": key}, "tls.key is not the key of the first certificate"},
		"tls, exchanged":              {corev1.SecretTypeTLS, data{"tls.crt": key, "tls.key": certificate}, "tls.crt holds no certificate in PEM"},
		"tls, no PEM":                 {corev1.SecretTypeTLS, data{"tls.crt": canary, "tls.key": key}, "tls.crt holds no certificate in PEM"},
		"tls, a broken certificate":   {corev1.SecretTypeTLS, data{"tls.crt": pemOf("CERTIFICATE", []byte(canary)), "tls.key": key}, "tls.crt holds a certificate that cannot be parsed"},
		"tls, a broken chain":         {corev1.SecretTypeTLS, data{"tls.crt": certificate + pemOf("CERTIFICATE", []byte(canary)), "tls.key": key}, "tls.crt holds a certificate that cannot be parsed"},
		"tls, a key of no PEM":        {corev1.SecretTypeTLS, data{"tls.crt": certificate, "tls.key": canary}, "tls.key holds no private key in PEM"},
		"tls, a block of no key":      {corev1.SecretTypeTLS, data{"tls.crt": certificate, "tls.key": pemOf(canary, []byte("x"))}, "tls.key holds no private key in PEM"},
		"tls, a broken key":           {corev1.SecretTypeTLS, data{"tls.crt": certificate, "tls.key": pemOf("PRIVATE KEY", []byte(canary))}, "tls.key holds a private key that cannot be parsed"},
		"tls, a protected key":        {corev1.SecretTypeTLS, data{"tls.crt": certificate, "tls.key": pemOf("ENCRYPTED PRIVATE KEY", []byte(canary))}, "tls.key is protected by a passphrase"},
		"tls, a key protected as of old": {corev1.SecretTypeTLS, data{"tls.crt": certificate, "tls.key": strings.Replace(pkcs1, "-----\n", "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n", 1)},
			"tls.key is protected by a passphrase"},

		"docker":                  {corev1.SecretTypeDockerConfigJson, data{".dockerconfigjson": `{"auths":{"r.example.com":{"auth":"` + canary + `"}}}`}, ""},
		"docker without key":      {corev1.SecretTypeDockerConfigJson, data{"config.json": `{"auths":{}}`}, "there is no key .dockerconfigjson"},
		"docker, no JSON":         {corev1.SecretTypeDockerConfigJson, data{".dockerconfigjson": canary}, ".dockerconfigjson is not a JSON object"},
		"docker, null":            {corev1.SecretTypeDockerConfigJson, data{".dockerconfigjson": "null"}, ".dockerconfigjson is not a JSON object"},
		"docker without auths":    {corev1.SecretTypeDockerConfigJson, data{".dockerconfigjson": `{"` + canary + `":{}}`}, `"auths" of .dockerconfigjson is missing`},
		"docker, auths of a list": {corev1.SecretTypeDockerConfigJson, data{".dockerconfigjson": `{"auths":["` + canary + `"]}`}, `"auths" of .dockerconfigjson is missing, or not a JSON object`},
		"docker, auths of text":   {corev1.SecretTypeDockerConfigJson, data{".dockerconfigjson": `{"auths":{"r":"` + canary + `"}}`}, `"auths" of .dockerconfigjson`},
		"dockercfg":               {corev1.SecretTypeDockercfg, data{".dockercfg": `{"r.example.com":{"auth":"` + canary + `"}}`}, ""},
		"dockercfg, no JSON":      {corev1.SecretTypeDockercfg, data{".dockercfg": `"` + canary + `"`}, ".dockercfg is missing, or not a JSON object"},

		"basic auth":             {corev1.SecretTypeBasicAuth, data{"username": "u", "password": "p"}, ""},
		"basic auth, a password": {corev1.SecretTypeBasicAuth, data{"password": "p"}, ""},
		"basic auth, a user":     {corev1.SecretTypeBasicAuth, data{"username": "u", "more": ""}, ""},
		"basic auth of neither":  {corev1.SecretTypeBasicAuth, data{"user": canary}, "there is neither a key username nor password"},

		"ssh":                  {corev1.SecretTypeSSHAuth, data{"ssh-privatekey": sshKey(t, "")}, ""},
		"ssh, a protected key": {corev1.SecretTypeSSHAuth, data{"ssh-privatekey": sshKey(t, canary)}, ""},
		"ssh, a key in PEM":    {corev1.SecretTypeSSHAuth, data{"ssh-privatekey": pkcs1}, ""},
		"ssh without key":      {corev1.SecretTypeSSHAuth, data{"id_ed25519": canary}, "there is no key ssh-privatekey"},
		"ssh, no key":          {corev1.SecretTypeSSHAuth, data{"ssh-privatekey": canary}, "ssh-privatekey holds no private key"},
		"ssh, a certificate":   {corev1.SecretTypeSSHAuth, data{"ssh-privatekey": certificate}, "ssh-privatekey holds no private key"},

		"opaque":             {corev1.SecretTypeOpaque, data{"tls.crt": canary}, ""},
		"none":               {"", data{"tls.crt": canary}, ""},
		"of somebody's own":  {"example.com/anything", data{"x": canary}, ""},
		"tls without a pair": {corev1.SecretTypeTLS, data{}, "there is no key tls.crt"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			raw := map[string][]byte{}
			for key, value := range test.data {
				raw[key] = []byte(value)
			}
			err := checkType(test.kind, raw)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case test.want != "" && (!errors.Is(err, ErrType) || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want %q", err, test.want)
			case err != nil && strings.Contains(err.Error(), canary):
				t.Errorf("the error holds the value: %v", err)
			case err != nil && !strings.Contains(err.Error(), string(test.kind)):
				t.Errorf("the error does not name the type: %v", err)
			}
		})
	}
}

// Whatever the bytes, the check of no type panics or says anything of them.
func FuzzTypes(f *testing.F) {
	certificate, key := newPair(f)
	for _, seed := range []string{"", certificate, key, sshKey(f, ""), sshKey(f, "x"), `{"auths":{}}`, `{"auths":{"a":{}}}`, "null", "{", "-----BEGIN X-----\n"} {
		f.Add([]byte(seed), []byte(key))
	}
	const canary = "c4nary-s3cret"
	f.Fuzz(func(t *testing.T, first, second []byte) {
		first = append(first, canary...)
		for _, kind := range []corev1.SecretType{
			corev1.SecretTypeTLS, corev1.SecretTypeDockerConfigJson, corev1.SecretTypeDockercfg, corev1.SecretTypeBasicAuth, corev1.SecretTypeSSHAuth,
		} {
			data := map[string][]byte{"tls.crt": first, "tls.key": second, ".dockerconfigjson": first, ".dockercfg": first, "username": first, "ssh-privatekey": first}
			if err := checkType(kind, data); err != nil && strings.Contains(err.Error(), canary) {
				t.Fatalf("the error holds the value: %v", err)
			}
		}
	})
}
