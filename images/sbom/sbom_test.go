package sbom

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
)

func digits(c string) string { return strings.Repeat(c, 64) }

// example has a component of each kind, a package in two parts, a module in two
// programs, and licences that SPDX has a name for and has none for.
func example() Bill {
	return Bill{Suite: "trixie", Epoch: 1794475820, Components: Sorted([]Component{
		{Kind: Program, Name: "ingot-agent", SHA256: digits("d"), Parts: []string{InRoot}},
		{Kind: Program, Name: "ignition", Version: "v2.27.0", SHA256: digits("e"), Parts: []string{InInitrd}},
		{Kind: Debian, Name: "openssh-server", Version: "1:10.0p1-7+deb13u1", SHA256: digits("a"), Arch: "amd64", Source: "openssh", SourceVersion: "1:10.0p1-7+deb13u1", Parts: []string{InRoot}, Licence: "BSD-2-Clause AND LicenseRef-debian-public-domain"},
		{Kind: Debian, Name: "libc6", Version: "2.41-12", SHA256: digits("b"), Arch: "amd64", Source: "glibc", SourceVersion: "2.41-12", Parts: []string{InRoot}},
		{Kind: Debian, Name: "libc6", Version: "2.41-12", SHA256: digits("b"), Arch: "amd64", Source: "glibc", SourceVersion: "2.41-12", Parts: []string{InInitrd}, Licence: "LGPL-2.1-or-later"},
		{Kind: Debian, Name: "bash", Version: "5.2.37-2+b5", SHA256: digits("c"), Arch: "amd64", Source: "bash", SourceVersion: "5.2.37-2", Parts: []string{InRoot}},
		{Kind: Debian, Name: "adduser", Version: "3.152", SHA256: digits("9"), Arch: "all", Source: "adduser", SourceVersion: "3.152", Parts: []string{InRoot}},
		{Kind: Module, Name: "stdlib", Version: "1.26.3", Parts: []string{InRoot}, Programs: []string{"ingot-agent"}},
		{Kind: Module, Name: "stdlib", Version: "1.26.3", Parts: []string{InInitrd}, Programs: []string{"ignition"}},
		{Kind: Module, Name: "golang.org/x/sys", Version: "v0.49.0", Parts: []string{InRoot}, Programs: []string{"ingot-agent"}},
		{Kind: Container, Name: "docker.io/library/caddy", Version: "2.10", SHA256: digits("f"), Parts: []string{InRoot}},
	})}
}

func TestSorted(t *testing.T) {
	t.Parallel()
	b := example()
	var got []string
	for _, c := range b.Components {
		got = append(got, strings.TrimSpace(strings.Join([]string{string(c.Kind), c.Name, strings.Join(c.Parts, ","), strings.Join(c.Programs, ",")}, " ")))
	}
	want := []string{
		"container docker.io/library/caddy root", "debian adduser root", "debian bash root", "debian libc6 initrd,root", "debian openssh-server root",
		"module golang.org/x/sys root ingot-agent", "module stdlib initrd,root ignition,ingot-agent", "program ignition initrd", "program ingot-agent root",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if libc := b.Components[3]; libc.Licence != "LGPL-2.1-or-later" {
		t.Errorf("the licence %q of libc6 got lost", libc.Licence)
	}
}

func TestPURL(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"openssh-server":          "pkg:deb/debian/openssh-server@1:10.0p1-7%2Bdeb13u1?arch=amd64&distro=trixie&upstream=openssh",
		"libc6":                   "pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=trixie&upstream=glibc",
		"bash":                    "pkg:deb/debian/bash@5.2.37-2%2Bb5?arch=amd64&distro=trixie&upstream=bash%405.2.37-2",
		"adduser":                 "pkg:deb/debian/adduser@3.152?arch=all&distro=trixie",
		"stdlib":                  "pkg:golang/stdlib@1.26.3",
		"golang.org/x/sys":        "pkg:golang/golang.org/x/sys@v0.49.0",
		"docker.io/library/caddy": "pkg:oci/caddy@sha256:" + digits("f") + "?repository_url=docker.io%2Flibrary%2Fcaddy",
		"ingot-agent":             "", "ignition": "",
	}
	b := example()
	for _, c := range b.Components {
		if got := b.PURL(c); got != want[c.Name] {
			t.Errorf("%s: %s, want %s", c.Name, got, want[c.Name])
		}
	}
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		c    Component
		want string
	}{
		{Component{Arch: "amd64", Version: "5.2.37-2+b5", Source: "bash", SourceVersion: "5.2.37-2"}, "bash 5.2.37-2"},
		// The kernel that is signed for Secure Boot: nothing is listed for its own source.
		{Component{Arch: "amd64", Version: "6.12.118-1", Source: "linux-signed-amd64", SourceVersion: "6.12.118+1"}, "linux 6.12.118-1"},
	} {
		if name, version := tc.c.Origin(); name+" "+version != tc.want {
			t.Errorf("%s %s, want %s", name, version, tc.want)
		}
	}
}

func TestTheSameEveryTime(t *testing.T) {
	t.Parallel()
	first, err := example().Files()
	if err != nil {
		t.Fatal(err)
	}
	for range 20 { // maps come in another order each time
		again, err := example().Files()
		if err != nil || !reflect.DeepEqual(first, again) {
			t.Fatalf("not the same bytes (%v)", err)
		}
	}
	for name, text := range first {
		if strings.Count(string(text), "\n") != 1 || !bytes.HasSuffix(text, []byte("\n")) {
			t.Errorf("%s is not one line", name)
		}
		if !bytes.Contains(text, []byte("2026-11-12T09:30:20Z")) {
			t.Errorf("%s was not created at the lock's time", name)
		}
	}
	other := example()
	other.Components[1].Version += "x"
	changed, err := other.Files()
	if err != nil {
		t.Fatal(err)
	}
	for name, id := range map[string]string{SPDXFile: "documentNamespace", CycloneDXFile: "serialNumber"} {
		var was, is map[string]any
		if err := json.Unmarshal(first[name], &was); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(changed[name], &is); err != nil {
			t.Fatal(err)
		}
		if was[id] == is[id] || was[id] == nil {
			t.Errorf("two bills have the %s %v", id, was[id])
		}
	}
}

func TestCycloneDXRoundTrip(t *testing.T) {
	t.Parallel()
	text, err := example().CycloneDX()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(text)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, example()) {
		t.Errorf("got\n%+v\nwant\n%+v", got, example())
	}
}

// TestCycloneDXSchema holds a bill against the published schema, which comes with
// the library's source.
func TestCycloneDXSchema(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(strings.TrimSpace(string(out)), "schema")
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for name, file := range map[string]string{
		"bom-1.6.schema.json": "bom-1.6.schema.json", "spdx.schema.json": "spdx.schema.json", "jsf-0.82.schema.json": "jsf-0.82.schemax.json",
	} {
		f, err := os.Open(filepath.Join(folder, file))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		doc, err := jsonschema.UnmarshalJSON(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource("http://cyclonedx.org/schema/"+name, doc); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := c.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(text []byte) error {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return schema.Validate(doc)
	}
	text, err := example().CycloneDX()
	if err != nil {
		t.Fatal(err)
	}
	if err := check(text); err != nil {
		t.Error(err)
	}
	if check(bytes.Replace(text, []byte(`"alg":"SHA-256"`), []byte(`"alg":"SHA-255"`), 1)) == nil {
		t.Error("the schema takes everything")
	}
}

// TestSPDX reads a bill with the library of SPDX's own, which also finds
// references that lead nowhere.
func TestSPDX(t *testing.T) {
	t.Parallel()
	text, err := example().SPDX()
	if err != nil {
		t.Fatal(err)
	}
	var doc v2_3.Document
	if err := spdxjson.ReadInto(bytes.NewReader(text), &doc); err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{"DOCUMENT": "the document"}
	for _, p := range doc.Packages {
		id := string(p.PackageSPDXIdentifier)
		if ids[id] != "" {
			t.Errorf("%s and %s are both %s", ids[id], p.PackageName, id)
		}
		ids[id] = p.PackageName
		// Of the published JSON schema, schemas/spdx-schema.json of SPDX 2.3.
		if !slices.Contains([]string{"", "APPLICATION", "LIBRARY", "CONTAINER", "OPERATING_SYSTEM"}, p.PrimaryPackagePurpose) {
			t.Errorf("%s has the purpose %q", p.PackageName, p.PrimaryPackagePurpose)
		}
		if p.PackageDownloadLocation == "" || p.FilesAnalyzed {
			t.Errorf("%s lacks what is mandatory", p.PackageName)
		}
	}
	var related []string
	for _, r := range doc.Relationships {
		from, to := ids[string(r.RefA.ElementRefID)], ids[string(r.RefB.ElementRefID)]
		if from == "" || to == "" {
			t.Errorf("%v %s %v leads nowhere", r.RefA, r.Relationship, r.RefB)
		}
		related = append(related, from+" "+r.Relationship+" "+to)
	}
	for _, want := range []string{
		"the document DESCRIBES ingot-image", "ingot-image CONTAINS libc6", "ingot-image CONTAINS ingot-agent",
		"ingot-agent CONTAINS stdlib", "ignition CONTAINS stdlib", "ingot-agent CONTAINS golang.org/x/sys",
	} {
		if !slices.Contains(related, want) {
			t.Errorf("no relationship says %q", want)
		}
	}
	if slices.Contains(related, "ingot-image CONTAINS stdlib") {
		t.Error("the library is said to be in the image on its own")
	}
	if len(doc.OtherLicenses) != 1 || doc.OtherLicenses[0].LicenseIdentifier != "LicenseRef-debian-public-domain" || doc.OtherLicenses[0].ExtractedText != "See /usr/share/doc/openssh-server/copyright." {
		t.Errorf("licences outside SPDX's list: %+v", doc.OtherLicenses)
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	text, err := example().CycloneDX()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ name, old, replacement, want string }{
		{"no JSON", "{", "", "not CycloneDX in JSON"},
		{"another's", `"ingot:suite"`, `"other"`, "names no suite"},
		{"no time", "2026-11-12T09:30:20Z", "yesterday", "no time"},
		{"a kind", `"value":"debian"`, `"value":"rpm"`, `of no kind that Ingot writes: "rpm"`},
		{"an escape sequence", `"name":"bash"`, `"name":"ba\u001b[2Jsh"`, "a name or a version that is none"},
		{"a version in lines", `"version":"5.2.37-2+b5"`, `"version":"5.2\n37"`, "a name or a version that is none"},
		{"a source in blanks", `"name":"ingot:source","value":"bash"`, `"name":"ingot:source","value":"b a s h"`, "a name or a version that is none"},
		{"another digest", `"alg":"SHA-256"`, `"alg":"SHA-1"`, "no SHA-256"},
		{"no source", `"ingot:source"`, `"other"`, "without its source"},
	} {
		broken := bytes.Replace(text, []byte(tc.old), []byte(tc.replacement), 1)
		if bytes.Equal(broken, text) {
			t.Fatalf("%s: nothing was changed", tc.name)
		}
		if _, err := Read(broken); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

func FuzzRead(f *testing.F) {
	text, err := example().CycloneDX()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"metadata":{"component":{}},"components":[{}],"dependencies":[{}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := Read(text)
		if err != nil {
			return
		}
		again, err := b.CycloneDX()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Read(again); err != nil {
			t.Errorf("what was read cannot be read once written: %v", err)
		}
	})
}
