package vpn

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"ingot/layers"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	page := PageOptions{Port: 9091, Why: "a page"}
	for name, c := range map[string]struct {
		layer Layer
		want  string // path and message, empty: none
	}{
		"nothing":         {Layer{}, ""},
		"all":             {Layer{Options: Options{Services: []string{"a"}, Pages: []PageOptions{page}, Allow: []Allow{{51413, "udp", "x"}, {51413, "", "x"}}, DNS: []string{"10.64.0.1", "fd00::1"}}, Known: []string{"a"}}, ""},
		"port":            {Layer{Options: Options{Pages: []PageOptions{{Port: 0, Why: "x"}}}}, "[pages 0 port] 0 is not a port"},
		"target":          {Layer{Options: Options{Pages: []PageOptions{{Port: 1, Target: 70000, Why: "x"}}}}, "[pages 0 target] 70000 is not a port"},
		"no reason":       {Layer{Options: Options{Pages: []PageOptions{{Port: 1}}}}, "[pages 0 why] an open port needs a reason"},
		"hostile reason":  {Layer{Options: Options{Allow: []Allow{{1, "", "\" accept comment \""}}}}, "[allow 0 why] the reason holds a quote"},
		"proto":           {Layer{Options: Options{Allow: []Allow{{1, "icmp", "x"}}}}, `[allow 0 proto] "icmp" is not a protocol`},
		"twice":           {Layer{Options: Options{Allow: []Allow{{1, "", "x"}, {1, "tcp", "y"}}}}, "[allow 1 port] this is the same as allow[0]"},
		"DNS":             {Layer{Options: Options{DNS: []string{"dns.example"}}}, `[dns 0] "dns.example" is not the address of a resolver`},
		"DNS on loopback": {Layer{Options: Options{DNS: []string{"127.0.0.53"}}}, "[dns 0] 127.0.0.53 is the namespace itself"},
		"no compose":      {Layer{Options: Options{Services: []string{"a"}}}, "[services 0] there is no compose file"},
		"no service":      {Layer{Options: Options{Services: []string{"a"}}, Known: []string{}}, `[services 0] the compose file has no service "a"`},
	} {
		var got []string
		for _, f := range c.layer.Validate(layers.Site{}) {
			got = append(got, fmt.Sprint(f.Path, " ", f.Message))
			if f.Advice == "" {
				t.Errorf("%s: no advice", name)
			}
		}
		if text := strings.Join(got, "; "); len(got) > 1 || (c.want == "") != (text == "") || !strings.HasPrefix(text, c.want) {
			t.Errorf("%s: got %q, want %q", name, text, c.want)
		}
	}
}

func TestContribute(t *testing.T) {
	t.Parallel()
	l := Layer{
		Options:   Options{Pages: []PageOptions{{Port: 8080, Target: 80, Why: "a page"}}, Allow: []Allow{{51413, "udp", "others"}}},
		Published: []Page{{Port: 9091, Target: 9092, From: layers.FromLoopback, Why: "container x"}},
	}
	c := l.Contribute(layers.Site{})
	var ports []string
	for _, p := range c.Ports {
		ports = append(ports, fmt.Sprintf("%s/%d %s", p.Proto, p.Port, p.From))
	}
	if got := strings.Join(ports, ", "); got != "udp/61820 nobody, tcp/8080 wireguard, tcp/9091 loopback" {
		t.Errorf("ports %s", got)
	}
	unit := func(name string) string {
		i := slices.IndexFunc(c.Image.Units, func(u layers.Unit) bool { return u.Name == name })
		if i < 0 {
			t.Fatalf("no unit %s", name)
		}
		return c.Image.Units[i].Contents
	}
	// Who is not a peer finds no listener.
	if text := unit("vpn-page-8080.socket"); !strings.Contains(text, "BindToDevice=wg0\n") {
		t.Errorf("the page is opened to everybody:\n%s", text)
	}
	if text := unit("vpn-page-9091.socket"); !strings.Contains(text, "ListenStream=127.0.0.1:9091\n") || strings.Contains(text, "0.0.0.0") {
		t.Errorf("the page of loopback:\n%s", text)
	}
	if text := unit("vpn-page-8080.service"); !strings.Contains(text, " 127.0.0.1:80\n") || !strings.Contains(text, "NetworkNamespacePath=/run/netns/vpn\n") {
		t.Errorf("the proxy:\n%s", text)
	}
	if rules := c.Image.Files[0].Contents; !strings.Contains(rules, "policy drop;") || !strings.Contains(rules, `udp dport 51413 accept comment "others"`) {
		t.Errorf("the namespace's rules:\n%s", rules)
	}
	for _, u := range c.Image.Units {
		if !slices.ContainsFunc(c.SealOnly, func(s layers.SealOnly) bool { return s.What == "unit "+u.Name }) {
			t.Errorf("a stock system, which has no ingot-agent, would get %s", u.Name)
		}
	}
	for _, k := range c.Checks {
		if k.Sabotage == "" {
			t.Errorf("%s has no sabotage", k.ID)
		}
	}
}

// The provider's file is looked at before it is on a machine.
func TestSecretIsVerified(t *testing.T) {
	t.Parallel()
	verify := func(o Options) func([]byte) error {
		return Layer{Options: o}.Contribute(layers.Site{}).Secrets[0].Verify
	}
	if err := verify(Options{})([]byte(usual)); err != nil {
		t.Error(err)
	}
	nameless := strings.Replace(usual, "DNS", "#DNS", 1)
	if err := verify(Options{})([]byte(nameless)); err == nil || !strings.Contains(err.Error(), "line 8: no DNS names a resolver") {
		t.Errorf("without a resolver: %v", err)
	}
	if err := verify(Options{DNS: []string{"10.64.0.1"}})([]byte(nameless)); err != nil {
		t.Errorf("with a resolver of ingot.yaml: %v", err)
	}
	if err := verify(Options{})([]byte("x")); err == nil {
		t.Error("takes anything")
	}
}
