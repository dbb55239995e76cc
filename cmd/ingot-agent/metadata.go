package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a machine waits for its metadata service, from the
// first DHCP request on.
//
// A machine without an identity is of no use before it has one, so it waits
// longer than one that can do with the last good config.
type patience time.Duration

const (
	patienceWithout = patience(60 * time.Second)
	patienceWith    = patience(15 * time.Second)
)

func patienceFor(s stamp) patience {
	if s == (stamp{}) {
		return patienceWithout
	}
	return patienceWith
}

// metadata is the provider's metadata service.
type metadata struct {
	platform string // Ignition platform id, "" when unknown
	patience patience
	note     func(string) // is told what else it had to say, for the console
}

// answer is what asking a metadata service gave.
type answer struct {
	Config   []byte   `json:"config"` // nil when there is none
	URL      string   `json:"url"`    // where it was
	Problems []string `json:"problems"`
	Refused  bool     `json:"refused"` // one was there, and no instance config
	// Network is what it says of the network's cards, nil where none is to be had
	// or it could not be had, and Card the one that it was asked over.
	Network        []byte           `json:"network"`
	NetworkProblem string           `json:"network_problem"`
	Card           net.HardwareAddr `json:"card"`
}

// read asks in a process of its own that starts in a new network namespace. The
// cards are moved there; addresses, routes and the lock on them end with it, and
// the cards come back as they were: down and without an address. Nothing of it
// can reach the real root.
func (m metadata) read(ctx context.Context) ([]byte, error) {
	cards, err := networkCards("/sys/class/net")
	if err != nil {
		return nil, err
	}
	if len(cards) == 0 {
		return nil, errors.New("this machine has no network card")
	}
	_ = run(ctx, "modprobe", "-q", "-a", "nf_tables", "nft_ct") // in case the kernel does not ask for them itself
	a, err := m.askElsewhere(ctx, cards)
	if err != nil {
		return nil, fmt.Errorf("it could not be asked: %w", err)
	}
	if a.Config != nil {
		fmt.Println("user-data from", a.URL)
		if note := a.uplink(); note != "" {
			m.note(note)
		}
		return a.Config, nil
	}
	return nil, a.err()
}

// askElsewhere runs askMetadata with cards of this thread's network namespace.
func (m metadata) askElsewhere(ctx context.Context, cards []string) (answer, error) {
	var a answer
	// Past its deadline the process tidies up; past this it is ended.
	ctx, cancel := context.WithTimeout(ctx, time.Duration(m.patience)+10*time.Second)
	defer cancel()
	here, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return a, err
	}
	defer here.Close()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", append([]string{
		"metadata", "--platform=" + m.platform, "--patience=" + time.Duration(m.patience).String(),
	}, cards...)...)
	cmd.Args[0] = "ingot-agent"
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	var log bytes.Buffer
	cmd.Stderr = io.MultiWriter(os.Stderr, &log)
	cmd.ExtraFiles = []*os.File{here} // outsideFD
	out, err := cmd.Output()
	if err != nil {
		return a, fmt.Errorf("%w: %s", err, oneLine(errors.New(strings.TrimSpace(log.String()))))
	}
	return a, json.Unmarshal(bytes.TrimSpace(out), &a)
}

func (a answer) err() error {
	err := errors.New(strings.Join(a.Problems, "; "))
	if a.Refused {
		return refusedError{err}
	}
	return err
}

// refusedError is errRefused with a text of its own.
type refusedError struct{ error }

func (refusedError) Is(target error) bool { return target == errRefused }

// networkCards lists the interfaces of sysfs that are real hardware, by name.
func networkCards(classNet string) ([]string, error) {
	entries, err := os.ReadDir(classNet)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var cards []string
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(classNet, e.Name(), "device")); err == nil {
			cards = append(cards, e.Name())
		}
	}
	return cards, err
}
