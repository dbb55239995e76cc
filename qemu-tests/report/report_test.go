package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"ingot/qemu-tests/verdict"
)

var update = flag.Bool("update", false, "write testdata/golden anew")

// samples are the verdicts in testdata. "passed" is one that the example got,
// the others have by hand what it has not: failures of each class with hostile
// evidence, skipped checks, scenarios, a report in depth, no boot, nothing.
var samples = []string{"passed", "failed", "deep", "error", "empty"}

func sample(t testing.TB, name string) verdict.Verdict {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var v verdict.Verdict
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

// TestGolden compares every report of every sample with testdata/golden; -update
// writes them.
func TestGolden(t *testing.T) {
	t.Parallel()
	reports := map[string]func(io.Writer, verdict.Verdict) error{
		"txt":         func(w io.Writer, v verdict.Verdict) error { return Text(w, v, TextOptions{}) },
		"verbose.txt": func(w io.Writer, v verdict.Verdict) error { return Text(w, v, TextOptions{Verbose: true}) },
		"xml":         JUnit,
		"html":        HTML,
	}
	for _, name := range samples {
		for kind, write := range reports {
			t.Run(name+"."+kind, func(t *testing.T) {
				t.Parallel()
				var got bytes.Buffer
				if err := write(&got, sample(t, name)); err != nil {
					t.Fatal(err)
				}
				golden(t, name+"."+kind, got.Bytes())
			})
		}
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s has changed; if it should, run go test -update and look at the diff", file)
	}
}
