package images

import (
	"reflect"
	"testing"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	at := func(name, version, sha, path string) Package {
		p := newPackage(name)
		p.Version, p.SHA256, p.Path = version, digits(sha), path+"/pool/x.deb"
		return p
	}
	old, now := newLock(), newLock()
	old.Trees = map[Tree][]Package{
		TreeTools: {at("seabios", "1", "a", "debian")},
		TreeImage: {at("bash", "5.2-1", "a", "debian"), at("down", "1:1", "a", "debian"), at("gone", "1", "a", "debian"), at("same", "1", "a", "debian"), at("twin", "1", "a", "debian")},
	}
	now.Trees = map[Tree][]Package{
		TreeTools: {at("seabios", "1~rc1", "b", "debian")},
		TreeImage: {at("bash", "5.10-1", "b", "debian-security"), at("down", "2", "b", "debian"), at("new", "1", "a", "debian"), at("same", "1", "a", "debian"), at("twin", "1", "b", "debian")},
	}
	old.Version, old.Mirror = 1, "http://old"
	old.Requested = map[Tree][]string{TreeImage: {"bash", "gone"}}
	now.Requested = map[Tree][]string{TreeImage: {"bash", "new"}}
	old.Accounts.Passwd = append(old.Accounts.Passwd, "_old:x:99:99::/:/bin/false", "_moved:x:98:98::/:/bin/false")
	now.Accounts.Passwd = append(now.Accounts.Passwd, "_chrony:x:97:97::/:/bin/false", "_moved:x:96:96::/:/bin/false")
	now.Ignition = digits("c")
	archives := map[string]string{}
	for _, p := range append(now.Trees[TreeImage], now.Trees[TreeTools]...) {
		archives[p.spec()] = archiveOf(p)
	}
	got := compare(old, resolution{now, archives})
	for i := range got.Packages {
		got.Packages[i].old, got.Packages[i].new = Package{}, Package{}
	}
	want := Diff{
		Packages: []Change{
			{Tree: TreeImage, Name: "bash", Kind: Up, From: "5.2-1", To: "5.10-1", Archive: ArchiveSecurity},
			{Tree: TreeImage, Name: "down", Kind: Down, From: "1:1", To: "2", Archive: ArchiveMain},
			{Tree: TreeImage, Name: "gone", Kind: Removed, From: "1"},
			{Tree: TreeImage, Name: "new", Kind: Added, To: "1", Archive: ArchiveMain},
			{Tree: TreeImage, Name: "twin", Kind: Replaced, From: "1", To: "1", Archive: ArchiveMain},
			{Tree: TreeTools, Name: "seabios", Kind: Down, From: "1", To: "1~rc1", Archive: ArchiveMain},
		},
		Other: []string{
			"version of the file: 1 → 3", "mirror: http://old → " + DefaultMirror,
			"new is asked for now (image)", "gone is no longer asked for (image)",
			"account _chrony has number 97", "account _moved has number 96", "account _old is gone",
			"SHA-256 of Ignition: " + digits("b") + " → " + digits("c"),
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	if d := compare(now, resolution{now, archives}); !d.Empty() || d.First {
		t.Errorf("a lock and itself: %+v", d)
	}
	if d := compare(Lock{}, resolution{now, archives}); !d.First || !d.Empty() {
		t.Errorf("no lock: %+v", d)
	}
}
