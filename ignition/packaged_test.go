package ignition

import (
	"errors"
	"strings"
	"testing"

	"ingot/layers"
)

// What an image build does to the files of packages is in the whole config,
// and in none that is for an image.
func TestWholeDoesToPackagesWhatABuildDoes(t *testing.T) {
	t.Parallel()
	plan := merge(t, layer{name: "users", Contribution: layers.Contribution{
		SUID:     []layers.SUID{{Path: "/usr/bin/sudo", Why: "the administrator"}, {Path: "/usr/bin/su's", Why: "a quote"}},
		Removed:  []layers.Removal{{Pattern: "/usr/bin/gcc*", Why: "no compilers"}, {Pattern: "/usr/bin/apt*", Why: "sealed"}},
		SealOnly: []layers.SealOnly{{What: "removal /usr/bin/apt*", Why: "it patches itself"}},
		Image: layers.Fragment{Units: []layers.Unit{
			{Name: "sshd.service", Dropins: []layers.Dropin{{Name: "a.conf", Contents: "[Unit]\n"}}},
			{Name: "sshd.socket", Enabled: new(true)}, {Name: "keygen.service", Mask: true}, {Name: "own.service", Contents: "[Service]\n"},
		}},
	}})
	c, err := Whole(plan, key)
	if err != nil {
		t.Fatal(err)
	}
	config := string(c.Butane)
	for _, want := range []string{
		"/usr/lib/ingot/packaged/suid", "/usr/bin/sudo\n", "/usr/bin/su's\n", "/usr/lib/ingot/packaged/removed", "/usr/bin/gcc*\n", "ingot-packaged.service",
		"/usr/lib/ingot/packaged/off", "inline: |\n          own.service\n          sshd.service\n    -",
	} {
		if !strings.Contains(config, want) {
			t.Errorf("the config lacks %q:\n%s", want, config)
		}
	}
	if strings.Contains(config, "/usr/bin/apt") {
		t.Error("what is for the sealed image only is removed from a stock system")
	}
	image, err := Image(plan)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(image.Butane), "packaged") {
		t.Error("an image, whose tree the build changes, has the unit as well")
	}
}

// People's homes are state, and stand where their accounts say.
func TestWholeLinksHomes(t *testing.T) {
	t.Parallel()
	c, err := Whole(merge(t, layer{name: "people", Contribution: layers.Contribution{
		Image: layers.Fragment{Users: []layers.User{{Name: "ann", Home: "/home/ann"}, {Name: "bot", Home: "/home/bot"}}},
		State: []layers.State{{Path: "/var/home/ann", User: "ann", Mode: 0o700, Why: "her files"}},
	}}), key)
	if err != nil {
		t.Fatal(err)
	}
	if config := string(c.Butane); !strings.Contains(config, "path: /home/ann") || !strings.Contains(config, "target: /var/home/ann") || strings.Contains(config, "path: /home/bot") {
		t.Errorf("the homes are not linked:\n%s", config)
	}
}

// A list has an entry a line.
func TestWholeRefusesSeveralLines(t *testing.T) {
	t.Parallel()
	for _, c := range []layers.Contribution{
		{Removed: []layers.Removal{{Pattern: "/x\n/etc"}}},
		{SUID: []layers.SUID{{Path: "/x\n/usr/bin/su"}}},
	} {
		_, err := Whole(merge(t, layer{name: "bad", Contribution: c}), key)
		var found Findings
		if !errors.As(err, &found) || found[0].Layer != "bad" {
			t.Errorf("got %v, want a finding that names the layer", err)
		}
	}
}
