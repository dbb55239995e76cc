package config

import (
	"fmt"
	"regexp"
	"slices"

	"ingot/layers"
	"ingot/layers/custom"
)

const (
	defaultSuite = "trixie"

	// labelShape is a DNS label in lower case, RFC 1123 §2.1; 63 is RFC 1035's.
	labelShape = `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`
	// maxHostname is HOST_NAME_MAX of Linux.
	maxHostname = 64
)

// siteProblems checks what belongs to no layer.
func (d *decoder) siteProblems(f ingotFile) []Finding {
	var list []Finding
	report := func(message, advice string, path ...any) {
		list = append(list, d.doc.Finding(path, false, message, advice))
	}
	if !regexp.MustCompile(`^` + labelShape + `$`).MatchString(f.Name) {
		report(fmt.Sprintf("%q is not a name for an image", clip(f.Name)),
			"use up to 63 lower-case letters, digits and dashes, such as openclaw", "name")
	}
	hostname := regexp.MustCompile(`^` + labelShape + `(\.` + labelShape + `)*$`)
	if f.Hostname != "" && (len(f.Hostname) > maxHostname || !hostname.MatchString(f.Hostname)) {
		report(fmt.Sprintf("%q is not a host name", clip(f.Hostname)),
			"use up to 64 lower-case letters, digits, dashes and dots, such as claw1.example.com", "hostname")
	}
	if f.Base.Suite != "" && f.Base.Suite != defaultSuite {
		report(fmt.Sprintf("the Debian suite %q is not supported", clip(f.Base.Suite)), "use trixie", "base", "suite")
	}
	return list
}

// layersOff reports the layers without which nobody gets in. They are told
// beside all other mistakes; the proof itself needs a plan without any.
func (d *decoder) layersOff(list []placed) []Finding {
	var on []string
	for _, l := range list {
		on = append(on, l.Name())
	}
	return d.lockouts(layers.LayersOff(on), nil)
}

// lockouts shows missing links of the way in at the layer to repair.
func (d *decoder) lockouts(missing []layers.Lockout, list []placed) []Finding {
	var found []Finding
	for _, l := range missing {
		i := slices.IndexFunc(list, func(p placed) bool { return p.Name() == l.Layer })
		if i < 0 {
			found = append(found, d.doc.Finding([]any{"layers", l.Layer}, true, l.Message, l.Advice))
			continue
		}
		at := list[i]
		at.path = slices.Concat(at.path, l.Option)
		found = append(found, d.claimed(at, l.What, l.Message, l.Advice))
	}
	return found
}

// claimed makes a finding at the line that claims something: of a custom
// layer's folder when it is one, else at the layer in ingot.yaml.
func (d *decoder) claimed(l placed, what, message, advice string) Finding {
	if c, ok := l.Layer.(custom.Layer); ok {
		if f, known := c.Claim(what); known {
			f.Message, f.Advice = message, advice
			return f
		}
	}
	return d.doc.KeyFinding(l.path, message, advice)
}
