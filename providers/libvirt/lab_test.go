package libvirt

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"ingot/providers"
	"ingot/providers/libvirt/lab"
)

// These tests talk to a real libvirtd in namespaces of its own; -short leaves them
// out. Servers are started with firmware and without a system: cmd/ingot has a test
// with the example's image.

// home is the one libvirtd of all tests.
var home struct {
	once sync.Once
	lab  *lab.Lab
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if home.lab != nil {
		home.lab.Close()
	}
	if home.dir != "" {
		os.RemoveAll(home.dir)
	}
	os.Exit(code)
}

func host(t *testing.T) *lab.Lab {
	t.Helper()
	if testing.Short() {
		t.Skip("starts libvirtd; run without -short")
	}
	if err := lab.Missing(); err != nil {
		t.Skip(err)
	}
	home.once.Do(func() {
		if home.dir, home.err = os.MkdirTemp("", "ingot-lab-"); home.err == nil {
			// Not the first test's context: the others need it as well.
			home.lab, home.err = lab.Start(context.Background(), lab.Options{Dir: home.dir})
		}
	})
	if home.err != nil {
		t.Fatal(home.err)
	}
	return home.lab
}

// connect is a provider in the lab, and a journal of its own.
func connect(t *testing.T, change func(*Options)) (*Provider, *providers.Journal) {
	t.Helper()
	l := host(t)
	o := Options{URI: l.Socket(), Accelerator: "qemu", Emulator: l.Emulator, Memory: 64, CPUs: 1, Disk: 64 << 20}
	if change != nil {
		change(&o)
	}
	p, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	j, err := providers.OpenJournal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return p, j
}

// begin opens an entry whose things are removed when the test ends.
func begin(t *testing.T, p *Provider, j *providers.Journal) *providers.Entry {
	t.Helper()
	e, err := j.Begin(p.Name(), p.Account(), t.Name())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.Abandon()
		ctx := context.Background() // the test's has ended
		found, err := p.Find(ctx, e.ID)
		for _, r := range found {
			err = errors.Join(err, p.Delete(ctx, r))
		}
		if err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return e
}

// rawDisk is an image of so many MiB: random bytes, a hole, random bytes.
func rawDisk(t *testing.T, mib int) []byte {
	t.Helper()
	b := make([]byte, mib<<20)
	if _, err := rand.Read(b[:1<<20]); err != nil {
		t.Fatal(err)
	}
	if _, err := rand.Read(b[len(b)-100:]); err != nil {
		t.Fatal(err)
	}
	return b
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func upload(e *providers.Entry, image []byte) providers.Upload {
	return providers.Upload{
		Name: "example", Image: strings.NewReader(string(image)), Bytes: int64(len(image)), SHA256: digest(image), Journal: e,
		Labels: map[string]string{providers.LabelID: e.ID, providers.LabelImage: providers.LabelDigest(digest(image)), providers.LabelUnproven: "test"},
	}
}

func uploaded(t *testing.T, p *Provider, e *providers.Entry, image []byte) providers.Image {
	t.Helper()
	i, err := p.Upload(t.Context(), upload(e, image))
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// names are the resources' kinds and names.
func names(list []providers.Resource) []string {
	found := []string{}
	for _, r := range list {
		found = append(found, r.Kind+" "+r.Name)
	}
	return found
}
