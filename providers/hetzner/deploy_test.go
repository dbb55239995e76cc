package hetzner

import (
	"fmt"
	"strings"
	"testing"

	"ingot/fault"
	"ingot/providers"
	"ingot/providers/fake"
)

// addSnapshot is an image that was uploaded before.
func (b *bench) addSnapshot() providers.Image {
	i := b.cloud.newImage("snapshot", "openclaw", "x86")
	i["status"], i["labels"] = "available", obj{providers.LabelImage: "abc", providers.LabelID: "anotherentryofthejou"}
	return providers.Image{ID: fmt.Sprint(id(i)), Name: "openclaw"}
}

func tcp(port int, why string) []providers.Rule {
	return []providers.Rule{{Proto: "tcp", From: port, To: port, Source: anywhere4, Why: why}, {Proto: "tcp", From: port, To: port, Source: anywhere6, Why: why}}
}

func machine(image providers.Image, e *providers.Entry) providers.Machine {
	return providers.Machine{
		Name: "claw-1", Image: image, UserData: []byte(`{"ignition":{}}`), Journal: e,
		Rules:  append(tcp(443, "the web"), providers.Rule{Proto: "udp", From: 51820, To: 51820, Source: anywhere4, Why: "the tunnel"}),
		Labels: map[string]string{providers.LabelConfig: "c0ffee"},
	}
}

func TestDeploy(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	image, e := b.addSnapshot(), b.begin(t)
	server, err := b.Deploy(t.Context(), machine(image, e))
	if err != nil {
		t.Fatal(err)
	}
	s := b.cloud.byRef("servers", server.Name)
	if server.State != "running" || len(server.Addresses) != 2 || server.Addresses[1].String() != fmt.Sprintf("2001:db8:0:%x::1", id(s)) {
		t.Errorf("the server is %+v", server)
	}
	// The cheapest that is for sale, for amd64, and with room for the image.
	if got := s["server_type"].(obj)["name"]; got != "cx23" {
		t.Errorf("it is a %s", got)
	}
	if s["_user_data"] != `{"ignition":{}}` || len(list(s["_keys"])) > 0 {
		t.Errorf("user-data is %q, the keys are %v", s["_user_data"], s["_keys"])
	}
	if got := fmt.Sprint(s["labels"]); got != fmt.Sprintf("map[ingot-config:c0ffee ingot-id:%s ingot-server:claw-1]", e.ID) {
		t.Errorf("the labels are %s", got)
	}
	wall, err := b.Wall(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	state, err := wall.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if plan := providers.Compare(machine(image, e).Rules, state, false); !plan.Empty() {
		t.Errorf("the firewall needs\n%s", plan.Text())
	}
	servers, err := b.Servers(t.Context())
	if err != nil || len(servers) != 1 || servers[0].ID != server.ID {
		t.Errorf("the servers are %v, %v", servers, err)
	}
	// The same work again finds what it has made; another does not take it.
	b.api.Forget()
	again, err := b.Deploy(t.Context(), machine(image, e))
	if err != nil || again.ID != server.ID {
		t.Errorf("again it is %v, %v", again, err)
	}
	if n := b.api.Count("POST *"); n != 0 {
		t.Errorf("%d requests changed something", n)
	}
	_, err = b.Deploy(t.Context(), machine(image, b.begin(t)))
	wantError(t, err, fault.OfInput, "create the firewall ingot-claw-1", "there is one already")
	b.collect(t, e)
	if got := b.made(); got != "snapshot openclaw" {
		t.Errorf("there is %s", got)
	}
}

func TestDeployInBadWeather(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	image := b.addSnapshot()
	before := b.made()
	for name, faults := range bad("POST /firewalls", "POST /servers", "POST /servers/*/actions/poweron") {
		if strings.Contains(name, "DELETE") {
			continue // an upload's
		}
		t.Run(name, func(t *testing.T) {
			e := b.begin(t)
			b.api.Calm()
			b.api.Plan(faults...)
			if _, err := b.Deploy(t.Context(), machine(image, e)); err != nil {
				t.Fatal(err)
			}
			b.api.Calm()
			if got := b.made(); strings.Count(got, "servers ") != 1 || strings.Count(got, "firewalls ") != 1 {
				t.Errorf("there is %s", got)
			}
			if b.collect(t, e); b.made() != before {
				t.Errorf("there is %s", b.made())
			}
		})
	}
}

func TestDeployRefusals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*providers.Machine)
		words  string
	}{
		"a name":         {func(m *providers.Machine) { m.Name = "claw 1" }, "cannot be"},
		"a name in dots": {func(m *providers.Machine) { m.Name = "a..b" }, "cannot be the name"},
		"user-data":      {func(m *providers.Machine) { m.UserData = make([]byte, 32<<10+1) }, "32769 bytes"},
		"no text":        {func(m *providers.Machine) { m.UserData = []byte{0xff} }, "is not text"},
		"no image":       {func(m *providers.Machine) { m.Image.ID = "1" }, "there is no image 1 here"},
		"image's number": {func(m *providers.Machine) { m.Image.ID = "debian" }, "no number of an image"},
		"a label":        {func(m *providers.Machine) { m.Labels = map[string]string{"x": "-"} }, "the label x"},
		"a size":         {func(m *providers.Machine) { m.Size = "cx9999" }, "create the server claw-1: it is said: invalid_input"},
		"a location":     {func(m *providers.Machine) { m.Location = "moon" }, "no server type in moon"},
		"a source": {func(m *providers.Machine) {
			m.Rules = []providers.Rule{{Proto: "icmp", From: 8, To: 8, Source: anywhere6}}
		}, "the source is of another family"},
		"a protocol": {func(m *providers.Machine) {
			m.Rules = []providers.Rule{{Proto: "sctp", From: 1, To: 1, Source: anywhere6}}
		}, "hetzner has no rule for sctp 1"},
		"many rules": {func(m *providers.Machine) {
			for i := range 51 {
				m.Rules = append(m.Rules, tcp(1000+i, "one more")...)
			}
		}, "would have 53 rules, and Hetzner takes 50"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			e := b.begin(t)
			m := machine(b.addSnapshot(), e)
			test.change(&m)
			_, err := b.Deploy(t.Context(), m)
			wantError(t, err, fault.OfInput, test.words)
			b.collect(t, e)
			if got := b.made(); got != "snapshot openclaw" {
				t.Errorf("there is %s", got)
			}
		})
	}
}

// Each of the API's refusals is somebody's.
func TestErrors(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	image := b.addSnapshot()
	for _, test := range []struct {
		status int
		code   string
		kind   fault.Kind
		words  string
	}{
		{401, "unauthorized", fault.OfInput, "the token is wrong"},
		{403, "forbidden", fault.OfInput, "may only read"},
		{403, "resource_limit_exceeded", fault.OfInput, "the project's limit is reached"},
		{409, "uniqueness_error", fault.OfInput, "there is one already"},
		{412, "resource_unavailable", fault.OfProvider, "sold out"},
		{412, "placement_error", fault.OfProvider, "sold out"},
		{422, "invalid_input", fault.OfInput, "create the server claw-1"},
		{423, "protected", fault.OfInput, "protected in the console"},
		{423, "locked", fault.OfProvider, "locked"},
		{409, "conflict", fault.OfProvider, "conflict"},
		{429, "rate_limit_exceeded", fault.OfProvider, "the provider asks to wait for 2h0m"},
		{500, "server_error", fault.OfProvider, "create the server claw-1"},
		{503, "maintenance", fault.OfProvider, "maintenance"},
		{503, "unavailable", fault.OfProvider, "unavailable"},
	} {
		t.Run(test.code, func(t *testing.T) {
			b.api.Calm()
			f := fake.Fault{On: "POST /servers", Times: fake.Always, Status: test.status, Body: refusal(test.code)}
			if test.status == 429 {
				f.Header = map[string]string{"Retry-After": "7200"}
			}
			b.api.Plan(f)
			e := b.begin(t)
			_, err := b.Deploy(t.Context(), machine(image, e))
			wantError(t, err, test.kind, "create the server claw-1", test.words)
			b.api.Calm()
			b.collect(t, e)
			if got := b.made(); got != "snapshot openclaw" {
				t.Errorf("there is %s", got)
			}
		})
	}
}

// A token that expires in the middle.
func TestTokenExpires(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	e := b.begin(t)
	b.api.Plan(fake.Fault{After: "POST /servers", Times: fake.Always, Status: 401, Body: refusal("unauthorized")})
	_, err := b.Upload(t.Context(), upload(disk(t), e))
	wantError(t, err, fault.OfInput, "the token is wrong, or has been deleted")
	e.Abandon()
	if b.made() == "" {
		t.Fatal("nothing is left, so that nothing is tried")
	}
	b.api.Calm()
	b.collectLeft(t)
	if got := b.made(); got != "" {
		t.Errorf("there is %s", got)
	}
}

func TestDeleteRefusesOthers(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for kind, name := range map[string]string{kindServer: "servers", kindVolume: "volumes", kindFirewall: "firewalls", kindKey: "ssh_keys", kindPrimaryIP: "primary_ips"} {
		for _, i := range []int{0, 1} {
			o := b.cloud.kinds[name][i]
			err := b.Delete(t.Context(), providers.Resource{Kind: kind, ID: fmt.Sprint(id(o)), Name: "theirs"})
			wantError(t, err, fault.OfInput, "Ingot did not make it")
		}
		if err := b.Delete(t.Context(), providers.Resource{Kind: kind, ID: "9999999", Name: "gone"}); err != nil {
			t.Errorf("delete a %s that is not there: %v", kind, err)
		}
	}
	if got := b.made(); got != "" || b.api.Count("DELETE *") > 0 {
		t.Errorf("something was deleted; there is %s", b.cloud.left())
	}
	wantError(t, b.Delete(t.Context(), providers.Resource{Kind: "database", ID: "1"}), fault.OfInput, `no kind "database"`)
	wantError(t, b.Delete(t.Context(), providers.Resource{Kind: kindServer, ID: "x"}), fault.OfInput, "no number")
	_, err := b.Find(t.Context(), "")
	wantError(t, err, fault.OfInput, "no number of an entry")
}

// Deletes what is in use first, and what it is in use by.
func TestCollectAll(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	found, err := b.Find(t.Context(), "otherentryofthejourn")
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, r := range found {
		kinds = append(kinds, r.Kind)
	}
	if got := strings.Join(kinds, ", "); got != "server, volume, firewall, ssh key, snapshot" {
		t.Errorf("found %s", got)
	}
	// In the other order all must be waited for.
	volume, address := found[1], b.cloud.kinds["primary_ips"][4]
	address["labels"] = obj{providers.LabelID: "x"}
	b.cloud.kinds["servers"][2]["status"] = "off"
	for _, r := range []providers.Resource{volume, {Kind: kindPrimaryIP, ID: fmt.Sprint(id(address)), Name: "its address"}, found[0], found[2], found[3], found[4]} {
		if err := b.Delete(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
	if got := b.cloud.left(); strings.Contains(got, "theirs-2") || strings.Count(got, "theirs-") != 10 {
		t.Errorf("there is %s", got)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	_, err := New(Options{})
	wantError(t, err, fault.OfInput, "no token")
	a, err := New(Options{Token: providers.NewSecret("a")})
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(Options{Token: providers.NewSecret("b"), Account: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	if a.Name() != "hetzner" || !strings.HasPrefix(a.Account(), "token-") || b.Account() != "shop" {
		t.Errorf("%s %s %s", a.Name(), a.Account(), b.Account())
	}
	// The SDK does not show a token that cannot be sent.
	c, err := New(Options{Token: providers.NewSecret(planted + "\n"), Endpoint: "http://127.0.0.1:1/v1"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Images(t.Context())
	wantError(t, err, fault.OfProvider, "list the snapshots", "invalid characters")
}
