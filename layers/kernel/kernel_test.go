package kernel

import (
	"slices"
	"strings"
	"testing"

	"ingot/layers"
)

func contribute(o Options) layers.Contribution { return Layer{o}.Contribute(layers.Site{}) }

func modprobeFile(c layers.Contribution) string {
	for _, f := range c.Image.Files {
		if f.Path == modulesPath {
			return f.Contents
		}
	}
	return ""
}

func TestArguments(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options    Options
		has, lacks []string
	}{
		"defaults":        {Options{}, []string{"slab_nomerge", "lockdown=integrity", "ia32_emulation=0", "debugfs=off"}, nil},
		"confidentiality": {Options{Lockdown: "confidentiality"}, []string{"lockdown=confidentiality"}, []string{"lockdown=integrity"}},
		"off":             {Options{Lockdown: "off"}, []string{"slab_nomerge"}, []string{"lockdown=integrity", "lockdown=off"}},
		"ia32":            {Options{IA32: true}, []string{"vsyscall=none"}, []string{"ia32_emulation=0", "vdso32=0"}},
		"without":         {Options{Without: []string{"init_on_free"}}, []string{"init_on_alloc=1"}, []string{"init_on_free=1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := contribute(test.options)
			got := c.Image.KernelArguments
			for _, a := range test.has {
				if !slices.Contains(got, a) {
					t.Errorf("%s is missing in %v", a, got)
				}
			}
			for _, a := range test.lacks {
				if slices.Contains(got, a) {
					t.Errorf("%s is in %v", a, got)
				}
			}
			i := slices.IndexFunc(c.Checks, func(k layers.Check) bool { return k.ID == "kernel.arguments" })
			if argv := c.Checks[i].Command.Argv; !slices.Equal(argv[4:], got) {
				t.Errorf("checked are %v, set are %v", argv[4:], got)
			}
		})
	}
}

func TestModules(t *testing.T) {
	t.Parallel()
	all := modprobeFile(contribute(Options{}))
	for _, name := range strings.Fields("dccp sctp rds tipc ax25 netrom x25 rose decnet econet af_802154 ipx appletalk psnap p8023 p8022 " +
		"can atm cramfs freevxfs jffs2 hfs hfsplus udf usb_storage firewire_core thunderbolt") {
		if strings.Count(all, "\ninstall "+name+" /bin/false\n") != 1 {
			t.Errorf("%s is not switched off once", name)
		}
	}
	for _, name := range never {
		if strings.Contains(all, "\ninstall "+name+" ") {
			t.Errorf("%s is on the list, and the image needs it", name)
		}
	}
	// Both spellings of a name are the same module.
	for _, name := range []string{"usb-storage", "usb_storage"} {
		if got := modprobeFile(contribute(Options{Allow: []string{name}})); strings.Contains(got, "usb_storage") || !strings.Contains(got, "install uas ") {
			t.Errorf("allow %s gives\n%s", name, got)
		}
		if got := contribute(Options{Allow: []string{name}}).Modules; !slices.Equal(got, []string{name}) {
			t.Errorf("allow %s puts %q into the image", name, got)
		}
	}
}

// Free text never reaches a file: what is not known is refused.
func TestHostileOptions(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "udf\ninstall ext4 /bin/false", "udf /bin/sh", "init_on_free=0", "\"", "'; reboot #", "\x00", "slab_nomerge root=/dev/sda",
		"lockdown=none", strings.Repeat("a", 1<<16),
	} {
		o := Options{Allow: []string{text}, Without: []string{text}, Lockdown: Lockdown(text)}
		findings := Layer{o}.Validate(layers.Site{})
		want := 3
		if text == "" {
			want = 2 // an empty lockdown is the default
		}
		if len(findings) != want {
			t.Errorf("%.40q: %d findings, want %d", text, len(findings), want)
		}
		for _, f := range findings {
			if f.Message == "" || f.Advice == "" || len(f.Message) > 300 {
				t.Errorf("%.40q: %+v", text, f)
			}
		}
	}
	if findings := (Layer{Options{Without: []string{"lockdown"}}}).Validate(layers.Site{}); len(findings) != 1 || findings[0].Advice != "write lockdown: off" {
		t.Errorf("without lockdown: %+v", findings)
	}
}

func TestEveryCheckHasASabotage(t *testing.T) {
	t.Parallel()
	for _, c := range contribute(Options{}).Checks {
		if c.Sabotage == "" {
			t.Errorf("%s has no sabotage", c.ID)
		}
	}
}
