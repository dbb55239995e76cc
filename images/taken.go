package images

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"ingot/fault"
	"ingot/layers"
)

// takenAway is what the root stage takes from the packages' files: set-ID bits
// of all but SUID, and Removed as a whole.
type takenAway struct {
	SUID    []layers.SUID
	Removed []layers.Removal
}

// withoutKept leaves out the removals of a plan that an installed package forbids.
func withoutKept(plan layers.Plan, installed []Package) layers.Plan {
	plan.Removed = slices.DeleteFunc(slices.Clone(plan.Removed), func(r layers.Removal) bool {
		return slices.ContainsFunc(installed, func(p Package) bool { return p.Name == r.Unless })
	})
	return plan
}

// lists are what seal.sh reads: a path or a pattern a line.
func (t takenAway) lists() (suid, removed []byte) {
	for _, s := range t.SUID {
		suid = append(suid, path.Clean(s.Path)+"\n"...)
	}
	for _, r := range t.Removed {
		removed = append(removed, r.Pattern+"\n"...)
	}
	return suid, removed
}

// Both lists pass through a shell and find: nothing in them may be a blank or
// mean something there. Patterns are looked for below three folders, so that
// none takes the whole tree away.
var (
	suidShape    = regexp.MustCompile(`^(/[A-Za-z0-9._+@-]+)+$`)
	removedShape = regexp.MustCompile(`^/(usr|etc|opt)(/[A-Za-z0-9._+@*?-]*[A-Za-z0-9_+@-][A-Za-z0-9._+@*?-]*)+$`)
)

// checkTakenAway refuses lists that seal.sh could not read as they are meant.
func checkTakenAway(plan layers.Plan) error {
	var refusals []error
	for _, s := range plan.SUID {
		if !suidShape.MatchString(s.Path) || path.Clean(s.Path) != s.Path {
			refusals = append(refusals, fmt.Errorf("layer %s: %q may not keep its set-ID bit: write an absolute path of letters, digits and ._+@-", s.Layer, s.Path))
		}
	}
	for _, r := range plan.Removed {
		if !removedShape.MatchString(r.Pattern) || path.Clean(r.Pattern) != r.Pattern {
			refusals = append(refusals, fmt.Errorf("layer %s: %q cannot be removed: write a path below /usr, /etc or /opt, with * and ? for parts of a name", r.Layer, r.Pattern))
		}
	}
	return fault.Input(errors.Join(refusals...))
}

// refusalAdvice says what to do about each kind of line in seal.sh's list.
var refusalAdvice = map[string]string{
	"unowned":        "belongs to nobody: give its owner an account in the image",
	"world-writable": "can be written by everybody: give it another mode, or the sticky bit if it is a folder for all",
	"compiler":       "is a compiler: an attacker's exploit would be made on the spot; drop the package, or remove the file with a layer",
}

// refusals reads seal.sh's list and says who brought each path; nil when the
// script ended for another reason.
func refusals(list, base string, plan layers.Plan) error {
	text, err := os.ReadFile(list)
	if err != nil {
		return nil
	}
	var all []error
	for line := range strings.Lines(string(text)) {
		kind, file, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if advice, ok := refusalAdvice[kind]; ok {
			all = append(all, fmt.Errorf("%s: %s %s", broughtBy(base, plan, file), file, advice))
		}
	}
	return fault.Input(errors.Join(all...))
}

// broughtBy names the layer that contributed a path, or the package.
func broughtBy(base string, plan layers.Plan, file string) string {
	unit := strings.TrimPrefix(file, "/etc/systemd/system/")
	if layer := ownerOf(plan, "file "+file, "directory "+file, "unit "+unit, "drop-in "+unit); layer != "unknown" {
		return "layer " + layer
	}
	info, _ := filepath.Glob(filepath.Join(base, "tree/usr/lib/sysimage/dpkg/info/*.list"))
	for _, list := range info {
		text, err := os.ReadFile(list)
		if err == nil && strings.Contains("\n"+string(text), "\n"+file+"\n") {
			return "package " + strings.TrimSuffix(filepath.Base(list), ".list")
		}
	}
	return "a maintainer script"
}
