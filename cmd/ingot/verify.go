package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"ingot/config"
	"ingot/fault"
	"ingot/images"
	"ingot/qemu-tests/attest"
)

// verifyFlags say what an image is held against.
type verifyFlags struct {
	verdict, folder string
	keys            []string
}

func verifyCommand(c *console) *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify IMAGE",
		Short: "Say whether an image's verdict can be relied on",
		Long: `Check the signed verdict of an image file: that a trusted key signed it, that it is
about these bytes, this ingot.yaml and this ingot.lock, that it is a pass, and
that it is all that the section test of ingot.yaml asks for. A provenance beside
the image must be signed by such a key and be about the same files.`,
		Example: `  ingot verify build/image.raw
  ingot verify image.raw --verdict verdict.json --key ci.key.pub`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fault.Input(fmt.Errorf("%s takes one image file, not %d; such as build/image.raw", cmd.CommandPath(), len(args)))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return c.verify(cmd.Context(), args[0], f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.verdict, "verdict", "", "the verdict, by default verdict.json beside the image")
	flags.StringVar(&f.folder, "config", "", "folder of ingot.yaml, by default the one above the image's when it has one")
	flags.StringArrayVar(&f.keys, "key", nil, "trust this public key, a .pub file, instead of test.keys; can be repeated")
	return cmd
}

// verified is the JSON document of verify.
type verified struct {
	Image   string `json:"image"`
	SHA256  string `json:"image_sha256"`
	Verdict string `json:"verdict_file"`
	// Provenance is the provenance's file, empty when there is none.
	Provenance string           `json:"provenance_file,omitempty"`
	Folder     string           `json:"folder,omitempty"`
	Checked    []attest.Kind    `json:"checked"`
	Problems   []attest.Problem `json:"problems"`
	KeyID      string           `json:"key_id,omitempty"` // of the key that signed
	Started    time.Time        `json:"started,omitzero"`
	Suites     []string         `json:"suites,omitempty"`
	Checks     int              `json:"checks"`

	config, envelope string // SHA-256 of ingot.yaml and of the verdict's file
}

func (c *console) verify(ctx context.Context, image string, f verifyFlags) error {
	v, err := c.held(ctx, image, f)
	if err != nil {
		return err
	}
	return c.judged(v)
}

// held holds an image against its verdict.
func (c *console) held(ctx context.Context, image string, f verifyFlags) (verified, error) {
	if f.verdict == "" {
		f.verdict = filepath.Join(filepath.Dir(image), "verdict.json")
	}
	if above := filepath.Join(filepath.Dir(image), ".."); f.folder == "" && isFile(filepath.Join(above, config.FileName)) {
		f.folder = above
	}
	envelope, err := readEnvelope(f.verdict)
	if err != nil {
		return verified{}, err
	}
	now, policy, err := c.expected(f)
	if err != nil {
		return verified{}, err
	}
	if now.Image, err = fileDigest(ctx, image); err != nil {
		return verified{}, fault.Input(fmt.Errorf("read the image: %w", err))
	}
	r := attest.Check(envelope, now, policy)
	result := verified{
		Image: image, SHA256: now.Image, Verdict: f.verdict, Folder: f.folder,
		Checked: r.Checked, Problems: append([]attest.Problem{}, r.Problems...), KeyID: r.Signer,
		config: now.Config, envelope: fmt.Sprintf("%x", sha256.Sum256(envelope)),
	}
	if r.Verdict != nil {
		result.Started, result.Suites, result.Checks = r.Verdict.Started, r.Verdict.Suites, len(r.Verdict.Checks)
	}
	return result, provenanceIn(&result, now, policy)
}

// provenanceIn looks at the provenance beside an image, when there is one.
func provenanceIn(v *verified, now attest.Artifacts, policy attest.Policy) error {
	dir := filepath.Dir(v.Image)
	file := filepath.Join(dir, attest.ProvenanceFile)
	envelope, err := readLimited(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.Input(fmt.Errorf("read the provenance: %w", err))
	}
	bills, err := billDigests(dir)
	if err != nil {
		return fault.Input(fmt.Errorf("read what the image holds: %w", err))
	}
	v.Provenance, v.Checked = file, append(v.Checked, attest.OfProvenance)
	v.Problems = append(v.Problems, attest.CheckProvenance(envelope, now, bills, policy)...)
	return nil
}

// expected is what a verdict must be about and say, but for the image.
func (c *console) expected(f verifyFlags) (attest.Artifacts, attest.Policy, error) {
	now, policy := attest.Artifacts{}, attest.Policy{Now: time.Now(), Local: attest.PlacesOf(f.folder).LocalKey()}
	if f.folder != "" {
		loaded, err := c.load(f.folder)
		if err != nil {
			return now, policy, err
		}
		policy.Keys, policy.Require, policy.MaxAge = loaded.Test.Keys, loaded.Test.Require, loaded.Test.MaxAge
		now.Config = loaded.Digest
		now.Lock, err = fileDigest(context.Background(), filepath.Join(filepath.Dir(loaded.File), images.LockFile))
		if errors.Is(err, fs.ErrNotExist) {
			now.Lock, err = attest.Absent, nil
		}
		if err != nil {
			return now, policy, fault.Input(fmt.Errorf("read the lock: %w", err))
		}
	}
	if len(f.keys) == 0 {
		return now, policy, nil
	}
	var err error
	policy.Keys, err = publicKeys("--key", f.keys)
	return now, policy, err
}

// publicKeys reads the .pub files of a flag.
func publicKeys(flag string, files []string) ([]ed25519.PublicKey, error) {
	var keys []ed25519.PublicKey
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fault.Input(fmt.Errorf("%s: %w", flag, err))
		}
		key, err := attest.ParsePublic(text)
		if err != nil {
			return nil, fault.Input(fmt.Errorf("%s %s: %w", flag, file, err))
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// judged shows what was found out.
func (c *console) judged(v verified) error {
	if c.json {
		if err := c.document(v); err != nil {
			return err
		}
	}
	if len(v.Problems) == 0 {
		if c.json {
			return nil
		}
		return c.write(fmt.Appendf(nil, "%s is what was tested: it passed %d of %[2]d checks on %s, signed by %s\n",
			v.Image, v.Checks, v.Started.Format("2006-01-02 15:04 MST"), v.KeyID))
	}
	for _, p := range v.Problems {
		if !c.json || !c.quiet {
			fmt.Fprintf(c.stderr, "%s\n", p.Message)
		}
	}
	what := "verdict"
	if !slices.ContainsFunc(v.Problems, func(p attest.Problem) bool { return p.Kind != attest.OfProvenance }) {
		what = "provenance"
	}
	err := fault.Checks(fmt.Errorf("the %s of %s cannot be relied on", what, v.Image))
	if c.json {
		return shown{err}
	}
	return err
}

func readEnvelope(file string) ([]byte, error) {
	b, err := readLimited(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Input(fmt.Errorf("there is no verdict: %w; \"ingot test\" makes one, or name it with --verdict", err))
	}
	if err != nil {
		return nil, fault.Input(fmt.Errorf("read the verdict: %w", err))
	}
	return b, nil
}

// readLimited reads no more than a byte beyond what is decoded.
func readLimited(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, attest.MaxBytes+1))
}

// fileDigest is the SHA-256 of a file, in hex. An image takes seconds: an
// interrupt ends them.
func fileDigest(ctx context.Context, file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer stop()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func isFile(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular()
}
