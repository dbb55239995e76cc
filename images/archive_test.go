package images

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// testArchive is a small Debian archive in a folder, signed with a key of its own.
type testArchive struct {
	dir, keyring string
	home         string            // of gpg
	packages     map[string]string // Packages by suite, such as debian/dists/trixie
}

// released is a day of the past, so that no index is of the future.
var released = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// newArchive has the suites that a lock is made from, and nothing in them but
// an essential package.
func newArchive(t *testing.T) *testArchive {
	t.Helper()
	for _, program := range []string{"gpg", "apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	home, err := os.MkdirTemp("", "gpg") // a socket's path may have 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	a := &testArchive{dir: t.TempDir(), home: home, packages: map[string]string{
		"debian/dists/trixie": "", "debian/dists/trixie-updates": "", "debian-security/dists/trixie-security": "",
	}}
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run()
		os.RemoveAll(home)
	})
	a.gpg(t, nil, "--quick-generate-key", "test@example.org", "ed25519", "sign", "never")
	a.keyring = filepath.Join(a.dir, "keyring.gpg")
	if err := os.WriteFile(a.keyring, a.gpg(t, nil, "--export"), 0o644); err != nil {
		t.Fatal(err)
	}
	a.add("debian/dists/trixie", stanza("base-files", "1", "Essential: yes\n"))
	for suite := range a.packages {
		a.publish(t, suite, released, "")
	}
	return a
}

func (a *testArchive) gpg(t *testing.T, input []byte, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "gpg", append([]string{"--homedir", a.home, "--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("gpg %v: %v\n%s", args, err, stderr.String())
	}
	return out
}

// stanza describes a package whose file nobody looks at.
func stanza(name, version, more string) string {
	return fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: A <a@example.org>\nDescription: x\nFilename: pool/%[1]s_%[2]s_amd64.deb\nSize: 4\nSHA256: %x\n%s\n",
		name, version, sha256.Sum256([]byte(name+version)), more)
}

func (a *testArchive) add(suite string, stanzas ...string) {
	a.packages[suite] += strings.Join(stanzas, "")
}

// publish writes a suite's indices, with more fields in Release.
func (a *testArchive) publish(t *testing.T, suite string, date time.Time, more string) {
	t.Helper()
	index := a.packages[suite]
	dir := filepath.Join(a.dir, suite)
	if err := os.MkdirAll(filepath.Join(dir, "main/binary-amd64"), 0o755); err != nil {
		t.Fatal(err)
	}
	a.write(t, suite+"/main/binary-amd64/Packages", index)
	name := filepath.Base(suite)
	release := fmt.Sprintf("Origin: Test\nSuite: %s\nCodename: %s\nDate: %s\nArchitectures: all amd64\nComponents: main\n%sSHA256:\n %x %d main/binary-amd64/Packages\n",
		name, name, date.Format(time.RFC1123), more, sha256.Sum256([]byte(index)), len(index))
	a.write(t, suite+"/InRelease", string(a.gpg(t, []byte(release), "--clearsign")))
}

func (a *testArchive) write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (a *testArchive) url() string { return "file://" + a.dir }

// deb makes a real package with files, adds it to a suite, and returns where it
// lies below the archive.
func (a *testArchive) deb(t *testing.T, suite, name, version, control string, files map[string]string) {
	t.Helper()
	tree := t.TempDir()
	files["DEBIAN/control"] = fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: A <a@example.org>\nDescription: x\n%s", name, version, control)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		file := filepath.Join(tree, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(files[path]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	archive, _, _ := strings.Cut(suite, "/")
	path := filepath.Join("pool", name+"_"+version+"_amd64.deb")
	file := filepath.Join(a.dir, archive, path)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "dpkg-deb", "--root-owner-group", "-Zgzip", "--build", tree, file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	a.add(suite, fmt.Sprintf("%sFilename: %s\nSize: %d\nSHA256: %x\n\n", files["DEBIAN/control"], path, len(b), sha256.Sum256(b)))
}

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
