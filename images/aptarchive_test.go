package images

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"ingot/fault"
	"ingot/layers"
)

// What the real apt says of an archive that is not right.
func TestAptErrors(t *testing.T) {
	t.Parallel()
	const main = "debian/dists/trixie"
	never := func(*testing.T, *testArchive) {}
	dead := httptest.NewServer(nil)
	dead.Close()
	portal := httptest.NewServer(answer(http.StatusOK, "<html>Log in, please</html>"))
	t.Cleanup(portal.Close) // after the parallel tests
	empty := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(empty.Close)
	for _, tc := range []struct {
		name   string
		breaks func(*testing.T, *testArchive)
		mirror string
		kind   fault.Kind
		want   string
	}{
		{"good", never, "", fault.Unknown, ""},
		{"expired", func(t *testing.T, a *testArchive) {
			a.publish(t, main, released, "Valid-Until: "+released.Add(7*24*time.Hour).Format(time.RFC1123)+"\n")
		}, "", fault.OfMachine, "has an expired index"},
		{"of the future", func(t *testing.T, a *testArchive) {
			a.publish(t, main, time.Now().UTC().Add(100*24*time.Hour), "")
		}, "", fault.OfMachine, "has an index of the future: set this machine's clock"},
		{"changed on its way", func(t *testing.T, a *testArchive) {
			b, err := os.ReadFile(filepath.Join(a.dir, main, "InRelease"))
			if err != nil {
				t.Fatal(err)
			}
			a.write(t, main+"/InRelease", strings.Replace(string(b), "Origin: Test", "Origin: Evil", 1))
		}, "", fault.OfMachine, "whose signature is wrong"},
		{"another key", func(t *testing.T, a *testArchive) {
			other := newArchive(t)
			if err := os.Rename(other.keyring, a.keyring); err != nil {
				t.Fatal(err)
			}
		}, "", fault.OfMachine, "is signed with a key that this machine does not have"},
		{"not signed", func(t *testing.T, a *testArchive) {
			if err := os.Remove(filepath.Join(a.dir, main, "InRelease")); err != nil {
				t.Fatal(err)
			}
			a.write(t, main+"/Release", "Suite: trixie\nDate: "+released.Format(time.RFC1123)+"\nSHA256:\n")
		}, "", fault.OfMachine, "whose signature is wrong"},
		{"tampered packages", func(t *testing.T, a *testArchive) {
			a.write(t, main+"/main/binary-amd64/Packages", strings.Replace(a.packages[main], "Version: 1", "Version: 2", 1))
		}, "", fault.OfMachine, "has an index that is not the one it signed"},
		{"packages of another size", func(t *testing.T, a *testArchive) {
			a.write(t, main+"/main/binary-amd64/Packages", a.packages[main]+stanza("evil", "1", ""))
		}, "", fault.OfMachine, "has an index that is not the one it signed"},
		{"no such suite", func(t *testing.T, a *testArchive) {
			if err := os.RemoveAll(filepath.Join(a.dir, main)); err != nil {
				t.Fatal(err)
			}
		}, "", fault.OfInput, "has no such suite"},
		{"no keys", func(t *testing.T, a *testArchive) {
			if err := os.Remove(a.keyring); err != nil {
				t.Fatal(err)
			}
		}, "", fault.OfMachine, "install debian-archive-keyring"},
		{"a page to log in", never, portal.URL, fault.OfMachine, "sent something else than an index"},
		{"not a mirror", never, empty.URL, fault.OfInput, "has no such suite"},
		{"unreachable", never, dead.URL, fault.OfMachine, "cannot be reached; check the network"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if testing.Short() && tc.mirror == dead.URL {
				t.Skip("apt tries a mirror for some seconds")
			}
			archive := newArchive(t)
			tc.breaks(t, archive)
			if tc.mirror == "" {
				tc.mirror = archive.url()
			}
			a := apt{dir: t.TempDir(), mirror: tc.mirror, suite: "trixie", keyring: archive.keyring}
			err := a.update(t.Context())
			if tc.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || fault.Of(err) != tc.kind || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("kind %v: %v, want %q", fault.Of(err), err, tc.want)
			}
		})
	}
}

// newMirror has every package that a lock needs, and the plan of a server that
// asks for openssl, bash and tzdata.
func newMirror(t *testing.T) (*testArchive, layers.Plan, Options) {
	t.Helper()
	a := newArchive(t)
	seen := map[string]bool{}
	for _, names := range toolPackages() {
		for _, name := range names {
			if !seen[name] {
				a.add("debian/dists/trixie", stanza(name, "1-1", ""))
			}
			seen[name] = true
		}
	}
	a.add("debian/dists/trixie", stanza("bash", "5.2-1+b1", "Source: bash (5.2-1)\n"), stanza("openssl", "3.5.1-1", ""), stanza("libssl", "3.5.1-1", "Source: openssl\n"))
	a.add("debian/dists/trixie", stanza("tzdata", "2026a-1", ""))
	a.publish(t, "debian/dists/trixie", released, "")
	cache, err := OpenCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	plan := layers.Plan{Site: layers.Site{Suite: "trixie"}, Packages: []string{"openssl", "libssl", "bash", "tzdata"}}
	return a, plan, Options{LockFile: filepath.Join(t.TempDir(), LockFile), Mirrors: []string{a.url()}, Keyring: a.keyring, Cache: cache}
}

// lockNow writes the lock of the present state of the archive, as if the image
// had been built.
func lockNow(t *testing.T, plan layers.Plan, o Options) Lock {
	t.Helper()
	r, err := MakeLock(t.Context(), plan, o, true)
	if err != nil {
		t.Fatal(err)
	}
	l := r.Lock
	l.Epoch, l.Ignition, l.Accounts = 1, digits("b"), newLock().Accounts
	if err := l.Write(o.LockFile); err != nil {
		t.Fatal(err)
	}
	return l
}

const opensslChangelog = `openssl (3.5.3-1) trixie-security; urgency=high

  * CVE-2026-9999 and CVE-2026-10000: two holes.
  * An escape ` + "\x1b[2J and a bell \a" + `, which nobody may see.

 -- A <a@example.org>  Fri, 02 Jan 2026 03:04:05 +0000

openssl (3.5.2-1) trixie-security; urgency=high

  * CVE-2026-0001, which is like CVE-2026-9999.

 -- A <a@example.org>  Thu, 01 Jan 2026 03:04:05 +0000

openssl (3.5.1-1) unstable; urgency=medium

  * CVE-2025-0001 was here already.

 -- A <a@example.org>  Tue, 02 Dec 2025 03:04:05 +0000
`

func TestOutdated(t *testing.T) {
	t.Parallel()
	a, plan, o := newMirror(t)
	if _, err := FindOutdated(t.Context(), plan, o, false); fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "there is no ingot.lock") {
		t.Errorf("no lock: %v", err)
	}
	lock := lockNow(t, plan, o)
	if lock.Snapshot != "20260103T030405Z" {
		t.Errorf("snapshot %s, want a day after the newest index", lock.Snapshot)
	}
	before, err := os.ReadFile(o.LockFile)
	if err != nil {
		t.Fatal(err)
	}
	found, err := FindOutdated(t.Context(), plan, o, true)
	if err != nil || len(found.Packages)+len(found.Sources) > 0 || found.Bytes != 0 {
		t.Errorf("nothing is new: %+v (%v)", found, err)
	}

	const security = "debian-security/dists/trixie-security"
	a.deb(t, security, "libssl", "3.5.3-1", "Source: openssl\nDepends: libnew\n", map[string]string{"usr/share/doc/libssl/changelog.Debian.gz": gzipped(t, opensslChangelog)})
	a.deb(t, security, "libnew", "1-1", "", map[string]string{})
	a.deb(t, security, "openssl", "3.5.3-1", "Depends: libssl\n", map[string]string{"usr/share/doc/openssl/big": strings.Repeat("x", 1<<20)})
	a.publish(t, security, released.Add(time.Hour), "")
	a.deb(t, "debian/dists/trixie-updates", "tzdata", "2026b-1", "", map[string]string{"usr/share/doc/tzdata/changelog.gz": gzipped(t, "not a changelog\n")})
	a.publish(t, "debian/dists/trixie-updates", released.Add(2*time.Hour), "")

	found, err = FindOutdated(t.Context(), plan, o, true)
	if err != nil {
		t.Fatal(err)
	}
	var packages []Change
	for _, c := range found.Packages {
		c.old, c.new = Package{}, Package{}
		packages = append(packages, c)
	}
	if want := []Change{
		{Tree: TreeImage, Name: "libnew", Kind: Added, To: "1-1", Archive: ArchiveSecurity},
		{Tree: TreeImage, Name: "libssl", Kind: Up, From: "3.5.1-1", To: "3.5.3-1", Archive: ArchiveSecurity},
		{Tree: TreeImage, Name: "openssl", Kind: Up, From: "3.5.1-1", To: "3.5.3-1", Archive: ArchiveSecurity},
		{Tree: TreeImage, Name: "tzdata", Kind: Up, From: "2026a-1", To: "2026b-1", Archive: ArchiveUpdates},
	}; !reflect.DeepEqual(packages, want) {
		t.Errorf("%+v\nwant %+v", packages, want)
	}
	for i := range found.Sources {
		found.Sources[i].files = nil
	}
	if want := []SourceChange{
		{
			Source: "openssl", From: "3.5.1-1", To: "3.5.3-1", Archive: ArchiveSecurity, Trees: []Tree{TreeImage}, Packages: []string{"libssl", "openssl"},
			CVEs: []string{"CVE-2026-0001", "CVE-2026-9999", "CVE-2026-10000"},
			Entries: []Entry{
				{Version: "3.5.3-1", Text: "  * CVE-2026-9999 and CVE-2026-10000: two holes.\n  * An escape [2J and a bell , which nobody may see.", CVEs: []string{"CVE-2026-9999", "CVE-2026-10000"}},
				{Version: "3.5.2-1", Text: "  * CVE-2026-0001, which is like CVE-2026-9999.", CVEs: []string{"CVE-2026-0001", "CVE-2026-9999"}},
			},
		},
		{
			Source: "tzdata", From: "2026a-1", To: "2026b-1", Archive: ArchiveUpdates, Trees: []Tree{TreeImage}, Packages: []string{"tzdata"},
			CVEs: []string{}, Entries: []Entry{}, Problem: "tzdata: " + found.Sources[1].Problem[len("tzdata: "):],
		},
	}; !reflect.DeepEqual(found.Sources, want) {
		t.Errorf("%+v\nwant %+v", found.Sources, want)
	}
	if !strings.Contains(found.Sources[1].Problem, "read its changelog: ") {
		t.Errorf("tzdata: %s", found.Sources[1].Problem)
	}
	if found.Bytes < 1000 {
		t.Errorf("%d bytes", found.Bytes)
	}
	if after, err := os.ReadFile(o.LockFile); err != nil || string(after) != string(before) {
		t.Errorf("the lock was touched (%v)", err)
	}
	wantNames(t, filepath.Dir(o.LockFile), LockFile)
}

func TestDryRun(t *testing.T) {
	t.Parallel()
	a, plan, o := newMirror(t)
	r, err := MakeLock(t.Context(), plan, o, true)
	if err != nil || !r.Diff.First || r.Written || len(r.Lock.Trees[TreeImage]) != 5 {
		t.Errorf("no lock yet: %+v (%v)", r.Diff, err)
	}
	wantNames(t, filepath.Dir(o.LockFile))
	lockNow(t, plan, o)
	if r, err = MakeLock(t.Context(), plan, o, true); err != nil || !r.Diff.Empty() || r.Diff.First || r.Written {
		t.Errorf("up to date: %+v (%v)", r.Diff, err)
	}

	// Indices that are newer by themselves change nothing, not even the snapshot.
	a.publish(t, "debian/dists/trixie-updates", released.Add(240*time.Hour), "")
	if r, err = MakeLock(t.Context(), plan, o, true); err != nil || !r.Diff.Empty() || r.Lock.Snapshot != "20260103T030405Z" {
		t.Errorf("newer indices: %+v, snapshot %s (%v)", r.Diff, r.Lock.Snapshot, err)
	}
	plan.Packages = append(plan.Packages, "kmod")
	r, err = MakeLock(t.Context(), plan, o, true)
	if err != nil || len(r.Diff.Packages) != 1 || !reflect.DeepEqual(r.Diff.Other, []string{"kmod is asked for now (image)"}) || r.Lock.Snapshot != "20260113T030405Z" {
		t.Errorf("another package: %+v, snapshot %s (%v)", r.Diff, r.Lock.Snapshot, err)
	}
	plan.Packages = append(plan.Packages, "kmodd")
	if _, err := MakeLock(t.Context(), plan, o, true); fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "the suite trixie has no package kmodd;") {
		t.Errorf("no such package: %v", err)
	}
}

// The lock is made from the first mirror that can be read.
func TestMirrorsAreTriedInTurn(t *testing.T) {
	t.Parallel()
	_, plan, o := newMirror(t)
	good := o.Mirrors[0]
	o.Mirrors = []string{"file:///nowhere", good}
	r, err := MakeLock(t.Context(), plan, o, true)
	if err != nil || r.Lock.Mirror != good {
		t.Errorf("mirror %s, want %s (%v)", r.Lock.Mirror, good, err)
	}
	o.Mirrors = []string{"file:///nowhere", "file:///nothing"}
	if _, err = MakeLock(t.Context(), plan, o, true); err == nil || !strings.Contains(err.Error(), "mirror file:///nowhere ") || !strings.Contains(err.Error(), "mirror file:///nothing ") {
		t.Errorf("%v, want both", err)
	}
}

func TestLocked(t *testing.T) {
	t.Parallel()
	_, plan, o := newMirror(t)
	lock := lockNow(t, plan, o)
	before, err := os.ReadFile(o.LockFile)
	if err != nil {
		t.Fatal(err)
	}
	o.Locked, o.Mirrors = true, []string{"file:///nowhere"} // nobody is asked
	b := &builder{opts: o}
	if got, err := b.lock(t.Context(), plan); err != nil || !reflect.DeepEqual(got, lock) {
		t.Errorf("a lock that agrees: %v", err)
	}
	plan.Packages = []string{"bash", "libssl", "openssl", "zsh", "vim"}
	_, err = b.lock(t.Context(), plan)
	want := o.LockFile + ` is not the one of this ingot.yaml: it does not pin vim, zsh (image); it is also for tzdata (image); run "ingot lock"`
	if fault.Of(err) != fault.OfInput || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	plan.Site.Suite = "forky"
	if _, err = b.lock(t.Context(), plan); err == nil || !strings.Contains(err.Error(), "it is for Debian trixie, not forky; it does not pin") {
		t.Errorf("another suite: %v", err)
	}
	if after, err := os.ReadFile(o.LockFile); err != nil || string(after) != string(before) {
		t.Errorf("the lock was touched (%v)", err)
	}
	if err := os.Remove(o.LockFile); err != nil {
		t.Fatal(err)
	}
	if _, err = b.lock(t.Context(), plan); !strings.Contains(err.Error(), "there is no ingot.lock") {
		t.Errorf("no lock: %v", err)
	}
	wantNames(t, filepath.Dir(o.LockFile))
}
