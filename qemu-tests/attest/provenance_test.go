package attest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

// origin is a provenance with something in every field.
func origin() Provenance {
	return Provenance{
		Image: "image.raw", ImageSHA256: digestOf("a"), Config: digestOf("b"), Lock: digestOf("c"), Agent: digestOf("d"), Ignition: digestOf("e"),
		Parameters: Parameters{Suite: "trixie", Compression: "zstd,level=12"},
		Source:     &Revision{Commit: strings.Repeat("1", 40), Dirty: true, Folder: "servers/one"},
		Ingot:      &Revision{Commit: strings.Repeat("2", 40)},
		Go:         "go1.26.3",
		Bills:      map[string]string{"sbom.cdx.json": digestOf("f"), "sbom.spdx.json": digestOf("0")},
	}
}

func provided(t *testing.T, p Provenance, k Key) []byte {
	t.Helper()
	b, err := SignProvenance(p, k)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestProvenanceSignedIsWhatIsDecoded(t *testing.T) {
	t.Parallel()
	bare := origin()
	bare.Source, bare.Ingot, bare.Bills = nil, nil, map[string]string{}
	for _, want := range []Provenance{origin(), bare} {
		envelope := provided(t, want, keyOf('k'))
		for range 20 { // maps come in another order each time
			if !bytes.Equal(envelope, provided(t, want, keyOf('k'))) {
				t.Fatal("the same provenance has other bytes")
			}
		}
		got, a, err := decodeProvenance(envelope)
		if err != nil || !reflect.DeepEqual(got, want) || !a.SignedBy(keyOf('k').Public()) || a.SignedBy(keyOf('x').Public()) {
			t.Errorf("got %+v (%v), want %+v", got, err, want)
		}
	}
}

// TestProvenanceIsSLSA reads a provenance as anybody else would, with the bindings
// of in-toto, and by the names of SLSA's specification.
func TestProvenanceIsSLSA(t *testing.T) {
	t.Parallel()
	var e struct{ Payload string }
	if err := json.Unmarshal(provided(t, origin(), keyOf('k')), &e); err != nil {
		t.Fatal(err)
	}
	payload, err := base64.StdEncoding.DecodeString(e.Payload)
	if err != nil {
		t.Fatal(err)
	}
	s := &intoto.Statement{}
	if err := protojson.Unmarshal(payload, s); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	text, err := protojson.Marshal(s.GetPredicate())
	if err != nil {
		t.Fatal(err)
	}
	p := &slsa.Provenance{}
	if err := protojson.Unmarshal(text, p); err != nil {
		t.Fatal(err)
	}
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{
		`"predicateType":"https://slsa.dev/provenance/v1"`, `"subject":[{"name":"image.raw","digest":{"sha256":"` + digestOf("a"),
		`"buildDefinition":{"buildType":"urn:ingot:build:1"`, `"externalParameters":{"compression":"zstd,level=12","suite":"trixie"}`,
		`"resolvedDependencies":[`, `"gitCommit":"` + strings.Repeat("1", 40), `"runDetails":{"builder":{`, `"builderDependencies":[`, `"byproducts":[`,
	} {
		if !strings.Contains(strings.ReplaceAll(string(payload), " ", ""), want) {
			t.Errorf("%s is not in\n%s", want, payload)
		}
	}
}

func TestProvenanceLacksADigest(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*Provenance){
		"no image":     func(p *Provenance) { p.ImageSHA256 = "" },
		"upper case":   func(p *Provenance) { p.Config = strings.ToUpper(p.Config) },
		"short":        func(p *Provenance) { p.Lock = p.Lock[:62] },
		"no agent":     func(p *Provenance) { p.Agent = "x" },
		"no ignition":  func(p *Provenance) { p.Ignition = "" },
		"a folder":     func(p *Provenance) { p.Image = "build/image.raw" },
		"no text":      func(p *Provenance) { p.Parameters.Suite = "\xff" },
		"no name":      func(p *Provenance) { p.Image = "." },
		"bytes of a C": func(p *Provenance) { p.Go = "\xff" },
	} {
		p := origin()
		spoil(&p)
		if _, err := SignProvenance(p, keyOf('k')); err == nil {
			t.Errorf("%s: it was signed", name)
		}
	}
}

// TestProvenanceMustAgree signs statements that Ingot would not make.
func TestProvenanceMustAgree(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*intoto.Statement){
		"another subject": func(s *intoto.Statement) { s.Subject[0].Digest["sha512"] = digestOf("a") },
		"two subjects":    func(s *intoto.Statement) { s.Subject = append(s.Subject, s.Subject[0]) },
		"another type":    func(s *intoto.Statement) { s.PredicateType = predicateType },
		"another field":   func(s *intoto.Statement) { s.Predicate.Fields["more"] = s.Predicate.Fields["runDetails"] },
		"another builder": func(s *intoto.Statement) {
			delete(s.Predicate.Fields["runDetails"].GetStructValue().Fields["builder"].GetStructValue().Fields, "id")
		},
		"no predicate": func(s *intoto.Statement) { s.Predicate.Fields = nil },
	} {
		s, err := provenanceStatement(origin())
		if err != nil {
			t.Fatal(err)
		}
		change(s.Statement)
		payload, err := s.bytes()
		if err != nil {
			t.Fatal(err)
		}
		envelope, err := seal(payload, keyOf('k'))
		if err != nil {
			t.Fatal(err)
		}
		if p, _, err := decodeProvenance(envelope); err == nil {
			t.Errorf("%s: it was taken for %+v", name, p)
		}
	}
}

func TestEveryByteOfAProvenanceCounts(t *testing.T) {
	t.Parallel()
	envelope := provided(t, origin(), keyOf('k'))
	for at := range envelope {
		changed := bytes.Clone(envelope)
		changed[at] ^= 1
		if problems := CheckProvenance(changed, Artifacts{Image: digestOf("a")}, nil, trusting(keyOf('k'))); len(problems) == 0 {
			t.Fatalf("byte %d was changed unnoticed", at)
		}
	}
}

func TestCheckProvenance(t *testing.T) {
	t.Parallel()
	now := Artifacts{Image: digestOf("a"), Config: digestOf("b"), Lock: digestOf("c")}
	bills := origin().Bills
	withLocal := trusting(keyOf('x'))
	withLocal.Local = keyOf('k').Public()
	for _, tc := range []struct {
		name   string
		now    Artifacts
		bills  map[string]string
		policy Policy
		want   []string // beginnings
	}{
		{"sound", now, bills, trusting(keyOf('x'), keyOf('k')), nil},
		{"the image alone", Artifacts{Image: digestOf("a")}, nil, trusting(keyOf('k')), nil},
		{"other files", Artifacts{Image: digestOf("1"), Config: digestOf("2"), Lock: Absent}, map[string]string{"sbom.cdx.json": digestOf("3"), "more": digestOf("4")}, trusting(keyOf('k')), []string{
			"the provenance is about another image:", "the provenance is about another ingot.yaml:", "the provenance is about another ingot.lock:", "the provenance is about another more:", "the provenance is about another sbom.cdx.json:",
		}},
		{"a stranger", now, bills, trusting(keyOf('x')), []string{"the provenance is not signed by a trusted key"}},
		{"no keys", now, bills, Policy{}, []string{"there is no key to check the provenance's signature with"}},
		{"this user's", now, bills, withLocal, []string{"the provenance is signed by the local key of this user"}},
	} {
		problems := CheckProvenance(provided(t, origin(), keyOf('k')), tc.now, tc.bills, tc.policy)
		if len(problems) != len(tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, problems, tc.want)
			continue
		}
		for i, p := range problems {
			if p.Kind != OfProvenance || !strings.HasPrefix(p.Message, tc.want[i]) {
				t.Errorf("%s: %v, want %q", tc.name, p, tc.want[i])
			}
		}
	}
}

func TestWriteProvenance(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), ProvenanceFile)
	if err := WriteProvenance(file, origin(), keyOf('k')); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, provided(t, origin(), keyOf('k'))) {
		t.Errorf("%s (%v)", got, err)
	}
	if err := WriteProvenance(file, Provenance{}, keyOf('k')); err == nil {
		t.Error("half a provenance was written")
	}
	if again, err := os.ReadFile(file); err != nil || !bytes.Equal(again, got) {
		t.Errorf("the file was touched: %v", err)
	}
}

// What is read of a provenance is exactly what Ingot would say.
func FuzzProvenance(f *testing.F) {
	s, err := provenanceStatement(origin())
	if err != nil {
		f.Fatal(err)
	}
	b, err := s.bytes()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, payload []byte) {
		envelope, err := seal(payload, keyOf('k'))
		if err != nil {
			t.Fatal(err)
		}
		p, _, err := decodeProvenance(envelope)
		if err != nil {
			return
		}
		again, err := SignProvenance(p, keyOf('k'))
		if err != nil {
			t.Fatal(err)
		}
		if q, _, err := decodeProvenance(again); err != nil || !reflect.DeepEqual(p, q) {
			t.Errorf("%+v becomes %+v (%v)", p, q, err)
		}
	})
}
