package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func TestTheAddressIsFilledIn(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ before, server, after string }{
		"unknown":        {"[Peer]\nEndpoint = my-server.invalid:51820\nAllowedIPs = 10.8.0.0/24\n", "192.0.2.7", "[Peer]\nEndpoint = 192.0.2.7:51820\nAllowedIPs = 10.8.0.0/24\n"},
		"unknown, IPv6":  {"Endpoint = x.invalid:1\n", "2001:db8::7", "Endpoint = [2001:db8::7]:1\n"},
		"a name":         {"Endpoint = claw.example.com:51820\n", "192.0.2.7", "Endpoint = claw.example.com:51820\n"},
		"nearly unknown": {"Endpoint = claw.invalid.com:51820\n", "192.0.2.7", "Endpoint = claw.invalid.com:51820\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := owner{file: filepath.Join(t.TempDir(), "laptop.conf"), client: []byte(test.before)}
			if err := os.WriteFile(o.file, o.client, 0o600); err != nil {
				t.Fatal(err)
			}
			changed, err := o.knows(netip.MustParseAddr(test.server))
			text, err2 := os.ReadFile(o.file)
			info, err3 := os.Stat(o.file)
			if err != nil || err2 != nil || err3 != nil {
				t.Fatal(err, err2, err3)
			}
			if string(text) != test.after || changed != (test.before != test.after) || info.Mode().Perm() != 0o600 {
				t.Errorf("%q, changed %v, mode %v", text, changed, info.Mode())
			}
		})
	}
}
