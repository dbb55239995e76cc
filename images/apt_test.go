package images

import (
	"errors"
	"maps"
	"reflect"
	"strings"
	"testing"

	"ingot/fault"
)

func TestParseURIs(t *testing.T) {
	t.Parallel()
	a := apt{mirror: "http://mirror.example"}
	paths, specs, err := a.parseURIs(`Reading package lists...
NOTE: This is only a simulation!
'http://mirror.example/debian/pool/main/b/bash/bash_5.2.37-2%2bb10_amd64.deb' bash_5.2.37-2+b10_amd64.deb 1501932 SHA256:aa
'http://mirror.example/debian-security/pool/updates/main/z/zlib/zlib1g_1.3.dfsg%2breally1.3.1-1_amd64.deb' zlib1g_1%3a1.3.dfsg+really1.3.1-1_amd64.deb 88720 SHA256:bb
'http://mirror.example/debian/pool/main/libs/x/libx%7e1_2%7erc1_all.deb' libx_2%7erc1_all.deb 7
`)
	if err != nil {
		t.Fatal(err)
	}
	wantSpecs := []string{"bash=5.2.37-2+b10", "zlib1g=1:1.3.dfsg+really1.3.1-1", "libx=2~rc1"}
	if !reflect.DeepEqual(specs, wantSpecs) {
		t.Errorf("specs %q, want %q", specs, wantSpecs)
	}
	wantPaths := map[string]string{
		"bash=5.2.37-2+b10":               "debian/pool/main/b/bash/bash_5.2.37-2+b10_amd64.deb",
		"zlib1g=1:1.3.dfsg+really1.3.1-1": "debian-security/pool/updates/main/z/zlib/zlib1g_1.3.dfsg+really1.3.1-1_amd64.deb",
		"libx=2~rc1":                      "debian/pool/main/libs/x/libx~1_2~rc1_all.deb",
	}
	if !reflect.DeepEqual(paths, wantPaths) {
		t.Errorf("paths %q, want %q", paths, wantPaths)
	}
}

func TestParseURIsRefuses(t *testing.T) {
	t.Parallel()
	a := apt{mirror: "http://mirror.example"}
	for name, line := range map[string]string{
		"another mirror":          "'http://other.example/debian/pool/b/bash_1_amd64.deb' bash_1_amd64.deb 1 SHA256:aa",
		"a mirror that starts so": "'http://mirror.example.org/debian/pool/b/bash_1_amd64.deb' bash_1_amd64.deb 1 SHA256:aa",
		"not a package":           "'http://mirror.example/debian/dists/trixie/InRelease' InRelease 1 SHA256:aa",
		"no file name":            "'http://mirror.example/debian/pool/b/bash_1_amd64.deb'",
		"a broken escape":         "'http://mirror.example/debian/pool/b/bash_1%_amd64.deb' bash_1_amd64.deb 1 SHA256:aa",
		"a broken escape in file": "'http://mirror.example/debian/pool/b/bash_1_amd64.deb' bash_1%zz_amd64.deb 1 SHA256:aa",
	} {
		if paths, _, err := a.parseURIs(line + "\n"); err == nil {
			t.Errorf("%s: accepted as %q", name, paths)
		}
	}
}

const stanzas = `Package: zlib1g
Source: zlib (1:1.2-9)
Version: 1:1.3-1
Architecture: amd64
Description: compression library
 Version: 9 is only text here
 .
 Package: neither
Filename: pool/main/z/zlib1g.deb
Size: 88720
SHA256: ` + "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc" + `

Package: bash
Version: 5.2
Architecture: amd64
Size: 7
SHA256: ` + "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd" + `

Package: bash
Version: 5.1
Architecture: amd64
Size: 6
SHA256: ` + "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee" + `
`

func TestParseStanzas(t *testing.T) {
	t.Parallel()
	got, err := parseStanzas(stanzas, map[string]string{"zlib1g=1:1.3-1": "debian/z.deb", "bash=5.2": "debian/b.deb"})
	if err != nil {
		t.Fatal(err)
	}
	want := []Package{
		{Name: "bash", Version: "5.2", Arch: "amd64", SHA256: digits("d"), Size: 7, Path: "debian/b.deb", Source: "bash", SourceVersion: "5.2"},
		{Name: "zlib1g", Version: "1:1.3-1", Arch: "amd64", SHA256: digits("c"), Size: 88720, Path: "debian/z.deb", Source: "zlib", SourceVersion: "1:1.2-9"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseStanzasRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, out, want string }{
		{"not described", strings.Replace(stanzas, "Version: 5.2", "Version: 5.3", 1), "apt wants bash=5.2 but does not describe it"},
		{"no digest", strings.Replace(stanzas, "SHA256: "+digits("d"), "MD5sum: d", 1), "no size and SHA-256 for bash=5.2"},
		{"a short digest", strings.Replace(stanzas, digits("d"), "dddd", 1), "no size and SHA-256 for bash=5.2"},
		{"no size", strings.Replace(stanzas, "Size: 7", "Size: seven", 1), "no size and SHA-256 for bash=5.2"},
	} {
		if _, err := parseStanzas(tc.out, map[string]string{"bash=5.2": "b.deb"}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestParsePolicy(t *testing.T) {
	t.Parallel()
	got := parsePolicy(`bash:
  Installed: (none)
  Candidate: 5.2.37-2+b10
  Version table:
     5.2.37-2+b10 500
        500 http://mirror.example/debian trixie/main amd64 Packages
tzdata:
  Installed: 2026a-0
  Candidate: 2026b-0
  Version table:
     2026b-0 500
        500 http://mirror.example/debian trixie-updates/main amd64 Packages
        500 file:/srv/mirror/debian trixie/main amd64 Packages
 *** 2026a-0 500
        100 /var/lib/dpkg/status
     2025a-0 500
        500 http://mirror.example/debian trixie/main amd64 Packages
`)
	want := map[string][]string{"bash=5.2.37-2+b10": {"trixie"}, "tzdata=2026b-0": {"trixie-updates", "trixie"}, "tzdata=2025a-0": {"trixie"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestExplainInstall(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		"E: Unable to locate package kmodd":                                           "has no package kmodd;",
		"E: Package 'telnetd' has no installation candidate":                          "has no package telnetd;",
		"E: Unable to locate package x.y\nE: Couldn't find any package by glob 'x.y'": "has no package x.y;",
		"The following packages have unmet dependencies:\n a : Depends: b":            "cannot be installed together",
	} {
		err := apt{suite: "trixie"}.explainInstall(aptError{"apt-get install", errors.New("exit status 100"), said})
		if fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), said) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestCheckNames(t *testing.T) {
	t.Parallel()
	packages := []Package{newPackage("postfix"), newPackage("bash")}
	if err := checkNames([]string{"bash", "postfix"}, packages); err != nil {
		t.Error(err)
	}
	err := checkNames([]string{"bash", "mail-transport-agent"}, packages)
	if fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "mail-transport-agent is no package of its own") {
		t.Errorf("a virtual package: %v", err)
	}
}

// FuzzApt looks for a package that is not what apt meant: one whose place or
// digest could not be.
func FuzzApt(f *testing.F) {
	f.Add("'http://m/debian/b_1%3a1_amd64.deb' b_1%3a1_amd64.deb 1 SHA256:aa\n", "Package: b\nVersion: 1:1\nSize: 1\nSHA256: "+digits("a")+"\n")
	f.Add("'' \n'", "\n\nPackage:\n")
	f.Fuzz(func(t *testing.T, uris, show string) {
		paths, specs, err := apt{mirror: "http://m"}.parseURIs(uris)
		if err != nil {
			return
		}
		packages, err := parseStanzas(show, paths)
		if err != nil {
			return
		}
		if len(packages) != len(paths) || len(specs) < len(paths) {
			t.Errorf("%d packages of %d paths and %d specs", len(packages), len(paths), len(specs))
		}
		for _, p := range packages {
			if len(p.SHA256) != 64 || paths[p.Name+"="+p.Version] != p.Path {
				t.Errorf("%+v", p)
			}
		}
	})
}

func TestCandidates(t *testing.T) {
	t.Parallel()
	got := candidates(`Package: bash
Version: 5.2.37-2+b5
Architecture: amd64
Source: bash (5.2.37-2)

Package: linux-image-6.12.120+deb13-cloud-amd64
Version: 6.12.120-1
Architecture: amd64
Source: linux-signed-amd64 (6.12.120+1)

Package: linux-image-6.12.118+deb13-cloud-amd64
Version: 6.12.118-1
Architecture: amd64
Source: linux-signed-amd64 (6.12.118+1)

Package: adduser
Version: 3.152
Architecture: all

`)
	if want := map[string]string{"bash": "5.2.37-2", "linux": "6.12.120-1", "adduser": "3.152"}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
