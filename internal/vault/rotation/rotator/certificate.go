package rotator

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
)

// Certificate says what err has against a server's certificate, or "" when it is not about one.
func Certificate(err error) string {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	switch {
	case errors.As(err, &authority):
		return "its certificate is of an authority that is not known here; give the authority as ca of tls"
	case errors.As(err, &host):
		return "its certificate is for another name; give that as serverName of tls"
	case errors.As(err, &invalid), errors.As(err, &verification):
		return "its certificate does not count, perhaps because it has expired"
	}
	return ""
}
