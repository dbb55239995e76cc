package hetzner

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"ingot/fault"
	"ingot/providers"
	"ingot/providers/fake"
)

// deployed is a server of ours, with its wall.
func (b *bench) deployed(t *testing.T) (providers.Server, providers.Wall) {
	t.Helper()
	server, err := b.Deploy(t.Context(), machine(b.addSnapshot(), b.begin(t)))
	if err != nil {
		t.Fatal(err)
	}
	w, err := b.Wall(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	return server, w
}

func apply(t *testing.T, w providers.Wall, want []providers.Rule, exclusive bool) providers.Plan {
	t.Helper()
	plan, err := providers.Apply(t.Context(), w, want, exclusive)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func (b *bench) writes() int {
	return b.api.Count("POST *") + b.api.Count("PUT *") + b.api.Count("DELETE *")
}

// wanted are rules of all sorts.
func wanted() []providers.Rule {
	list := append(tcp(443, "the web"), tcp(8443, "the web")...)
	for i := range 150 { // more sources than a rule takes
		list = append(list, providers.Rule{Proto: "udp", From: 1024, To: 5000, Source: netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 32), Why: "friends"})
	}
	return append(list,
		providers.Rule{Proto: "tcp", From: 22, To: 22, Source: netip.MustParsePrefix("2001:db8:0:0:1::/80"), Why: "admin " + strings.Repeat("ä", 300)},
		providers.Rule{Proto: "icmp", From: 8, To: 8, Source: anywhere4, Why: "ping"},
		providers.Rule{Proto: "icmpv6", From: 128, To: 128, Source: anywhere6, Why: "ping"},
		providers.Rule{Proto: "icmp", From: -1, To: -1, Source: netip.MustParsePrefix("198.51.100.0/24")},
	)
}

func TestApply(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, w := b.deployed(t)
	want := wanted()
	plan := apply(t, w, want, false)
	if len(plan.Add) != len(want)-2 || len(plan.Remove) != 1 || len(plan.Keep) != 2 || plan.Activate {
		t.Errorf("the plan is\n%s", plan.Text())
	}
	b.api.Forget()
	if plan := apply(t, w, want, false); !plan.Empty() || b.writes() != 0 {
		t.Errorf("the second time sends %d writes for\n%s", b.writes(), plan.Text())
	}
	for _, r := range b.rules("ingot-claw-1") {
		if text := r.(obj)["description"].(string); len([]rune(text)) > 255 || !strings.Contains(text, "[ingot") {
			t.Errorf("the description is %q", text)
		}
	}
	// What is asked for and is there already is not sent either: setting rules is an
	// action, and others wait for it.
	if err := w.Change(t.Context(), want, nil); err != nil || b.writes() != 0 {
		t.Errorf("rules that are there are sent in %d writes, %v", b.writes(), err)
	}
	// Less.
	apply(t, w, tcp(443, "the web"), false)
	if got := b.rules("ingot-claw-1"); len(got) != 1 {
		t.Errorf("the rules are %v", got)
	}
	// Nothing: all is closed.
	apply(t, w, nil, false)
	if got := b.rules("ingot-claw-1"); len(got) != 0 {
		t.Errorf("the rules are %v", got)
	}
}

func (b *bench) rules(firewall string) []any {
	return list(b.cloud.byRef("firewalls", firewall)["rules"])
}

// foreign are rules that somebody has put into our firewall.
func foreign() []any {
	rule := func(proto string, port any, description any, sources ...any) obj {
		return obj{"direction": "in", "protocol": proto, "port": port, "description": description, "source_ips": sources, "destination_ips": []any{}}
	}
	return []any{
		rule("tcp", "22", "my laptop", "203.0.113.7/32", "2001:db8::7/128"),
		rule("esp", nil, nil, "203.0.113.8/32"),
		rule("icmp", nil, "[ingot x]", "0.0.0.0/0"),
		rule("tcp", "443", "mine too", "0.0.0.0/0"),
		obj{"direction": "out", "protocol": "tcp", "port": "443", "description": nil, "source_ips": []any{}, "destination_ips": []any{"0.0.0.0/0"}},
	}
}

func TestForeignRulesStay(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	server, w := b.deployed(t)
	f := b.cloud.byRef("firewalls", "ingot-claw-1")
	f["rules"] = append(list(f["rules"]), canonical(foreign())...)
	// And a whole firewall of theirs.
	other := b.cloud.kinds["firewalls"][0]
	other["rules"] = foreign()[:2]
	other["applied_to"] = append(list(other["applied_to"]), obj{"type": "server", "server": obj{"id": b.cloud.byRef("servers", server.Name)["id"]}})

	plan := apply(t, w, tcp(80, "the web"), false)
	var shown []string
	for _, i := range plan.Foreign {
		shown = append(shown, i.String())
	}
	if got, want := shown, []string{
		"tcp 22 from 203.0.113.7/32", "tcp 22 from 2001:db8::7/128", "esp from 203.0.113.8/32", "icmp from 0.0.0.0/0", "tcp 443 from 0.0.0.0/0",
		"tcp 443 out to 0.0.0.0/0", "the firewall theirs-0: tcp 22 from 203.0.113.7/32, 2001:db8::7/128 (my laptop); esp from 203.0.113.8/32",
	}; !reflect.DeepEqual(got, want) {
		t.Errorf("foreign are\n%s", strings.Join(got, "\n"))
	}
	if got := b.rules("ingot-claw-1"); !reflect.DeepEqual(got[:5], canonical(foreign())) || len(got) != 6 {
		t.Errorf("the rules are %v", got)
	}

	// Exclusive removes them, and leaves the other firewall to the other server. Ours
	// is in force before: without any, all would be let in.
	f["applied_to"] = []any{}
	apply(t, w, tcp(80, "the web"), true)
	if got := b.rules("ingot-claw-1"); len(got) != 1 {
		t.Errorf("the rules are %v", got)
	}
	if got := b.cloud.kinds["firewalls"][0]; len(list(got["applied_to"])) != 1 || len(list(got["rules"])) != 2 {
		t.Errorf("their firewall is %v", got)
	}
}

// One source of a foreign rule that has two.
func TestChangeOfPart(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, w := b.deployed(t)
	f := b.cloud.byRef("firewalls", "ingot-claw-1")
	f["rules"] = append(foreign(), list(f["rules"])...)
	err := w.Change(t.Context(), nil, []providers.Installed{{Rule: providers.Rule{Proto: "tcp", From: 22, To: 22, Source: netip.MustParsePrefix("2001:db8::7/128")}}})
	if err != nil {
		t.Fatal(err)
	}
	want := canonical(foreign())
	want[0].(obj)["source_ips"] = []any{"203.0.113.7/32"}
	if got := b.rules("ingot-claw-1"); !reflect.DeepEqual(got[:5], want) || len(got) != 7 {
		t.Errorf("the rules are %v", got)
	}
}

// A server whose firewall somebody has deleted gets it again, and is never without.
func TestWallIsMadeAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	server, w := b.deployed(t)
	b.cloud.drop("firewalls", b.cloud.byRef("firewalls", "ingot-claw-1"))
	state, err := w.Read(t.Context())
	if err != nil || state.Active || len(state.Rules) > 0 {
		t.Fatalf("the state is %v, %v", state, err)
	}
	b.api.Forget()
	if plan := apply(t, w, tcp(443, "the web"), false); !plan.Activate {
		t.Error("it was not activated")
	}
	var posts []string
	for _, r := range b.api.Requests() {
		if r.Method == "POST" {
			posts = append(posts, r.Path[strings.LastIndex(r.Path, "/"):])
		}
	}
	if got := strings.Join(posts, " "); got != "/firewalls /apply_to_resources" {
		t.Errorf("sent %s", got)
	}
	// It goes with the server.
	found, err := b.Find(t.Context(), server.Labels[providers.LabelID])
	if err != nil || !slices.ContainsFunc(found, func(r providers.Resource) bool { return r.Kind == kindFirewall }) {
		t.Errorf("found %v, %v", found, err)
	}
}

func TestWallRefusals(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, w := b.deployed(t)
	var many []providers.Rule
	for i := range 51 {
		many = append(many, tcp(1000+i, "one more")...)
	}
	b.api.Forget()
	_, err := providers.Apply(t.Context(), w, many, false)
	wantError(t, err, fault.OfInput, "would have 51 rules, and Hetzner takes 50")
	if b.writes() != 0 {
		t.Error("it was sent")
	}
	b.cloud.byRef("firewalls", "ingot-claw-1")["labels"] = obj{}
	_, err = w.Read(t.Context())
	wantError(t, err, fault.OfInput, "was not made by Ingot")
	_, err = b.Wall(t.Context(), providers.Server{ID: "1"})
	wantError(t, err, fault.OfInput, "there is no server 1 here")
}

func TestApplyInBadWeather(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, w := b.deployed(t)
	set, join := "POST /firewalls/*/actions/set_rules", "POST /firewalls/*/actions/apply_to_resources"
	for name, faults := range map[string][]fake.Fault{
		"locked":            {{On: set, Times: 3, Status: 423, Body: refusal("locked")}, {On: join, Times: 3, Status: 409, Body: refusal("conflict")}},
		"lost":              {{On: set, Lost: true}, {On: join, Lost: true}},
		"refused":           {{On: set, Refused: true}, {On: join, Refused: true}},
		"broken":            {{On: set, Times: 2, Status: 500, Body: refusal("server_error")}, {On: join, Status: 502, Body: "<h1>", Proxy: true}},
		"late":              {{On: "GET *", After: set, Times: 4, Stale: true}, {On: "GET *", After: join, Times: 4, Stale: true}},
		"lost and late":     {{On: set, Lost: true}, {On: join, Lost: true}, {On: "GET *", After: set, Times: 4, Stale: true}, {On: "GET *", After: join, Times: 4, Stale: true}},
		"already":           {{On: join, Status: 422, Body: refusal("firewall_already_applied")}},
		"too many requests": {{On: set, Status: 429, Body: refusal("rate_limit_exceeded"), Header: map[string]string{"Retry-After": "0"}}},
	} {
		t.Run(name, func(t *testing.T) {
			f := b.cloud.byRef("firewalls", "ingot-claw-1")
			if name != "already" {
				f["applied_to"] = []any{}
			}
			b.api.Calm()
			b.api.Plan(faults...)
			port := 1000 + len(name)
			apply(t, w, tcp(port, name), false)
			b.api.Calm()
			if got := b.rules("ingot-claw-1"); len(got) != 1 || got[0].(obj)["port"] != fmt.Sprint(port) {
				t.Errorf("the rules are %v", got)
			}
			if len(list(f["applied_to"])) != 1 {
				t.Error("it is not applied")
			}
		})
	}
}

func TestMarks(t *testing.T) {
	t.Parallel()
	for description, want := range map[string]struct {
		why   string
		kind  int
		owned bool
	}{
		"":                       {"", -1, false},
		"ssh":                    {"ssh", -1, false},
		"[ingot]":                {"", -1, true},
		"the web [ingot]":        {"the web", -1, true},
		"ping [ingot 128]":       {"ping", 128, true},
		"a [ingot] b [ingot 8]":  {"a [ingot] b", 8, true},
		"[ingot] is good":        {"[ingot] is good", -1, false},
		"ping [ingot x]":         {"ping [ingot x]", -1, false},
		"ping [ingot8]":          {"ping [ingot8]", -1, false},
		"ping [ingot 300]":       {"ping [ingot 300]", -1, false},
		"ping [ingot-something]": {"ping [ingot-something]", -1, false},
	} {
		why, kind, owned := parseMark(description)
		if why != want.why || kind != want.kind || owned != want.owned {
			t.Errorf("%q is %q, %d, %v", description, why, kind, owned)
		}
	}
}
