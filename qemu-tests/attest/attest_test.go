package attest

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"ingot/qemu-tests/verdict"
)

// keyOf makes the same key for the same letter.
func keyOf(letter byte) Key {
	return Key{private: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{letter}, ed25519.SeedSize))}
}

func digestOf(letter string) string { return strings.Repeat(letter, 64) }

var began = time.Date(2026, 11, 20, 10, 0, 0, 123456789, time.UTC)

// good is a verdict that passed, with something in every kind of field.
func good() verdict.Verdict {
	return verdict.Verdict{
		Verdict: verdict.Passed, Name: "openclaw",
		ImageSHA256: digestOf("a"), ConfigSHA256: digestOf("b"), LockSHA256: digestOf("c"), RootHash: digestOf("d"),
		Started: began, ReadySeconds: 32.9, Seconds: 147.300000001, Accelerator: "tcg", Reason: "no /dev/kvm", Firmware: "bios",
		Suites: []string{verdict.Standard},
		Checks: []verdict.Result{
			{ID: "ssh.no-password", Layer: "ssh", Title: "password login is refused", Result: verdict.Passed, Seconds: 0.3, Evidence: "refused <\"&\u2028>"},
			{ID: "internet.tcp-ipv4", Layer: "internet", Title: "only declared ports", Result: verdict.Passed, Seconds: 4.2e-7, Evidence: "65535 ports"},
		},
		Timeline: []verdict.Moment{{Seconds: 1.5, Text: "kernel"}},
		Ports:    []verdict.Port{{Proto: "tcp", Port: 443, Stranger: "closed", Declared: true, From: "internet", Why: "HTTPS"}},
		Packets:  verdict.Packets{FromMachine: 1 << 40, ToMachine: 3, Probes: 2, Answered: 1},
	}
}

// with is a verdict whose checks have these results, and its own conclusion.
func with(results ...verdict.Result) verdict.Verdict {
	v := good()
	v.Checks = results
	v.Conclude()
	return v
}

func signed(t *testing.T, v verdict.Verdict, k Key) []byte {
	t.Helper()
	b, err := Sign(v, "image.raw", k)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSignedIsWhatIsDecoded(t *testing.T) {
	t.Parallel()
	deep := good()
	deep.Suites = append(deep.Suites, verdict.Deep)
	deep.Depth = &verdict.Depth{Lynis: verdict.Lynis{Version: "3.1.4", Index: 85}, Exposure: []verdict.Exposure{{Unit: "ssh.service", Level: 9.6, Network: true}}}
	for name, v := range map[string]verdict.Verdict{
		"passed": good(), "depth": deep,
		"failed":     with(verdict.Result{ID: "a.b", Result: verdict.Failed, Class: verdict.Product, Problem: "no"}),
		"incomplete": with(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := signed(t, v, keyOf('k'))
			if again := signed(t, v, keyOf('k')); !bytes.Equal(b, again) {
				t.Error("the same verdict and key give other bytes")
			}
			a, err := Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			payload, err := a.envelope.DecodeB64Payload()
			var compact bytes.Buffer
			if err := errors.Join(err, json.Compact(&compact, payload)); err != nil || !bytes.Equal(compact.Bytes(), payload) {
				t.Errorf("the payload has blanks, which protojson puts in or not: %q, %v", payload, err)
			}
			if !reflect.DeepEqual(a.Verdict, v) || a.Image != "image.raw" {
				t.Errorf("decoded %+v, %s", a.Verdict, a.Image)
			}
			if !a.SignedBy(keyOf('k').Public()) || a.SignedBy(keyOf('o').Public()) {
				t.Error("it is not signed by the key that signed, or by another")
			}
			if want := KeyID(keyOf('k').Public()); len(a.Claimed) != 1 || a.Claimed[0] != want || !strings.HasPrefix(want, "SHA256:") {
				t.Errorf("claimed %q, want %q", a.Claimed, want)
			}
		})
	}
}

// What a machine says need not be text.
func TestBytesThatAreNoText(t *testing.T) {
	t.Parallel()
	v := good()
	v.Checks[0].Evidence = "\xff\x00\x1b[2J"
	a, err := Decode(signed(t, v, keyOf('k')))
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Verdict.Checks[0].Evidence; got != "\ufffd\x00\x1b[2J" {
		t.Errorf("the evidence is %q", got)
	}
}

func TestResults(t *testing.T) {
	t.Parallel()
	ok := verdict.Result{ID: "ok", Result: verdict.Passed}
	fails := verdict.Result{ID: "fails", Result: verdict.Failed, Class: verdict.Product}
	flake := verdict.Result{ID: "flake", Result: verdict.Failed, Class: verdict.Flake}
	errs := verdict.Result{ID: "errs", Result: verdict.Errored, Class: verdict.Environment}
	skips := func(v verdict.Verdict) verdict.Verdict { v.Skipped = []string{"skipped"}; v.Conclude(); return v }
	ends := func(v verdict.Verdict) verdict.Verdict { v.Error = "no boot"; v.Conclude(); return v }
	for name, c := range map[string]struct {
		v                      verdict.Verdict
		result                 string
		passed, warned, failed string
	}{
		"passed":              {with(ok), "PASSED", "ok", "", ""},
		"failed":              {with(ok, fails), "FAILED", "ok", "", "fails"},
		"flake":               {with(ok, flake), "WARNED", "ok", "flake", ""},
		"flake, and failed":   {with(flake, fails), "FAILED", "", "flake", "fails"},
		"flake, and errored":  {with(flake, errs), "FAILED", "", "flake", "errs"},
		"flake, and skipped":  {skips(with(ok, flake)), "FAILED", "ok", "flake", ""},
		"flake, and no end":   {ends(with(ok, flake)), "FAILED", "ok", "flake", ""},
		"errored":             {with(ok, errs), "FAILED", "ok", "", "errs"},
		"skipped":             {skips(with(ok)), "FAILED", "ok", "", ""},
		"nothing was checked": {with(), "FAILED", "", "", ""},
		"no end":              {ends(with(ok)), "FAILED", "ok", "", ""},
	} {
		r := testResultOf(c.v)
		got := []string{r.Result, strings.Join(r.PassedTests, " "), strings.Join(r.WarnedTests, " "), strings.Join(r.FailedTests, " ")}
		if want := []string{c.result, c.passed, c.warned, c.failed}; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		signed(t, c.v, keyOf('k'))
	}
}

// A verdict that contradicts itself is not signed.
func TestNoEvidenceOfContradictions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*verdict.Verdict)
		want   string
	}{
		"a check failed":       {func(v *verdict.Verdict) { v.Checks[1].Result = verdict.Failed }, `its checks make it "failed"`},
		"a check errored":      {func(v *verdict.Verdict) { v.Checks[1].Result = verdict.Errored }, `its checks make it "incomplete"`},
		"a check is nothing":   {func(v *verdict.Verdict) { v.Checks[1].Result = "" }, `its check "internet.tcp-ipv4" is ""`},
		"a check was skipped":  {func(v *verdict.Verdict) { v.Skipped = []string{"x"} }, `its checks make it "incomplete"`},
		"no checks":            {func(v *verdict.Verdict) { v.Checks = nil }, `its checks make it "incomplete"`},
		"it ended early":       {func(v *verdict.Verdict) { v.Error = "no boot" }, `its checks make it "error"`},
		"failed, but it holds": {func(v *verdict.Verdict) { v.Verdict = verdict.Failed }, `its checks make it "passed"`},
		"no word":              {func(v *verdict.Verdict) { v.Verdict = "" }, `its checks make it "passed"`},
		"no image":             {func(v *verdict.Verdict) { v.ImageSHA256 = "" }, "digest of the image"},
		"short digest":         {func(v *verdict.Verdict) { v.ConfigSHA256 = "ab" }, "digest of the configuration"},
		"upper case":           {func(v *verdict.Verdict) { v.LockSHA256 = digestOf("C") }, "digest of the lock"},
		"no hex":               {func(v *verdict.Verdict) { v.LockSHA256 = digestOf("x") }, "digest of the lock"},
	} {
		v := good()
		c.change(&v)
		if _, err := Sign(v, "image.raw", keyOf('k')); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want …%s…", name, err, c.want)
		}
	}
	for _, name := range []string{"", ".", "/", "build/image.raw", "../image.raw"} {
		if _, err := Sign(good(), name, keyOf('k')); err == nil || !strings.Contains(err.Error(), "is not the name of an image file") {
			t.Errorf("an image called %q: %v", name, err)
		}
	}
}

// Statements that a trusted key signed and that are not what Ingot says.
func TestStatementsMustAgree(t *testing.T) {
	t.Parallel()
	s, err := statementOf(good(), "image.raw")
	if err != nil {
		t.Fatal(err)
	}
	honest, err := s.bytes()
	if err != nil {
		t.Fatal(err)
	}
	tests := `["ssh.no-password","internet.tcp-ipv4"]`
	for name, c := range map[string]struct{ old, new, want string }{
		"another result":       {`"result":"PASSED"`, `"result":"WARNED"`, `"result" is not what the verdict`},
		"a test more":          {tests, `["ssh.no-password","internet.tcp-ipv4","x"]`, `"passedTests" is not what`},
		"a test less":          {tests, `["ssh.no-password"]`, `"passedTests" is not what`},
		"another order":        {tests, `["internet.tcp-ipv4","ssh.no-password"]`, `"passedTests" is not what`},
		"failed tests":         {`"result":"PASSED"`, `"result":"PASSED","failedTests":["x"]`, `"failedTests" is not what`},
		"a URL":                {`"result":"PASSED"`, `"result":"PASSED","url":"https://example.com"`, `"url" is not what`},
		"another config":       {`{"ingotFiles":"` + digestOf("b"), `{"ingotFiles":"` + digestOf("e"), `"configuration" is not what`},
		"another subject":      {`"digest":{"sha256":"` + digestOf("a"), `"digest":{"sha256":"` + digestOf("e"), "subject is not the image"},
		"a second digest":      {`"digest":{"sha256":"` + digestOf("a") + `"`, `"digest":{"sha256":"` + digestOf("a") + `","md5":"` + digestOf("a")[:32] + `"`, "subject is not the image"},
		"two subjects":         {`"subject":[`, `"subject":[{"name":"b","digest":{"sha256":"` + digestOf("b") + `"}},`, "about one image"},
		"no subject":           {`"subject":[{"name":"image.raw","digest":{"sha256":"` + digestOf("a") + `"}}]`, `"subject":[]`, "at least one subject"},
		"a subject in folders": {`"name":"image.raw"`, `"name":"a/image.raw"`, "is not the name of an image file"},
		"an old statement":     {`in-toto.io/Statement/v1`, `in-toto.io/Statement/v0.1`, "not a statement of type"},
		"another type":         {`test-result/v0.1`, `test-result/v0.2`, "with a predicate of type"},
		"an unknown field":     {`"subject":`, `"more":1,"subject":`, "not an in-toto statement"},
		"a field twice":        {`"subject":`, `"predicateType":"x","subject":`, "not an in-toto statement"},
		"a member twice":       {`"result":"PASSED"`, `"result":"PASSED","result":"PASSED"`, "not an in-toto statement"},
		"more behind it":       {`"image.raw"`, `"image.raw"}`, "not an in-toto statement"},
		"no verdict":           {`"ingotVerdict":`, `"otherVerdict":`, "has no ingotVerdict"},
		"a verdict of numbers": {`"suites":["standard"]`, `"suites":[1]`, "is not a verdict"},
		"a newer verdict":      {`"suites":`, `"sweets":["sour"],"suites":`, "another version of Ingot"},
		"an older verdict":     {`"firmware":"bios",`, ``, "another version of Ingot"},
		"a shouted verdict":    {`"suites":["standard"]`, `"SUITES":["standard"]`, "another version of Ingot"},
		"a check that failed":  {`"result":"passed","seconds":0.3`, `"result":"failed","seconds":0.3`, `its checks make it "failed"`},
		"a check left out":     {`"suites":["standard"]`, `"skipped":["x"],"suites":["standard"]`, `its checks make it "incomplete"`},
		"another image":        {`"image_sha256":"` + digestOf("a"), `"image_sha256":"` + digestOf("e"), "subject is not the image"},
	} {
		if !strings.Contains(string(honest), c.old) {
			t.Fatalf("%s: %s is not in %s", name, c.old, honest)
		}
		b, err := seal([]byte(strings.Replace(string(honest), c.old, c.new, 1)), keyOf('k'))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(b); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want …%s…", name, err, c.want)
		}
	}
}

// No byte of an envelope can be changed, put in or left out.
func TestEveryByteCounts(t *testing.T) {
	t.Parallel()
	b := signed(t, with(verdict.Result{ID: "a.b", Result: verdict.Passed}), keyOf('k'))
	holds := func(b []byte) bool {
		a, err := Decode(b)
		return err == nil && a.SignedBy(keyOf('k').Public())
	}
	if !holds(b) {
		t.Fatal("nothing holds")
	}
	step := 1
	if testing.Short() {
		step = 5
	}
	for i := 0; i < len(b); i += step {
		changes := map[string][]byte{
			"left out": append(bytes.Clone(b[:i]), b[i+1:]...),
			"blank":    append(append(bytes.Clone(b[:i]), ' '), b[i:]...),
			"line end": append(append(bytes.Clone(b[:i]), '\n'), b[i:]...),
		}
		for _, bit := range []byte{1, 2, 0x20} {
			flipped := bytes.Clone(b)
			flipped[i] ^= bit
			changes[string('0'+bit)] = flipped
		}
		for how, changed := range changes {
			if !bytes.Equal(changed, b) && holds(changed) {
				t.Errorf("byte %d (%q), %s: it still holds", i, b[i], how)
			}
		}
	}
}

// Other spellings of a good envelope.
func TestOneSpelling(t *testing.T) {
	t.Parallel()
	b := signed(t, good(), keyOf('k'))
	var e dsse.Envelope
	if err := json.Unmarshal(b, &e); err != nil {
		t.Fatal(err)
	}
	respelt := func(change func(*dsse.Envelope)) []byte {
		e := e
		e.Signatures = append([]dsse.Signature{}, e.Signatures...)
		change(&e)
		b, err := written(&e)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	payload, err := base64.StdEncoding.DecodeString(e.Payload)
	if err != nil {
		t.Fatal(err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, b, "", "  "); err != nil {
		t.Fatal(err)
	}
	const other = "is not written as Ingot writes it"
	for name, c := range map[string]struct {
		text []byte
		want string
	}{
		"indented":             {indented.Bytes(), other},
		"a second line":        {append(bytes.Clone(b), b...), "not an envelope in JSON"},
		"another case":         {bytes.Replace(b, []byte(`"payload"`), []byte(`"Payload"`), 1), other},
		"a field more":         {bytes.Replace(b, []byte(`{`), []byte(`{"more":1,`), 1), other},
		"a field twice":        {bytes.Replace(b, []byte(`{`), []byte(`{"payload":"",`), 1), other},
		"an escape":            {bytes.Replace(b, []byte(`vnd.in-toto`), []byte(`vnd\u002ein-toto`), 1), other},
		"payload with a break": {respelt(func(e *dsse.Envelope) { e.Payload = e.Payload[:4] + "\n" + e.Payload[4:] }), "payload is not proper base64"},
		"payload for URLs":     {respelt(func(e *dsse.Envelope) { e.Payload = base64.URLEncoding.EncodeToString(append(payload, "\xfb\xff"...)) }), "payload is not proper base64"},
		"signature, break":     {respelt(func(e *dsse.Envelope) { e.Signatures[0].Sig += "\n" }), "signature is not proper base64"},
		"no signature":         {respelt(func(e *dsse.Envelope) { e.Signatures = nil }), "has 0 signatures"},
		"nine signatures":      {respelt(func(e *dsse.Envelope) { e.Signatures = append(make([]dsse.Signature, 8), e.Signatures...) }), "has 9 signatures"},
		"another payload":      {respelt(func(e *dsse.Envelope) { e.PayloadType = "text/plain" }), `its payload is "text/plain"`},
		"nothing":              {nil, "not an envelope"},
		"null":                 {[]byte("null\n"), `its payload is ""`},
		"a plain verdict":      {[]byte(`{"verdict":"passed","image_sha256":"` + digestOf("a") + `"}` + "\n"), `its payload is ""`},
		"too large":            {append(bytes.Clone(b), bytes.Repeat([]byte(" "), MaxBytes)...), "larger than 4 MiB"},
	} {
		if _, err := Decode(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want …%s…", name, err, c.want)
		}
	}
}

// Somebody may sign beside the one who is trusted.
func TestASecondSignature(t *testing.T) {
	t.Parallel()
	var first, second dsse.Envelope
	for key, e := range map[byte]*dsse.Envelope{'k': &first, 'o': &second} {
		if err := json.Unmarshal(signed(t, good(), keyOf(key)), e); err != nil {
			t.Fatal(err)
		}
	}
	first.Signatures = append(first.Signatures, second.Signatures...)
	b, err := written(&first)
	if err != nil {
		t.Fatal(err)
	}
	a, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[byte]bool{'k': true, 'o': true, 'x': false} {
		if got := a.SignedBy(keyOf(key).Public()); got != want {
			t.Errorf("signed by %c: %t, want %t", key, got, want)
		}
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "verdict.json")
	if err := os.WriteFile(file, []byte("the old one, which is longer than nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(file, good(), "image.raw", keyOf('k')); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, signed(t, good(), keyOf('k'))) {
		t.Errorf("the file holds %q, %v", got, err)
	}
	bad := good()
	bad.ImageSHA256 = ""
	if err := Write(file, bad, "image.raw", keyOf('k')); err == nil {
		t.Error("a verdict about nothing is written")
	}
	if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, got) {
		t.Errorf("what could not be signed changed the file: %v", err)
	}
}
