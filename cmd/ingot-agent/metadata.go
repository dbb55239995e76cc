package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// patience is how long a machine waits for a metadata service.
type patience time.Duration

// A machine without an identity is of no use before it has one, so it waits
// longer than one that can do with the last good config.
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
}

func (m metadata) read(ctx context.Context) ([]byte, error) {
	cards, err := networkCards("/sys/class/net")
	if err != nil {
		return nil, err
	}
	if len(cards) == 0 {
		return nil, errors.New("this machine has no network card")
	}
	return nil, errors.New("not asked")
}

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
