package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReadBounded(t *testing.T) {
	sized := func(n int64) func(*testing.T, string) {
		return func(t *testing.T, p string) { write(t, p, ""); must(t, os.Truncate(p, n)) }
	}
	for _, tc := range []struct {
		name string
		make func(t *testing.T, p string)
		size int    // of what is read
		want string // in the error
	}{
		{"missing", func(*testing.T, string) {}, 0, "no such file"},
		{"empty", sized(0), 0, ""},
		{"largest", sized(maxConfig), maxConfig, ""},
		{"too large", sized(maxConfig + 1), 0, "larger than 4194304 bytes"},
		{"10 MB", sized(10 << 20), 0, "larger than 4194304 bytes"},
		{"folder", func(t *testing.T, p string) { must(t, os.Mkdir(p, 0o755)) }, 0, "not a regular file"},
		{"pipe", func(t *testing.T, p string) { must(t, unix.Mkfifo(p, 0o644)) }, 0, "not a regular file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			tc.make(t, filepath.Join(dir, "config"))
			for name, read := range map[string]func() ([]byte, error){
				"by path":      func() ([]byte, error) { return readBounded(filepath.Join(dir, "config")) },
				"below a root": func() ([]byte, error) { return readBelow(dir, "config") },
			} {
				b, err := read()
				if len(b) != tc.size || (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
					t.Errorf("%s: %d bytes, %v", name, len(b), err)
				}
			}
		})
	}
}

// A link on a volume must not lead to this machine's own secrets.
func TestReadBelowStaysBelow(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/secret", secret)
	for name, target := range map[string]string{"absolute": dir + "/secret", "relative": "../secret"} {
		must(t, os.MkdirAll(dir+"/volume", 0o755))
		must(t, os.Symlink(target, dir+"/volume/"+name))
		if b, err := readBelow(dir+"/volume", name); err == nil {
			t.Errorf("%s link: read %q", name, b)
		}
	}
}

func TestScreen(t *testing.T) {
	const good = `{"ignition":{"version":"3.6.0"}}`
	for _, tc := range []struct {
		name, config string
		refused      bool
		want         string // in the error, "" when it passes
	}{
		{"config", good, false, ""},
		{"with blanks around", "\n" + good + "\n", false, ""},
		{"empty", "", false, "empty"},
		{"blank", " \n\t\n", false, "empty"},
		{"cloud-config", "#cloud-config\npassword: " + secret, true, "it is cloud-config"},
		{"script", "#!/bin/sh\necho " + secret, true, "it is a script"},
		{"gzip", "\x1f\x8b\x08" + secret, true, "it is compressed"},
		{"YAML", "password: " + secret, true, "it is not JSON at byte 1 "},
		{"cut short", good[:len(good)-1], true, "it is not JSON at byte 31 of 31"},
		{"two", good + good, true, "it is not JSON"},
		{"zeros", strings.Repeat("\x00", 1<<16), true, "it is not JSON"},
		{"HTML", "<html>404</html>", true, "it is not JSON"},
		{"no version", `{"ignition":{}}`, true, "without a version"},
		{"no object", `["` + secret + `"]`, true, "without a version"},
		{"null", `null`, true, "without a version"},
		{"version is a number", `{"ignition":{"version":3}}`, true, "without a version"},
		{"version 2", `{"ignition":{"version":"2.2.0"}}`, true, `it is for version "2.2.0"`},
		{"version 30", `{"ignition":{"version":"30.0.0"}}`, true, "it is for version"},
		{"long version", `{"ignition":{"version":"` + strings.Repeat("9", 1<<20) + `"}}`, true, "it is for version"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := screen([]byte(tc.config))
			if tc.want == "" {
				must(t, err)
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) || errors.Is(err, errRefused) != tc.refused {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
			if strings.Contains(err.Error(), secret) || len(err.Error()) > 200 {
				t.Errorf("the config is quoted: %.300v", err)
			}
		})
	}
}

// Whatever user-data holds, the answer is one short line without its bytes.
func FuzzScreen(f *testing.F) {
	for _, s := range []string{`{"ignition":{"version":"3.6.0"}}`, "#cloud-config\n", "{", "\xff", `{"ignition":{"version":"\u001b[2J"}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := screen(b)
		if err == nil && !bytes.Contains(b, []byte("3.")) && !bytes.Contains(b, []byte("\\u")) {
			t.Errorf("%q passes", b)
		}
		if err != nil && (len(err.Error()) > 300 || strings.Contains(err.Error(), "\n")) {
			t.Errorf("said %q", err)
		}
	})
}

// The order is a promise: docs/image.md has it.
func TestSourceOrder(t *testing.T) {
	var names []string
	for _, s := range sources("qemu", patienceWith, nil) {
		names = append(names, s.name)
	}
	const want = "QEMU fw_cfg opt/com.coreos/config, the ESP's /instance.ign, a volume labelled cidata, a volume labelled config-2, the metadata service"
	if got := strings.Join(names, ", "); got != want {
		t.Errorf("got %s", got)
	}
}

func TestVolumeNotThere(t *testing.T) {
	enterInitrd(t)
	if _, err := (volume{[]string{"cidata"}, "user-data"}).read(context.Background()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// A volume with a file system that no definition of it has is not mounted.
func TestVolumeOfAnotherType(t *testing.T) {
	enterInitrd(t)
	write(t, "/fakes/blkid", "#!/bin/sh\ncase $* in *LABEL=*) echo /dev/vdb ;; *) echo ext4 ;; esac\n")
	must(t, os.Chmod("/fakes/blkid", 0o755))
	_, err := volume{[]string{"cidata"}, "user-data"}.read(context.Background())
	if err == nil || !strings.Contains(err.Error(), `/dev/vdb has a file system of type "ext4"`) {
		t.Errorf("got %v", err)
	}
}

func TestNetworkCards(t *testing.T) {
	class := t.TempDir()
	write(t, class+"/lo/type", "772\n")
	write(t, class+"/eth1/device/vendor", "0x1af4\n")
	write(t, class+"/eth0/device/vendor", "0x1af4\n")
	if got, err := networkCards(class); err != nil || strings.Join(got, " ") != "eth0 eth1" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := networkCards(class + "/none"); err != nil || got != nil {
		t.Errorf("without a network: %q, %v", got, err)
	}
}
