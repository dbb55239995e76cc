package openstack

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"

	"ingot/fault"
	"ingot/providers"
)

func rule4(proto string, from, to int, why string) providers.Rule {
	return providers.Rule{Proto: proto, From: from, To: to, Source: netip.MustParsePrefix("0.0.0.0/0"), Why: why}
}

var wireguard = rule4("udp", 51820, 51820, "WireGuard")

// log remembers what writes were sent, "POST /v2.0/ports".
type log struct {
	mu    sync.Mutex
	lines []string
}

func (l *log) note(r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead && !strings.HasSuffix(r.URL.Path, "/auth/tokens") {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lines = append(l.lines, r.Method+" "+r.URL.Path)
	}
	return nil
}

func (l *log) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	l.lines = nil
	return lines
}

// deployed is a server of a small image.
func deployed(t *testing.T, p *Provider, name string, rules ...providers.Rule) (providers.Server, *providers.Entry) {
	t.Helper()
	_, e := journalFor(t, p)
	collect(t, p, e)
	image, err := p.Upload(t.Context(), picture(e, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	server, err := p.Deploy(t.Context(), machine(name, image, e, rules...))
	if err != nil {
		t.Fatal(err)
	}
	return server, e
}

func machine(name string, image providers.Image, e *providers.Entry, rules ...providers.Rule) providers.Machine {
	return providers.Machine{
		Name: name, Image: image, UserData: []byte(`{"ignition": {"version": "3.5.0"}}`), Rules: rules, Journal: e,
		Labels: map[string]string{providers.LabelImage: image.Labels[providers.LabelImage]},
	}
}

func TestDeploy(t *testing.T) {
	c := needCloud(t)
	var seen log
	p := c.open(t, Options{Transport: watch{before: seen.note}, Network: "inside", ExternalNetwork: "outside"})
	_, e := journalFor(t, p)
	collect(t, p, e)
	image, err := p.Upload(t.Context(), picture(e, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	seen.take()
	https := rule4("tcp", 443, 443, "HTTPS")
	m := machine("claw", image, e, wireguard, https)
	server, err := p.Deploy(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	lines := seen.take()
	want := []string{"POST /v2.0/security-groups", "POST /v2.0/security-group-rules", "POST /v2.0/security-group-rules", "POST /v2.0/ports", "POST /v2.0/floatingips", "POST /v2.1/servers"}
	if !slices.Equal(lines, want) {
		t.Errorf("the writes were %v, not %v", lines, want)
	}
	if server.State != "ACTIVE" || server.Labels[providers.LabelServer] != "claw" || server.Labels[providers.LabelID] != e.ID {
		t.Errorf("%+v", server)
	}

	t.Run("again", func(t *testing.T) {
		same, err := p.Deploy(t.Context(), m)
		if err != nil || same.ID != server.ID {
			t.Errorf("%+v, %v", same, err)
		}
		if lines := seen.take(); len(lines) != 0 {
			t.Errorf("was sent: %v", lines)
		}
	})
	t.Run("seen by another client", func(t *testing.T) { seenByAnother(t, c, e, server) })
	t.Run("list", func(t *testing.T) {
		list, err := p.Servers(t.Context())
		if err != nil || !slices.ContainsFunc(list, func(s providers.Server) bool { return s.ID == server.ID }) {
			t.Errorf("%v, %v", list, err)
		}
	})
	t.Run("find and delete", func(t *testing.T) { findAndDelete(t, c, p, e) })
}

func seenByAnother(t *testing.T, c *cloud, e *providers.Entry, server providers.Server) {
	var shown struct {
		Name   string
		Status string
		Drive  string         `json:"config_drive"`
		Props  map[string]any `json:"properties"`
		Groups any            `json:"security_groups"`
		Data   string         `json:"OS-EXT-SRV-ATTR:user_data"`
	}
	c.client(t, "admin", &shown, "--os-compute-api-version", "2.3", "server", "show", server.ID)
	data, err := base64.StdEncoding.DecodeString(shown.Data)
	if shown.Name != "claw" || shown.Status != "ACTIVE" || shown.Drive != "True" || err != nil || string(data) != `{"ignition": {"version": "3.5.0"}}` || shown.Props[providers.LabelID] != e.ID {
		t.Errorf("openstackclient sees %+v, %s", shown, data)
	}
	var port struct {
		ID       string
		DeviceID string   `json:"device_id"`
		Groups   []string `json:"security_group_ids"`
		Secure   bool     `json:"port_security_enabled"`
	}
	c.client(t, "smith", &port, "port", "show", "ingot-claw")
	if port.DeviceID != server.ID || len(port.Groups) != 1 || !port.Secure {
		t.Fatalf("openstackclient sees the port %+v", port)
	}
	var rules []map[string]any
	c.client(t, "smith", &rules, "security", "group", "rule", "list", "--ingress", "--long", "ingot-claw")
	var open []string
	for _, r := range rules {
		open = append(open, fmt.Sprintf("%v %v %v", r["IP Protocol"], r["IP Range"], r["Port Range"]))
	}
	slices.Sort(open)
	if want := []string{"tcp 0.0.0.0/0 443:443", "udp 0.0.0.0/0 51820:51820"}; !slices.Equal(open, want) {
		t.Errorf("openstackclient sees the rules %v, not %v", open, want)
	}
	var addresses []map[string]any
	c.client(t, "smith", &addresses, "floating", "ip", "list", "--port", port.ID)
	if len(addresses) != 1 {
		t.Errorf("openstackclient sees the floating IPs %v", addresses)
	}
}

// findAndDelete removes all in the order of Find, and nothing else: beside it are a
// group, a port and an image of somebody who does not use Ingot.
func findAndDelete(t *testing.T, c *cloud, p *Provider, e *providers.Entry) {
	before := foreign(t, p)
	found, err := p.Find(t.Context(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, r := range found {
		kinds = append(kinds, r.Kind)
	}
	if want := []string{kindServer, kindPort, kindAddress, kindGroup, kindImage}; !slices.Equal(kinds, want) {
		t.Errorf("the order is %v, not %v", kinds, want)
	}
	for range 2 { // what is gone is no error
		for _, r := range found {
			if err := p.Delete(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
	}
	if left, err := p.Find(t.Context(), e.ID); err != nil || len(left) != 0 {
		t.Errorf("%v, %v are left", left, err)
	}
	if after := foreign(t, p); !slices.Equal(before, after) {
		t.Errorf("others had %v and have %v", before, after)
	}
}

// foreign makes things by hand, once, and lists what is there that Ingot did not
// make.
func foreign(t *testing.T, p *Provider) (ids []string) {
	t.Helper()
	all, err := p.listGroups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range all {
		if _, ours := readMark(g.Description); !ours {
			ids = append(ids, g.ID)
		}
	}
	if !slices.ContainsFunc(all, func(g groups.SecGroup) bool { return g.Name == "theirs" }) {
		g, err := groups.Create(t.Context(), p.network, groups.CreateOpts{Name: "theirs", Description: "made by Ingot; or so they say"}).Extract()
		if err != nil {
			t.Fatal(err)
		}
		network, err := p.findNetwork(t.Context(), "inside", false)
		if err != nil {
			t.Fatal(err)
		}
		if err := ports.Create(t.Context(), p.network, ports.CreateOpts{NetworkID: network, Name: "ingot-theirs"}).Err; err != nil {
			t.Fatal(err)
		}
		ids = append(ids, g.ID)
	}
	list, err := p.listPorts(t.Context(), ports.ListOpts{ProjectID: p.project})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range list {
		if _, ours := readMark(x.Description); !ours {
			ids = append(ids, x.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// What cannot be is said before anything is made.
func TestDeployRefuses(t *testing.T) {
	c := needCloud(t)
	var seen log
	open := func(o Options) *Provider {
		o.Transport = watch{before: seen.note}
		return c.open(t, o)
	}
	p := open(Options{})
	_, e := journalFor(t, p)
	collect(t, p, e)
	image, err := p.Upload(t.Context(), picture(e, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, words string
		options     Options
		touch       func(*providers.Machine)
	}{
		{"no such flavor", "there are small, large", Options{}, func(m *providers.Machine) { m.Size = "huge" }},
		{"a flavor with a small disk", "no flavor flat here with 5 GiB of disk; there are small, large", Options{}, func(m *providers.Machine) { m.Size = "flat" }},
		{"no such network", "there is no network nowhere here; there are inside", Options{Network: "nowhere"}, nil},
		{"no such external network", "there is no network inside here; there are outside", Options{ExternalNetwork: "inside"}, nil},
		{"too much user-data", "32768 are allowed", Options{}, func(m *providers.Machine) { m.UserData = make([]byte, 32<<10+1) }},
		{"a name with a space", `"my claw" cannot be the name`, Options{}, func(m *providers.Machine) { m.Name = "my claw" }},
		{"no block storage", "no block storage service", Options{StateVolume: 1}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := open(test.options)
			if test.options.StateVolume > 0 {
				p.volume = nil
			}
			seen.take()
			m := machine("refused", image, e)
			if test.touch != nil {
				test.touch(&m)
			}
			_, err := p.Deploy(t.Context(), m)
			if fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), test.words) {
				t.Error(err)
			}
			if lines := seen.take(); len(lines) != 0 {
				t.Errorf("was sent: %v", lines)
			}
		})
	}
}
