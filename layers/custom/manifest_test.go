package custom

import (
	"reflect"
	"strings"
	"testing"

	"ingot/layers"
)

const emptyConfig = "variant: fcos\n"

func TestManifestAndChecks(t *testing.T) {
	t.Parallel()
	l, inputs, findings := folder(t, map[string]string{
		ConfigName: emptyConfig,
		ManifestName: `packages: [busybox]
ports: [{port: 53, proto: udp, from: internet, why: names, newPerMinute: 60}, {port: 80, from: wireguard, why: pages}]
egress: [{port: 443, cidr: 192.0.2.0/24, why: the API}]
state: [{path: /var/lib/app, user: app, why: data}]
disposable: [/var/lib/app/cache/*]
suid: [{path: /usr/bin/x, why: it must}]
validators: [{argv: [x, -c], printsErrors: true}]
`,
		ChecksName: `checks:
  - {id: a, title: a, sabotage: x, file: {path: /etc/x, owner: "root:root", mode: 0644, contains: x, readOnly: true}}
  - {id: b, title: b, sabotage: x, unit: {name: x.service}}
  - {id: c, title: c, sabotage: x, command: {argv: [x], exit: 1, contains: a, lacks: b}}
  - {id: d, title: d, sabotage: x, sysctl: {key: net.ipv4.ip_forward, value: "0"}}
  - {id: e, title: e, sabotage: x, http: {port: 80, status: 404, contains: x}}
  - {id: f, title: f, sabotage: x, reach: {port: 53, proto: udp, from: internet, state: open}}
  - {id: g, title: g, sabotage: x, survivesReboot: true, unit: {name: x.service, enabled: true}}
  - {id: h, title: h, sabotage: x, unit: {name: x.service, state: inactive, enabled: masked}}
  - {id: i, title: i, sabotage: x, command: {argv: [x], silent: true}}
  - {id: j, title: j, sabotage: x, ssh: {ciphers: {exactly: [a, b@c]}, kex: {offers: [d], refuses: [e]}, hostKeys: {offers: [f]}, macs: {refuses: [g]}}}
  - {id: k, title: k, sabotage: x, ssh: {user: web, methods: {exactly: [publickey]}}}
  - {id: l, title: l, sabotage: x, ssh: {login: {user: web, method: password, refused: true}}}
  - {id: m, title: m, sabotage: x, packet: {after: [x, y], port: 443, to: [192.0.2.0/24, "2001:db8::/32"], seen: true}}
  - {id: n, title: n, sabotage: x, packet: {after: [x], proto: icmp, to: [192.0.2.1/32], seen: false, seconds: 9}}
  - {id: o, title: o, sabotage: x, listeners: {unit: x.socket, exactly: [tcp/8080, udp/53@loopback]}}
  - {id: p, title: p, sabotage: x, listeners: {program: x, exactly: [tcp/1]}}
  - {id: q, title: q, sabotage: x, listeners: {exactly: [udp/65535]}}
  - {id: r, title: r, sabotage: x, unit: {name: x.timer, enabled: false}}
`,
	})
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	check := func(id string) layers.Check { return layers.Check{ID: "app." + id, Title: id, Sabotage: "x"} }
	want := layers.Contribution{
		Packages: []string{"busybox"},
		Ports: []layers.Port{
			{Proto: "udp", Port: 53, From: layers.FromInternet, Why: "names", NewPerMinute: 60},
			{Proto: "tcp", Port: 80, From: layers.FromWireGuard, Why: "pages"},
		},
		Egress:     []layers.Egress{{Proto: "tcp", Port: 443, CIDR: "192.0.2.0/24", Why: "the API"}},
		State:      []layers.State{{Path: "/var/lib/app", User: "app", Group: "root", Mode: 0o750, Why: "data"}},
		Disposable: []string{"/var/lib/app/cache/*"},
		SUID:       []layers.SUID{{Path: "/usr/bin/x", Why: "it must"}},
		Validators: []layers.Validator{{Argv: []string{"x", "-c"}, PrintsErrors: true}},
	}
	for id := range strings.SplitSeq("abcdefghijklmnopqr", "") {
		want.Checks = append(want.Checks, check(id))
	}
	want.Checks[0].File = &layers.FileCheck{Path: "/etc/x", Owner: "root:root", Mode: 0o644, Contains: "x", ReadOnly: true}
	want.Checks[1].Unit = &layers.UnitCheck{Name: "x.service", State: "active"}
	want.Checks[2].Command = &layers.CommandCheck{Argv: []string{"x"}, Exit: 1, Contains: "a", Lacks: "b"}
	want.Checks[3].Sysctl = &layers.SysctlCheck{Key: "net.ipv4.ip_forward", Value: "0"}
	want.Checks[4].HTTP = &layers.HTTPCheck{Port: 80, Path: "/", Status: 404, Contains: "x"}
	want.Checks[5].Reach = &layers.ReachCheck{Proto: "udp", Port: 53, From: layers.FromInternet, State: "open"}
	want.Checks[6].Unit, want.Checks[6].SurvivesReboot = &layers.UnitCheck{Name: "x.service", Enabled: "enabled"}, true
	want.Checks[7].Unit = &layers.UnitCheck{Name: "x.service", State: "inactive", Enabled: "masked"}
	want.Checks[8].Command = &layers.CommandCheck{Argv: []string{"x"}, Silent: true}
	want.Checks[9].SSHOffer = &layers.SSHOfferCheck{
		Ciphers: &layers.Names{Exactly: []string{"a", "b@c"}}, Kex: &layers.Names{Offers: []string{"d"}, Refuses: []string{"e"}},
		HostKeys: &layers.Names{Offers: []string{"f"}}, MACs: &layers.Names{Refuses: []string{"g"}},
	}
	want.Checks[10].SSHOffer = &layers.SSHOfferCheck{User: "web", Methods: &layers.Names{Exactly: []string{"publickey"}}}
	want.Checks[11].SSHAuth = &layers.SSHAuthCheck{User: "web", Method: "password", Refused: true}
	want.Checks[12].Packet = &layers.PacketCheck{After: []string{"x", "y"}, Proto: "tcp", Port: 443, To: []string{"192.0.2.0/24", "2001:db8::/32"}, Seen: true}
	want.Checks[13].Packet = &layers.PacketCheck{After: []string{"x"}, Proto: "icmp", To: []string{"192.0.2.1/32"}, Seconds: 9}
	want.Checks[14].Listener = &layers.ListenerCheck{Unit: "x.socket", Exactly: []string{"tcp/8080", "udp/53@loopback"}}
	want.Checks[15].Listener = &layers.ListenerCheck{Program: "x", Exactly: []string{"tcp/1"}}
	want.Checks[16].Listener = &layers.ListenerCheck{Exactly: []string{"udp/65535"}}
	want.Checks[17].Unit = &layers.UnitCheck{Name: "x.timer", Enabled: "disabled"}
	got := l.Contribute(layers.Site{})
	for i := range want.Checks { // pointers print as nothing
		if !reflect.DeepEqual(got.Checks[i], want.Checks[i]) {
			t.Errorf("check %s is not what it should be", want.Checks[i].ID)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if len(inputs) != 3 || inputs[1].Name != ManifestName || inputs[2].Name != ChecksName {
		t.Errorf("inputs %v: a change of these files must make another digest", inputs)
	}
	if at, ok := l.Claim("port udp/53 from internet"); !ok || at.File != "app/layer.yaml" || at.Line != 2 {
		t.Errorf("the port is claimed at %+v, %t", at, ok)
	}
}

// TestHostileTerms gives every text of layer.yaml and checks.yaml values that
// would mean something to the format it ends up in.
func TestHostileTerms(t *testing.T) {
	t.Parallel()
	for _, evil := range []string{"a\nb", "a\r\nb", "a\" accept", "a\x00", "a\x1b[2J", "a\\", "", " ", "a\u202eb", strings.Repeat("a", 300) + "\"", "../../x", "a b;c", "$(reboot)", "%n", "--option=x"} {
		quoted := yamlQuote(evil)
		for name, files := range map[string][2]string{
			"package":      {ManifestName, "packages: [" + quoted + "]"},
			"why":          {ManifestName, "ports: [{port: 80, from: internet, why: " + quoted + "}]"},
			"from":         {ManifestName, "ports: [{port: 80, why: x, from: " + quoted + "}]"},
			"cidr":         {ManifestName, "egress: [{port: 80, why: x, cidr: " + quoted + "}]"},
			"state":        {ManifestName, "state: [{why: x, path: " + quoted + "}]"},
			"state under":  {ManifestName, "state: [{why: x, path: " + yamlQuote("/var/lib/"+evil) + "}]"},
			"state user":   {ManifestName, "state: [{why: x, path: /var/lib/app, user: " + quoted + "}]"},
			"disposable":   {ManifestName, "disposable: [" + quoted + "]"},
			"profile":      {ManifestName, "profiles: [{why: x, path: /etc/apparmor.d/x, unit: x.service, name: " + quoted + "}]"},
			"profile path": {ManifestName, "profiles: [{why: x, name: x, unit: x.service, path: " + quoted + "}]"},
			"profile unit": {ManifestName, "profiles: [{why: x, name: x, path: /etc/apparmor.d/x, unit: " + quoted + "}]"},
			"suid":         {ManifestName, "suid: [{why: x, path: " + quoted + "}]"},
			"id":           {ChecksName, "checks: [{title: x, sabotage: x, unit: {name: x.service}, id: " + quoted + "}]"},
			"file":         {ChecksName, "checks: [{id: a, title: x, sabotage: x, file: {path: " + quoted + "}}]"},
			"owner":        {ChecksName, "checks: [{id: a, title: x, sabotage: x, file: {path: /x, owner: " + quoted + "}}]"},
			"unit":         {ChecksName, "checks: [{id: a, title: x, sabotage: x, unit: {name: " + quoted + "}}]"},
			"sysctl":       {ChecksName, "checks: [{id: a, title: x, sabotage: x, sysctl: {value: x, key: " + quoted + "}}]"},
			"http path":    {ChecksName, "checks: [{id: a, title: x, sabotage: x, http: {port: 80, path: " + quoted + "}}]"},
			"reach":        {ChecksName, "checks: [{id: a, title: x, sabotage: x, reach: {port: 80, state: open, from: " + quoted + "}}]"},
			"reach proto":  {ChecksName, "checks: [{id: a, title: x, sabotage: x, reach: {port: 80, state: open, from: internet, proto: " + quoted + "}}]"},
			"enabled":      {ChecksName, "checks: [{id: a, title: x, sabotage: x, unit: {name: x.service, enabled: " + quoted + "}}]"},
			"offer":        {ChecksName, "checks: [{id: a, title: x, sabotage: x, ssh: {kex: {exactly: [" + quoted + "]}}}]"},
			"offered":      {ChecksName, "checks: [{id: a, title: x, sabotage: x, ssh: {ciphers: {offers: [" + quoted + "]}}}]"},
			"way in":       {ChecksName, "checks: [{id: a, title: x, sabotage: x, ssh: {methods: {refuses: [" + quoted + "]}}}]"},
			"ssh user":     {ChecksName, "checks: [{id: a, title: x, sabotage: x, ssh: {methods: {refuses: [password]}, user: " + quoted + "}}]"},
			"login":        {ChecksName, "checks: [{id: a, title: x, sabotage: x, ssh: {login: {method: password, user: " + quoted + "}}}]"},
			"login method": {ChecksName, "checks: [{id: a, title: x, sabotage: x, ssh: {login: {user: a, method: " + quoted + "}}}]"},
			"packet to":    {ChecksName, "checks: [{id: a, title: x, sabotage: x, packet: {after: [x], port: 1, seen: true, to: [" + quoted + "]}}]"},
			"packet proto": {ChecksName, "checks: [{id: a, title: x, sabotage: x, packet: {after: [x], port: 1, seen: true, to: [192.0.2.1/32], proto: " + quoted + "}}]"},
			"socket":       {ChecksName, "checks: [{id: a, title: x, sabotage: x, listeners: {exactly: [" + quoted + "]}}]"},
			"socket unit":  {ChecksName, "checks: [{id: a, title: x, sabotage: x, listeners: {exactly: [tcp/1], unit: " + quoted + "}}]"},
			"program":      {ChecksName, "checks: [{id: a, title: x, sabotage: x, listeners: {exactly: [tcp/1], program: " + quoted + "}}]"},
			"state of one": {ChecksName, "checks: [{id: a, title: x, sabotage: x, unit: {name: x.service, state: " + quoted + "}}]"},
		} {
			switch {
			case evil == "" && strings.Contains("cidr owner state user state of one reach proto http path ssh user packet proto socket unit program", name):
				continue // not given
			case evil == "$(reboot)" && name == "why", evil == "%n" && name == "why",
				evil == "--option=x" && name == "why", evil == "a b;c" && name == "why", evil == "../../x" && name == "why":
				continue // mean nothing in a quoted comment
			}
			dir := map[string]string{ConfigName: emptyConfig, files[0]: files[1] + "\n"}
			_, _, findings := folder(t, dir)
			if len(findings) == 0 {
				t.Errorf("%s %q is accepted", name, evil)
			}
			for _, f := range findings {
				if f.File != "app/"+files[0] || f.Line < 1 || f.Column < 1 || f.Message == "" || f.Advice == "" {
					t.Errorf("%s %q: incomplete finding %+v", name, evil, f)
				}
			}
		}
	}
}

// yamlQuote writes any text on one line of YAML.
func yamlQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\x00", `\0`, "\x1b", `\e`).Replace(s) + `"`
}
