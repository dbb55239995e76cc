package images

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ingot/layers"
)

func TestCheckTakenAway(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"/usr/bin/dpkg*", "/usr/lib/apt", "/etc/dpkg", "/opt/x/?.so", "/usr/bin/g++-1.2"} {
		if err := checkTakenAway(layers.Plan{Removed: []layers.Removal{{Layer: "l", Pattern: good}}}); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "/", "/usr", "/usr/", "/usr/*", "/usr/*/*", "/etc/..", "/usr/../etc/x", "/usr/bin/a b", "/usr/bin/a\n/etc/passwd", "/usr/bin/$(id)",
		"/usr/bin/`id`", "/usr/bin/'", "/usr/bin/[a-z]", "/usr/bin/{a,b}", "/var/lib/x", "usr/bin/x", "/usr//bin/x", "/usr/bin/x/.",
	} {
		err := checkTakenAway(layers.Plan{Removed: []layers.Removal{{Layer: "culprit", Pattern: bad}}})
		if err == nil || !strings.Contains(err.Error(), "culprit") {
			t.Errorf("%q is removed: %v", bad, err)
		}
	}
	for _, bad := range []string{"", "/", "usr/bin/x", "/usr/bin/*", "/usr/bin/a b", "/usr/bin/x\n", "/usr/bin/../bin/x", "/usr/bin/$x", "/usr/bin/?"} {
		err := checkTakenAway(layers.Plan{SUID: []layers.SUID{{Layer: "culprit", Path: bad}}})
		if err == nil || !strings.Contains(err.Error(), "culprit") {
			t.Errorf("%q keeps its bit: %v", bad, err)
		}
	}
	if err := checkTakenAway(layers.Plan{SUID: []layers.SUID{{Path: "/usr/bin/sudo"}}}); err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	info := filepath.Join(base, "tree/usr/lib/sysimage/dpkg/info")
	if err := os.MkdirAll(info, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(info, "gcc-14.list"), []byte("/.\n/usr/bin/gcc-14\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(base, "refused")
	if err := refusals(list, base, layers.Plan{}); err != nil {
		t.Errorf("no list: %v", err)
	}
	if err := os.WriteFile(list, []byte("compiler /usr/bin/gcc-14\nunowned /etc/my app.conf\nworld-writable /opt/x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	plan := layers.Plan{Owner: map[string]string{"file /etc/my app.conf": "custom/app"}}
	err := refusals(list, base, plan)
	if err == nil {
		t.Fatal("nothing is refused")
	}
	for _, want := range []string{
		"package gcc-14: /usr/bin/gcc-14 is a compiler", "layer custom/app: /etc/my app.conf belongs to nobody",
		"a maintainer script: /opt/x can be written by everybody",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func TestWithoutKept(t *testing.T) {
	t.Parallel()
	plan := layers.Plan{Removed: []layers.Removal{{Pattern: "/usr/bin/perl*", Unless: "perl"}, {Pattern: "/usr/bin/apt*"}}}
	for _, tc := range []struct {
		installed []Package
		want      int
	}{{nil, 2}, {[]Package{{Name: "perl-base"}}, 2}, {[]Package{{Name: "perl-base"}, {Name: "perl"}}, 1}} {
		if got := withoutKept(plan, tc.installed); len(got.Removed) != tc.want || got.Removed[tc.want-1].Pattern != "/usr/bin/apt*" {
			t.Errorf("with %v: %v", tc.installed, got.Removed)
		}
	}
	if len(plan.Removed) != 2 {
		t.Error("the plan itself was changed")
	}
}
