package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"golang.org/x/term"

	"ingot/fault"
	"ingot/qemu-tests/attest"
	reports "ingot/qemu-tests/report"
	"ingot/qemu-tests/verdict"
)

// verdict keeps the outcome beside the image, and shows it. Anything but a pass
// is an error.
func (c *console) verdict(v verdict.Verdict, image string, key attest.Key) error {
	out := filepath.Dir(image)
	if err := attest.Write(filepath.Join(out, "verdict.json"), v, filepath.Base(image), key); err != nil {
		return err
	}
	for name, write := range map[string]func(io.Writer, verdict.Verdict) error{"junit.xml": reports.JUnit, "report.html": reports.HTML} {
		var b bytes.Buffer
		if err := write(&b, v); err != nil {
			return fmt.Errorf("make %s: %w", name, err)
		}
		if err := renameio.WriteFile(filepath.Join(out, name), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	if c.json {
		if err := c.document(v); err != nil {
			return err
		}
	} else if err := reports.Text(c.stdout, v, c.textOptions()); err != nil {
		return err
	}
	c.remark("signed by %s; for people: %s", key.Source, filepath.Join(out, "report.html"))
	if key.Local {
		c.remark("That is this user's local key, which nobody else trusts: ingot keygen makes one for test.keys.")
	}
	return conclusion(v)
}

// conclusion is a verdict as the error of a command.
func conclusion(v verdict.Verdict) error {
	switch {
	case v.Verdict == verdict.Passed:
		return nil
	case v.Class == verdict.Environment:
		return shown{fault.Machine(errors.New("this machine or the assay failed, not the image; there is no verdict"))}
	case v.Verdict == verdict.Failed:
		return shown{fault.Checks(errors.New("the image does not keep its promises"))}
	}
	return shown{fault.Checks(fmt.Errorf("the verdict is %s; it proves nothing", v.Verdict))}
}

// textOptions fit the terminal, when standard output is one.
func (c *console) textOptions() reports.TextOptions {
	o := reports.TextOptions{Verbose: c.verbose}
	f, ok := c.stdout.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return o
	}
	if width, _, err := term.GetSize(int(f.Fd())); err == nil {
		o.Columns = width
	}
	// https://no-color.org: any value but none.
	o.Color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return o
}

// digestOf is the SHA-256 of a file, in hex.
func digestOf(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), nil
}

// shown is an error whose JSON document is already on stdout.
type shown struct{ error }

func (s shown) Unwrap() error { return s.error }
