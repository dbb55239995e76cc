package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"ingot/config"
	"ingot/layers/system"
	"ingot/qemu-tests/attest"
	"ingot/qemu-tests/verdict"
)

// sign FOLDER [failed|old] writes the verdict of a folder's image, as
// ingot test would, signed by the key that ingot test would find.
func sign(ts *testscript.TestScript, not bool, args []string) {
	if not || len(args) < 1 {
		ts.Fatalf("usage: sign FOLDER [failed|old]")
	}
	dir := ts.MkAbs(args[0])
	loaded, found, err := config.Load(dir, system.Layer{})
	ts.Check(err)
	if len(found) > 0 {
		ts.Fatalf("%v", found)
	}
	v := verdict.Verdict{
		Name: loaded.Plan.Site.Name, ConfigSHA256: loaded.Digest, Started: time.Now().UTC(),
		Suites: []string{verdict.Standard},
		Checks: []verdict.Result{{ID: "ssh.no-password", Layer: "ssh", Title: "password login is refused", Result: verdict.Passed}},
	}
	image := filepath.Join(dir, "build", "image.raw")
	v.ImageSHA256 = digest(ts, image)
	v.LockSHA256 = digest(ts, filepath.Join(dir, "ingot.lock"))
	for _, how := range args[1:] {
		switch how {
		case "failed":
			v.Checks[0].Result, v.Checks[0].Class = verdict.Failed, verdict.Product
		case "old":
			v.Started = v.Started.AddDate(0, 0, -8)
		default:
			ts.Fatalf("sign does not know %q", how)
		}
	}
	v.Conclude()
	key, err := attest.FindKey(placesOf(ts, dir))
	ts.Check(err)
	ts.Check(attest.Write(filepath.Join(filepath.Dir(image), "verdict.json"), v, filepath.Base(image), key))
}

// placesOf are those of ingot test, in the environment of a script.
func placesOf(ts *testscript.TestScript, dir string) attest.Places {
	return attest.Places{
		PEM: ts.Getenv("INGOT_TEST_KEY"), File: ts.Getenv("INGOT_TEST_KEY_FILE"), Folder: dir,
		Identity: ts.Getenv("INGOT_AGE_IDENTITY"), Local: filepath.Join(ts.Getenv("XDG_CONFIG_HOME"), "ingot", "local-test.key"),
	}
}

func digest(ts *testscript.TestScript, file string) string {
	sum, err := fileDigest(context.Background(), file)
	ts.Check(err)
	return sum
}

// flip-bit FILE OFFSET changes one bit of one byte; negative offsets count from
// the end.
func flipBit(ts *testscript.TestScript, not bool, args []string) {
	if not || len(args) != 2 {
		ts.Fatalf("usage: flip-bit FILE OFFSET")
	}
	file := ts.MkAbs(args[0])
	b, err := os.ReadFile(file)
	ts.Check(err)
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	if at < 0 {
		at += len(b)
	}
	b[at] ^= 1
	ts.Check(os.WriteFile(file, b, 0o644))
}

// An interrupt ends the digest of a file that has no end.
func TestADigestIsInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if sum, err := fileDigest(ctx, "/dev/zero"); err == nil {
		t.Errorf("its digest is %s", sum)
	}
}
