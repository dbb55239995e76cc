package layers

import (
	"slices"
	"testing"
)

// onlySealed has one of everything for a stock system and one for the seal.
type onlySealed struct{}

func (onlySealed) Name() string            { return "x" }
func (onlySealed) Validate(Site) []Finding { return nil }
func (onlySealed) Contribute(Site) Contribution {
	return Contribution{
		Image: Fragment{
			Files:           []File{{Path: "/etc/a"}, {Path: "/etc/sealed"}},
			Directories:     []Directory{{Path: "/srv/a"}, {Path: "/srv/sealed"}},
			Links:           []Link{{Path: "/opt/a"}, {Path: "/opt/sealed"}},
			Users:           []User{{Name: "a"}, {Name: "sealed"}},
			Groups:          []Group{{Name: "a"}, {Name: "sealed"}},
			Units:           []Unit{{Name: "a.service", Dropins: []Dropin{{Name: "a.conf"}, {Name: "sealed.conf"}}}, {Name: "sealed.service", Mask: true}, {Name: "emptied.service", Dropins: []Dropin{{Name: "sealed.conf"}}}},
			KernelArguments: []string{"a=1", "sealed=1", "console=a", "console=sealed"},
		},
		Removed: []Removal{{Pattern: "/a"}, {Pattern: "/sealed"}},
		Checks: []Check{
			{ID: "x.a", File: &FileCheck{Path: "/etc/a", Mode: 0o644, ReadOnly: true}},
			{ID: "x.only", File: &FileCheck{Path: "/", ReadOnly: true}},
			{ID: "x.sealed", Command: &CommandCheck{Argv: []string{"true"}}},
		},
		SealOnly: []SealOnly{
			{What: "file /etc/sealed"}, {What: "directory /srv/sealed"}, {What: "file /opt/sealed"}, {What: "user sealed"},
			{What: "group sealed"}, {What: "drop-in a.service.d/sealed.conf"}, {What: "drop-in emptied.service.d/sealed.conf"}, {What: "unit sealed.service"},
			{What: "kernel argument sealed"}, {What: "kernel argument console=sealed"}, {What: "removal /sealed"}, {What: "check x.sealed"},
		},
	}
}

func TestStock(t *testing.T) {
	t.Parallel()
	plan, conflicts := Merge(Site{}, []Layer{onlySealed{}})
	if len(conflicts) > 0 {
		t.Fatal(conflicts)
	}
	got := Stock(plan)
	f := got.Image
	if len(f.Files) != 1 || len(f.Directories) != 1 || len(f.Links) != 1 || len(f.Users) != 1 || len(f.Groups) != 1 ||
		len(f.Units) != 1 || len(f.Units[0].Dropins) != 1 || len(got.Removed) != 1 ||
		!slices.Equal(f.KernelArguments, []string{"a=1", "console=a"}) {
		t.Errorf("what is left is %+v", f)
	}
	if len(got.Checks) != 1 || got.Checks[0].File.ReadOnly || got.Checks[0].File.Mode != 0o644 {
		t.Errorf("the checks that are left are %+v", got.Checks)
	}
	if last := got.SealOnly[len(got.SealOnly)-1]; last.What != "check x.only" || last.Layer != "x" {
		t.Errorf("the check of read-only alone is not listed, the last is %+v", last)
	}
	// The plan belongs to the caller.
	if len(plan.Image.Units[0].Dropins) != 2 || !plan.Checks[0].File.ReadOnly || len(plan.Image.KernelArguments) != 4 {
		t.Error("the plan itself was changed")
	}
}
