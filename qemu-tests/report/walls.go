package report

import (
	"fmt"
	"strconv"

	"ingot/qemu-tests/verdict"
)

// wall is one machine as seen from the internet.
type wall struct {
	Name         string
	Big, Caption string
	Source       string // where this is known from
	Doors        []door
}

// door is a port of a wall.
type door struct {
	Port, Proto string
	State       string // a class of the stylesheet: open, refused, silent
	Says        string // what the state is called
	What        string
	Alarm       bool // it is nobody's
}

// before is what Ingot is compared with. Neither was measured in this run, which
// the page says.
func before() []wall {
	return []wall{
		{
			Name: "a plain Debian", Big: "2", Caption: "ports listen on every address",
			Source: "Measured by this project on 2026-11-24, inside a Debian trixie with what its cloud images have; docs/hardening.md.",
			Doors: []door{
				{Port: "22", Proto: "tcp", State: "open", Says: "listens", What: "SSH"},
				{Port: "5355", Proto: "", State: "open", Says: "listens", What: "LLMNR, systemd-resolved"},
			},
		},
		{
			Name: "the field notes' server", Big: "5+", Caption: "open ports, before it was hardened by hand",
			Source: "Not measured here: “from 5+ open ports to 2” is §8 of the field notes, lampsec.dev/blog/hardening-guide. The ports are the three that the notes name.",
			Doors: []door{
				{Port: "22", Proto: "tcp", State: "open", Says: "open", What: "SSH, §1"},
				{Port: "80", Proto: "tcp", State: "open", Says: "open", What: "HTTP, §3.2"},
				{Port: "443", Proto: "tcp", State: "open", Says: "open", What: "HTTPS, §2.3"},
			},
		},
	}
}

// after is this machine in this run.
func after(ports []verdict.Port) wall {
	w := wall{Caption: "ports answer a stranger", Source: "Measured in this run, from the simulated internet."}
	answer := 0
	for _, p := range ports {
		d := door{Port: strconv.Itoa(p.Port), Proto: p.Proto, What: purpose(p), Alarm: !p.Declared}
		switch p.Stranger {
		case "open":
			d.State, d.Says = "open", "open"
			answer++
		case "closed":
			d.State, d.Says = "refused", "closed"
			answer++
		default:
			d.State, d.Says = "silent", "silent"
		}
		w.Doors = append(w.Doors, d)
	}
	w.Big = strconv.Itoa(answer)
	if answer == 1 {
		w.Caption = "port answers a stranger"
	}
	return w
}

// purpose is why a port is there and for whom.
func purpose(p verdict.Port) string {
	if !p.Declared {
		return "not in the port table"
	}
	s := p.Why
	switch p.From {
	case "internet":
		s += ", for the internet"
	case "wireguard":
		s += ", in the tunnel only"
	case "":
	default:
		s += fmt.Sprintf(", for %s", p.From)
	}
	if p.From != "loopback" && !p.Listens {
		s += "; nothing listens yet"
	}
	return s
}
