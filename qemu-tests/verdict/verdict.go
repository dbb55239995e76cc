// Package verdict is what an assay says about an image: plain data. Package
// report shows it to people and programs.
package verdict

import (
	"slices"
	"time"
)

// Verdict is the outcome of an assay. Its JSON is part of the stable core.
type Verdict struct {
	Verdict Outcome `json:"verdict"`
	// Class says what kept an image from passing; empty when nothing did.
	Class Class `json:"class,omitempty"`
	// Name is the image's, of ingot.yaml.
	Name string `json:"name"`
	// The digests are SHA-256 in hex: of the image file as shipped, of
	// ingot.yaml with the files that it names, and of ingot.lock.
	ImageSHA256  string `json:"image_sha256"`
	ConfigSHA256 string `json:"config_sha256"`
	LockSHA256   string `json:"lock_sha256"`
	// RootHash is dm-verity's, in hex, as the machine had it.
	RootHash string `json:"root_hash,omitempty"`

	Started      time.Time `json:"started"`       // in UTC
	ReadySeconds float64   `json:"ready_seconds"` // power-on to WireGuard handshake
	Seconds      float64   `json:"seconds"`       // the whole assay
	Accelerator  string    `json:"accelerator"`
	Reason       string    `json:"accelerator_reason"`
	Firmware     string    `json:"firmware"` // "bios" or "uefi"

	// Suites are what was made as a whole: Standard always, Full, Deep.
	Suites []string `json:"suites"`
	Checks []Result `json:"checks"`
	// Skipped are the checks that were left out on request, by id. A verdict
	// with one is not a pass.
	Skipped []string `json:"skipped,omitempty"`

	Timeline []Moment `json:"timeline"` // of the first boot, from power-on
	Ports    []Port   `json:"ports"`    // that answered a stranger or listen
	Packets  Packets  `json:"packets"`
	Depth    *Depth   `json:"depth,omitempty"` // what a deep assay measured
	Error    string   `json:"error,omitempty"` // why there is no verdict
}

// The suites.
const (
	Standard = "standard" // one boot, all checks, one reboot
	Full     = "full"     // every scenario
	Deep     = "depth"    // lynis, ssh-audit and what goes with them
)

// Scenarios is the layer of the results that are scenarios: boots of their own
// on which something goes wrong.
const Scenarios = "scenarios"

// Outcome is one word for people and programs.
type Outcome string

// The outcomes. Only Passed allows an upload.
const (
	Passed     Outcome = "passed"
	Failed     Outcome = "failed"     // a check did not hold
	Incomplete Outcome = "incomplete" // a check was not or could not be made
	Errored    Outcome = "error"      // the assay itself did not get through
)

// Class is whose fault it is that an image did not pass.
type Class string

// The classes. None of them is a pass.
const (
	Product     Class = "product"     // the image did not do what it promises
	Environment Class = "environment" // this machine, or the assay itself
	Flake       Class = "flake"       // a check that failed, and held when it was made again
)

// Result is what became of one check, or of one scenario.
type Result struct {
	ID       string  `json:"id"`
	Layer    string  `json:"layer"`
	Title    string  `json:"title"`
	Result   Outcome `json:"result"`
	Class    Class   `json:"class,omitempty"` // of one that did not pass
	Seconds  float64 `json:"seconds"`
	Evidence string  `json:"evidence"`
	Problem  string  `json:"problem,omitempty"`
}

// Moment is something that happened during the first boot.
type Moment struct {
	Seconds float64 `json:"seconds"` // since power-on
	Text    string  `json:"text"`
}

// Port is what is known about one port of the machine.
type Port struct {
	Proto string `json:"proto"` // "tcp" or "udp"
	Port  int    `json:"port"`
	// Stranger is what a stranger on the internet sees: "open", "closed"
	// (refused) or "filtered" (silent).
	Stranger string `json:"stranger"`
	// Listens is whether a program of the machine listens beyond loopback.
	Listens bool `json:"listens"`
	// Declared is whether it is in the port table, From whom it is for there
	// ("internet", "wireguard", "loopback"), and Why.
	Declared bool   `json:"declared"`
	From     string `json:"from,omitempty"`
	Why      string `json:"why,omitempty"`
}

// Packets counts what was on the wire during the whole assay, in frames.
type Packets struct {
	FromMachine int `json:"from_machine"`
	ToMachine   int `json:"to_machine"`
	// Probes are the stranger's, of ToMachine; Answered are those that the
	// machine answered.
	Probes   int `json:"probes"`
	Answered int `json:"answered"`
}

// Depth is what the tools of others say about the running machine.
type Depth struct {
	Lynis    Lynis      `json:"lynis"`
	Exposure []Exposure `json:"exposure"` // of every running service
	SSHAudit string     `json:"ssh_audit"`
}

// Lynis is its report.
type Lynis struct {
	Version     string       `json:"version"`
	Index       int          `json:"hardening_index"` // 0 to 100
	Tests       int          `json:"tests"`
	Suggestions []Suggestion `json:"suggestions"`
}

// Suggestion is something that lynis would do otherwise.
type Suggestion struct {
	ID      string `json:"id"`
	Text    string `json:"text"`
	Details string `json:"details,omitempty"`
	Warning bool   `json:"warning"`
	Why     string `json:"why"` // it is not followed; empty when nobody said
}

// Exposure is how much of the system a service could reach if it were taken
// over, by systemd's count: 0.0 nothing to 10.0 everything.
type Exposure struct {
	Unit  string  `json:"unit"`
	Level float64 `json:"level"`
	// Network says that the service has an Internet socket.
	Network bool `json:"network"`
}

// Conclude derives the outcome from the checks: one that failed decides, then
// an error, then one that was not made. No checks are no proof.
func (v *Verdict) Conclude() {
	switch {
	case v.has(Failed):
		v.Verdict, v.Class = Failed, v.worst()
	case v.Error != "":
		v.Verdict = Errored
		if v.Class == "" {
			v.Class = Product
		}
	case v.has(Errored), len(v.Skipped) > 0, len(v.Checks) == 0:
		v.Verdict, v.Class = Incomplete, v.worst()
	default:
		v.Verdict, v.Class = Passed, ""
	}
}

func (v *Verdict) has(o Outcome) bool {
	return slices.ContainsFunc(v.Checks, func(r Result) bool { return r.Result == o })
}

// worst is the gravest class of the checks: a product failure beside a flake is
// a product failure.
func (v *Verdict) worst() Class {
	for _, c := range []Class{Product, Environment, Flake} {
		if slices.ContainsFunc(v.Checks, func(r Result) bool { return r.Class == c }) {
			return c
		}
	}
	return ""
}

// Passes counts the checks that passed.
func (v Verdict) Passes() int {
	n := 0
	for _, r := range v.Checks {
		if r.Result == Passed {
			n++
		}
	}
	return n
}
