package vpn

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

var key = base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))

// As providers hand it out, with what they put in for other ways to use it.
var usual = fmt.Sprintf("\ufeff# Device: Quick Cat\r\n[Interface]\r\nPrivateKey = %[1]s\r\nAddress = 10.64.0.2/32,fc00::2/128\r\nDNS = 10.64.0.1, search.example\r\n"+
	"PostUp = iptables -I OUTPUT ! -o %%i -j REJECT\r\n\r\n[Peer]\r\nPublicKey = %[1]s\r\nAllowedIPs = 0.0.0.0/0, ::0/0\r\nEndpoint = 198.51.100.7:51820\r\n", key)

func TestParse(t *testing.T) {
	t.Parallel()
	list, err := Parse([]byte(usual))
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	got := list[0]
	if got.Endpoint != "198.51.100.7:51820" || len(got.Addresses) != 2 || len(got.DNS) != 1 || got.DNS[0] != netip.MustParseAddr("10.64.0.1") ||
		got.Keepalive != 25 || got.Line != 8 || !got.HasIPv6() || len(got.AllowedIPs) != 2 || got.PrivateKey != key {
		t.Errorf("%+v", got)
	}
}

// Endpoints come in the order of the file, whichever way there are several.
func TestParseSeveral(t *testing.T) {
	t.Parallel()
	peer := func(endpoints ...string) string {
		text := "[Peer]\nPublicKey=" + key + "\n"
		for _, e := range endpoints {
			text += "Endpoint=" + e + "\n"
		}
		return text
	}
	head := func(address string) string {
		return "[Interface]\nPrivateKey=" + key + "\nAddress=" + address + "\n"
	}
	list, err := Parse([]byte(head("10.0.0.2") + peer("a.example:1", "b.example:2") + peer("[2001:db8::1]:3") + head("10.1.0.2/24") + peer("c.example:4")))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range list {
		got = append(got, x.Endpoint+" "+x.Addresses[0].String())
	}
	want := "a.example:1 10.0.0.2/32, b.example:2 10.0.0.2/32, [2001:db8::1]:3 10.0.0.2/32, c.example:4 10.1.0.2/24"
	if text := strings.Join(got, ", "); text != want {
		t.Errorf("got %s", text)
	}
}

func TestParseMistakes(t *testing.T) {
	t.Parallel()
	const secret = "c2VjcmV0IHNlY3JldCBzZWNyZXQ="
	whole := func(change func(string) string) string {
		return change("[Interface]\nPrivateKey=" + key + "\nAddress=10.0.0.2/32\n[Peer]\nPublicKey=" + key + "\nEndpoint=vpn.example:51820\n")
	}
	swap := func(old, with string) string {
		return whole(func(s string) string { return strings.Replace(s, old, with, 1) })
	}
	for name, c := range map[string]struct{ text, want string }{
		"nothing":         {"", "has no [Peer] with an Endpoint"},
		"a web page":      {"<html>\n", "line 1: this is neither"},
		"short key":       {swap("PrivateKey="+key, "PrivateKey="+secret), "line 2: privatekey is not a WireGuard key"},
		"no key":          {swap("PrivateKey="+key+"\n", ""), "line 3: the [Interface] before it has no PrivateKey"},
		"no address":      {swap("Address=10.0.0.2/32\n", ""), "line 3: the [Interface] before it has no Address"},
		"no peer key":     {swap("PublicKey="+key+"\n", ""), "line 4: the [Peer] has no PublicKey"},
		"no endpoint":     {swap("Endpoint=vpn.example:51820\n", ""), "line 4: the [Peer] has no Endpoint"},
		"no port":         {swap(":51820", ""), `line 6: "vpn.example" is not a host with a port`},
		"port 0":          {swap(":51820", ":0"), `line 6: "0" is not a port`},
		"loopback":        {swap("vpn.example", "127.0.0.1"), "line 6: 127.0.0.1 is no host of the internet"},
		"hostile host":    {swap("vpn.example", "vpn.example;reboot"), "is not the name of a host"},
		"address":         {swap("10.0.0.2/32", "10.0.0/8"), `line 3: "10.0.0/8" is not an address`},
		"allowed":         {swap("Endpoint", "AllowedIPs=all\nEndpoint"), `line 6: "all" is not a subnet`},
		"MTU":             {swap("Address", "MTU=90\nAddress"), "line 3: mtu is a number from 576 to 9000"},
		"MTU for IPv6":    {swap("Address=10.0.0.2/32", "MTU=1000\nAddress=fd00::2"), "line 5: an MTU of 1000 is too small for IPv6"},
		"unknown key":     {swap("Address", "Adress=1\nAddress"), "line 3: [Interface] has no key adress"},
		"unknown of peer": {swap("Endpoint", "End=1\nEndpoint"), "line 6: [Peer] has no key end"},
		"section":         {swap("[Peer]", "[Pear]"), "line 4: there is no section [Pear]"},
		"peer alone":      {"[Peer]\nPublicKey=" + key + "\nEndpoint=vpn.example:1\n", "line 1: this [Peer] has no [Interface]"},
		"before all":      {"PrivateKey=" + key + "\n", "line 1: privatekey comes before any section"},
		"huge":            {strings.Repeat("#", 1<<17), "bytes, and a WireGuard file has at most"},
	} {
		_, err := Parse([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
			continue
		}
		if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), key) {
			t.Errorf("%s: a key is in the error: %v", name, err)
		}
	}
}

// Whatever the file is, there is no panic, and what is taken is complete.
func FuzzParse(f *testing.F) {
	f.Add([]byte(usual))
	f.Add([]byte("[Interface]\n[Peer]\n[Interface]\nAddress=::/0,\nEndpoint=:1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := Parse(data)
		if err != nil {
			return
		}
		for _, x := range list {
			if x.PrivateKey == "" || x.PublicKey == "" || x.Endpoint == "" || len(x.Addresses) == 0 || len(x.AllowedIPs) == 0 || strings.ContainsAny(x.Endpoint, "\n\r") {
				t.Errorf("incomplete: %+v", x)
			}
		}
	})
}
