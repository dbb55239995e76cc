package attest

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
	"time"

	"ingot/qemu-tests/verdict"
)

// Artifacts are what a verdict must be about: SHA-256 digests, in hex, of what
// is there now. An empty one is not compared.
type Artifacts struct {
	Image  string // the image's file
	Config string // ingot.yaml with the files that it names
	Lock   string // ingot.lock, or Absent
}

// Absent stands for the digest of a file that should be there and is not.
const Absent = "absent"

// Policy is what a verdict must be to be relied on.
type Policy struct {
	Keys []ed25519.PublicKey // one of them must have signed
	// Local is this user's local key, nil when there is none. It is not trusted;
	// a verdict that it signed gets a problem of its own.
	Local   ed25519.PublicKey
	Require []string      // suites and ids of checks
	MaxAge  time.Duration // since the assay began; 0 is any
	Now     time.Time
}

// Kind is what a problem is about, and what was checked.
type Kind string

// The kinds, in the order in which they are checked.
const (
	OfFormat    Kind = "format"    // it is no verdict that can be read
	OfSignature Kind = "signature" // nobody who is trusted signed it
	OfLocalKey  Kind = "local-key" // this user's local key did
	OfImage     Kind = "image"     // it is about another image
	OfConfig    Kind = "config"    // another ingot.yaml
	OfLock      Kind = "lock"      // another ingot.lock
	OfResult    Kind = "result"    // it is not a pass
	OfRequire   Kind = "require"   // something was not made
	OfAge       Kind = "age"       // it is too old
	// OfProvenance is all that is wrong with the provenance beside the image.
	OfProvenance Kind = "provenance"
)

// Problem is a reason not to rely on a verdict.
type Problem struct {
	Kind    Kind   `json:"kind"`
	Message string `json:"message"` // what is wrong and what to do
}

// Report is what was found out about a verdict.
type Report struct {
	Checked []Kind
	// Problems are all there are; none means that the verdict holds.
	Problems []Problem
	// Verdict is what the file says, true or not; nil when it cannot be read.
	Verdict *verdict.Verdict
	Signer  string // the id of the key that signed; empty when none is known
}

// Check judges an envelope: who signed it, whether it is about these artifacts,
// and whether it says enough. What an upload asks before anything leaves.
func Check(envelope []byte, now Artifacts, p Policy) Report {
	var r Report
	r.looked(OfFormat)
	a, err := Decode(envelope)
	if err != nil {
		r.add(OfFormat, "this is not a verdict of Ingot's, or somebody changed it: %v; \"ingot test\" makes a new one", err)
		return r
	}
	r.Verdict = &a.Verdict
	r.digests(a.Verdict, now)
	r.result(a.Verdict)
	r.required(a.Verdict, p.Require)
	r.age(a.Verdict, p)
	r.signature(a, p) // last: it says whether the rest is sound
	return r
}

func (r *Report) looked(k Kind) { r.Checked = append(r.Checked, k) }

func (r *Report) add(k Kind, format string, arguments ...any) {
	r.Problems = append(r.Problems, Problem{k, fmt.Sprintf(format, arguments...)})
}

// signature puts its problem first.
func (r *Report) signature(a Attestation, p Policy) {
	r.Checked = slices.Insert(r.Checked, 1, OfSignature)
	for _, k := range p.Keys {
		if a.SignedBy(k) {
			r.Signer = KeyID(k)
			return
		}
	}
	problem := Problem{OfSignature, unsigned(a, p)}
	if p.Local != nil && a.SignedBy(p.Local) {
		r.Signer = KeyID(p.Local)
		problem = Problem{OfLocalKey, r.local(p)}
	}
	r.Problems = slices.Insert(r.Problems, 0, problem)
}

// local says how to get from a local key to one that others trust.
func (r *Report) local(p Policy) string {
	begin := "the verdict is"
	if len(r.Problems) == 0 {
		begin = "the verdict is sound, but"
	}
	advice := "run \"ingot keygen\" and put the line that it prints into test.keys of ingot.yaml"
	if len(p.Keys) > 0 {
		advice = fmt.Sprintf("put the private half of a trusted key into %s, %s or %s", KeyFile, fileVariable, keyVariable)
	}
	return fmt.Sprintf("%s signed by the local key of this user, which upload will not trust; %s, then run \"ingot test\" again", begin, advice)
}

// unsigned says why no trusted signature was found. A key id only shows what
// was meant: anybody can write one.
func unsigned(a Attestation, p Policy) string {
	claimed := strings.Join(quoted(a.Claimed), ", ")
	if len(p.Keys) == 0 {
		return fmt.Sprintf("there is no key to check the signature with (it names %s); put trusted keys into test.keys of ingot.yaml, or name a file with --key", claimed)
	}
	for _, k := range p.Keys {
		if slices.Contains(a.Claimed, KeyID(k)) {
			return fmt.Sprintf("the signature does not hold: the verdict was changed after %s signed it; run \"ingot test\" again", KeyID(k))
		}
	}
	return fmt.Sprintf("the verdict is signed by %s, which is not a trusted key; sign with one of test.keys, or add that key's line to them if it is yours", claimed)
}

func (r *Report) digests(v verdict.Verdict, now Artifacts) {
	for _, d := range []struct {
		kind              Kind
		what, got, tested string
	}{
		{OfImage, "the image", now.Image, v.ImageSHA256},
		{OfConfig, "ingot.yaml, or a file that it names,", now.Config, v.ConfigSHA256},
		{OfLock, "ingot.lock", now.Lock, v.LockSHA256},
	} {
		switch d.got {
		case "":
			continue
		case d.tested:
		case Absent:
			r.add(d.kind, "%s is not there; the verdict is about one with digest %s", d.what, d.tested)
		default:
			r.add(d.kind, "%s is not what was tested: its digest is %s and that in the verdict %s; run \"ingot test\" again", d.what, d.got, d.tested)
		}
		r.looked(d.kind)
	}
}

func (r *Report) result(v verdict.Verdict) {
	r.looked(OfResult)
	if v.Verdict == verdict.Passed {
		return
	}
	var ids []string
	for _, c := range v.Checks {
		if c.Result != verdict.Passed {
			ids = append(ids, c.ID)
		}
	}
	ids = append(ids, v.Skipped...)
	reason := ""
	if len(ids) > 0 {
		reason = "; not passed or not made: " + strings.Join(quoted(ids[:min(len(ids), 3)]), ", ")
	}
	if len(ids) > 3 {
		reason += fmt.Sprintf(" and %d more", len(ids)-3)
	}
	if v.Error != "" {
		reason += "; the assay ended with " + quote(v.Error)
	}
	r.add(OfResult, "the verdict is %q and not a pass%s", v.Verdict, reason)
}

func (r *Report) required(v verdict.Verdict, names []string) {
	if len(names) == 0 {
		return
	}
	r.looked(OfRequire)
	for _, name := range names {
		if !slices.Contains(v.Suites, name) && !held(v, name) {
			r.add(OfRequire, "%s is required and is not among what was tested and passed; run \"ingot test\" so that it makes it, or correct test.require", quote(name))
		}
	}
}

// held reports whether a check was made and passed, as often as it was made.
func held(v verdict.Verdict, id string) bool {
	made := false
	for _, c := range v.Checks {
		if c.ID == id {
			made = true
			if c.Result != verdict.Passed {
				return false
			}
		}
	}
	return made
}

// skew is how far the clock of the machine that tested may be ahead.
const skew = 5 * time.Minute

func (r *Report) age(v verdict.Verdict, p Policy) {
	if p.MaxAge == 0 {
		return
	}
	r.looked(OfAge)
	age := p.Now.Sub(v.Started)
	switch {
	case age < -skew:
		r.add(OfAge, "the verdict is of %s, which has not come yet; set the clocks right and run \"ingot test\" again", v.Started.UTC().Format(time.RFC3339))
	case age > p.MaxAge:
		r.add(OfAge, "the verdict is of %s, older than max_age %s; run \"ingot test\" again", v.Started.UTC().Format(time.RFC3339), Age(p.MaxAge))
	}
}

// Age writes a duration as max_age is written: in the largest unit that gives
// a whole number.
func Age(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	case d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dm", d/time.Minute)
}

// quoted makes texts of a file that nobody vouches for fit for a terminal.
func quoted(texts []string) []string {
	var list []string
	for _, t := range texts {
		list = append(list, quote(t))
	}
	return list
}

func quote(s string) string {
	if runes := []rune(s); len(runes) > 100 {
		s = string(runes[:99]) + "…"
	}
	return fmt.Sprintf("%q", s)
}
