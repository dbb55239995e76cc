package attest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	testresult "github.com/in-toto/attestation/go/predicates/test_result/v0"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"ingot/qemu-tests/verdict"
)

const (
	// predicateType is in-toto's, spec/predicates/test-result.md.
	predicateType = "https://in-toto.io/attestation/test-result/v0.1"
	// extension is the field of the predicate that holds the whole verdict. By
	// in-toto's rules its name is unlike those of others and has no "." or "$".
	extension = "ingotVerdict"
	// filesDigest names the digest of ingot.yaml and of the files that it names
	// (package config): no single file has that SHA-256.
	filesDigest = "ingotFiles"
)

// The results of a test-result.
const (
	passed = "PASSED"
	warned = "WARNED"
	failed = "FAILED"
)

// statement is what is signed.
type statement struct{ *intoto.Statement }

// statementOf states a verdict about the image file of that name. What it
// states follows from the verdict alone.
func statementOf(v verdict.Verdict, image string) (statement, error) {
	if err := consistent(v); err != nil {
		return statement{}, err
	}
	if image != filepath.Base(image) || image == "." || image == string(filepath.Separator) {
		return statement{}, fmt.Errorf("%q is not the name of an image file; leave its folder out", image)
	}
	p, err := predicateOf(v)
	if err != nil {
		return statement{}, err
	}
	return statement{&intoto.Statement{
		Type:          intoto.StatementTypeUri,
		Subject:       []*intoto.ResourceDescriptor{described(image, "sha256", v.ImageSHA256)},
		PredicateType: predicateType,
		Predicate:     p,
	}}, nil
}

// consistent refuses a verdict that says something else than its checks, or
// does not say what it is about.
func consistent(v verdict.Verdict) error {
	concluded := v
	if concluded.Conclude(); concluded.Verdict != v.Verdict {
		return fmt.Errorf("the verdict is %q, but its checks make it %q", v.Verdict, concluded.Verdict)
	}
	for _, c := range v.Checks {
		if v.Verdict == verdict.Passed && c.Result != verdict.Passed {
			return fmt.Errorf("the verdict is %q, but its check %q is %q", v.Verdict, c.ID, c.Result)
		}
	}
	for _, d := range []struct{ what, digest string }{{"image", v.ImageSHA256}, {"configuration", v.ConfigSHA256}, {"lock", v.LockSHA256}} {
		if !isSHA256(d.digest) {
			return fmt.Errorf("the verdict's digest of the %s, %q, is not a SHA-256 in hex", d.what, d.digest)
		}
	}
	return nil
}

func predicateOf(v verdict.Verdict) (*structpb.Struct, error) {
	t := testResultOf(v)
	b, err := protojson.Marshal(t)
	if err != nil {
		return nil, err
	}
	p := &structpb.Struct{}
	if err := protojson.Unmarshal(b, p); err != nil {
		return nil, err
	}
	// By way of JSON, which the verdict has names for and which makes all of its
	// texts UTF-8.
	if b, err = json.Marshal(v); err != nil {
		return nil, err
	}
	whole := &structpb.Value{}
	if err := protojson.Unmarshal(b, whole); err != nil {
		return nil, err
	}
	p.Fields[extension] = whole
	return p, nil
}

// testResultOf is the verdict in in-toto's words. A check that could not be
// made counts as failed, and one that was left out is on no list: a policy that
// wants it finds it neither passed nor warned.
func testResultOf(v verdict.Verdict) *testresult.TestResult {
	t := &testresult.TestResult{Result: failed, Configuration: []*intoto.ResourceDescriptor{
		described("ingot.yaml", filesDigest, v.ConfigSHA256),
		described("ingot.lock", "sha256", v.LockSHA256),
	}}
	for _, c := range v.Checks {
		switch {
		case c.Result == verdict.Passed:
			t.PassedTests = append(t.PassedTests, c.ID)
		case c.Result == verdict.Failed && c.Class == verdict.Flake:
			t.WarnedTests = append(t.WarnedTests, c.ID)
		default:
			t.FailedTests = append(t.FailedTests, c.ID)
		}
	}
	switch {
	case v.Verdict == verdict.Passed:
		t.Result = passed
	case len(t.WarnedTests) > 0 && len(t.FailedTests) == 0 && len(v.Skipped) == 0 && v.Error == "":
		t.Result = warned
	}
	return t
}

func described(name, algorithm, digest string) *intoto.ResourceDescriptor {
	return &intoto.ResourceDescriptor{Name: name, Digest: map[string]string{algorithm: digest}}
}

// bytes is what is signed: the same for the same statement, which protojson
// alone does not promise.
func (s statement) bytes() ([]byte, error) {
	loose, err := protojson.Marshal(s.Statement)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Compact(&b, loose); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// parseStatement reads a statement and the verdict in it. It takes exactly what
// statementOf says about that verdict: in-toto's part cannot claim anything
// else, and a field that is not known is not passed over.
func parseStatement(payload []byte) (verdict.Verdict, string, error) {
	got := &intoto.Statement{}
	if err := protojson.Unmarshal(payload, got); err != nil { // refuses unknown and repeated fields
		return verdict.Verdict{}, "", fmt.Errorf("it is not an in-toto statement: %w", err)
	}
	if err := got.Validate(); err != nil {
		return verdict.Verdict{}, "", fmt.Errorf("it is not an in-toto statement: %w", err)
	}
	if got.GetType() != intoto.StatementTypeUri || got.GetPredicateType() != predicateType || len(got.GetSubject()) != 1 {
		return verdict.Verdict{}, "", fmt.Errorf("it is not a statement of type %q about one image, with a predicate of type %q", intoto.StatementTypeUri, predicateType)
	}
	v, err := embedded(got)
	if err != nil {
		return verdict.Verdict{}, "", err
	}
	image := got.GetSubject()[0].GetName()
	want, err := statementOf(v, image)
	if err != nil {
		return verdict.Verdict{}, "", err
	}
	return v, image, differ(got, want.Statement)
}

// embedded is the verdict that a statement holds.
func embedded(s *intoto.Statement) (verdict.Verdict, error) {
	whole := s.GetPredicate().GetFields()[extension]
	if whole == nil {
		return verdict.Verdict{}, fmt.Errorf("its predicate has no %s", extension)
	}
	b, err := protojson.Marshal(whole)
	if err != nil {
		return verdict.Verdict{}, err
	}
	var v verdict.Verdict
	if err := json.Unmarshal(b, &v); err != nil {
		return verdict.Verdict{}, fmt.Errorf("its %s is not a verdict: %w", extension, err)
	}
	return v, nil
}

// differ says what in a statement is not what the verdict in it says.
func differ(got, want *intoto.Statement) error {
	if proto.Equal(got, want) {
		return nil
	}
	if !proto.Equal(got.GetSubject()[0], want.GetSubject()[0]) {
		return errors.New("its subject is not the image of the verdict in it")
	}
	g, w := got.GetPredicate().GetFields(), want.GetPredicate().GetFields()
	if !proto.Equal(g[extension], w[extension]) {
		return fmt.Errorf("its %s is that of another version of Ingot; run \"ingot test\" with this one", extension)
	}
	names := slices.Concat(slices.Collect(maps.Keys(g)), slices.Collect(maps.Keys(w)))
	slices.Sort(names)
	for _, name := range names {
		if !proto.Equal(g[name], w[name]) {
			return fmt.Errorf("its %q is not what the verdict in it says", name)
		}
	}
	return errors.New("it is not what the verdict in it says")
}
