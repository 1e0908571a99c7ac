package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// Limits is where requests may go. The operator of Coffer sets it, and no owner of a rotation can. The zero value allows
// public addresses, by https.
type Limits struct {
	// AllowHTTP allows to send credentials in the clear.
	AllowHTTP bool
	// Hosts may have private addresses, such as Services of the cluster: names, compared as they are written in the URL.
	Hosts []string
	// Networks may be reached whatever they are, also loopback and link-local ones.
	Networks []netip.Prefix
}

// errAddress says that a name leads where no request may go.
var errAddress = errors.New("its address is not public")

// metadata are addresses at which clouds tell their machines secrets, and which are not all link-local: Azure's, the
// one of Alibaba, and the ones of AWS.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("168.63.129.16/32"),
	netip.MustParsePrefix("100.100.100.200/32"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("fd00:ec2::/32"),
}

// allows is nil for an address that may be dialed for host; else it wraps errAddress.
func (l Limits) allows(host string, address netip.Addr) error {
	address = address.Unmap().WithZone("")
	within := func(networks []netip.Prefix) bool {
		return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(address) })
	}
	switch {
	case within(l.Networks):
		return nil
	case within(metadata):
		return fmt.Errorf("%w: %s is, or may be, a cloud's metadata service", errAddress, address)
	case address.IsPrivate() && l.named(host):
		return nil
	}
	// It knows IANA's registries of special addresses: loopback, link-local, private, shared, multicast and others.
	if ssrf.New(ssrf.WithAnyPort()).SafeAddr(address) != nil {
		return fmt.Errorf("%w: %s", errAddress, address)
	}
	return nil
}

func (l Limits) named(host string) bool {
	return slices.ContainsFunc(l.Hosts, func(name string) bool { return strings.EqualFold(name, host) })
}

// NotPublic reports whether err is of a Client that was led where no request may go.
func NotPublic(err error) bool { return errors.Is(err, errAddress) }

// Client sends requests to host, where the limits allow it, and follows no redirect.
func (l Limits) Client(host string, secured *tls.Config) *http.Client {
	return &http.Client{
		Transport:     l.transport(host, secured),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// transport dials what the limits allow. It keeps no connection, and goes through no proxy, which would dial for it.
func (l Limits) transport(host string, secured *tls.Config) *http.Transport {
	dialer := &net.Dialer{
		Timeout: attemptPatience,
		// Called for each address that the name has, with what will be dialed: no second look-up comes between.
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("%w: it cannot be read", errAddress)
			}
			return l.allows(host, at.Addr())
		},
	}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		TLSClientConfig:        secured,
		TLSHandshakeTimeout:    attemptPatience,
		ResponseHeaderTimeout:  attemptPatience,
		MaxResponseHeaderBytes: 16 << 10,
		DisableKeepAlives:      true,
		IdleConnTimeout:        time.Second,
	}
}
