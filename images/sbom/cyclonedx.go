package sbom

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/package-url/packageurl-go"
)

// Names of properties, in a namespace of their own as CycloneDX wants it.
const (
	suiteProperty         = "ingot:suite"
	partProperty          = "ingot:part"
	kindProperty          = "ingot:kind"
	sourceProperty        = "ingot:source"
	sourceVersionProperty = "ingot:sourceVersion"
)

// CycloneDX is the bill as CycloneDX 1.6 in JSON, one line.
func (b Bill) CycloneDX() ([]byte, error) {
	sum, err := b.digest()
	if err != nil {
		return nil, err
	}
	const image = "image"
	// Version 8: custom, RFC 9562 §5.8.
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80
	d := hex.EncodeToString(sum[:16])
	bom := cdx.NewBOM()
	bom.SpecVersion = cdx.SpecVersion1_6
	bom.JSONSchema = "http://cyclonedx.org/schema/bom-1.6.schema.json"
	bom.SerialNumber = "urn:uuid:" + strings.Join([]string{d[:8], d[8:12], d[12:16], d[16:20], d[20:]}, "-")
	bom.Metadata = &cdx.Metadata{
		Timestamp: b.created(),
		Tools:     &cdx.ToolsChoice{Components: &[]cdx.Component{{Type: cdx.ComponentTypeApplication, Name: "ingot"}}},
		Component: &cdx.Component{
			BOMRef: image, Type: cdx.ComponentTypeOS, Name: "ingot-image",
			Properties: &[]cdx.Property{{Name: suiteProperty, Value: b.Suite}},
		},
	}
	components := make([]cdx.Component, 0, len(b.Components))
	var top []string
	held := map[string][]string{}
	for _, c := range b.Components {
		components = append(components, b.cdxComponent(c))
		if len(c.Programs) == 0 {
			top = append(top, id(c))
		}
		for _, name := range c.Programs {
			held[name] = append(held[name], id(c))
		}
	}
	dependencies := []cdx.Dependency{{Ref: image, Dependencies: &top}}
	for _, c := range b.Components {
		if modules := held[c.Name]; c.Kind == Program && len(modules) > 0 {
			dependencies = append(dependencies, cdx.Dependency{Ref: id(c), Dependencies: &modules})
		}
	}
	bom.Components, bom.Dependencies = &components, &dependencies
	var text bytes.Buffer
	// Not EncodeVersion, which would convert to and fro.
	if err := cdx.NewBOMEncoder(&text, cdx.BOMFileFormatJSON).SetEscapeHTML(false).Encode(bom); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}

func (b Bill) cdxComponent(c Component) cdx.Component {
	k := cdx.Component{BOMRef: id(c), Name: c.Name, Version: c.Version, PackageURL: b.PURL(c)}
	properties := []cdx.Property{{Name: kindProperty, Value: string(c.Kind)}}
	switch c.Kind {
	case Program:
		k.Type = cdx.ComponentTypeApplication
	case Container:
		k.Type = cdx.ComponentTypeContainer
	case Debian:
		k.Type = cdx.ComponentTypeLibrary
		k.Supplier = &cdx.OrganizationalEntity{Name: "Debian"}
		properties = append(properties, cdx.Property{Name: sourceProperty, Value: c.Source}, cdx.Property{Name: sourceVersionProperty, Value: c.SourceVersion})
	default:
		k.Type = cdx.ComponentTypeLibrary
	}
	for _, part := range c.Parts {
		properties = append(properties, cdx.Property{Name: partProperty, Value: part})
	}
	k.Properties = &properties
	if c.SHA256 != "" {
		k.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: c.SHA256}}
	}
	if c.Licence != "" {
		k.Licenses = &cdx.Licenses{{Expression: c.Licence}}
	}
	return k
}

// Read reads a bill that [Bill.CycloneDX] wrote.
func Read(text []byte) (Bill, error) {
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(text), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		return Bill{}, fmt.Errorf("this is not CycloneDX in JSON: %w", err)
	}
	if bom.Metadata == nil || bom.Metadata.Component == nil || bom.Components == nil {
		return Bill{}, errors.New("this CycloneDX file is not about an image of Ingot's: it names no suite and no components")
	}
	var b Bill
	b.Suite = property(bom.Metadata.Component.Properties, suiteProperty)
	created, err := time.Parse(time.RFC3339, bom.Metadata.Timestamp)
	if err != nil || b.Suite == "" {
		return Bill{}, errors.New("this CycloneDX file is not about an image of Ingot's: it names no suite or no time")
	}
	b.Epoch = created.Unix()
	names := map[string]string{}
	for _, k := range *bom.Components {
		c, err := readComponent(k)
		if err != nil {
			return Bill{}, err
		}
		if c.Kind == Program {
			names[k.BOMRef] = c.Name
		}
		b.Components = append(b.Components, c)
	}
	holders := map[string][]string{}
	if bom.Dependencies != nil {
		for _, d := range *bom.Dependencies {
			if name := names[d.Ref]; name != "" && d.Dependencies != nil {
				for _, ref := range *d.Dependencies {
					holders[ref] = append(holders[ref], name)
				}
			}
		}
	}
	for i, k := range *bom.Components {
		b.Components[i].Programs = holders[k.BOMRef]
	}
	b.Components = Sorted(b.Components)
	return b, nil
}

// word is what a name and a version are made of. The bill may be a stranger's, and
// is shown on terminals.
var word = regexp.MustCompile(`^[!-~]{1,300}$`)

func readComponent(k cdx.Component) (Component, error) {
	c := Component{
		Kind: Kind(property(k.Properties, kindProperty)), Name: k.Name, Version: k.Version,
		Source: property(k.Properties, sourceProperty), SourceVersion: property(k.Properties, sourceVersionProperty),
	}
	for _, text := range []string{c.Name, cmp.Or(c.Version, "none"), cmp.Or(c.Source, "none"), cmp.Or(c.SourceVersion, "none")} {
		if !word.MatchString(text) {
			return c, fmt.Errorf("the component %.80q has a name or a version that is none: %.80q", k.Name, text)
		}
	}
	switch c.Kind {
	case Debian:
		purl, err := packageurl.FromString(k.PackageURL)
		if err != nil || c.Source == "" || c.SourceVersion == "" || c.Version == "" {
			return c, fmt.Errorf("the component %q is a Debian package without its source or its package URL", k.Name)
		}
		c.Arch = purl.Qualifiers.Map()["arch"]
	case Program, Module, Container:
	default:
		return c, fmt.Errorf("the component %q is of no kind that Ingot writes: %q", k.Name, c.Kind)
	}
	if k.Hashes != nil && len(*k.Hashes) > 0 {
		h := (*k.Hashes)[0]
		if h.Algorithm != cdx.HashAlgoSHA256 {
			return c, fmt.Errorf("the component %q has a digest that is no SHA-256", k.Name)
		}
		c.SHA256 = h.Value
	}
	if k.Licenses != nil && len(*k.Licenses) > 0 {
		c.Licence = (*k.Licenses)[0].Expression
	}
	if k.Properties != nil {
		for _, p := range *k.Properties {
			if p.Name == partProperty {
				c.Parts = append(c.Parts, p.Value)
			}
		}
	}
	return c, nil
}

func property(list *[]cdx.Property, name string) string {
	if list != nil {
		for _, p := range *list {
			if p.Name == name {
				return p.Value
			}
		}
	}
	return ""
}
