package vm

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata/golden instead of comparing")

// fakeToolchain is a tree with files in the places of the real ones; the
// linker is a script, so it can stand for every program of the tree.
func fakeToolchain(t *testing.T, script string) Toolchain {
	t.Helper()
	tc := Toolchain{Root: t.TempDir()}
	for _, f := range []string{linker, qemuBin, imgBin} {
		p := tc.path(f)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return tc
}

func TestCommandLine(t *testing.T) {
	t.Parallel()
	tc := fakeToolchain(t, "")
	tcg, _ := newAccel(TCG, "")
	kvm, _ := newAccel(KVM, "")
	tests := []struct {
		name string
		cfg  Config
	}{
		{"default", Config{Accel: tcg, Disk: "/img/openclaw.raw", Dir: "/run/a"}},
		{"everything", Config{
			Accel: kvm, Firmware: UEFI, CPUs: 4, MemoryMiB: 384, Reboots: true, Clock: time.Date(2001, 1, 2, 3, 4, 5, 0, time.UTC),
			Disk: "/img/a, b.raw", DiskBytes: 8 << 30, Bus: PVSCSI, Dir: "/run/it's, here",
			ExtraDisks: []ExtraDisk{{Path: "/img/var.raw"}, {Path: "/img/old.qcow2", Format: QCOW2, Overlay: true}},
			Net:        []string{"-netdev", "stream,id=net0,server=off,addr.type=unix,addr.path=/run/net", "-device", "virtio-net-pci,netdev=net0,romfile="},
			FwCfg:      map[string]string{"opt/z": "/f/z", "opt/com.coreos/config": "/f/a, b.ign"},
			SMBIOS:     []string{"type=1,manufacturer=Hetzner,product=vServer"},
		}},
		{"second boot", Config{
			Accel: tcg, Firmware: UEFI, Disk: "/img/openclaw.raw", Dir: "/run/b",
			Overlay: "/run/a/disk.qcow2", Vars: "/run/a/vars.qcow2", Snapshot: "ready",
		}},
	}
	for _, tt := range tests {
		tt.cfg.Toolchain = tc
		cfg, err := tt.cfg.complete()
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		v := &VM{cfg: cfg, files: cfg.files()}
		// One argument a line reads better in a diff.
		started := strings.ReplaceAll(shellLine(v.command(t.Context())), " -", " \\\n  -")
		got := "started as:\n" + started + "\n\ncommand.sh:\n" + v.script()
		compareGolden(t, strings.ReplaceAll(tt.name, " ", "-"), strings.ReplaceAll(got, tc.Root, "/tools"))
	}
}

func compareGolden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; make it with: go test -run %s -update", err, t.Name())
	}
	if got != string(want) {
		t.Errorf("%s differs; if that is intended: go test -run %s -update\n--- got\n%s\n--- want\n%s", file, t.Name(), got, want)
	}
}

func TestConfigErrors(t *testing.T) {
	t.Parallel()
	tc := fakeToolchain(t, "")
	tcg, _ := newAccel(TCG, "")
	good := Config{Toolchain: tc, Accel: tcg, Disk: "/d", Dir: "/a"}
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no toolchain", func(c *Config) { c.Toolchain.Root = "" }, `toolchain root "" is not absolute`},
		{"incomplete toolchain", func(c *Config) { c.Toolchain.Root = "/nowhere" }, "toolchain is incomplete"},
		{"colon in toolchain", func(c *Config) { c.Toolchain.Root = "/a:b" }, "colon or semicolon"},
		{"no accelerator", func(c *Config) { c.Accel = Accel{} }, "get one from Probe"},
		{"firmware", func(c *Config) { c.Firmware = "coreboot" }, `unknown firmware "coreboot"`},
		{"memory", func(c *Config) { c.MemoryMiB = -1 }, "must not be negative"},
		{"snapshot without overlay", func(c *Config) { c.Snapshot = "s" }, "needs the overlay"},
		{"snapshot without variables", func(c *Config) { c.Snapshot, c.Overlay, c.Firmware = "s", "/o", UEFI }, "needs its variable store"},
		{"disk format", func(c *Config) { c.ExtraDisks = []ExtraDisk{{Path: "/x", Format: "vdi"}} }, `extra disk 1: unknown format "vdi"`},
		{"relative disk", func(c *Config) { c.Disk = "d" }, `disk "d" is not an absolute path`},
		{"no artefact folder", func(c *Config) { c.Dir = "" }, `artefact folder "" is not`},
		{"relative fw_cfg", func(c *Config) { c.FwCfg = map[string]string{"opt/x": "x"} }, `fw_cfg opt/x "x" is not`},
	}
	if _, err := good.complete(); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	for _, tt := range tests {
		cfg := good
		tt.change(&cfg)
		_, err := cfg.complete()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestShellQuote(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{
		"-m":         "-m",
		"":           "''",
		"a b":        "'a b'",
		`{"a":"b"}`:  `'{"a":"b"}'`,
		"it's":       `'it'\''s'`,
		"$HOME;`ls`": "'$HOME;`ls`'",
		"tls=a,b":    "tls=a,b",
		"line\nfeed": "'line\nfeed'",
		"tcg,size=2": "tcg,size=2",
	} {
		if got := shellQuote(word); got != want {
			t.Errorf("%q: got %s, want %s", word, got, want)
		}
	}
}
