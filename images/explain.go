package images

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// why says what a stage's inputs have that the last build's of this folder had
// not, in lines for people; nothing when nothing changed.
func (b *builder) why(s stageID, cached bool) []string {
	last, known := b.last.Stages[s.name]
	switch {
	case len(b.last.Stages) == 0:
		return []string{"first build of this folder"}
	case !known:
		return []string{"no build of this folder needed it before"}
	}
	lines := differences(last, s.inputs, b.owner)
	if len(lines) == 0 && !cached && s.name == diskName {
		return []string{"the image is not in its place, or was written to"}
	}
	if len(lines) == 0 && !cached {
		return []string{"it was not in the cache any more"}
	}
	return lines
}

// differences are the inputs that were added, removed or changed, sorted by
// their names, with the layers that own them.
func differences(before, now inputs, owner map[string]string) []string {
	all := maps.Clone(before)
	maps.Copy(all, now)
	var lines, summaries []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if before[name] == now[name] {
			continue
		}
		line := difference(name, before[name], now[name])
		switch layer := owner[name]; {
		case name == wholeConfig || name == wholeBoot:
			summaries = append(summaries, line)
		case layer != "":
			lines = append(lines, "layer "+layer+": "+line)
		default:
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return summaries
	}
	return lines
}

// shownInputs are those whose values say something to people.
var shownInputs = []string{"clock", "compression", "slot size", "suite", "Ignition's version"}

func difference(name, before, now string) string {
	switch {
	case before == "":
		return name + " is new"
	case now == "":
		return name + " is gone"
	case strings.HasPrefix(name, packageInput):
		was, is := packageVersion(before), packageVersion(now)
		if was == is {
			return name + " " + is + " has other bytes"
		}
		return fmt.Sprintf("%s %s → %s", name, was, is)
	case slices.Contains(shownInputs, name):
		return fmt.Sprintf("%s %s → %s", name, strings.Trim(before, `"`), strings.Trim(now, `"`))
	}
	return name + " differs"
}

// packageVersion is the first word of a package's input.
func packageVersion(input string) string {
	var text string
	if json.Unmarshal([]byte(input), &text) != nil {
		return "?"
	}
	v, _, _ := strings.Cut(text, " ")
	return v
}
