package providers

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"ingot/fault"
)

// JournalFile is the journal's name in the folder of this user's state.
const JournalFile = "journal.jsonl"

// Journal is the record of what was made at providers. A line is on the disk before
// the request that creates something is sent, so that what is left of work that was
// ended at any moment can be found. It is a file of JSON lines that only grows.
type Journal struct{ file string }

// StateDir is where Ingot keeps what it must not forget: $INGOT_STATE, or "ingot" in
// $XDG_STATE_HOME, which is ~/.local/state by default.
func StateDir() (string, error) {
	if dir := os.Getenv("INGOT_STATE"); dir != "" {
		return dir, nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "ingot"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fault.Machine(fmt.Errorf("there is no place for the journal of what is created: %w; set INGOT_STATE", err))
	}
	return filepath.Join(home, ".local", "state", "ingot"), nil
}

// OpenJournal opens the journal in a folder, which is made when it is not there.
func OpenJournal(dir string) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.Machine(fmt.Errorf("make the folder of the journal: %w", err))
	}
	return &Journal{filepath.Join(dir, JournalFile)}, nil
}

// record is one line.
type record struct {
	ID   string    `json:"id"`
	Time time.Time `json:"time"`
	// What happened: "begin", "create", "done", "gone".
	Event    string    `json:"event"`
	Provider string    `json:"provider,omitempty"`
	Account  string    `json:"account,omitempty"`
	What     string    `json:"what,omitempty"` // of the work, for people
	Resource *Resource `json:"resource,omitempty"`
	PID      int       `json:"pid,omitempty"`
}

// Entry is one piece of work at a provider.
type Entry struct {
	// ID is the value of [LabelID] of all that is made under it.
	ID       string
	Provider string
	Account  string
	What     string
	Began    time.Time
	// Created are what requests were sent for. The provider's id is empty when the
	// answer was not seen.
	Created []Resource

	journal *Journal
	last    time.Time // when the last request was to be sent
	lock    *os.File  // held while the work goes on
	mu      sync.Mutex
}

// Begin opens an entry. Exactly one of Done and Abandon ends it.
func (j *Journal) Begin(provider, account, what string) (*Entry, error) {
	e := &Entry{ID: strings.ToLower(rand.Text()[:20]), Provider: provider, Account: account, What: what, Began: time.Now().UTC(), journal: j}
	var err error
	if e.lock, err = j.hold(e.ID); err != nil {
		return nil, err
	}
	err = j.append(record{ID: e.ID, Time: e.Began, Event: "begin", Provider: provider, Account: account, What: what, PID: os.Getpid()})
	if err != nil {
		e.release()
		return nil, err
	}
	return e, nil
}

// Creates must be called before the request that creates something is sent. A nil
// entry records nothing.
func (e *Entry) Creates(kind, name string) error {
	if e == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	r := Resource{Kind: kind, Name: name}
	e.Created, e.last = append(e.Created, r), time.Now().UTC()
	return e.journal.append(record{ID: e.ID, Time: e.last, Event: "create", Resource: &r})
}

// IsDone reports whether another piece of work in the same journal is whole.
func (e *Entry) IsDone(id string) bool {
	if e == nil {
		return false
	}
	done, _, err := e.journal.Entries()
	return err == nil && slices.ContainsFunc(done, func(d *Entry) bool { return d.ID == id })
}

// Done ends an entry whose work is whole: what it made stays.
func (e *Entry) Done() error {
	err := e.journal.append(record{ID: e.ID, Time: time.Now().UTC(), Event: "done"})
	e.release()
	return err
}

// Abandon ends an entry whose work failed: what it made is for [Journal.Left].
func (e *Entry) Abandon() { e.release() }

// Gone ends an entry of which nothing is left.
func (e *Entry) Gone() error {
	return e.journal.append(record{ID: e.ID, Time: time.Now().UTC(), Event: "gone"})
}

// release lets others see that nobody works on it.
func (e *Entry) release() {
	if e.lock != nil {
		os.Remove(e.lock.Name())
		e.lock.Close()
		e.lock = nil
	}
}

// hold locks a file for as long as this process lives, so that what goes on is told
// from what was ended.
func (j *Journal) hold(id string) (*os.File, error) {
	f, err := os.OpenFile(j.lockFile(id), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fault.Machine(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fault.Machine(fmt.Errorf("lock %s: %w", f.Name(), err))
	}
	return f, nil
}

func (j *Journal) lockFile(id string) string {
	return filepath.Join(filepath.Dir(j.file), "work-"+id+".lock")
}

// goesOn reports whether a process works on an entry.
func (j *Journal) goesOn(id string) bool {
	f, err := os.Open(j.lockFile(id))
	if err != nil {
		return false
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil
}

// append writes a line and waits for the disk.
func (j *Journal) append(r record) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(j.file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fault.Machine(fmt.Errorf("write the journal: %w", err))
	}
	// One write: lines of two processes do not mix, and one that was cut short has
	// no end.
	_, err = f.Write(append(append([]byte{'\n'}, line...), '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fault.Machine(fmt.Errorf("write the journal: %w", err))
	}
	return nil
}

// Entries are all of the journal, oldest first: those whose work is whole, and in
// left those that nobody works on and that were not ended.
func (j *Journal) Entries() (done, left []*Entry, err error) {
	data, err := os.ReadFile(j.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fault.Machine(fmt.Errorf("read the journal: %w", err))
	}
	var order []string
	entries, ended := map[string]*Entry{}, map[string]string{}
	lines := bufio.NewReader(bytes.NewReader(data))
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break // without an end it was cut short, before the request was sent
		}
		var r record
		if json.Unmarshal(line, &r) != nil || r.ID == "" {
			continue // cut short, or the empty line before each
		}
		e := entries[r.ID]
		if e == nil {
			e = &Entry{ID: r.ID, journal: j}
			entries[r.ID] = e
			order = append(order, r.ID)
		}
		switch r.Event {
		case "begin":
			e.Provider, e.Account, e.What, e.Began = r.Provider, r.Account, r.What, r.Time
		case "create":
			if r.Resource != nil {
				e.Created, e.last = append(e.Created, *r.Resource), r.Time
			}
		case "done", "gone":
			ended[r.ID] = r.Event
		}
	}
	for _, id := range order {
		switch {
		case ended[id] == "done":
			done = append(done, entries[id])
		case ended[id] == "" && !j.goesOn(id):
			left = append(left, entries[id])
		}
	}
	return done, left, nil
}

// unseen is how long what a provider was asked to make may take to appear.
const unseen = 10 * time.Minute

// Collect removes what an ended piece of work has left at its provider: what carries
// the entry's label and nothing else. It returns what was removed. An entry of which
// nothing is found is kept until what was asked for must have appeared.
func (e *Entry) Collect(ctx context.Context, p Provider) ([]Resource, error) {
	if e.Provider != p.Name() || e.Account != p.Account() {
		return nil, fault.Input(fmt.Errorf("it was made at %s, %s", e.Provider, e.Account))
	}
	found, err := p.Find(ctx, e.ID)
	if err != nil {
		return nil, err
	}
	var removed []Resource
	for _, r := range found {
		if err := p.Delete(ctx, r); err != nil {
			return removed, fmt.Errorf("delete the %s %s: %w", r.Kind, r.Name, err)
		}
		removed = append(removed, r)
	}
	if age := time.Since(e.last); len(e.Created) > 0 && age < unseen {
		if len(found) > 0 {
			return removed, nil // the rest may appear yet: the entry is for the next time
		}
		return nil, fault.Provider(fmt.Errorf("nothing is there of what was asked for %s ago, and it may appear yet; run \"ingot gc\" again in %s",
			age.Round(time.Second), (unseen - age).Round(time.Second)))
	}
	return removed, e.Gone()
}
