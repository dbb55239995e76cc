package hetzner

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"ingot/fault"
	"ingot/providers"
	"ingot/providers/fake"
)

// planted is a token that must not be seen anywhere.
const planted = "planted9token0of1hetzner2cloud3with4sixtyfour5characters6in7it8xx"

// bench is a provider in front of a cloud of its own.
type bench struct {
	*Provider
	cloud   *cloud
	api     *fake.Service
	journal *providers.Journal
	before  string // what was there at the beginning

	mu   sync.Mutex
	said []string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	c := newCloud(t, planted)
	c.lab.mock = true
	b := &bench{cloud: c}
	b.api = fake.Serve(t, fake.Options{Spec: "testdata/openapi.json", Base: "/v1", Handler: c, Secrets: []string{planted}, Closed: true, Loose: loose})
	transport := &http.Transport{DisableKeepAlives: true} // it would send a GET again by itself
	p, err := New(Options{
		Token: providers.NewSecret(planted), Endpoint: b.api.URL, Transport: transport, SSHPort: c.lab.port, Writer: writer,
		Say: func(text string) { b.mu.Lock(); defer b.mu.Unlock(); b.said = append(b.said, text) },
	})
	if err != nil {
		t.Fatal(err)
	}
	p.pace = pace{time.Millisecond, 4 * time.Millisecond}
	b.Provider = p
	if b.journal, err = providers.OpenJournal(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	b.foreigners()
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if text := strings.Join(b.said, "\n") + fmt.Sprintf("%+v %#v %v", p, p.opts, p.opts); strings.Contains(text, planted) {
			t.Error("the token is in what was said")
		}
	})
	return b
}

// loose are the violations that are the document's own mistakes.
func loose(r fake.Request, err error) bool {
	// It types these as strings, and says "ID or name" and "IDs (`integer`) or names
	// (`string`)" beside that. The SDK sends numbers.
	text := err.Error()
	if strings.HasSuffix(r.Path, "/actions/detach") && strings.Contains(text, "request body not allowed") {
		return string(r.Body) == "{}" // the SDK sends an empty object where nothing is wanted
	}
	return r.String() == "POST /servers" && strings.Contains(text, "value must be a string") &&
		(strings.Contains(text, `"/image"`) || strings.Contains(text, `"/server_type"`) || strings.Contains(text, `"/ssh_keys/`))
}

// needRoot is for tests with a real sshd: the provider logs in as root.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("sshd lets root in only when root runs it; run the tests as root")
	}
	if _, err := os.Stat("/usr/sbin/sshd"); err != nil {
		t.Skip("there is no sshd; apt-get install openssh-server")
	}
}

// writer writes to the file that a machine of the lab has for a disk.
func writer(_ context.Context, c *ssh.Client, u providers.Upload) error {
	s, err := c.NewSession()
	if err != nil {
		return err
	}
	defer s.Close()
	s.Stdin = io.NewSectionReader(u.Image, 0, u.Bytes)
	out, err := s.Output(`cat >"$DISK" && sha256sum <"$DISK" && touch "$OFF"`)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(out), u.SHA256) {
		return fmt.Errorf("what was written is another: %s", out)
	}
	return nil
}

func (b *bench) begin(t *testing.T) *providers.Entry {
	t.Helper()
	e, err := b.journal.Begin(b.Name(), b.Account(), "a test")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func disk(t *testing.T) []byte {
	t.Helper()
	data := make([]byte, 300<<10)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	return data
}

func upload(data []byte, e *providers.Entry) providers.Upload {
	sum := sha256.Sum256(data)
	return providers.Upload{
		Name: "openclaw", Image: bytes.NewReader(data), Bytes: int64(len(data)), SHA256: hex.EncodeToString(sum[:]), Journal: e,
		Labels: map[string]string{providers.LabelConfig: "c0ffee", providers.LabelVerdict: "f00d"},
	}
}

// foreigners are what others have in the project, and what Ingot has made before.
func (b *bench) foreigners() {
	c := b.cloud
	for i, label := range []obj{{}, {"app": "web"}, {providers.LabelID: "otherentryofthejourn"}} {
		name := fmt.Sprint("theirs-", i)
		s := c.newServer(name, "running", label)
		c.kinds["firewalls"] = append(c.kinds["firewalls"], obj{
			"id": c.number(), "name": name, "labels": label, "created": created, "rules": []any{},
			"applied_to": []any{obj{"type": "server", "server": obj{"id": s["id"]}}},
		})
		c.kinds["ssh_keys"] = append(c.kinds["ssh_keys"], obj{"id": c.number(), "name": name, "public_key": "ssh-rsa x", "fingerprint": name, "labels": label, "created": created})
		c.newVolume(name, s["id"], label)
		image := c.newImage("snapshot", name, "x86")
		image["status"], image["labels"] = "available", label
	}
	b.before = c.left()
}

// left are the resources of a project that are not its stock, by kind.
func (c *cloud) left() string {
	var names []string
	for _, kind := range []string{"servers", "firewalls", "ssh_keys", "primary_ips", "volumes"} {
		for _, o := range c.kinds[kind] {
			names = append(names, fmt.Sprint(kind, " ", o["name"]))
		}
	}
	for _, i := range c.kinds["images"] {
		if i["type"] == "snapshot" {
			names = append(names, fmt.Sprint("snapshot ", i["description"]))
		}
	}
	return strings.Join(names, ", ")
}

// made are those that were not there at the beginning.
func (b *bench) made() string {
	before := strings.Split(b.before, ", ")
	return strings.Join(slices.DeleteFunc(strings.Split(b.cloud.left(), ", "), func(name string) bool {
		at := slices.Index(before, name)
		if at >= 0 {
			before = slices.Delete(before, at, at+1)
		}
		return at >= 0
	}), ", ")
}

func (c *cloud) snapshot(t *testing.T, number string) obj {
	t.Helper()
	for _, i := range c.kinds["images"] {
		if fmt.Sprint(id(i)) == number && i["type"] == "snapshot" {
			return i
		}
	}
	t.Fatalf("there is no snapshot %s", number)
	return nil
}

// wantError wants a kind, words, and no token.
func wantError(t *testing.T, err error, kind fault.Kind, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", words)
	}
	if got := fault.Of(err); got != kind {
		t.Errorf("%q is of kind %v, want %v", err, got, kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error is %q, want %q in it", err, w)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, planted) {
		t.Error("the token is in the error")
	}
}
