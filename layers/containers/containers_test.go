package containers

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ingot/layers"
)

func loaded(t *testing.T, compose string, o Options) Layer {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(compose), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	l, inputs, findings, err := Load(o, root, ".", Surroundings{Tunnel: []netip.Addr{netip.MustParseAddr("10.8.0.1")}, Public: []string{"tcp/443"}})
	if err != nil || len(findings) > 0 || len(inputs) != 1 {
		t.Fatal(inputs, findings, err)
	}
	return l
}

func TestContribute(t *testing.T) {
	t.Parallel()
	c := loaded(t, `services:
  web:
    image: nginx
    init: true
    ports: ["10.8.0.1:8080:80", "127.0.0.1:9090:90", "443:443"]
    secrets: [token]
  inner: {image: nginx, networks: [closed]}
networks: {closed: {internal: true}}
secrets: {token: {file: x}}
`, Options{}).Contribute(layers.Site{})
	// The internet's port is the firewall's entry: a second one would conflict.
	var ports, forwards []string
	for _, p := range c.Ports {
		ports = append(ports, string(p.From))
	}
	if !slices.Equal(ports, []string{"wireguard", "loopback", "containers", "containers"}) {
		t.Errorf("ports of %v", ports)
	}
	for _, f := range c.Image.Files {
		if !slices.ContainsFunc(c.SealOnly, func(s layers.SealOnly) bool { return s.What == "file "+f.Path }) {
			t.Errorf("a stock system, which has no images, would get %s", f.Path)
		}
	}
	for _, f := range c.Forwards {
		forwards = append(forwards, strings.Join([]string{f.In, f.Out, f.Proto}, ">"))
	}
	if got := strings.Join(forwards, " "); got != "wg0>ct-default>tcp >ct-default>tcp ct-closed>ct-closed> ct-default>ct-default> ct-default>>" {
		t.Errorf("forwards %s", got)
	}
	if !slices.Contains(c.Packages, "catatonit") {
		t.Errorf("init: true without a program for it: %v", c.Packages)
	}
	secret := slices.IndexFunc(c.Instance.Files, func(f layers.File) bool { return f.SecretSlot == "containers/token" })
	if secret < 0 || c.Instance.Directories[0].Mode != 0o700 || len(c.Secrets) != 1 {
		t.Errorf("the secret: %+v", c.Instance)
	}
	for _, f := range c.Image.Files {
		if f.SecretSlot != "" || f.Why == "" {
			t.Errorf("file %s of the image: %+v", f.Path, f)
		}
	}
	if l := loaded(t, "services: {web: {image: nginx}}\n", Options{}); slices.Contains(l.Contribute(layers.Site{}).Packages, "catatonit") {
		t.Error("a program for init without init")
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	l := loaded(t, "services: {web: {image: nginx, cap_add: [CHOWN]}}\n", Options{Allow: []Allow{
		{Service: "web", What: "cap_add=CHOWN", Why: "it owns files"},
		{Service: "web", What: "pid=host", Why: " "},
	}})
	findings := l.Validate(layers.Site{})
	if len(findings) != 2 || findings[0].Path[2] != "why" || !strings.Contains(findings[1].Message, `does not ask for "pid=host"`) || findings[1].Advice != "remove it" {
		t.Errorf("findings %+v", findings)
	}
}

// A container that was allowed one capability is held to that one.
func TestConfinedToItsCapabilities(t *testing.T) {
	t.Parallel()
	l := loaded(t, "services: {web: {image: nginx, restart: always, cap_add: [NET_BIND_SERVICE]}}\n", Options{Allow: []Allow{
		{Service: "web", What: "cap_add=NET_BIND_SERVICE", Why: "it listens on port 80"},
	}})
	check, ok := l.confined(true)
	if !ok || !strings.Contains(check.Command.Argv[2], "\nweb) allowed=0x400 ;;\n*) allowed=0 ;;\n") {
		t.Errorf("%v, the check is %s", ok, check.Command.Argv[2])
	}
	// The numbers are the kernel's.
	for name, number := range map[string]int{"NET_BIND_SERVICE": unix.CAP_NET_BIND_SERVICE, "SYS_ADMIN": unix.CAP_SYS_ADMIN, "CHECKPOINT_RESTORE": unix.CAP_CHECKPOINT_RESTORE, "AUDIT_CONTROL": unix.CAP_AUDIT_CONTROL} {
		if slices.Index(capabilityNames, name) != number {
			t.Errorf("%s has number %d here", name, slices.Index(capabilityNames, name))
		}
	}
	if len(capabilityNames) != unix.CAP_LAST_CAP+1 {
		t.Errorf("there are %d capabilities, not %d", unix.CAP_LAST_CAP+1, len(capabilityNames))
	}
}
