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
  - {id: c, title: c, sabotage: x, command: {argv: [x], exit: 1, contains: a, lacks: b, silent: true}}
  - {id: d, title: d, sabotage: x, sysctl: {key: net.ipv4.ip_forward, value: "0"}}
  - {id: e, title: e, sabotage: x, http: {port: 80, status: 404, contains: x}}
  - {id: f, title: f, sabotage: x, reach: {port: 53, proto: udp, from: internet, state: open}}
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
		Checks:     []layers.Check{check("a"), check("b"), check("c"), check("d"), check("e"), check("f")},
	}
	want.Checks[0].File = &layers.FileCheck{Path: "/etc/x", Owner: "root:root", Mode: 0o644, Contains: "x", ReadOnly: true}
	want.Checks[1].Unit = &layers.UnitCheck{Name: "x.service", State: "active"}
	want.Checks[2].Command = &layers.CommandCheck{Argv: []string{"x"}, Exit: 1, Contains: "a", Lacks: "b", Silent: true}
	want.Checks[3].Sysctl = &layers.SysctlCheck{Key: "net.ipv4.ip_forward", Value: "0"}
	want.Checks[4].HTTP = &layers.HTTPCheck{Port: 80, Path: "/", Status: 404, Contains: "x"}
	want.Checks[5].Reach = &layers.ReachCheck{Proto: "udp", Port: 53, From: layers.FromInternet, State: "open"}
	if got := l.Contribute(layers.Site{}); !reflect.DeepEqual(got, want) {
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
			"state of one": {ChecksName, "checks: [{id: a, title: x, sabotage: x, unit: {name: x.service, state: " + quoted + "}}]"},
		} {
			switch {
			case evil == "" && strings.Contains("cidr owner state user state of one reach proto http path", name):
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
