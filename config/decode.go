package config

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"ingot/config/document"
	"ingot/layers"
	"ingot/layers/admin"
	"ingot/layers/apparmor"
	"ingot/layers/containers"
	"ingot/layers/fail2ban"
	"ingot/layers/kernel"
	"ingot/layers/nftables"
	"ingot/layers/ssh"
	"ingot/layers/sudo"
	"ingot/layers/sysctl"
	"ingot/layers/timesync"
	"ingot/layers/wireguard"
)

// decode turns the bytes of ingot.yaml into a plan; root is its folder.
func decode(file string, data []byte, root *os.Root, always []layers.Layer) (Loaded, []Finding) {
	d := decoder{file: file, root: root, digest: newDigest()}
	d.digest.add(FileName, data)
	loaded := Loaded{File: file, Positions: map[string]Position{}, paths: map[string][]any{}}

	d.doc, d.findings = document.Parse(file, data)
	if len(d.findings) == 0 {
		d.plan(&loaded, always)
	}
	loaded.doc = d.doc
	loaded.Digest = d.digest.sum()
	document.Sort(file, d.findings)
	return loaded, capped(d.findings)
}

// capped cuts a list that nobody reads to the end, and says so.
func capped(findings []Finding) []Finding {
	if len(findings) < document.MaxFindings {
		return findings
	}
	rest := findings[document.MaxFindings-1]
	rest.Message, rest.Advice = "there are more mistakes from here on", "correct the others first"
	return append(findings[:document.MaxFindings-1], rest)
}

type decoder struct {
	file     string
	root     *os.Root
	doc      *document.Document
	digest   digest
	findings []Finding
}

// placed is a layer and where its options stand.
type placed struct {
	layers.Layer
	path []any // nil for a layer without a node
}

func (d *decoder) plan(loaded *Loaded, always []layers.Layer) {
	var f ingotFile
	d.findings = d.doc.Decode(&f)
	site := layers.Site{
		Name: f.Name, Hostname: cmp.Or(f.Hostname, f.Name),
		Suite: cmp.Or(f.Base.Suite, defaultSuite), SlotBytes: cmp.Or(int64(f.Base.SlotSize), defaultSlotSize),
		Admin: layers.Admin{
			User: f.Admin.User, Keys: f.Admin.Keys,
			SecurityKeysOnly: f.Layers.SSH != nil && f.Layers.SSH.SecurityKeysOnly,
		},
	}
	list := d.layers(f.Layers, always)
	d.add(d.siteProblems(f))
	d.add(d.mirrorProblems(f.Base.Mirrors))
	d.add(d.testProblems(f.Test))
	loaded.Test = f.Test.test()
	for _, m := range f.Base.Mirrors {
		loaded.Mirrors = append(loaded.Mirrors, string(m))
	}
	d.add(d.layersOff(list))
	for _, l := range list {
		d.add(d.located(l.path, l.Validate(site)))
		loaded.Layers = append(loaded.Layers, l.Layer)
		if l.path != nil {
			loaded.Positions[l.Name()] = d.doc.Key(l.path)
			loaded.paths[l.Name()] = l.path
		}
	}
	if len(d.findings) > 0 {
		return // Contribute is only for options that make sense
	}
	loaded.Plan = d.merge(site, list)
}

// layers lists what is on, in an order that does not depend on the file's, so
// that the same choices give the same image.
func (d *decoder) layers(o layerOptions, always []layers.Layer) []placed {
	var list []placed
	for _, l := range always {
		list = append(list, placed{Layer: l})
	}
	list = append(list, placed{admin.Layer{}, []any{"admin"}})
	add := func(l layers.Layer) { list = append(list, placed{l, []any{"layers", l.Name()}}) }
	if o.SSH != nil {
		add(ssh.Layer{Options: *o.SSH})
	}
	if o.Nftables != nil {
		add(nftables.Layer{Options: *o.Nftables})
	}
	if o.Sudo != nil {
		add(sudo.Layer{Options: *o.Sudo})
	}
	if o.Sysctl != nil {
		add(sysctl.Layer{Options: *o.Sysctl})
	}
	if o.Kernel != nil {
		add(kernel.Layer{Options: *o.Kernel})
	}
	if o.Time != nil {
		add(timesync.Layer{Options: *o.Time})
	}
	if o.WireGuard != nil {
		add(wireguard.Layer{Options: *o.WireGuard})
	}
	if o.Fail2ban != nil {
		add(fail2ban.Layer{Options: *o.Fail2ban})
	}
	stack := containers.Layer{}
	if o.Containers != nil {
		stack = d.containers(o)
		list = append(list, placed{stack, []any{"layers", stack.Name()}})
	}
	if o.VPN != nil {
		add(vpnLayer(*o.VPN, stack, o.Containers != nil))
	}
	list = append(list, d.custom(o.Custom)...)
	// Last: whether a profile forbade something is known when the others' checks
	// have been made.
	if o.AppArmor != nil {
		add(apparmor.Layer{Options: *o.AppArmor})
	}
	return list
}

// merge joins the layers and proves that somebody gets in. A conflict is shown
// at the layer that came second, at the first when that one has no line.
func (d *decoder) merge(site layers.Site, list []placed) layers.Plan {
	bare, named := []layers.Layer{}, map[string]placed{}
	for _, l := range list {
		bare = append(bare, l.Layer)
		named[l.Name()] = l
	}
	plan, conflicts := layers.Merge(site, bare)
	for _, c := range conflicts {
		l := named[c.Second]
		if l.path == nil {
			l = named[c.First]
		}
		d.findings = append(d.findings, d.claimed(l, c.What, c.Error(), "leave it to one of the two"))
	}
	for _, p := range plan.Profiles {
		if strings.HasPrefix(p.Layer, layers.CustomPrefix) && !slices.Contains(plan.LayerNames, apparmor.Layer{}.Name()) {
			d.findings = append(d.findings, d.claimed(named[p.Layer], "AppArmor profile "+p.Name,
				fmt.Sprintf("the profile %s is loaded by nobody: the layer apparmor is off", clip(p.Name)), "add apparmor to layers"))
		}
	}
	if len(conflicts) == 0 {
		d.findings = append(d.findings, d.lockouts(layers.WayIn(plan), list)...)
	}
	return plan
}

// located turns a layer's findings, relative to its node, into ones with a
// position.
func (d *decoder) located(base []any, findings []layers.Finding) []Finding {
	var list []Finding
	for _, f := range findings[:min(len(findings), document.MaxFindings)] {
		path := append(append([]any{}, base...), f.Path...)
		list = append(list, d.doc.Finding(path, f.Missing, f.Message, f.Advice))
	}
	return list
}

// add appends findings about nodes that nothing was found about yet: a value
// of the wrong type was reported already, that it is empty too is an echo.
func (d *decoder) add(findings []Finding) {
	before := d.findings
	for _, f := range findings {
		if !concerned(before, f.Path) {
			d.findings = append(d.findings, f)
		}
	}
}

// concerned reports whether a finding is about path or a node around it.
func concerned(findings []Finding, path []any) bool {
	for _, f := range findings {
		if f.Path != nil && len(f.Path) <= len(path) && equalPaths(f.Path, path[:len(f.Path)]) {
			return true
		}
	}
	return false
}

func equalPaths(a, b []any) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
