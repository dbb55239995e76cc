package ionos

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	sdk "github.com/ionos-cloud/sdk-go/v6"

	"ingot/fault"
	"ingot/providers"
	"ingot/providers/fake"
)

// card is the network card of the rig's only server.
func (r *rig) card0() *networkCard { return r.cloud.state.Centers[0].Servers[0].Cards[0] }

// walled is a rig with a server, its wall, and no requests so far.
func walled(t *testing.T) (*rig, providers.Wall) {
	t.Helper()
	r := newRig(t)
	server, _ := r.deployed(t)
	w, err := r.Wall(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	r.api.Forget()
	return r, w
}

func rule(proto string, port int, source string) providers.Rule {
	return providers.Rule{Proto: proto, From: port, To: port, Source: netip.MustParsePrefix(source), Why: "a test"}
}

func TestWall(t *testing.T) {
	t.Parallel()
	r, w := walled(t)

	// What is there already is not written.
	plan, err := providers.Apply(t.Context(), w, testRules, false)
	if err != nil || !plan.Empty() || r.writes() != 0 {
		t.Fatalf("applied once more: %v, %+v, %d writes", err, plan, r.writes())
	}

	// Somebody else's rules, one of which does what is wanted, one that is not of ours.
	card := r.card0()
	theirs := []object{
		resource("theirs-1", "firewall-rule", "AVAILABLE", object{"name": "ssh", "protocol": "TCP", "portRangeStart": 22, "portRangeEnd": 22, "type": "INGRESS", "sourceIp": nil}),
		resource("theirs-2", "firewall-rule", "AVAILABLE", object{"name": "all", "protocol": "ANY", "type": "INGRESS"}),
		resource("theirs-3", "firewall-rule", "AVAILABLE", object{"name": "from one card", "protocol": "TCP", "portRangeStart": 80, "portRangeEnd": 80, "type": "INGRESS", "sourceMac": "00:0a:95:9d:68:16"}),
	}
	card.Rules = append(card.Rules, theirs...)
	props(card.Object)["firewallActive"] = false

	// At no moment is WireGuard closed, and the firewall comes last.
	var order []string
	r.cloud.watch = func() {
		for _, family := range []string{"IPv4", "IPv6"} {
			if !slices.ContainsFunc(card.Rules, func(o object) bool {
				return props(o)["protocol"] == "UDP" && props(o)["ipVersion"] == family && fmt.Sprint(props(o)["portRangeStart"]) == "51820"
			}) {
				t.Errorf("WireGuard over %s is closed", family)
			}
		}
	}
	want := slices.DeleteFunc(slices.Clone(testRules), func(r providers.Rule) bool { return r.Proto == "tcp" })
	want = append(want, rule("tcp", 22, "0.0.0.0/0"), rule("tcp", 8443, "::/0"))
	plan, err = providers.Apply(t.Context(), w, want, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Add) != 2 || len(plan.Remove) != 2 || len(plan.Foreign) != 3 || !plan.Activate {
		t.Errorf("the plan is %s", plan.Text())
	}
	for _, q := range r.api.Requests() {
		if q.Method != "GET" {
			order = append(order, q.Method)
		}
	}
	if want := []string{"POST", "POST", "DELETE", "DELETE", "PATCH"}; !slices.Equal(order, want) {
		t.Errorf("it wrote %v, not %v", order, want)
	}
	for _, o := range theirs {
		if byID(card.Rules, idOf(o)) == nil {
			t.Errorf("%v is gone", o)
		}
	}
	state, err := w.Read(t.Context())
	if err != nil || !state.Active || len(state.Rules) != len(want)+3 {
		t.Errorf("the wall is %+v, %v", state, err)
	}

	// Exclusively it takes them away.
	if _, err := providers.Apply(t.Context(), w, want, true); err != nil {
		t.Fatal(err)
	}
	if len(card.Rules) != len(want) {
		t.Errorf("there are %d rules, not %d", len(card.Rules), len(want))
	}
	if r.cloud.busy != 0 {
		t.Errorf("%d requests came while another was carried out", r.cloud.busy)
	}
}

// What has been accepted may not be in the next answers; the answer to what was done
// may be lost; IONOS may be busy in two ways.
func TestWallInBadWeather(t *testing.T) {
	t.Parallel()
	posts := "POST /datacenters/*/servers/*/nics/*/firewallrules"
	lists := "GET /datacenters/*/servers/*/nics/*/firewallrules"
	busy := object{"httpStatus": 422, "messages": []object{{"errorCode": "301", "message": "The resource is busy: provisioning is in progress"}}}
	for _, c := range []struct {
		name   string
		faults []fake.Fault
		posts  int
	}{
		{"the answer is lost", []fake.Fault{{On: posts, Lost: true}}, 1},
		{"the request is lost", []fake.Fault{{On: posts, Refused: true}}, 2},
		{"the answer is lost, and lists are of before", []fake.Fault{{On: posts, Lost: true}, {On: lists, After: posts, Times: 4, Stale: true}}, 1},
		{"lists are of before", []fake.Fault{{On: lists, After: posts, Times: 2, Stale: true}}, 1},
		{"busy with 422", []fake.Fault{{On: posts, Times: 2, Status: 422, Body: busy}}, 3},
		{"busy with 423", []fake.Fault{{On: posts, Status: 423, Body: object{"httpStatus": 423, "messages": []object{}}}}, 2},
		{"too many requests", []fake.Fault{{On: posts, Status: 429, Header: map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Limit": "6000", "X-RateLimit-Burst": "1"}, Body: object{"httpStatus": 429, "messages": []object{}}}}, 2},
		{"a proxy's error", []fake.Fault{{On: posts, Status: 502, Body: "<html>", Proxy: true}}, 2},
		{"the request is not known yet", []fake.Fault{{On: "GET /requests/*/status", After: posts, Times: 3, Status: 404, Body: object{"httpStatus": 404, "messages": []object{}}}}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, w := walled(t)
			r.api.Plan(c.faults...)
			want := append(slices.Clone(testRules), rule("tcp", 8443, "::/0"))
			_, err := providers.Apply(t.Context(), w, want, false)
			if err != nil {
				t.Fatal(err)
			}
			if n := r.api.Count(posts); n != c.posts {
				t.Errorf("it asked %d times, not %d", n, c.posts)
			}
			if n := len(r.card0().Rules); n != len(want) {
				t.Errorf("there are %d rules, not %d", n, len(want))
			}
		})
	}
}

func TestWallErrors(t *testing.T) {
	t.Parallel()
	r, w := walled(t)
	r.cloud.fail["POST firewallrules"] = "quota of rules exceeded"
	err := w.Change(t.Context(), []providers.Rule{rule("tcp", 1, "::/0")}, nil)
	if fault.Of(err) != fault.OfProvider || !strings.Contains(err.Error(), "quota of rules exceeded") {
		t.Errorf("a request that fails: %v", err)
	}
	r.api.Plan(fake.Fault{On: "POST *", Status: 422, Body: object{"httpStatus": 422, "messages": []object{{"errorCode": "100", "message": "[portRangeStart] must be at most 65535"}}}})
	err = w.Change(t.Context(), []providers.Rule{rule("tcp", 1, "::/0")}, nil)
	if fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "must be at most") {
		t.Errorf("a rule that is refused: %v", err)
	}
	r.api.Plan(fake.Fault{Status: 401, Times: fake.Always, Body: object{"httpStatus": 401, "messages": []object{{"errorCode": "315", "message": "Unauthorized"}}}})
	if _, err = w.Read(t.Context()); fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "may have expired") {
		t.Errorf("credentials that expired: %v", err)
	}
	if err := w.Change(t.Context(), nil, []providers.Installed{{Opaque: "a group"}}); fault.Of(err) != fault.OfInput {
		t.Errorf("a rule without an id: %v", err)
	}
}

// A rule goes to IONOS and comes back as the same.
func TestRules(t *testing.T) {
	t.Parallel()
	long := rule("tcp", 1, "::/0")
	long.Why = strings.Repeat("ä", 100)
	all := rule("icmp", -1, "198.51.100.0/24")
	for _, r := range append(slices.Clone(testRules), long, all) {
		got := installed(sdk.FirewallRule{Id: ptr("x"), Properties: properties(r)})
		if !got.Does(r) || !got.Owned || got.Opaque != "" {
			t.Errorf("%v came back as %+v", r, got)
		}
		if n := deref(properties(r).Name); len(n) > maxRuleName || !strings.HasPrefix(n, ours) || strings.ContainsRune(n, '�') {
			t.Errorf("%v is called %q", r, n)
		}
	}
	// Without addresses and version it is for IPv4 alone; without ports it is for all.
	got := installed(sdk.FirewallRule{Properties: &sdk.FirewallruleProperties{Protocol: ptr("TCP")}})
	if want := (providers.Rule{Proto: "tcp", From: 1, To: 65535, Source: netip.MustParsePrefix("0.0.0.0/0")}); got.Rule != want || got.Owned {
		t.Errorf("a rule without anything is %+v", got)
	}
	for _, p := range []*sdk.FirewallruleProperties{
		{Protocol: ptr("GRE")}, {Protocol: ptr("TCP"), Type: ptr("EGRESS")}, {Protocol: ptr("TCP"), TargetIp: ptr("192.0.2.1")},
		{Protocol: ptr("ICMP"), IcmpCode: ptr(int32(0))}, {Protocol: ptr("TCP"), SourceIp: ptr("what")}, {Protocol: ptr("TCP"), PortRangeStart: ptr(int32(1))},
	} {
		if got := installed(sdk.FirewallRule{Properties: p}); got.Opaque == "" || got.Rule != (providers.Rule{}) {
			t.Errorf("%v is %+v", p, got)
		}
	}
}
