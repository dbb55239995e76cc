package inspect

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

func packages() []Package {
	list, err := readStatus(`Package: bash
Status: install ok installed
Essential: yes
Version: 5
Pre-Depends: libc6 (>= 2)
Description: shell
 Package: not this

Package: libc6
Status: install ok installed
Version: 2
Source: glibc

Package: fail2ban
Status: install ok installed
Version: 1+b1
Source: fail2ban-src (1)
Installed-Size: 3
Depends: python3:any, mail-transport-agent | libc6, ring1

Package: python3
Status: install ok installed
Version: 3
Depends: libc6, libssl3

Package: openssh-server
Status: install ok installed
Version: 10
Depends: libssl3 (>= 3), absent | virtual

Package: provider
Status: install ok installed
Version: 1
Provides: virtual (= 1), other

Package: libssl3
Status: install ok installed
Version: 3

Package: ring1
Status: install ok installed
Version: 1
Depends: ring2

Package: ring2
Status: install ok installed
Version: 1
Depends: ring1

Package: removed
Status: deinstall ok config-files
Version: 1
`)
	if err != nil {
		panic(err)
	}
	return list
}

func TestReadStatus(t *testing.T) {
	t.Parallel()
	list := packages()
	var names []string
	for _, p := range list {
		names = append(names, p.Name)
	}
	if got, want := strings.Join(names, " "), "bash fail2ban libc6 libssl3 openssh-server provider python3 ring1 ring2"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if f := list[1]; f.Source != "fail2ban-src" || f.SourceVersion != "1" || f.Installed != 3<<10 || fmt.Sprint(f.Needs) != "[[python3] [mail-transport-agent libc6] [ring1]]" {
		t.Errorf("%+v", f)
	}
	if c := list[2]; c.Source != "glibc" || c.SourceVersion != "2" {
		t.Errorf("%+v", c)
	}
	if _, err := readStatus("Package: x\nStatus: install ok installed\n"); err == nil {
		t.Error("a package without a version: no error")
	}
}

func TestAskers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		asked map[string][]string
		want  map[string]string
	}{
		"layers": {map[string][]string{"ssh": {"openssh-server"}, "fail2ban": {"fail2ban", "bash"}}, map[string]string{
			"bash": "base", "libc6": "base", "fail2ban": "fail2ban", "python3": "fail2ban", "ring1": "fail2ban", "ring2": "fail2ban",
			"libssl3": "fail2ban ssh", "openssh-server": "ssh", "provider": "ssh",
		}},
		"no plan": {newGraph(packages()).tops(), map[string]string{
			"bash": "base", "libc6": "base", "fail2ban": "fail2ban", "python3": "fail2ban", "ring1": "fail2ban", "ring2": "fail2ban",
			"libssl3": "fail2ban openssh-server", "openssh-server": "openssh-server", "provider": "openssh-server",
		}},
	} {
		got := map[string]string{}
		for p, who := range newGraph(packages()).askers(test.asked) {
			got[p] = strings.Join(who, " ")
		}
		if !maps.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
	alone := newGraph([]Package{{Name: "a", Needs: [][]string{{"b"}}}, {Name: "b", Needs: [][]string{{"a"}}}}).tops()
	if got := slices.Sorted(maps.Keys(alone)); !slices.Equal(got, []string{"a"}) {
		t.Errorf("of a circle %v, want a", got)
	}
}

func TestSizeOf(t *testing.T) {
	t.Parallel()
	i := Image{Packages: packages()}
	for n, p := range []string{"fail2ban", "libssl3", "libssl3", "openssh-server", ""} {
		i.Files = append(i.Files, File{Path: fmt.Sprintf("/usr/lib/x/%d", n), Type: "file", Bytes: 100, Stored: 10, Package: p})
	}
	i.Files = append(i.Files, File{Path: "/etc/a", Type: "file", Bytes: 1, Stored: 1}, File{Path: "/b", Type: "file"})
	s := SizeOf(i, map[string][]string{"ssh": {"openssh-server"}, "fail2ban": {"fail2ban"}})
	if p := s.Packages[0]; p.Name != "libssl3" || p.Bytes != 200 || p.Stored != 20 || p.Files != 2 {
		t.Errorf("the largest is %+v", p)
	}
	got := ""
	for _, a := range s.Askers {
		got += fmt.Sprintf("%s alone %d, %d; ", a.Name, a.Alone, a.Stored)
	}
	if want := "fail2ban alone 10, 30; ssh alone 10, 30; base alone 0, 0; "; got != "base alone 0, 0; "+want && got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if f := s.Folders; len(f) != 3 || f[0].Path != "/usr/lib" || f[0].Files != 5 || f[1].Path != "/etc" || f[2].Path != "/" {
		t.Errorf("folders %+v", f)
	}
	if len(s.Loose) != 3 || s.Loose[0].Path != "/usr/lib/x/4" {
		t.Errorf("loose %+v", s.Loose)
	}
}
