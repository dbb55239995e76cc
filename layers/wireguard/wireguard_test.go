package wireguard

import (
	"path"
	"slices"
	"strings"
	"testing"

	"ingot/layers"
)

// Public keys that nothing uses, made for this test.
const (
	laptopKey = "c8rjWkBU97aluuFEv5nHSQpHqLiXjG6ooLm7EOC0pAE="
	phoneKey  = "G9ZfTu5d0ico/s7MklvkkeJVqfS4NgEdkVELx1+w6yw="
)

func everything() Options {
	return Options{
		Address: "10.8.0.1/24", Address6: "FD00:8::1/64", Endpoint: "claw.example.com", MTU: 1400, DNS: true, FullTunnel: true,
		Peers: []Peer{
			{Name: "laptop", Address: "10.8.0.2", Address6: "fd00:8::2", PublicKey: laptopKey, PresharedKey: true},
			{Name: "phone", Address: "10.8.0.3", PublicKey: phoneKey, Verified: true, Keepalive: 25},
		},
	}
}

func file(t *testing.T, f layers.Fragment, path string) string {
	t.Helper()
	i := slices.IndexFunc(f.Files, func(f layers.File) bool { return f.Path == path })
	if i < 0 {
		t.Fatalf("no file %s", path)
	}
	return f.Files[i].Contents
}

func TestEverything(t *testing.T) {
	t.Parallel()
	l := Layer{everything()}
	if findings := l.Validate(layers.Site{}); len(findings) > 0 {
		t.Fatalf("%+v", findings)
	}
	c := l.Contribute(layers.Site{})
	for name, want := range map[string]string{
		netdevPath: `# laptop
[WireGuardPeer]
PublicKey=` + laptopKey + `
AllowedIPs=10.8.0.2/32
AllowedIPs=fd00:8::2/128
PresharedKeyFile=/etc/ingot/secrets/wireguard/preshared-key-laptop

# phone
[WireGuardPeer]
PublicKey=` + phoneKey + `
AllowedIPs=10.8.0.3/32
PersistentKeepalive=25
`,
		networkPath:  "[Match]\nName=wg0\n\n[Link]\nMTUBytes=1400\n\n[Network]\nAddress=10.8.0.1/24\nAddress=fd00:8::1/64\n",
		resolverPath: "[Resolve]\nDNSStubListenerExtra=10.8.0.1\nDNSStubListenerExtra=fd00:8::1\n",
	} {
		if got := file(t, c.Instance, name); !strings.HasSuffix(got, want) {
			t.Errorf("%s is\n%s\nwant at its end\n%s", name, got, want)
		}
		if !slices.ContainsFunc(c.Identity, func(p string) bool { ok, _ := path.Match(p, name); return ok }) {
			t.Errorf("%s is not in the identity list", name)
		}
	}
	if got := file(t, c.Image, networkPath+".d/10-ingot.conf"); !strings.Contains(got, "IPv4Forwarding=yes\nIPv6Forwarding=yes\n") {
		t.Errorf("the tunnel does not forward:\n%s", got)
	}
	if len(c.Forwards) != 1 || c.Forwards[0] != (layers.Forward{In: "wg0", Masquerade: true, Why: c.Forwards[0].Why}) {
		t.Errorf("forwards: %+v", c.Forwards)
	}
	var ports []string
	for _, p := range c.Ports {
		ports = append(ports, p.Proto+" "+string(p.From))
	}
	if got := strings.Join(ports, ", "); got != "udp internet, tcp wireguard, udp wireguard" {
		t.Errorf("ports: %s", got)
	}
}

// Without the options nothing passes through the server and nothing resolves.
func TestSplitTunnel(t *testing.T) {
	t.Parallel()
	c := Layer{Options{Peers: []Peer{{Name: "laptop", Address: "10.8.0.2", PublicKey: laptopKey}}}}.Contribute(layers.Site{})
	if len(c.Forwards) > 0 || len(c.Ports) != 1 || len(c.Image.Files) != 2 || len(c.Instance.Files) != 3 {
		t.Errorf("%+v", c)
	}
	if got := file(t, c.Image, networkPath+".d/10-ingot.conf"); !strings.Contains(got, "IPv4Forwarding=no\nIPv6Forwarding=no\n") {
		t.Errorf("the tunnel forwards:\n%s", got)
	}
}

func TestEveryCheckHasASabotage(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{everything(), {Peers: everything().Peers[1:]}} {
		for _, c := range (Layer{o}).Contribute(layers.Site{}).Checks {
			if c.Sabotage == "" {
				t.Errorf("%s cannot be seen failing", c.ID)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"endpoint newline":  {func(o *Options) { o.Endpoint = "a\nPostUp = sh" }, "neither a host name nor an address"},
		"endpoint port":     {func(o *Options) { o.Endpoint = "claw.example.com:51820" }, "neither a host name nor an address"},
		"endpoint blank":    {func(o *Options) { o.Endpoint = "a b" }, "neither a host name nor an address"},
		"endpoint local":    {func(o *Options) { o.Endpoint = "127.0.0.1" }, "cannot be the public address"},
		"mtu":               {func(o *Options) { o.MTU = 576 }, "cannot be the size"},
		"mtu negative":      {func(o *Options) { o.MTU = -1 }, "cannot be the size"},
		"address6 is 4":     {func(o *Options) { o.Address6 = "10.9.0.1/24" }, "not an address of IPv6"},
		"address6 newline":  {func(o *Options) { o.Address6 = "fd00:8::1/64\nDNS=1.1.1.1" }, "not an address with a length"},
		"address6 overlaps": {func(o *Options) { o.Address, o.Peers = "fd00:8::9/64", o.Peers[:1]; o.Peers[0].Address = "fd00:8::7" }, "overlaps"},
		"keepalive":         {func(o *Options) { o.Peers[0].Keepalive = 65536 }, "not a number of seconds"},
		"peer outside":      {func(o *Options) { o.Peers[0].Address6 = "fd00:9::2" }, "not in the tunnel's subnet fd00:8::/64"},
		"peer twice":        {func(o *Options) { o.Peers[1].Address6 = "fd00:8:0::2" }, "same address"},
		"peer alone":        {func(o *Options) { o.Address6 = "" }, "no address6"},
	} {
		o := everything()
		c.change(&o)
		findings := Layer{o}.Validate(layers.Site{})
		if len(findings) != 1 || !strings.Contains(findings[0].Message, c.want) || findings[0].Advice == "" {
			t.Errorf("%s: %+v, want one with %q", name, findings, c.want)
		}
	}
	for _, good := range []string{"claw.example.com", "192.0.2.7", "2001:db8::7", "claw"} {
		if message := EndpointProblem(good); message != "" {
			t.Error(message)
		}
	}
}
