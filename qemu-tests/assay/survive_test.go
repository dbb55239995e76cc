package assay

import (
	"testing"

	"ingot/layers"
	"ingot/qemu-tests/vm"
)

// A check that must survive is made again under a name of its own; one that need
// not is not.
func TestSurvivors(t *testing.T) {
	t.Parallel()
	s := fakeShell(t, func(command string) Output {
		return Output{Stdout: map[string]string{"systemctl is-active a.service": "active\n"}[command]}
	})
	unit := func(id, name string, survives bool) layers.Check {
		return layers.Check{Layer: "x", ID: id, Title: id, SurvivesReboot: survives, Unit: &layers.UnitCheck{Name: name, State: "active"}}
	}
	r := &run{lab: &Lab{Accel: vm.Accel{TimeoutFactor: 1}}, shell: s}
	r.id.Plan.Checks = []layers.Check{unit("x.a", "a.service", true), unit("x.b", "a.service", false), unit("x.c", "gone.service", true)}
	r.survivors(t.Context())
	var got []string
	for _, c := range r.verdict.Checks {
		got = append(got, c.ID+" "+string(c.Result)+" "+c.Layer)
	}
	want := []string{"x.a.after-reboot passed x", "x.c.after-reboot failed x"}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %q, want %q", got, want)
	}
}
