package sbom

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/github/go-spdx/v2/spdxexp"
)

func TestExpression(t *testing.T) {
	t.Parallel()
	const format = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n"
	for _, tc := range []struct{ copyright, want string }{
		{"This package was debianized by somebody.\nLicense: GPL-2\n", ""},
		{format, ""},
		{format + "Files: *\nCopyright: x\nLicense: GPL-2+\n\nLicense: GPL-2+\n The text of it.\n", "GPL-2.0-or-later"},
		{format + "Files: *\nLicense: GPL-2\n\nFiles: debian/*\nLicense: Expat\n text\n", "GPL-2.0-only AND MIT"},
		{format + "Files: *\nLicense: GPL-1+ or Artistic\n", "Artistic-1.0 OR GPL-1.0-or-later"},
		{format + "Files: *\nLicense: GPL-1+ or Artistic\n\nFiles: x\nLicense: ISC\n", "(Artistic-1.0 OR GPL-1.0-or-later) AND ISC"},
		{format + "Files: *\nLicense: GPL-1+ or Artistic, and Expat\n", "(Artistic-1.0 OR GPL-1.0-or-later) AND MIT"},
		{format + "Files: *\nLicense: GPL-2 or Expat and ISC\n", "(MIT AND ISC) OR GPL-2.0-only"},
		{format + "Files: *\nLicense: LGPL-2.1\n\nFiles: y\nLicense: LGPLv2.1+\n", "LGPL-2.1-only AND LGPL-2.1-or-later"},
		{format + "Files: *\nLicense: GFDL-NIV-1.3+\n", "GFDL-1.3-no-invariants-or-later"},
		{format + "Files: *\nLicense: GPL-2.0-only\n", "GPL-2.0-only"},
		{format + "Files: *\nLicense: GPL-2 with Linux-syscall-note exception\n", "GPL-2.0-only WITH Linux-syscall-note"},
		{format + "Files: *\nLicense: GPL-2+ with distribution exception\n", "LicenseRef-debian-GPL-2-or-later-with-distribution-exception"},
		{format + "Files: *\nLicense: public-domain\n I give it away.\n", "LicenseRef-debian-public-domain"},
		{format + "Files: *\nLicense:\n Some text.\n", "LicenseRef-debian-unnamed"},
		{format + "Files: *\nLicense: Permission is hereby granted, free of charge, to any person\n", "LicenseRef-debian-unnamed"},
		{format + "Files: *\nLicense: A/B_C\n", "LicenseRef-debian-A-B-C"},
		{format + "Files: *\nCopyright: nobody\n", ""},
	} {
		got := expression(tc.copyright)
		if got != tc.want {
			t.Errorf("%q: %q, want %q", tc.copyright, got, tc.want)
		}
		if ok, _ := spdxexp.ValidateLicenses([]string{got}); !ok && got != "" {
			t.Errorf("%q is no expression of SPDX's", got)
		}
	}
}

// TestLicencesAreSPDX holds what short names become against SPDX' list, as another
// library has it.
func TestLicencesAreSPDX(t *testing.T) {
	t.Parallel()
	names := slices.Collect(maps.Keys(licences))
	for _, family := range []string{"GPL", "LGPL", "AGPL", "GFDL", "GFDL-NIV"} {
		for _, version := range []string{"0", "1", "1.1", "1.2", "1.3", "2", "2.0", "2.1", "3", "3.0.0", "3.1", "4"} {
			names = append(names, family+"-"+version, family+"-"+version+"+")
		}
	}
	for exception := range exceptions {
		names = append(names, "GPL-2+ with "+exception+" exception")
	}
	known := 0
	for _, name := range names {
		id := licence(name)
		if ok, _ := spdxexp.ValidateLicenses([]string{id}); !ok {
			t.Errorf("%s becomes %s, which SPDX does not know", name, id)
		}
		if !strings.HasPrefix(id, refPrefix) {
			known++
		}
	}
	if known < len(licences)+len(exceptions)+20 {
		t.Errorf("of %d names, only %d are in SPDX' list", len(names), known)
	}
	if ok, _ := spdxexp.ValidateLicenses([]string{"GPL-4.0-only"}); ok {
		t.Error("everything is in SPDX' list")
	}
}

func TestLicence(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	doc := filepath.Join(dir, "tree/usr/share/doc")
	for _, d := range []string{"kmod", "evil"} {
		if err := os.MkdirAll(filepath.Join(doc, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text := []byte("Format: x\n\nFiles: *\nLicense: ISC\n")
	for _, file := range []string{filepath.Join(doc, "kmod/copyright"), filepath.Join(dir, "outside")} {
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"libkmod2": "kmod", "evil/copyright": filepath.Join(dir, "outside")} {
		if err := os.Symlink(to, filepath.Join(doc, link)); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := os.OpenRoot(filepath.Join(dir, "tree"))
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	for name, want := range map[string]string{"kmod": "ISC", "libkmod2": "ISC", "none": ""} {
		if got, err := Licence(tree, name); got != want || err != nil {
			t.Errorf("%s: %q (%v), want %q", name, got, err, want)
		}
	}
	if got, err := Licence(tree, "evil"); err == nil {
		t.Errorf("a link out of the tree was followed: %q", got)
	}
}
