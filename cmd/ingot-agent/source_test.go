package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFindConfig(t *testing.T) {
	missing := func(*testing.T, string) {}
	holds := func(s string) func(*testing.T, string) {
		return func(t *testing.T, p string) { write(t, p, s) }
	}
	sized := func(n int64) func(*testing.T, string) {
		return func(t *testing.T, p string) { write(t, p, ""); must(t, os.Truncate(p, n)) }
	}
	folder := func(t *testing.T, p string) { must(t, os.Mkdir(p, 0o755)) }
	pipe := func(t *testing.T, p string) { must(t, unix.Mkfifo(p, 0o644)) }
	for _, tc := range []struct {
		name          string
		first, second func(t *testing.T, p string)
		config        string
		source        string
		tried         []string
	}{
		{"best first", holds("one"), holds("two"), "one", "first", nil},
		{"next when missing", missing, holds("two"), "two", "second", []string{"first: not present"}},
		{"next when empty", holds(""), holds("two"), "two", "second", []string{"first: empty"}},
		{"blank is empty", holds(" \n\t\n"), missing, "", "", []string{"first: empty", "second: not present"}},
		{"too large", sized(maxConfig + 1), holds("two"), "two", "second", []string{"first: larger than 4194304 bytes"}},
		{"unreadable", folder, pipe, "", "", []string{"first: not a regular file", "second: not a regular file"}},
		{"kept byte for byte", holds("{\x00}\r\n "), missing, "{\x00}\r\n ", "first", nil},
		{"nothing", missing, missing, "", "", []string{"first: not present", "second: not present"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			sources := []source{{"first", filepath.Join(dir, "1")}, {"second", filepath.Join(dir, "2")}}
			tc.first(t, sources[0].path)
			tc.second(t, sources[1].path)
			f := findConfig(sources)
			if string(f.config) != tc.config || f.source != tc.source || !slices.Equal(f.tried, tc.tried) {
				t.Errorf("got %q from %q, tried %q", f.config, f.source, f.tried)
			}
			if none := f.config == nil; none != (tc.source == "") {
				t.Errorf("nil config: %v, source %q", none, f.source)
			}
		})
	}
}

func TestFindConfigWithoutPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read every file")
	}
	file := filepath.Join(t.TempDir(), "raw")
	write(t, file, "config")
	must(t, os.Chmod(file, 0))
	f := findConfig([]source{{"first", file}})
	if f.config != nil || len(f.tried) != 1 || !strings.Contains(f.tried[0], "permission denied") {
		t.Errorf("got %+v", f)
	}
}

func TestLargestConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "raw")
	want := bytes.Repeat([]byte("x"), maxConfig)
	must(t, os.WriteFile(file, want, 0o600))
	if f := findConfig([]source{{"first", file}}); !bytes.Equal(f.config, want) {
		t.Errorf("a config of %d bytes gave %d, tried %q", maxConfig, len(f.config), f.tried)
	}
}
