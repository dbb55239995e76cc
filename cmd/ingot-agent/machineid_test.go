package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// version4 is what machine-id(5) wants: 32 lower-case digits, of a version 4
// UUID of variant 1 (RFC 9562 §5.4).
var version4 = regexp.MustCompile(`^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$`)

func TestMachineIDIsMadeOnceAndKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "machine-id")
	first, err := machineID(file)
	must(t, err)
	if !version4.MatchString(first) {
		t.Errorf("%q is no version 4 UUID", first)
	}
	if got := read(t, file); got != first+"\n" {
		t.Errorf("the file holds %q, want %q", got, first)
	}
	if second, err := machineID(file); err != nil || second != first {
		t.Errorf("second time: %q, %v, want %q", second, err, first)
	}
	other, err := machineID(filepath.Join(t.TempDir(), "machine-id"))
	must(t, err)
	if other == first {
		t.Error("two machines have the same id")
	}
}

func TestMachineIDReplacesWhatIsDamaged(t *testing.T) {
	text := func(s string) func(*testing.T, string) {
		return func(t *testing.T, file string) { write(t, file, s) }
	}
	for name, damage := range map[string]func(t *testing.T, file string){
		"empty":              text(""),
		"truncated":          text("0123456789abcdef0123456789abcde"),
		"too long":           text("0123456789abcdef0123456789abcdef0\n"),
		"zeros of a cut":     text(strings.Repeat("\x00", 32)),
		"all digits zero":    text(strings.Repeat("0", 32) + "\n"),
		"upper case":         text("0123456789ABCDEF0123456789ABCDEF\n"),
		"not a digit":        text("0123456789abcdef0123456789abcdeg\n"),
		"systemd's own word": text("uninitialized\n"),
		"folder":             func(t *testing.T, file string) { write(t, filepath.Join(file, "x"), "") },
		"pipe":               func(t *testing.T, file string) { must(t, unix.Mkfifo(file, 0o600)) },
		"dangling link":      func(t *testing.T, file string) { must(t, os.Symlink("nowhere", file)) },
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "machine-id")
			damage(t, file)
			id, err := machineID(file)
			must(t, err)
			if !version4.MatchString(id) {
				t.Errorf("%q is no version 4 UUID", id)
			}
			if again, err := machineID(file); err != nil || again != id {
				t.Errorf("not kept: %q then %q, %v", id, again, err)
			}
		})
	}
}

// A power cut between the write and the rename leaves the new file under its
// other name, whole or not.
func TestMachineIDAfterPowerCut(t *testing.T) {
	const kept = "0123456789abcdef0123456789abcdef"
	for name, left := range map[string]string{"whole": strings.Repeat("f", 32) + "\n", "empty": "", "half": "ffff"} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "machine-id")
			write(t, file+".new", left)
			id, err := machineID(file)
			must(t, err)
			if !version4.MatchString(id) || read(t, file) != id+"\n" || exists(file+".new") {
				t.Errorf("%q is the id, %q in the file, other name still there: %v", id, read(t, file), exists(file+".new"))
			}
		})
		t.Run(name+" beside a kept one", func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "machine-id")
			write(t, file, kept+"\n")
			write(t, file+".new", left)
			if id, err := machineID(file); err != nil || id != kept {
				t.Errorf("%q, %v, want the kept %q", id, err, kept)
			}
		})
	}
}

// What root left under the other name must not lead the write elsewhere.
func TestMachineIDDoesNotWriteThroughALink(t *testing.T) {
	dir := t.TempDir()
	file, victim := filepath.Join(dir, "machine-id"), filepath.Join(dir, "victim")
	write(t, victim, "kept")
	must(t, os.Symlink(victim, file+".new"))
	id, err := machineID(file)
	must(t, err)
	if got := read(t, victim); got != "kept" {
		t.Errorf("the link's target became %q", got)
	}
	if got := read(t, file); got != id+"\n" {
		t.Errorf("the file holds %q, want %q", got, id)
	}
}
