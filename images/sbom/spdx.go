package sbom

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spdx/tools-golang/spdx/v2/common"
	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"
)

// noAssertion is what SPDX calls "not known".
const noAssertion = "NOASSERTION"

// SPDX is the bill as SPDX 2.3 in JSON, one line.
func (b Bill) SPDX() ([]byte, error) {
	sum, err := b.digest()
	if err != nil {
		return nil, err
	}
	const image = "image"
	doc := spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName: "ingot-image",
		// The form that the specification proposes, §6.5.
		DocumentNamespace: fmt.Sprintf("https://spdx.org/spdxdocs/ingot-image-%x", sum[:16]),
		CreationInfo:      &spdx.CreationInfo{Creators: []common.Creator{{CreatorType: "Tool", Creator: "ingot"}}, Created: b.created()},
		Packages: []*spdx.Package{{
			PackageName: "ingot-image", PackageSPDXIdentifier: image, PackageDownloadLocation: noAssertion,
			PackageLicenseDeclared: noAssertion, PackageLicenseConcluded: noAssertion, PackageCopyrightText: noAssertion,
			PrimaryPackagePurpose: "OPERATING_SYSTEM", // in JSON; the text of §7.24 has a hyphen
		}},
		Relationships: []*spdx.Relationship{relation("DOCUMENT", common.TypeRelationshipDescribe, image)},
	}
	programs := b.programs()
	for _, c := range b.Components {
		doc.Packages = append(doc.Packages, b.spdxPackage(c))
		if len(c.Programs) == 0 {
			doc.Relationships = append(doc.Relationships, relation(image, common.TypeRelationshipContains, id(c)))
		}
		for _, name := range c.Programs {
			doc.Relationships = append(doc.Relationships, relation(programs[name], common.TypeRelationshipContains, id(c)))
		}
	}
	doc.OtherLicenses = b.otherLicences()
	text, err := json.Marshal(doc)
	return append(text, '\n'), err
}

// programs are the ids of the programs by name.
func (b Bill) programs() map[string]string {
	ids := map[string]string{}
	for _, c := range b.Components {
		if c.Kind == Program {
			ids[c.Name] = id(c)
		}
	}
	return ids
}

func relation(from, kind, to string) *spdx.Relationship {
	return &spdx.Relationship{RefA: element(from), Relationship: kind, RefB: element(to)}
}

func element(id string) common.DocElementID {
	return common.DocElementID{ElementRefID: common.ElementID(id)}
}

func (b Bill) spdxPackage(c Component) *spdx.Package {
	p := &spdx.Package{
		PackageName: c.Name, PackageSPDXIdentifier: common.ElementID(id(c)), PackageVersion: c.Version,
		PackageDownloadLocation: noAssertion, PackageLicenseConcluded: noAssertion,
		PackageLicenseDeclared: noAssertion, PackageCopyrightText: noAssertion,
	}
	if c.Licence != "" {
		p.PackageLicenseDeclared = c.Licence
	}
	if c.SHA256 != "" {
		p.PackageChecksums = []common.Checksum{{Algorithm: common.SHA256, Value: c.SHA256}}
	}
	if purl := b.PURL(c); purl != "" {
		p.PackageExternalReferences = []*spdx.PackageExternalReference{{
			Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: purl,
		}}
	}
	switch c.Kind {
	case Debian:
		p.PackageSupplier = &common.Supplier{SupplierType: "Organization", Supplier: "Debian"}
		p.PackageSourceInfo = fmt.Sprintf("built from the source package %s %s", c.Source, c.SourceVersion)
	case Program:
		p.PrimaryPackagePurpose = "APPLICATION"
	case Module:
		p.PrimaryPackagePurpose = "LIBRARY"
	case Container:
		p.PrimaryPackagePurpose = "CONTAINER"
	}
	if len(c.Parts) > 0 {
		p.PackageComment = "in the " + strings.Join(c.Parts, ", ")
	}
	return p
}

var licenceRef = regexp.MustCompile(`LicenseRef-[A-Za-z0-9.-]+`)

// otherLicences are those that the SPDX list does not have. Their text is in the
// image, where the package put it.
func (b Bill) otherLicences() []*spdx.OtherLicense {
	holders := map[string][]string{}
	for _, c := range b.Components {
		for _, ref := range licenceRef.FindAllString(c.Licence, -1) {
			holders[ref] = union(holders[ref], []string{c.Name})
		}
	}
	var list []*spdx.OtherLicense
	for ref, names := range holders {
		list = append(list, &spdx.OtherLicense{
			LicenseIdentifier: ref, LicenseName: strings.TrimPrefix(ref, refPrefix),
			ExtractedText: fmt.Sprintf("See /usr/share/doc/%s/copyright.", names[0]),
		})
	}
	slices.SortFunc(list, func(a, b *spdx.OtherLicense) int { return strings.Compare(a.LicenseIdentifier, b.LicenseIdentifier) })
	return list
}
