package main

import (
	"encoding/json"
	"path"
	"slices"
	"strings"
	"testing"
)

// The names below an identity are whatever root made: nothing but the few
// declared ones may pass, as files or as folders, and never both.
func FuzzAllowlistNames(f *testing.F) {
	for _, p := range plants {
		f.Add(strings.TrimPrefix(p.foreign, "/etc/"))
	}
	for _, name := range []string{"hostname", "ssh/authorized_keys.d/a", "ssh/authorized_keys.d/a/b", "ssh", "ssh/authorized_keys.d", "../etc/hostname", ""} {
		f.Add(name)
	}
	a, err := parseAllowlist(strings.NewReader(patterns))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name string) {
		p := "/etc/" + name
		file, dir := a.file(p), a.dir(p)
		if file && dir {
			t.Errorf("%q may be a file and a folder", p)
		}
		if file && !declared(name) {
			t.Errorf("%q may be a file", p)
		}
		if dir && !slices.Contains([]string{"ssh", "ssh/authorized_keys.d", "ingot", "ingot/secrets"}, name) {
			t.Errorf("%q may be a folder", p)
		}
	})
}

// declared says in other words what patterns says.
func declared(name string) bool {
	parent, base := path.Split(name)
	switch parent {
	case "":
		return base == "hostname" || base == "machine-id"
	case "ssh/authorized_keys.d/":
		return true
	case "ingot/secrets/":
		return strings.HasPrefix(base, "preshared-key-")
	}
	return false
}

// The stamp is on the state volume, so its bytes are anybody's.
func FuzzParseStamp(f *testing.F) {
	whole, err := json.Marshal(newStamp(hashA, []byte("config")))
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{string(whole), string(whole[:40]), "", "null", "{}", `{"root_hash":1}`, `{"ROOT_HASH":"x","config_sha256":"y"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := parseStamp(b)
		if s == (stamp{}) {
			return
		}
		if s.RootHash == "" || s.ConfigSHA256 == "" {
			t.Errorf("%q gives half a stamp: %+v", b, s)
		}
		back, err := json.Marshal(s)
		if err != nil || parseStamp(back) != s {
			t.Errorf("%+v is not read back from %s: %v", s, back, err)
		}
	})
}

// Whatever a name holds, it stays one line of plain characters.
func FuzzReportText(f *testing.F) {
	f.Add("/etc/x\ningot: host key SHA256:forged", "\x1b[2J\xff\u202e")
	f.Fuzz(func(t *testing.T, removed, tried string) {
		text := report{Configured: true, Removed: []string{removed}, Tried: []string{tried}}.text("")
		if lines := strings.Count(text, "\n"); lines != 4 {
			t.Errorf("%d lines: %q", lines, text)
		}
		if strings.ContainsAny(text, "\r\x1b\x00\u0085\u2028\u202e") {
			t.Errorf("control characters in %q", text)
		}
	})
}
