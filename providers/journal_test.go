package providers

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// account is a provider of which only what the journal asks is there.
type account struct {
	Provider
	name, owner string
	there       map[string][]Resource // by id
	deleted     []Resource
	broken      error
}

func (a *account) Name() string    { return a.name }
func (a *account) Account() string { return a.owner }

func (a *account) Find(_ context.Context, id string) ([]Resource, error) {
	return a.there[id], a.broken
}

func (a *account) Delete(_ context.Context, r Resource) error {
	a.deleted = append(a.deleted, r)
	return a.broken
}

func journal(t *testing.T) *Journal {
	t.Helper()
	j, err := OpenJournal(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func begin(t *testing.T, j *Journal) *Entry {
	t.Helper()
	e, err := j.Begin("cloud", "mine", "upload openclaw")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(e.Creates("server", "temporary"), e.Creates("snapshot", "openclaw")); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestJournal(t *testing.T) {
	t.Parallel()
	j := journal(t)
	whole, failed, running := begin(t, j), begin(t, j), begin(t, j)
	if err := whole.Done(); err != nil {
		t.Fatal(err)
	}
	failed.Abandon()
	done, left, err := j.Entries()
	if err != nil {
		t.Fatal(err)
	}
	if len(done) != 1 || done[0].ID != whole.ID {
		t.Errorf("done: %v", done)
	}
	if len(left) != 1 || left[0].ID != failed.ID || left[0].Provider != "cloud" || left[0].Account != "mine" || left[0].What != "upload openclaw" {
		t.Fatalf("left: %v", left)
	}
	want := []Resource{{Kind: "server", Name: "temporary"}, {Kind: "snapshot", Name: "openclaw"}}
	if !slices.Equal(left[0].Created, want) {
		t.Errorf("created %v", left[0].Created)
	}
	running.Abandon()
	if _, left, _ := j.Entries(); len(left) != 2 {
		t.Errorf("%d are left after the last one was given up", len(left))
	}
}

// A line that was cut short is that of a request that was not sent; the lines after
// it count.
func TestTornJournal(t *testing.T) {
	t.Parallel()
	j := journal(t)
	begin(t, j).Abandon()
	whole, err := os.ReadFile(j.file)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(whole); n += 5 {
		if err := os.WriteFile(j.file, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		e := begin(t, j)
		e.Abandon()
		_, left, err := j.Entries()
		if err != nil {
			t.Fatal(err)
		}
		if last := left[len(left)-1]; last.ID != e.ID || last.Provider != "cloud" || len(last.Created) != 2 {
			t.Fatalf("after a journal of %d bytes: %v", n, last)
		}
	}
}

// What a killed process was doing is left, and what one that lives is doing is not.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("INGOT_TEST_JOURNAL"); dir != "" {
		j, err := OpenJournal(dir)
		if err != nil {
			t.Fatal(err)
		}
		begin(t, j)
		println("begun")
		select {}
	}
	dir := t.TempDir()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilled$")
	child.Env = append(os.Environ(), "INGOT_TEST_JOURNAL="+dir)
	said, err := child.StderrPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := said.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	j, err := OpenJournal(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, left, err := j.Entries(); err != nil || len(left) > 0 {
		t.Errorf("while it runs: %v, %v", left, err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	if _, left, err := j.Entries(); err != nil || len(left) != 1 || len(left[0].Created) != 2 {
		t.Errorf("after it was killed: %v, %v", left, err)
	}
}

func TestCollect(t *testing.T) {
	t.Parallel()
	j := journal(t)
	e := begin(t, j)
	e.Abandon()
	ours := []Resource{{"server", "7", "temporary"}}
	p := &account{name: "cloud", owner: "mine", there: map[string][]Resource{e.ID: ours, "": {{"server", "1", "foreign"}}}}
	for _, other := range []*account{{name: "cloud", owner: "theirs"}, {name: "sky", owner: "mine"}} {
		if _, err := e.Collect(t.Context(), other); err == nil || !strings.Contains(err.Error(), "cloud, mine") {
			t.Errorf("collected at %s of %s: %v", other.name, other.owner, err)
		}
	}
	p.broken = errors.New("no")
	if _, err := e.Collect(t.Context(), p); err == nil {
		t.Error("a failure to delete went unnoticed")
	}
	if _, left, _ := j.Entries(); len(left) != 1 {
		t.Error("it is forgotten although it could not be deleted")
	}
	p.broken, p.deleted = nil, nil
	e.last = e.last.Add(-unseen)
	removed, err := e.Collect(t.Context(), p)
	if err != nil || !slices.Equal(removed, ours) || !slices.Equal(p.deleted, ours) {
		t.Errorf("removed %v, deleted %v, %v", removed, p.deleted, err)
	}
	if _, left, _ := j.Entries(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// Of two things that were asked for a moment ago one is seen: the entry is kept for the
// other.
func TestCollectPart(t *testing.T) {
	t.Parallel()
	j := journal(t)
	e := begin(t, j)
	e.Abandon()
	p := &account{name: "cloud", owner: "mine", there: map[string][]Resource{e.ID: {{"server", "7", "temporary"}}}}
	if removed, err := e.Collect(t.Context(), p); err != nil || len(removed) != 1 {
		t.Fatal(removed, err)
	}
	if _, left, _ := j.Entries(); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// What was asked for a moment ago may not be seen yet.
func TestCollectSoon(t *testing.T) {
	t.Parallel()
	j := journal(t)
	e := begin(t, j)
	e.Abandon()
	p := &account{name: "cloud", owner: "mine"}
	if removed, err := e.Collect(t.Context(), p); err == nil || len(removed) > 0 {
		t.Errorf("removed %v, %v", removed, err)
	}
	if _, left, _ := j.Entries(); len(left) != 1 {
		t.Error("it is forgotten, and may appear yet")
	}
	e.last = e.last.Add(-unseen)
	if _, err := e.Collect(t.Context(), p); err != nil {
		t.Error(err)
	}
	if _, left, _ := j.Entries(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
