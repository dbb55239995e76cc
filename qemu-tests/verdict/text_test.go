package verdict

import (
	"strings"
	"testing"
)

func TestDepthText(t *testing.T) {
	t.Parallel()
	v := Verdict{Depth: &Depth{
		Lynis:    Lynis{Version: "3.1.4", Index: 80, Suggestions: []Suggestion{{ID: "A-1", Text: "Do it", Why: "not here"}, {ID: "B-2", Text: "Do that"}}},
		Exposure: []Exposure{{Unit: "a.service", Level: 2.9, Network: true}},
	}}
	var s strings.Builder
	if err := v.WriteText(&s); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"hardening index 80", "not followed: not here", "NOBODY SAID WHY", " 2.9 a.service, has a socket"} {
		if !strings.Contains(s.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, s.String())
		}
	}
}
