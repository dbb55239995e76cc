package inspect

import (
	"strings"
	"testing"

	"ingot/images/sbom"
)

func TestBill(t *testing.T) {
	t.Parallel()
	bash := sbom.Component{Kind: sbom.Debian, Name: "bash", Version: "5.2-2+b5", Arch: "amd64", Source: "bash", SourceVersion: "5.2-2", Parts: []string{sbom.InRoot}}
	kmod := bash
	kmod.Name, kmod.Parts = "kmod", []string{sbom.InInitrd}
	agent := sbom.Component{Kind: sbom.Program, Name: "ingot-agent", Parts: []string{sbom.InRoot}}
	list := sbom.Bill{Suite: "trixie", Epoch: 1794475820, Components: []sbom.Component{bash, kmod, agent}}
	text, err := list.CycloneDX()
	if err != nil {
		t.Fatal(err)
	}
	installed := Package{Name: "bash", Version: "5.2-2+b5", Arch: "amd64", Source: "bash", SourceVersion: "5.2-2"}
	whole := Image{
		Packages:  []Package{installed},
		Documents: []Document{{Path: "/usr/share/ingot/build.json", Content: []byte("{}")}, {Path: "/usr/share/ingot/sbom.cdx.json", Content: text}},
	}
	if got, err := whole.Bill(); err != nil || got.Suite != "trixie" || len(got.Components) != 3 {
		t.Errorf("%+v, %v", got, err)
	}
	for name, tc := range map[string]struct {
		spoil func(*Image)
		want  string
	}{
		"broken":            {func(i *Image) { i.Broken = "block 3 of the root" }, "it is not what was sealed: block 3"},
		"no list":           {func(i *Image) { i.Documents = i.Documents[:1] }, "/usr/share/ingot/sbom.cdx.json is not in it"},
		"a list of nothing": {func(i *Image) { i.Documents[1].Content = nil }, "not CycloneDX in JSON"},
		"a package more": {func(i *Image) {
			i.Packages = append(i.Packages, Package{Name: "evil", Version: "1", Arch: "amd64", Source: "evil", SourceVersion: "1"})
		}, `of the package evil amd64 it has "", and dpkg has "1 evil 1"`},
		"a package less":  {func(i *Image) { i.Packages = nil }, `of the package bash amd64 it has "5.2-2+b5 bash 5.2-2", and dpkg has ""`},
		"another version": {func(i *Image) { i.Packages[0].Version = "5.1" }, `dpkg has "5.1 bash 5.2-2"`},
		"another source":  {func(i *Image) { i.Packages[0].Source = "openssl" }, `dpkg has "5.2-2+b5 openssl 5.2-2"`},
	} {
		i := whole
		i.Packages, i.Documents = append([]Package{}, whole.Packages...), append([]Document{}, whole.Documents...)
		tc.spoil(&i)
		if _, err := i.Bill(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}
