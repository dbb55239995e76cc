package ionos

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/providers"
	"ingot/providers/fake"
)

// rig is IONOS as tests have it: the API, the server for images, and a provider.
type rig struct {
	*Provider
	cloud   *cloud
	api     *fake.Service
	ftp     *ftpd
	journal *providers.Journal
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return newRigWith(t, false)
}

// newRigWith can have a server where files are fixed; see serveFTP.
func newRigWith(t *testing.T, fixed bool) *rig {
	t.Helper()
	f := serveFTP(t, testPassword, fixed)
	r := &rig{cloud: newCloud(t, f), ftp: f}
	r.api = fake.Serve(t, fake.Options{Spec: specification(t), Base: "/cloudapi/v6", Handler: now{r}, Secrets: []string{testPassword}, Closed: true})
	var err error
	if r.journal, err = providers.OpenJournal(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	r.Provider = r.again(t)
	return r
}

// now is a handler that is the rig's cloud of the moment.
type now struct{ *rig }

func (n now) ServeHTTP(w http.ResponseWriter, r *http.Request) { n.cloud.ServeHTTP(w, r) }
func (n now) Snapshot() http.Handler                           { return n.cloud.Snapshot() }

// fresh gives the rig a cloud that nothing is in.
func (r *rig) fresh(t *testing.T) {
	t.Helper()
	r.api.Calm()
	r.api.Forget()
	r.cloud = newCloud(t, r.ftp)
	for _, folder := range []string{diskFolder, discFolder} {
		for name := range r.ftp.files(t, folder) {
			if err := os.Remove(r.ftp.path(folder + "/" + name)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// options are those of the rig's provider.
func (r *rig) options() Options {
	return Options{Endpoint: r.api.URL, User: ftpUser, Password: providers.NewSecret(testPassword), Location: "de/fra", FTP: r.ftp.address, Roots: r.ftp.roots}
}

// again is a provider of another process.
func (r *rig) again(t *testing.T) *Provider {
	t.Helper()
	p, err := newProvider(t.Context(), r.options(), quick)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// reserving is a provider that takes reserved addresses.
func (r *rig) reserving() *Provider {
	p, o := *r.Provider, *r.opts
	o.Reserve = true
	p.opts = &o
	return &p
}

// keeping is one that also makes volumes for the state, of something that is quicker to
// send than a file system.
func (r *rig) keeping() *Provider {
	p := r.reserving()
	p.opts.State = 10
	p.format = func(_ context.Context, dir string) (*os.File, error) {
		file := filepath.Join(dir, "state.raw")
		if err := os.WriteFile(file, []byte("a file system"), 0o600); err != nil {
			return nil, err
		}
		return os.Open(file)
	}
	return p
}

func (r *rig) begin(t *testing.T) *providers.Entry {
	t.Helper()
	e, err := r.journal.Begin(r.Name(), r.Account(), "a test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Abandon)
	return e
}

var testImage, testSum = randomImage(1 << 20)

func testUpload(e *providers.Entry) providers.Upload {
	return providers.Upload{
		Name: "claw", Image: bytes.NewReader(testImage), Bytes: int64(len(testImage)), SHA256: testSum, Journal: e,
		Labels: map[string]string{providers.LabelImage: providers.LabelDigest(testSum), providers.LabelID: e.ID},
	}
}

const wireguard = 51820

var testRules = []providers.Rule{
	{Proto: "udp", From: wireguard, To: wireguard, Source: netip.MustParsePrefix("0.0.0.0/0"), Why: "WireGuard"},
	{Proto: "udp", From: wireguard, To: wireguard, Source: netip.MustParsePrefix("::/0"), Why: "WireGuard"},
	{Proto: "icmp", From: 8, To: 8, Source: netip.MustParsePrefix("0.0.0.0/0"), Why: "ping"},
	{Proto: "icmpv6", From: 128, To: 128, Source: netip.MustParsePrefix("::/0"), Why: "ping"},
	{Proto: "tcp", From: 443, To: 443, Source: netip.MustParsePrefix("192.0.2.7/32"), Why: "web"},
	{Proto: "tcp", From: 8000, To: 8100, Source: netip.MustParsePrefix("2001:db8::/32"), Why: "a range"},
}

const testConfig = `{"ignition":{"version":"3.4.0"}}`

func testMachine(e *providers.Entry, image providers.Image) providers.Machine {
	return providers.Machine{
		Name: "claw-1", Image: image, UserData: []byte(testConfig), Rules: testRules, Journal: e,
		Labels: map[string]string{providers.LabelID: e.ID, providers.LabelImage: providers.LabelDigest(testSum)},
	}
}

// deployed is an image and a server of it, with their entry.
func (r *rig) deployed(t *testing.T) (providers.Server, *providers.Entry) {
	t.Helper()
	e := r.begin(t)
	image, err := r.Upload(t.Context(), testUpload(e))
	if err != nil {
		t.Fatal(err)
	}
	server, err := r.Deploy(t.Context(), testMachine(e, image))
	if err != nil {
		t.Fatal(err)
	}
	return server, e
}

// writes says how many requests changed something.
func (r *rig) writes() int {
	return r.api.Count("POST *") + r.api.Count("PATCH *") + r.api.Count("PUT *") + r.api.Count("DELETE *")
}

// empty wants nothing of Ingot's to be left that the API can delete.
func (r *rig) empty(t *testing.T, id string) {
	t.Helper()
	found, err := r.Find(t.Context(), id)
	if err != nil || len(found) != 0 {
		t.Errorf("left are %v, %v", found, err)
	}
	for _, d := range r.cloud.state.Centers {
		for _, list := range [][]object{{d.Object}, d.Volumes, d.LANs} {
			for _, o := range list {
				if strings.Contains(nameOf(o), id) || strings.Contains(describedAs(o), id) {
					t.Errorf("left is %v", o)
				}
			}
		}
		for _, m := range d.Servers {
			if strings.Contains(nameOf(m.Object), id) {
				t.Errorf("left is %v", m.Object)
			}
		}
	}
	for _, i := range r.cloud.state.Images {
		if strings.Contains(describedAs(i), labelState+"=") {
			continue // it stays for others
		}
		// One of nothing was nothing when it was sent, or was deleted.
		if strings.Contains(nameOf(i), id) && (fmt.Sprint(props(i)["size"]) != "0" || props(i)["imageType"] == "CDROM" && describedAs(i) != discarded) {
			t.Errorf("left is %v", i)
		}
	}
	for _, b := range r.cloud.state.Blocks {
		if strings.Contains(nameOf(b), id) {
			t.Errorf("left is %v", b)
		}
	}
}

func describedAs(o object) string { s, _ := props(o)["description"].(string); return s }
