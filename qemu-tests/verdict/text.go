package verdict

import (
	"cmp"
	"fmt"
	"io"
	"strings"
)

// WriteText writes the verdict for a terminal: by layer, problems in full.
func (v Verdict) WriteText(w io.Writer) error {
	var s strings.Builder
	var order []string
	byLayer := map[string][]Result{}
	for _, r := range v.Checks {
		if byLayer[r.Layer] == nil {
			order = append(order, r.Layer)
		}
		byLayer[r.Layer] = append(byLayer[r.Layer], r)
	}
	for _, layer := range order {
		fmt.Fprintf(&s, "\n%s\n", layer)
		for _, r := range byLayer[layer] {
			mark := map[Outcome]string{Passed: "ok  ", Failed: "FAIL", Errored: "????"}[r.Result]
			fmt.Fprintf(&s, "  %s %-50s %6.1f s  %s\n", mark, r.Title, r.Seconds, short(r.Evidence))
			if r.Problem != "" {
				fmt.Fprintf(&s, "       %s\n", r.Problem)
			}
		}
	}
	if v.Depth != nil {
		s.WriteString(v.Depth.text())
	}
	fmt.Fprintf(&s, "\n%s: %d of %d checks passed in %.1f s (%s), WireGuard answered %.1f s after power-on\n",
		strings.ToUpper(string(v.Verdict)), v.Passes(), len(v.Checks), v.Seconds, v.Accelerator, v.ReadySeconds)
	if v.ImageSHA256 != "" {
		fmt.Fprintf(&s, "image sha256 %s\n", v.ImageSHA256)
	}
	if v.Error != "" {
		fmt.Fprintf(&s, "%s\n", v.Error)
	}
	_, err := io.WriteString(w, s.String())
	return err
}

// short keeps a report's line on one line of a terminal.
func short(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 60 {
		s = s[:60] + "…"
	}
	return s
}

// text is the part of a report that is more than passed or failed.
func (d Depth) text() string {
	var s strings.Builder
	fmt.Fprintf(&s, "\nlynis %s: hardening index %d of 100\n", d.Lynis.Version, d.Lynis.Index)
	for _, l := range d.Lynis.Suggestions {
		fmt.Fprintf(&s, "  %s %s %s\n       not followed: %s\n", l.ID, l.Text, l.Details, cmp.Or(l.Why, "NOBODY SAID WHY"))
	}
	s.WriteString("\nexposure of the running services, 0.0 to 10.0\n")
	for _, e := range d.Exposure {
		socket := ""
		if e.Network {
			socket = ", has a socket to the network"
		}
		fmt.Fprintf(&s, "  %4.1f %s%s\n", e.Level, e.Unit, socket)
	}
	return s.String()
}
