package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// The power goes after the agent's first step that changes a disk or a mount,
// after the second, and so on to the last. Each time the state volume must
// hold the old identity or the new one, whole, and the next boot must end with
// the new one.
func TestPowerCut(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: some hundred boots take half a minute")
	}
	for name, tc := range map[string]struct {
		before func(t *testing.T)
		states []map[string]string // what may be found after the cut
	}{
		"first boot":   {func(*testing.T) {}, []map[string]string{none, claw2Identity}},
		"new config":   {oldIdentity, []map[string]string{claw1Identity, claw2Identity}},
		"cut once yet": {cutBefore, []map[string]string{claw1Identity, claw2Identity}},
	} {
		t.Run(name, func(t *testing.T) {
			enterInitrd(t)
			steps := powerCuts(t, tc.before, tc.states)
			expectSteps(t, steps)
		})
	}
}

// powerCuts cuts after every step and returns the steps of the boot that went
// through.
func powerCuts(t *testing.T, before func(t *testing.T), states []map[string]string) []string {
	t.Helper()
	for n := 1; ; n++ {
		must(t, removeAllBelow(stateDir))
		before(t)
		deliver(t, claw2)
		steps, ended := bootUntil(t, n)
		if ended {
			return steps
		}
		if !expectOneOf(t, states) || !recovers(t) {
			t.Fatalf("the power went after step %d: %s", n, strings.Join(steps, ", "))
		}
	}
}

// expectOneOf checks that the stamp, the config and the files on the state
// volume belong together and are of one of the states.
func expectOneOf(t *testing.T, states []map[string]string) bool {
	t.Helper()
	got := none
	if exists(identityDir) {
		got = contents(t, identityDir+"/etc")
		config := read(t, identityDir+"/instance.ign")
		if s := readStamp(identityDir); s != newStamp(hashA, []byte(config)) {
			t.Errorf("the stamp %+v is not of the config %q", s, config)
			return false
		}
	}
	if !slices.ContainsFunc(states, func(want map[string]string) bool { return sameFiles(got, want) }) {
		t.Errorf("the identity holds %q", got)
		return false
	}
	return true
}

func sameFiles(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for p, content := range a {
		if b[p] != content {
			return false
		}
	}
	return true
}

// recovers boots once more after a cut.
func recovers(t *testing.T) bool {
	t.Helper()
	reboot(t)
	if r := boot(t); !r.Configured || r.Kept {
		t.Errorf("the boot after the cut: %+v", r)
	}
	expectIdentity(t, claw2Identity)
	expectApplied(t, hashA)
	if id := read(t, sysroot+"/etc/machine-id"); id != read(t, stateDir+"/machine-id") {
		t.Errorf("the machine id %q is not the one that is kept", id)
	}
	reboot(t)
	return !t.Failed()
}

// What is renamed into place must be on the disk before, and the rename before
// the old identity goes: a disk may lose everything after the last flush.
func expectSteps(t *testing.T, steps []string) {
	t.Helper()
	all := strings.Join(steps, " ")
	for i, s := range steps {
		if s == "rename" && (i == 0 || steps[i-1] != "syncfs") {
			t.Errorf("step %d is a rename without a flush right before: %s", i+1, all)
		}
	}
	placed := slices.Index(steps, "rename")
	if placed < 0 || !slices.Contains(steps, "mount_setattr") {
		t.Fatalf("the boot that went through did not apply the config: %s", all)
	}
	if after := steps[placed+1:]; len(after) == 0 || after[0] != "syncfs" {
		t.Errorf("no flush right after the identity is put in place: %s", all)
	}
}

// oldIdentity is what claw1 left, with a reprovision asked for.
func oldIdentity(t *testing.T) {
	t.Helper()
	for p, content := range claw1Identity {
		write(t, identityDir+"/etc/"+p, content)
	}
	write(t, identityDir+"/instance.ign", scripted(claw1))
	must(t, writeStamp(identityDir, newStamp(hashA, []byte(scripted(claw1)))))
	write(t, stateDir+"/machine-id", strings.Repeat("e", 32)+"\n")
	write(t, reprovisionFile, "")
}

// cutBefore has the left-overs of an earlier cut as well: an old identity not
// yet removed, and a new machine id not yet in place.
func cutBefore(t *testing.T) {
	t.Helper()
	oldIdentity(t)
	write(t, identityDir+".new/etc/hostname", "older\n")
	write(t, identityDir+".new/work/work/x", "")
	must(t, os.Remove(stateDir+"/machine-id"))
	write(t, stateDir+"/machine-id.new", "eeee")
}

func removeAllBelow(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(dir + "/" + e.Name()); err != nil {
			return err
		}
	}
	return nil
}
