package webhook

import (
	"net/netip"
	"testing"
)

func TestLimits(t *testing.T) {
	t.Parallel()
	none := Limits{}
	host := Limits{Hosts: []string{"hook.team.svc"}}
	network := Limits{Networks: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12"), netip.MustParsePrefix("127.0.0.1/32")}}
	for _, tc := range []struct {
		address             string
		none, host, network bool
	}{
		{"93.184.215.14", true, true, true},
		{"2606:2800:21f:cb07:6820:80da:af6b:8b2c", true, true, true},
		{"::ffff:93.184.215.14", true, true, true},
		{"10.96.0.10", false, true, true},
		{"10.1.0.10", false, true, false},
		{"172.16.3.4", false, true, false},
		{"192.168.0.1", false, true, false},
		{"fd12:3456::1", false, true, false},
		{"127.0.0.1", false, false, true},
		{"::ffff:127.0.0.1", false, false, true},
		{"127.0.0.2", false, false, false},
		{"::1", false, false, false},
		{"0.0.0.0", false, false, false},
		{"::", false, false, false},
		{"169.254.169.254", false, false, false},
		{"::ffff:169.254.169.254", false, false, false},
		{"fd00:ec2::254", false, false, false},
		{"168.63.129.16", false, false, false},
		{"100.100.100.200", false, false, false},
		{"100.64.0.1", false, false, false},
		{"fe80::1", false, false, false},
		{"fe80::1%eth0", false, false, false},
		{"224.0.0.1", false, false, false},
		{"ff02::1", false, false, false},
		{"255.255.255.255", false, false, false},
		{"64:ff9b::7f00:1", false, false, false},
	} {
		at := netip.MustParseAddr(tc.address)
		for name, l := range map[string]struct {
			limits Limits
			want   bool
		}{"no limits set": {none, tc.none}, "the host named": {host, tc.host}, "the network named": {network, tc.network}} {
			if err := l.limits.allows("Hook.team.svc", at); (err == nil) != l.want {
				t.Errorf("%s, %s: %v, want it allowed: %v", tc.address, name, err, l.want)
			}
		}
		if err := host.allows("other.team.svc", at); (err == nil) != tc.none {
			t.Errorf("%s for another host than the one named: %v", tc.address, err)
		}
	}
}
