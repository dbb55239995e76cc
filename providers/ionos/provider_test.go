package ionos

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"ingot/fault"
	"ingot/providers"
	"ingot/providers/fake"
)

func TestFromImageToServerAndAway(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.begin(t)
	image, err := r.Upload(t.Context(), testUpload(e))
	if err != nil {
		t.Fatalf("%v\n%s", err, r.ftp)
	}
	files := r.ftp.files(t, diskFolder)
	if name := providers.LabelDigest(testSum) + "-ingot-" + e.ID + ".raw"; !bytes.Equal(files[name], testImage) {
		t.Errorf("the server for images has no %s", name)
	}
	p := props(r.cloud.state.Images[0])
	if p["requireLegacyBios"] != false || p["licenceType"] != "LINUX" || p["cloudInit"] != "NONE" {
		t.Errorf("the image's properties are %v", p)
	}
	list, err := r.Images(t.Context())
	if err != nil || len(list) != 1 || list[0].ID != image.ID || list[0].Name != "claw" || list[0].Labels[providers.LabelImage] != providers.LabelDigest(testSum) {
		t.Errorf("the images are %v, %v", list, err)
	}

	// The same image once more is found.
	other := r.begin(t)
	u := testUpload(other)
	if again, err := r.Upload(t.Context(), u); err != nil || again.ID != image.ID || len(other.Created) != 0 {
		t.Errorf("a second upload: %v, %v, created %v", again, err, other.Created)
	}

	server, err := r.Deploy(t.Context(), testMachine(e, image))
	if err != nil {
		t.Fatal(err)
	}
	if r.cloud.busy != 0 {
		t.Errorf("%d requests came while another was carried out", r.cloud.busy)
	}
	if want := []boot{{"claw-1-ingot-" + e.ID, true, len(testRules), true, "disk", ""}}; !slices.Equal(r.cloud.boots, want) {
		t.Errorf("it was switched on as %v, not %v", r.cloud.boots, want)
	}
	if server.Name != "claw-1" || server.State != "RUNNING" || len(server.Addresses) != 1 || server.Labels[providers.LabelID] != e.ID {
		t.Errorf("the server is %+v", server)
	}
	servers, err := r.Servers(t.Context())
	if err != nil || len(servers) != 1 || servers[0].ID != server.ID || servers[0].Name != "claw-1" || !slices.Equal(servers[0].Addresses, server.Addresses) {
		t.Errorf("the servers are %+v, %v", servers, err)
	}

	// Deploying it again finds it.
	r.api.Forget()
	again, err := r.Deploy(t.Context(), testMachine(e, image))
	if err != nil || again.ID != server.ID || r.writes() != 0 {
		t.Errorf("deploying again: %v, %v, %d writes", again.ID, err, r.writes())
	}
	r.checkConfig(t, e)

	found, err := r.Find(t.Context(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, f := range found {
		kinds = append(kinds, f.Kind)
	}
	if want := []string{kindServer, kindVolume, kindLAN, kindImage, kindImage, kindDatacenter}; !slices.Equal(kinds, want) {
		t.Errorf("found are %v, not %v", kinds, want)
	}
	if _, err := e.Collect(t.Context(), r.Provider); err != nil {
		t.Fatal(err)
	}
	r.empty(t, e.ID)
}

// checkConfig looks for the instance config on the CD-ROM, with eyes of its own.
func (r *rig) checkConfig(t *testing.T, e *providers.Entry) {
	t.Helper()
	iso := r.ftp.files(t, discFolder)["claw-1-config-ingot-"+e.ID+".iso"]
	if got := readISO(t, iso, configLabel, configFile); got != testConfig {
		t.Errorf("the CD-ROM has the config %q", got)
	}
}

func TestInput(t *testing.T) {
	t.Parallel()
	secret := providers.NewSecret(testPassword)
	good := Options{Endpoint: "http://127.0.0.1:1/cloudapi/v6", User: "u", Password: secret, Location: "de/fra"}
	for _, c := range []struct {
		name   string
		change func(*Options)
		text   string
	}{
		{"no location", func(o *Options) { o.Location = "fra" }, "none of IONOS'"},
		{"no credentials", func(o *Options) { o.User, o.Password = "", providers.Secret{} }, "wants a user name and a password"},
		{"half of them", func(o *Options) { o.Token, o.User = secret, "" }, "go together"},
		{"a contract that is none", func(o *Options) { o.Contract = "x" }, "not a number"},
		{"a negative size", func(o *Options) { o.State = -1 }, "1 to 4096 GB"},
		{"a size that is too large", func(o *Options) { o.State = 4097 }, "1 to 4096 GB"},
		{"http", func(o *Options) { o.Endpoint = "http://api.example.com/cloudapi/v6" }, "in clear"},
		{"another path", func(o *Options) { o.Endpoint = "https://api.example.com/" }, "does not end with"},
		{"a password in it", func(o *Options) { o.Endpoint = "https://u:" + testPassword + "@api.example.com/cloudapi/v6" }, "not a URL"},
	} {
		o := good
		c.change(&o)
		_, err := New(t.Context(), o)
		if fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), testPassword) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for location, want := range map[string]string{"de/fra": "ftp-fra.ionos.com:21", "de/fra/2": "ftp-fra-2.ionos.com:21"} {
		if got := ftpHost(location); got != want {
			t.Errorf("%s is at %s", location, got)
		}
	}
	for text, want := range map[string]size{"": {2, 4, 20}, "8-16-100": {8, 16, 100}} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("the size %q is %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"big", "0-4-20", "2-4", "2-4-20-1"} {
		if _, err := parseSize(text); fault.Of(err) != fault.OfInput {
			t.Errorf("the size %q: %v", text, err)
		}
	}
}

func TestMachinesThatCannotBe(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.begin(t)
	image, err := r.Upload(t.Context(), testUpload(e))
	if err != nil {
		t.Fatal(err)
	}
	r.api.Forget()
	for _, c := range []struct {
		name   string
		change func(*providers.Machine)
		text   string
	}{
		{"its name", func(m *providers.Machine) { m.Name = "a b" }, "no name for IONOS"},
		{"a large config", func(m *providers.Machine) { m.UserData = make([]byte, providers.MaxUserData+1) }, "the instance config has"},
		{"another place", func(m *providers.Machine) { m.Location = "gb/lhr" }, "upload it to gb/lhr first"},
		{"an image that is not there", func(m *providers.Machine) { m.Image.ID = "none" }, "upload it again"},
		{"a protocol", func(m *providers.Machine) { m.Rules = []providers.Rule{{Proto: "sctp"}} }, "no protocol"},
		{"another entry", func(m *providers.Machine) { m.Labels = map[string]string{providers.LabelID: "other"} }, "the journal's entry"},
	} {
		m := testMachine(e, image)
		c.change(&m)
		if _, err := r.Deploy(t.Context(), m); err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if n := r.writes(); n != 0 {
		t.Errorf("%d requests changed something", n)
	}
}

// Where IONOS makes a server without its CD-ROM it is put in, and the server is started
// again.
func TestDiscThatWasForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cloud.forgetsDiscs = true
	_, e := r.deployed(t)
	name := "claw-1-ingot-" + e.ID
	want := []boot{{name, true, len(testRules), false, "disk", ""}, {name, true, len(testRules), true, "disk", ""}}
	if !slices.Equal(r.cloud.boots, want) {
		t.Errorf("it was switched on as %v, not %v", r.cloud.boots, want)
	}
}

// Rules that IONOS leaves out when it makes a server are put in: until then its active
// firewall lets nothing in.
func TestRulesThatWereForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.cloud.forgetsRules = true
	_, e := r.deployed(t)
	if want := []boot{{"claw-1-ingot-" + e.ID, true, 0, true, "disk", ""}}; !slices.Equal(r.cloud.boots, want) {
		t.Errorf("it was switched on as %v, not %v", r.cloud.boots, want)
	}
	if n := len(r.card0().Rules); n != len(testRules) {
		t.Errorf("there are %d rules, not %d", n, len(testRules))
	}
}

func TestDropConfig(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	server, e := r.deployed(t)
	// A CD-ROM has no size that would tell whether it was deleted: its description must.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r.api.Plan(fake.Fault{On: "DELETE /images/*", Hook: func() {
		for _, i := range r.cloud.state.Images {
			if props(i)["imageType"] == "CDROM" && describedAs(i) != discarded {
				t.Errorf("it is deleted, and described as %q", describedAs(i))
				cancel()
			}
		}
	}})
	for range 2 {
		if err := r.DropConfig(ctx, server); err != nil {
			t.Fatal(err)
		}
	}
	if discs := r.cloud.state.Centers[0].Servers[0].Discs; len(discs) != 0 {
		t.Errorf("there is still %v", discs)
	}
	found, err := r.Find(t.Context(), e.ID)
	for _, f := range found {
		if strings.HasSuffix(f.Name, ".iso") {
			t.Errorf("the CD-ROM is still found")
		}
	}
	if err != nil || len(found) != 5 {
		t.Errorf("found are %v, %v", found, err)
	}
}

// A reserved address moves to another server, and goes with that.
func TestMoveAddress(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.opts.Reserve = true
	first, e1 := r.deployed(t)
	r.opts.Reserve = false
	e2 := r.begin(t)
	image, err := r.Upload(t.Context(), testUpload(e2))
	if err != nil {
		t.Fatal(err)
	}
	m := testMachine(e2, image)
	m.Name = "claw-2"
	second, err := r.Deploy(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	address := first.Addresses[0]
	if err := r.MoveAddress(t.Context(), second, second); fault.Of(err) != fault.OfInput {
		t.Errorf("an address that is not reserved: %v", err)
	}
	for range 2 { // a move that was interrupted is done again
		if err := r.MoveAddress(t.Context(), first, second); err != nil {
			t.Fatal(err)
		}
	}
	servers, err := r.Servers(t.Context())
	if err != nil || len(servers) != 2 {
		t.Fatalf("the servers are %v, %v", servers, err)
	}
	for _, s := range servers {
		if has := slices.Contains(s.Addresses, address); has != (s.Name == "claw-2") {
			t.Errorf("%s has %v", s.Name, s.Addresses)
		}
	}
	// The first one's remains go, and the address stays.
	if _, err := e1.Collect(t.Context(), r.Provider); err != nil {
		t.Fatal(err)
	}
	if len(r.cloud.state.Blocks) != 1 || len(r.cloud.state.Centers[0].Servers) != 1 {
		t.Fatalf("the block and the second server are gone")
	}
	if _, err := e2.Collect(t.Context(), r.Provider); err != nil {
		t.Fatal(err)
	}
	if len(r.cloud.state.Blocks) != 0 {
		t.Errorf("left are %v", r.cloud.state.Blocks)
	}
}

// Entries of another contract or location are not looked for here.
func TestAccount(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if got := r.Account(); got != "contract 31234567 in de/fra" {
		t.Errorf("the account is %q", got)
	}
	o := r.options()
	o.Contract = "7"
	if _, err := newProvider(t.Context(), o, quick); fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "31234567") {
		t.Errorf("another contract: %v", err)
	}
}
