package openstack

import (
	"fmt"
	"maps"
	"regexp"
	"strings"

	"ingot/fault"
	"ingot/providers"
)

// mark says in a description what something was made for. Neutron's tags would need
// a second request, and between the two it would be nobody's.
type mark struct {
	id     string // of the journal's entry
	server string // its name
}

func markOf(labels map[string]string) mark {
	return mark{labels[providers.LabelID], labels[providers.LabelServer]}
}

// text is a description, at most 255 characters with labels of at most 63.
func (m mark) text() string {
	return "made by Ingot; " + providers.LabelID + "=" + m.id + " " + providers.LabelServer + "=" + m.server
}

var markText = regexp.MustCompile(`^made by Ingot; ` + providers.LabelID + `=([^ ]*) ` + providers.LabelServer + `=([^ ]*)$`)

// labelText is what a label may have, by package providers. A mark with anything else
// could not be read back.
var labelText = regexp.MustCompile(`^[A-Za-z0-9._-]{0,63}$`)

// check refuses a mark that would not be found again.
func (m mark) check() error {
	for _, text := range []string{m.id, m.server} {
		if !labelText.MatchString(text) {
			return fault.Input(fmt.Errorf("%q cannot be the name of a server; use at most 63 letters, digits, dots, dashes and underscores", text))
		}
	}
	return nil
}

// readMark reads a description; ok is false for one that Ingot did not write.
func readMark(description string) (m mark, ok bool) {
	found := markText.FindStringSubmatch(description)
	if found == nil {
		return mark{}, false
	}
	return mark{found[1], found[2]}, true
}

// hasMark reports whether something was made for exactly this.
func (m mark) hasMark(description string) bool {
	found, ok := readMark(description)
	return ok && found == m
}

// resourceName is how people find what belongs to a server.
func (m mark) resourceName() string { return "ingot-" + m.server }

// labelsOf are the labels to put on something, with the journal's number.
func labelsOf(labels map[string]string, journal *providers.Entry) map[string]string {
	all := maps.Clone(labels)
	if all == nil {
		all = map[string]string{}
	}
	if journal != nil {
		all[providers.LabelID] = journal.ID
	}
	return all
}

// ourLabels are those among a service's properties.
func ourLabels[V any](properties map[string]V) map[string]string {
	labels := map[string]string{}
	for name, value := range properties {
		if text, ok := any(value).(string); ok && strings.HasPrefix(name, "ingot-") {
			labels[name] = text
		}
	}
	return labels
}

// sameLabels compares all but the journal's number, which differs from run to run.
func sameLabels(a, b map[string]string) bool {
	a, b = maps.Clone(a), maps.Clone(b)
	delete(a, providers.LabelID)
	delete(b, providers.LabelID)
	return maps.Equal(a, b)
}
