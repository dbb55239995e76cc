package attest

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/qemu-tests/verdict"
)

// tested are the artifacts that good is about.
func tested() Artifacts {
	return Artifacts{Image: digestOf("a"), Config: digestOf("b"), Lock: digestOf("c")}
}

func trusting(keys ...Key) Policy {
	p := Policy{Now: began.Add(time.Hour)}
	for _, k := range keys {
		p.Keys = append(p.Keys, k.Public())
	}
	return p
}

func failing(id string) verdict.Result {
	return verdict.Result{ID: id, Result: verdict.Failed, Class: verdict.Product}
}

func kinds(r Report) []Kind {
	list := []Kind{}
	for _, p := range r.Problems {
		list = append(list, p.Kind)
	}
	return list
}

func TestCheck(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	flaky := with(verdict.Result{ID: "a.b", Result: verdict.Failed, Class: verdict.Flake})
	skipped := good()
	skipped.Skipped = []string{"ssh.socket"}
	skipped.Conclude()
	dead := good()
	dead.Error = "no boot\x1b[2J"
	dead.Conclude()
	repeated := good()
	repeated.Checks = append(repeated.Checks, verdict.Result{ID: "ssh.no-password", Result: verdict.Failed, Class: verdict.Product})
	repeated.Conclude()

	for name, c := range map[string]struct {
		v      verdict.Verdict
		now    func(*Artifacts)
		policy func(*Policy)
		want   []Kind
		text   string // of the first problem
	}{
		"all is well":                {},
		"only the image is known":    {now: func(n *Artifacts) { n.Config, n.Lock = "", "" }},
		"one of two keys":            {policy: func(p *Policy) { p.Keys = append([]ed25519.PublicKey{keyOf('o').Public()}, p.Keys...) }},
		"local and trusted":          {policy: func(p *Policy) { p.Local = keyOf('k').Public() }},
		"all that is required":       {policy: func(p *Policy) { p.Require = []string{"standard", "ssh.no-password", "internet.tcp-ipv4"} }},
		"as old as may be":           {policy: func(p *Policy) { p.MaxAge, p.Now = day, began.Add(day) }},
		"a clock that is a bit fast": {policy: func(p *Policy) { p.MaxAge, p.Now = day, began.Add(-skew) }},
		"old, and no limit":          {policy: func(p *Policy) { p.Now = began.Add(9999 * day) }},

		"another image":   {now: func(n *Artifacts) { n.Image = digestOf("e") }, want: []Kind{OfImage}, text: "the image is not what was tested"},
		"another config":  {now: func(n *Artifacts) { n.Config = digestOf("e") }, want: []Kind{OfConfig}, text: "ingot.yaml, or a file that it names, is not what was tested"},
		"another lock":    {now: func(n *Artifacts) { n.Lock = digestOf("e") }, want: []Kind{OfLock}, text: "ingot.lock is not what was tested"},
		"no lock":         {now: func(n *Artifacts) { n.Lock = Absent }, want: []Kind{OfLock}, text: "ingot.lock is not there"},
		"another key":     {policy: func(p *Policy) { *p = trusting(keyOf('o')) }, want: []Kind{OfSignature}, text: `is signed by "` + KeyID(keyOf('k').Public()) + `", which is not a trusted key`},
		"nobody's key":    {policy: func(p *Policy) { *p = trusting(keyOf('o')); p.Local = keyOf('l').Public() }, want: []Kind{OfSignature}},
		"no key":          {policy: func(p *Policy) { p.Keys = nil }, want: []Kind{OfSignature}, text: "there is no key to check the signature with"},
		"the local key":   {policy: func(p *Policy) { p.Keys, p.Local = nil, keyOf('k').Public() }, want: []Kind{OfLocalKey}, text: "the verdict is sound, but signed by the local key of this user, which upload will not trust; run \"ingot keygen\""},
		"local, and keys": {policy: func(p *Policy) { *p = trusting(keyOf('o')); p.Local = keyOf('k').Public() }, want: []Kind{OfLocalKey}, text: "put the private half of a trusted key into secrets/test.key"},
		"local, not sound": {
			now: func(n *Artifacts) { n.Image = digestOf("e") }, policy: func(p *Policy) { p.Keys, p.Local = nil, keyOf('k').Public() },
			want: []Kind{OfLocalKey, OfImage}, text: "the verdict is signed by the local key",
		},
		"a flake":             {v: flaky, want: []Kind{OfResult}, text: `the verdict is "failed" and not a pass; not passed or not made: "a.b"`},
		"many fail":           {v: with(failing("a"), failing("b"), failing("c"), failing("d"), failing("e")), want: []Kind{OfResult}, text: `not made: "a", "b", "c" and 2 more`},
		"left out":            {v: skipped, want: []Kind{OfResult}, text: `"incomplete" and not a pass; not passed or not made: "ssh.socket"`},
		"no end":              {v: dead, want: []Kind{OfResult}, text: `the assay ended with "no boot\x1b[2J"`},
		"a suite not made":    {policy: func(p *Policy) { p.Require = []string{"standard", "full"} }, want: []Kind{OfRequire}, text: `"full" is required`},
		"a check not made":    {policy: func(p *Policy) { p.Require = []string{"ssh.none", "scenarios.dns-dead"} }, want: []Kind{OfRequire, OfRequire}, text: `"ssh.none" is required`},
		"held once of twice":  {v: repeated, policy: func(p *Policy) { p.Require = []string{"ssh.no-password"} }, want: []Kind{OfResult, OfRequire}},
		"too old":             {policy: func(p *Policy) { p.MaxAge, p.Now = day, began.Add(day+1) }, want: []Kind{OfAge}, text: "of 2026-11-20T10:00:00Z, older than max_age 1d"},
		"not begun yet":       {policy: func(p *Policy) { p.MaxAge, p.Now = day, began.Add(-skew-1) }, want: []Kind{OfAge}, text: "has not come yet"},
		"everything at once":  {v: flaky, now: func(n *Artifacts) { *n = Artifacts{digestOf("1"), digestOf("2"), digestOf("3")} }, policy: func(p *Policy) { *p = trusting(keyOf('o')); p.MaxAge = 1; p.Require = []string{"full"} }, want: []Kind{OfSignature, OfImage, OfConfig, OfLock, OfResult, OfRequire, OfAge}},
		"required, not given": {v: flaky, policy: func(p *Policy) { p.Require = []string{"a.b"} }, want: []Kind{OfResult, OfRequire}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, now, policy := c.v, tested(), trusting(keyOf('k'))
			if v.Verdict == "" {
				v = good()
			}
			if c.now != nil {
				c.now(&now)
			}
			if c.policy != nil {
				c.policy(&policy)
			}
			r := Check(signed(t, v, keyOf('k')), now, policy)
			if got := kinds(r); !slices.Equal(got, append([]Kind{}, c.want...)) {
				t.Fatalf("problems %q, want %q", r.Problems, c.want)
			}
			if c.text != "" && !strings.Contains(r.Problems[0].Message, c.text) {
				t.Errorf("%q, want …%s…", r.Problems[0].Message, c.text)
			}
			for _, p := range r.Problems {
				if !slices.Contains(r.Checked, p.Kind) && p.Kind != OfLocalKey {
					t.Errorf("a problem of %s, and checked are %q", p.Kind, r.Checked)
				}
			}
			if r.Verdict == nil || len(r.Verdict.Checks) != len(v.Checks) {
				t.Error("the report lacks the verdict")
			}
		})
	}
}

// What was not looked at must not look as if it had been.
func TestChecked(t *testing.T) {
	t.Parallel()
	b := signed(t, good(), keyOf('k'))
	r := Check(b, Artifacts{Image: digestOf("a")}, trusting(keyOf('k')))
	if want := []Kind{OfFormat, OfSignature, OfImage, OfResult}; !slices.Equal(r.Checked, want) {
		t.Errorf("checked %q, want %q", r.Checked, want)
	}
	if r.Signer != KeyID(keyOf('k').Public()) {
		t.Errorf("the signer is %q", r.Signer)
	}
	p := trusting(keyOf('k'))
	p.Require, p.MaxAge = []string{"standard"}, time.Hour
	r = Check(b, tested(), p)
	if want := []Kind{OfFormat, OfSignature, OfImage, OfConfig, OfLock, OfResult, OfRequire, OfAge}; !slices.Equal(r.Checked, want) {
		t.Errorf("checked %q, want %q", r.Checked, want)
	}
}

// A changed verdict is told from one that somebody else signed.
func TestChangedAfterSigning(t *testing.T) {
	t.Parallel()
	v := good()
	b := signed(t, v, keyOf('k'))
	v.Checks[0].Evidence = "nicer"
	other := signed(t, v, keyOf('k'))
	_, signatures, _ := bytes.Cut(b, []byte(`,"signatures"`))
	payload, _, _ := bytes.Cut(other, []byte(`,"signatures"`))
	forged := slices.Concat(payload, []byte(`,"signatures"`), signatures)
	r := Check(forged, tested(), trusting(keyOf('k')))
	if got := kinds(r); !slices.Equal(got, []Kind{OfSignature}) || !strings.Contains(r.Problems[0].Message, "was changed after "+KeyID(keyOf('k').Public())+" signed it") {
		t.Errorf("problems %q", r.Problems)
	}
	if r.Signer != "" {
		t.Errorf("signed by %q", r.Signer)
	}

	r = Check(b[:len(b)-10], tested(), trusting(keyOf('k')))
	if got := kinds(r); !slices.Equal(got, []Kind{OfFormat}) || r.Verdict != nil {
		t.Errorf("of a torn file: %q", r.Problems)
	}
}

func TestAge(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]time.Duration{"7d": 168 * time.Hour, "1d": 24 * time.Hour, "25h": 25 * time.Hour, "1h": time.Hour, "90m": 90 * time.Minute} {
		if got := Age(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
