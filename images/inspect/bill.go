package inspect

import (
	"fmt"
	"slices"
	"strings"

	"ingot/images/sbom"
)

// Bill is the list of what the image holds that lies in the image itself. It is an
// error when the image is not as it was sealed, or when the list has other packages
// for the root than are installed there.
func (i Image) Bill() (sbom.Bill, error) {
	const file = sbom.Folder + "/" + sbom.CycloneDXFile
	if i.Broken != "" {
		return sbom.Bill{}, fmt.Errorf("it is not what was sealed: %s", i.Broken)
	}
	n := slices.IndexFunc(i.Documents, func(d Document) bool { return d.Path == file })
	if n < 0 {
		return sbom.Bill{}, fmt.Errorf("%s is not in it", file)
	}
	bill, err := sbom.Read(i.Documents[n].Content)
	if err != nil {
		return bill, fmt.Errorf("%s: %w", file, err)
	}
	listed, installed := map[string]string{}, map[string]string{}
	for _, c := range bill.Components {
		if c.Kind == sbom.Debian && slices.Contains(c.Parts, sbom.InRoot) {
			listed[c.Name+" "+c.Arch] = strings.Join([]string{c.Version, c.Source, c.SourceVersion}, " ")
		}
	}
	for _, p := range i.Packages {
		installed[p.Name+" "+p.Arch] = strings.Join([]string{p.Version, p.Source, p.SourceVersion}, " ")
	}
	for _, c := range changes(listed, installed) {
		return bill, fmt.Errorf("%s does not list what is installed: of the package %s it has %q, and dpkg has %q", file, c.Name, c.Old, c.New)
	}
	return bill, nil
}
