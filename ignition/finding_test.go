package ignition

import (
	"errors"
	"strings"
	"testing"

	"ingot/layers"
)

func TestFindingsNameTheLayer(t *testing.T) {
	t.Parallel()
	fine := layers.Fragment{
		Files: []layers.File{{Path: "/etc/a", Mode: 0o644}, {Path: "/etc/z", Mode: 0o644}},
		Units: []layers.Unit{{Name: "a.service", Contents: "[Service]\n"}},
		Users: []layers.User{{Name: "a"}},
	}
	for name, tc := range map[string]struct {
		fragment             layers.Fragment
		what, message, layer string
	}{
		"a file twice, the second as a directory": {
			layers.Fragment{Files: []layers.File{{Path: "/etc/m", Mode: 0o644}}, Directories: []layers.Directory{{Path: "/etc/m", Mode: 0o755}}},
			"/etc/m", "duplicate", "bad",
		},
		"a link and a file below it": {
			layers.Fragment{Links: []layers.Link{{Path: "/etc/m", Target: "/x"}}, Files: []layers.File{{Path: "/etc/m/f", Mode: 0o644}}},
			"/etc/m", "", "bad",
		},
		"mode in decimal": {
			layers.Fragment{Files: []layers.File{{Path: "/etc/m", Mode: 644}}}, "file /etc/m", "leading zero", "bad",
		},
		"mode too large": {
			layers.Fragment{Directories: []layers.Directory{{Path: "/etc/m", Mode: 0o100755}}}, "directory /etc/m", "mode", "bad",
		},
		"broken unit": {
			layers.Fragment{Units: []layers.Unit{{Name: "m.service", Contents: "[Service\nx"}}}, "unit m.service", "", "bad",
		},
		"broken drop-in of nobody's unit": {
			layers.Fragment{Units: []layers.Unit{{Name: "m.service", Dropins: []layers.Dropin{{Name: "x.conf", Contents: "[Service\n"}}}}},
			"drop-in m.service.d/x.conf", "", "bad",
		},
		"drop-in without .conf": {
			layers.Fragment{Units: []layers.Unit{{Name: "m.service", Dropins: []layers.Dropin{{Name: "x", Contents: "[Unit]\n"}}}}},
			"drop-in m.service.d/x", "extension", "bad",
		},
		"unit without a type": {
			layers.Fragment{Units: []layers.Unit{{Name: "m", Contents: "[Unit]\n"}}}, "unit m", "extension", "bad",
		},
		"enabled without install section": {
			layers.Fragment{Units: []layers.Unit{{Name: "m.service", Enabled: new(true), Contents: "[Service]\nExecStart=/x\n"}}},
			"unit m.service", "install section", "bad",
		},
		"relative path":   {layers.Fragment{Files: []layers.File{{Path: "etc/m"}}}, "file etc/m", "plain", "bad"},
		"path with ..":    {layers.Fragment{Directories: []layers.Directory{{Path: "/etc/../m"}}}, "directory /m", "plain", "bad"},
		"link with ..":    {layers.Fragment{Links: []layers.Link{{Path: "/etc/x/../m", Target: "/x"}}}, "file /etc/m", "plain", "bad"},
		"secret in it":    {layers.Fragment{Files: []layers.File{{Path: "/etc/m", SecretSlot: "vpn/config"}}}, "file /etc/m", "vpn/config", "bad"},
		"link to nowhere": {layers.Fragment{Links: []layers.Link{{Path: "/etc/m"}}}, "file /etc/m", "target", "bad"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Image(merge(t, one("fine", fine), one("bad", tc.fragment)))
			var found Findings
			if !errors.As(err, &found) {
				t.Fatalf("no findings but %v", err)
			}
			f := found[0]
			if f.Layer != tc.layer || !strings.Contains(f.What, tc.what) || !strings.Contains(f.Message, tc.message) {
				t.Errorf("found %q about %q in layer %q; want %q about %q in layer %q", f.Message, f.What, f.Layer, tc.message, tc.what, tc.layer)
			}
		})
	}
}

func TestFindingsAreAllReported(t *testing.T) {
	t.Parallel()
	_, err := Image(merge(t, one("one", layers.Fragment{Files: []layers.File{{Path: "/b", Mode: 644}, {Path: "/a", Mode: 644}}})))
	want := "layer one: file /a: unreasonable mode would be reasonable if specified in octal; remember to add a leading zero\n" +
		"layer one: file /b: unreasonable mode would be reasonable if specified in octal; remember to add a leading zero"
	if err == nil || err.Error() != want {
		t.Errorf("error\n%v\nwant\n%s", err, want)
	}
}

func TestUnknownPlacesBlameNobody(t *testing.T) {
	t.Parallel()
	for _, at := range [][]any{nil, {"storage"}, {"storage", "files", "x"}, {"storage", "files", 7}, {"systemd", "units", 7, "name"}, {"ignition", "config", 0}} {
		if claims := claimed(at, layers.Fragment{}); len(claims) > 0 {
			t.Errorf("%v claims %q", at, claims)
		}
	}
}
