package attest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// ProvenanceFile is the signed provenance of an image, beside it.
const ProvenanceFile = "provenance.json"

const (
	// provenanceType is SLSA's, version 1 of its provenance.
	provenanceType = "https://slsa.dev/provenance/v1"
	// buildType names what the parameters mean. Ingot has no domain of its own.
	buildType = "urn:ingot:build:1"
	// builderID says that somebody's own machine built it: no service vouches for
	// more.
	builderID = "urn:ingot:builder:local"
)

// Provenance is what an image was made of, and by what. It has no time: the same
// build has the same provenance.
type Provenance struct {
	Image       string // the name of the image's file, without folder
	ImageSHA256 string
	Parameters  Parameters
	Config      string // digest of ingot.yaml and of the files that it names
	Lock        string // SHA-256 of ingot.lock
	Agent       string // SHA-256 of the program ingot-agent
	Ignition    string // SHA-256 of the program ignition
	// Source is the repository that ingot.yaml is in, nil when it is in none.
	Source *Revision
	// Ingot is the commit that ingot was built from, nil when it does not know.
	Ingot *Revision
	Go    string // the toolchain that ingot was built with
	// Bills are the SHA-256 of the files that say what is in the image, by name.
	Bills map[string]string
}

// Parameters are what whoever builds decides beside the files.
type Parameters struct {
	Suite       string `json:"suite"`
	Compression string `json:"compression"`
}

// Revision is a commit of a Git repository.
type Revision struct {
	Commit string // in hex
	Dirty  bool   // there were changes that are not in it
	Folder string // within the repository, empty for its root
}

// SignProvenance returns the envelope of a provenance.
func SignProvenance(p Provenance, key Key) ([]byte, error) {
	s, err := provenanceStatement(p)
	if err != nil {
		return nil, fmt.Errorf("sign the provenance: %w", err)
	}
	payload, err := s.bytes()
	if err != nil {
		return nil, fmt.Errorf("sign the provenance: %w", err)
	}
	return seal(payload, key)
}

// WriteProvenance signs a provenance and writes the envelope to a file, whole or
// not at all.
func WriteProvenance(file string, p Provenance, key Key) error {
	envelope, err := SignProvenance(p, key)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(file, envelope, 0o644); err != nil {
		return fmt.Errorf("write the provenance: %w", err)
	}
	return nil
}

// provenanceStatement is a provenance in the words of SLSA.
func provenanceStatement(p Provenance) (statement, error) {
	if p.Image != filepath.Base(p.Image) || p.Image == "." {
		return statement{}, fmt.Errorf("%q is not the name of an image file; leave its folder out", p.Image)
	}
	for what, digest := range map[string]string{"image": p.ImageSHA256, "configuration": p.Config, "lock": p.Lock, "agent": p.Agent, "program ignition": p.Ignition} {
		if !isSHA256(digest) {
			return statement{}, fmt.Errorf("its digest of the %s, %q, is not a SHA-256 in hex", what, digest)
		}
	}
	parameters, err := structpb.NewStruct(map[string]any{"suite": p.Parameters.Suite, "compression": p.Parameters.Compression})
	if err != nil {
		return statement{}, err
	}
	dependencies := []*intoto.ResourceDescriptor{
		described("ingot.yaml", filesDigest, p.Config),
		described("ingot.lock", "sha256", p.Lock),
		described("ingot-agent", "sha256", p.Agent),
		described("ignition", "sha256", p.Ignition),
	}
	if p.Source != nil {
		dependencies = append(dependencies, p.Source.described(sourceName))
	}
	builder := &slsa.Builder{Id: builderID, Version: map[string]string{"go": p.Go}}
	if p.Ingot != nil {
		builder.BuilderDependencies = []*intoto.ResourceDescriptor{p.Ingot.described(ingotName)}
	}
	run := &slsa.RunDetails{Builder: builder}
	for _, name := range slices.Sorted(maps.Keys(p.Bills)) {
		run.Byproducts = append(run.Byproducts, described(name, "sha256", p.Bills[name]))
	}
	predicate := &slsa.Provenance{
		BuildDefinition: &slsa.BuildDefinition{BuildType: buildType, ExternalParameters: parameters, ResolvedDependencies: dependencies},
		RunDetails:      run,
	}
	if err := predicate.Validate(); err != nil {
		return statement{}, err
	}
	text, err := protojson.Marshal(predicate)
	if err != nil {
		return statement{}, err
	}
	fields := &structpb.Struct{}
	if err := protojson.Unmarshal(text, fields); err != nil {
		return statement{}, err
	}
	return statement{&intoto.Statement{
		Type:          intoto.StatementTypeUri,
		Subject:       []*intoto.ResourceDescriptor{described(p.Image, "sha256", p.ImageSHA256)},
		PredicateType: provenanceType,
		Predicate:     fields,
	}}, nil
}

// The names of repositories.
const (
	sourceName = "the repository of ingot.yaml"
	ingotName  = "ingot"
)

func (r Revision) described(name string) *intoto.ResourceDescriptor {
	d := described(name, "gitCommit", r.Commit)
	d.Annotations = &structpb.Struct{Fields: map[string]*structpb.Value{"dirty": structpb.NewBoolValue(r.Dirty)}}
	if r.Folder != "" {
		d.Annotations.Fields["folder"] = structpb.NewStringValue(r.Folder)
	}
	return d
}

func revision(d *intoto.ResourceDescriptor) *Revision {
	a := d.GetAnnotations().GetFields()
	return &Revision{Commit: d.GetDigest()["gitCommit"], Dirty: a["dirty"].GetBoolValue(), Folder: a["folder"].GetStringValue()}
}

// decodeProvenance reads an envelope, as strictly as [Decode] does: what it says
// must be what Ingot would say of the same build.
func decodeProvenance(data []byte) (Provenance, Attestation, error) {
	a, payload, err := opened(data)
	if err != nil {
		return Provenance{}, a, err
	}
	got := &intoto.Statement{}
	if err := protojson.Unmarshal(payload, got); err != nil {
		return Provenance{}, a, fmt.Errorf("it is not an in-toto statement: %w", err)
	}
	if got.GetType() != intoto.StatementTypeUri || got.GetPredicateType() != provenanceType || len(got.GetSubject()) != 1 {
		return Provenance{}, a, fmt.Errorf("it is not a statement about one image, with a predicate of type %q", provenanceType)
	}
	p, err := readProvenance(got)
	if err != nil {
		return p, a, err
	}
	want, err := provenanceStatement(p)
	if err != nil {
		return p, a, err
	}
	if !proto.Equal(got, want.Statement) {
		return p, a, errors.New("it says something that this version of Ingot does not say of a build")
	}
	return p, a, nil
}

func readProvenance(s *intoto.Statement) (Provenance, error) {
	text, err := protojson.Marshal(s.GetPredicate())
	if err != nil {
		return Provenance{}, err
	}
	predicate := &slsa.Provenance{}
	if err := protojson.Unmarshal(text, predicate); err != nil {
		return Provenance{}, fmt.Errorf("it is not a provenance of SLSA's: %w", err)
	}
	build, run := predicate.GetBuildDefinition(), predicate.GetRunDetails()
	parameters := build.GetExternalParameters().GetFields()
	p := Provenance{
		Image: s.GetSubject()[0].GetName(), ImageSHA256: s.GetSubject()[0].GetDigest()["sha256"],
		Parameters: Parameters{parameters["suite"].GetStringValue(), parameters["compression"].GetStringValue()},
		Go:         run.GetBuilder().GetVersion()["go"], Bills: map[string]string{},
	}
	for _, d := range build.GetResolvedDependencies() {
		sum := d.GetDigest()["sha256"]
		switch d.GetName() {
		case "ingot.yaml":
			p.Config = d.GetDigest()[filesDigest]
		case "ingot.lock":
			p.Lock = sum
		case "ingot-agent":
			p.Agent = sum
		case "ignition":
			p.Ignition = sum
		case sourceName:
			p.Source = revision(d)
		}
	}
	for _, d := range run.GetBuilder().GetBuilderDependencies() {
		p.Ingot = revision(d)
	}
	for _, d := range run.GetByproducts() {
		p.Bills[d.GetName()] = d.GetDigest()["sha256"]
	}
	return p, nil
}

func isSHA256(digest string) bool {
	b, err := hex.DecodeString(digest)
	// Upper case would be another text for the same digest.
	return err == nil && len(b) == sha256.Size && hex.EncodeToString(b) == digest
}

// CheckProvenance judges the provenance of an image: who signed it, and whether it
// is about these artifacts. Bills are the digests of the files that say what is in
// the image, by name, of those that are there.
func CheckProvenance(envelope []byte, now Artifacts, bills map[string]string, policy Policy) []Problem {
	var r Report
	p, a, err := decodeProvenance(envelope)
	if err != nil {
		r.add(OfProvenance, "the provenance is not one of Ingot's, or somebody changed it: %v; \"ingot build\" makes a new one", err)
		return r.Problems
	}
	r.provenanceSigner(a, policy)
	differs := func(what, got, built string) {
		if got != "" && got != built {
			r.add(OfProvenance, "the provenance is about another %s: its digest there is %s, and is %s; run \"ingot build\" again", what, built, got)
		}
	}
	differs("image", now.Image, p.ImageSHA256)
	differs("ingot.yaml", now.Config, p.Config)
	differs("ingot.lock", now.Lock, p.Lock)
	for _, name := range slices.Sorted(maps.Keys(bills)) {
		differs(name, bills[name], p.Bills[name])
	}
	return r.Problems
}

func (r *Report) provenanceSigner(a Attestation, p Policy) {
	if slices.ContainsFunc(p.Keys, a.SignedBy) {
		return
	}
	switch claimed := strings.Join(quoted(a.Claimed), ", "); {
	case p.Local != nil && a.SignedBy(p.Local):
		r.add(OfProvenance, "the provenance is signed by the local key of this user, which nobody else trusts; put a key of \"ingot keygen\" into %s and run \"ingot build\" again", KeyFile)
	case len(p.Keys) == 0:
		r.add(OfProvenance, "there is no key to check the provenance's signature with (it names %s); put trusted keys into test.keys of ingot.yaml, or name a file with --key", claimed)
	default:
		r.add(OfProvenance, "the provenance is not signed by a trusted key, or was changed afterwards (it names %s); run \"ingot build\" again with a key of test.keys", claimed)
	}
}
