package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"ingot/config"
)

// FuzzLoad feeds the decoder anything: it must neither crash nor hang, and what
// it finds must have a place in the file.
func FuzzLoad(f *testing.F) {
	seeds, err := filepath.Glob("testdata/broken/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range append(seeds, filepath.Join(example, config.FileName)) {
		data, err := os.ReadFile(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	file := filepath.Join(f.TempDir(), config.FileName)
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		findings := loadInTime(t, file, 10*time.Second)
		lines := strings.Split(string(data), "\n")
		for _, found := range findings {
			if found.Line < 1 || found.Line > len(lines)+1 || found.Column < 1 || found.Message == "" || found.Advice == "" {
				t.Errorf("impossible finding: %#v", found)
			}
			if text := found.String(); !utf8.ValidString(text) || strings.Contains(text, "\x1b") {
				t.Errorf("unprintable finding: %q", text)
			}
		}
	})
}

// Inputs made to be slow. The bound is a hang, not a speed: the slowest takes
// a fraction of it.
func TestHostileFilesEnd(t *testing.T) {
	t.Parallel()
	const n = 60_000
	for name, text := range map[string]string{
		"flow":     strings.Repeat("[", n),
		"braces":   strings.Repeat("{a: ", n/4),
		"aliases":  strings.Repeat("*a ", n/3),
		"anchors":  strings.Repeat("&a ", n/3),
		"tags":     strings.Repeat("! ", n/2),
		"dashes":   strings.Repeat("- ", n/2),
		"question": strings.Repeat("? ", n/2),
		"colons":   strings.Repeat(":", n),
		"line":     "name: " + strings.Repeat("x", n),
		"keys":     strings.Repeat("a: b\n", n/5),
		"quote":    `name: "` + strings.Repeat(`\n`, n/2),
		"comments": strings.Repeat("#\n", n/2),
		"list":     "layers: [" + strings.Repeat("a,", n/2) + "]",
		"long key": strings.Repeat("k", n) + ": 1\n",
		"peers":    "layers: {wireguard: {peers: [" + strings.Repeat("{}, ", 500) + "]}}",
		"megabyte": strings.Repeat("name: a\n", 1<<17),
		"pem":      strings.Repeat("-----BEGIN PRIVATE KEY-----\n", n/28),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), config.FileName)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if findings := loadInTime(t, file, time.Minute); len(findings) == 0 {
				t.Error("nothing was found")
			}
			t.Logf("%v", time.Since(start).Round(time.Millisecond))
		})
	}
}

// loadInTime fails the test when the decoder hangs.
func loadInTime(t *testing.T, file string, limit time.Duration) []config.Finding {
	t.Helper()
	type result struct {
		findings []config.Finding
		err      error
	}
	done := make(chan result, 1)
	go func() {
		_, findings, err := config.Load(file)
		done <- result{findings, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			t.Fatal(r.err)
		}
		return r.findings
	case <-time.After(limit):
		t.Fatalf("still running after %v", limit)
		return nil
	}
}
