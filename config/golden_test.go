package config_test

import (
	"cmp"
	"fmt"
	"path"
	"strings"
	"testing"

	"ingot/layers"
)

// TestGolden keeps everything that the example's layers render, so that every
// change of a sealed file is seen in a diff.
func TestGolden(t *testing.T) {
	t.Parallel()
	loaded, findings := load(t, example)
	if len(findings) > 0 {
		t.Fatal(rendered(t, findings))
	}
	for _, layer := range loaded.Plan.LayerNames {
		golden(t, path.Join("testdata/golden", layer+".txt"), dump(loaded.Plan, layer))
	}
}

// dump writes what one layer contributed, files as txtar-like sections.
func dump(p layers.Plan, layer string) string {
	var b strings.Builder
	for _, x := range p.Ports {
		if x.Layer == layer {
			fmt.Fprintf(&b, "port %s/%d from %s silent=%t: %s\n", x.Proto, x.Port, x.From, x.Silent, x.Why)
		}
	}
	for _, x := range p.Secrets {
		if x.Layer == layer {
			fmt.Fprintf(&b, "secret %s at %s: %s\n", x.Name, x.Path, x.Why)
		}
	}
	for _, x := range p.State {
		if x.Layer == layer {
			fmt.Fprintf(&b, "state %s %04o %s:%s: %s\n", x.Path, x.Mode, x.User, x.Group, x.Why)
		}
	}
	for _, x := range p.Validators {
		if x.Layer == layer {
			fmt.Fprintf(&b, "validator %s\n", strings.Join(x.Argv, " "))
		}
	}
	for _, x := range p.Checks {
		if x.Layer == layer {
			fmt.Fprintf(&b, "check %s: %s\n", x.ID, x.Title)
		}
	}
	dumpFragment(&b, p, layer, "image", p.Image)
	dumpFragment(&b, p, layer, "instance", p.Instance)
	return b.String()
}

func dumpFragment(b *strings.Builder, p layers.Plan, layer, kind string, f layers.Fragment) {
	mine := func(what string) bool { return p.Owner[what] == layer }
	for _, x := range f.Groups {
		if mine("group " + x.Name) {
			fmt.Fprintf(b, "%s group %+v\n", kind, x)
		}
	}
	for _, x := range f.Users {
		if mine("user " + x.Name) {
			fmt.Fprintf(b, "%s user %+v\n", kind, x)
		}
	}
	for _, x := range f.Directories {
		if mine("directory " + x.Path) {
			fmt.Fprintf(b, "%s directory %s %04o\n", kind, x.Path, x.Mode)
		}
	}
	for _, x := range f.Links {
		if mine("file " + x.Path) {
			fmt.Fprintf(b, "%s link %s -> %s\n", kind, x.Path, x.Target)
		}
	}
	for _, u := range f.Units {
		if mine("unit " + u.Name) {
			fmt.Fprintf(b, "%s unit %s enabled=%t mask=%t\n", kind, u.Name, u.Enabled != nil && *u.Enabled, u.Mask)
		}
	}
	for _, x := range files(p, layer, f) {
		fmt.Fprintf(b, "\n-- %s: %s %04o %s:%s --\n%s", kind, x.Path, x.Mode, cmp.Or(x.User, "root"), cmp.Or(x.Group, "root"), x.Contents)
		if x.SecretSlot != "" {
			fmt.Fprintf(b, "(secret %s)\n", x.SecretSlot)
		}
	}
}

// files returns a layer's files, its units and drop-ins among them.
func files(p layers.Plan, layer string, f layers.Fragment) []layers.File {
	const units = "/etc/systemd/system"
	var list []layers.File
	for _, x := range f.Files {
		if p.Owner["file "+x.Path] == layer {
			list = append(list, x)
		}
	}
	for _, u := range f.Units {
		if u.Contents != "" && p.Owner["unit "+u.Name] == layer {
			list = append(list, layers.File{Path: path.Join(units, u.Name), Mode: 0o644, Contents: u.Contents})
		}
		for _, d := range u.Dropins {
			if p.Owner["drop-in "+u.Name+".d/"+d.Name] == layer {
				list = append(list, layers.File{Path: path.Join(units, u.Name+".d", d.Name), Mode: 0o644, Contents: d.Contents})
			}
		}
	}
	return list
}
