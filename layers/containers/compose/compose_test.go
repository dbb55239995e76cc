package compose

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/config/document"
)

var update = flag.Bool("update", false, "write the golden files anew")

// stackOptions are what ingot.yaml says beside testdata/stack.
var stackOptions = Options{
	Allow: []Allow{
		{"app", "cap_add=NET_BIND_SERVICE"},
		{"db", "read_only=false"},
	},
	Tunnel: []netip.Addr{netip.MustParseAddr("10.8.0.1")},
	Public: []string{"tcp/443"},
}

func load(t testing.TB, dir string, o LoadOptions) (*Project, []document.Finding) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	if o.File == "" {
		o.File = "compose.yaml"
	}
	p, findings, err := Load(root, "shown", o)
	if err != nil {
		t.Fatal(err)
	}
	return p, findings
}

func translation(t testing.TB, dir string, l LoadOptions, o Options) Translation {
	t.Helper()
	p, findings := load(t, dir, l)
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	out, findings := Translate(p, o)
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	return out
}

// goldens are the projects whose whole translation is kept.
func goldens(t testing.TB) map[string]Translation {
	t.Helper()
	return map[string]Translation{
		"stack": translation(t, "testdata/stack", LoadOptions{EnvFile: "vars.env", Profiles: []string{"fast"}}, stackOptions),
		"notes": translation(t, "testdata/notes", LoadOptions{}, Options{VPN: &VPNOptions{}}),
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	for name, translation := range goldens(t) {
		file := filepath.Join("testdata/golden", name+".txt")
		got := dump(translation)
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: the translation is not that of %s (go test -update writes it):\n%s", name, file, got)
		}
		if again := dump(goldens(t)[name]); again != got {
			t.Errorf("%s: a second translation differs", name)
		}
	}
}

// dump is a whole translation as text.
func dump(x Translation) string {
	var b strings.Builder
	for _, i := range x.Images {
		fmt.Fprintf(&b, "image %s for %s, line %d\n", i.Name, strings.Join(i.Services, " "), i.At.Line)
	}
	if x.VPN != nil {
		fmt.Fprintf(&b, "vpn in place of %s: %s\n", x.VPN.Client, strings.Join(x.VPN.Members, " "))
	}
	for _, n := range x.Networks {
		fmt.Fprintf(&b, "network %s is %s internal=%t\n", n.Name, n.Interface, n.Internal)
	}
	for _, p := range x.Published {
		fmt.Fprintf(&b, "port %s/%d from %s to %s:%d in %v\n", p.Proto, p.Port.Port, p.From, p.Service, p.Target, p.Networks)
	}
	for _, s := range x.State {
		fmt.Fprintf(&b, "state %s %04o %s:%s: %s\n", s.Path, s.Mode, s.User, s.Group, s.Why)
	}
	for _, s := range x.Secrets {
		fmt.Fprintf(&b, "secret %s at %s\n", s.Name, s.Path)
	}
	for _, o := range x.Overrides {
		fmt.Fprintf(&b, "override %s of %s, line %d, allowed=%t\n", o.What, o.Service, o.At.Line, o.Allowed)
	}
	for _, r := range x.Remarks {
		fmt.Fprintf(&b, "remark %s:%d:%d: %s: %s\n", r.File, r.Line, r.Column, r.Message, r.Advice)
	}
	for _, f := range append(append([]File{}, x.Quadlets...), x.Baked...) {
		fmt.Fprintf(&b, "\n-- %s: %s --\n%s", f.Name, f.Why, f.Contents)
	}
	return b.String()
}
