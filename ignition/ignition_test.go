package ignition

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	upstream "github.com/coreos/ignition/v2/config"
	"github.com/coreos/ignition/v2/config/v3_6"
	"github.com/vincent-petithory/dataurl"

	"ingot/layers"
)

var update = flag.Bool("update", false, "write testdata/golden anew")

func TestGolden(t *testing.T) {
	t.Parallel()
	for name, c := range configs(t, server(t)) {
		golden(t, name+".bu", c.Butane)
		golden(t, name+".ign", c.Pretty())
	}
	for name, secrets := range map[string]Secrets{"cloud-init": nil, "cloud-init-secrets": key} {
		doc, err := CloudInit(server(t), secrets)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".yaml", doc)
	}
}

// configs returns every config that comes out of a plan.
func configs(t *testing.T, plan layers.Plan) map[string]Config {
	t.Helper()
	image, err := Image(plan)
	if err != nil {
		t.Fatal(err)
	}
	instance, err := Instance(plan, key)
	if err != nil {
		t.Fatal(err)
	}
	standalone, err := Standalone(plan)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := Whole(plan, key)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]Config{"image": image, "instance": instance, "standalone": standalone, "whole": whole}
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
		t.Errorf("%s differs; run go test -update and read the diff\n%s", file, got)
	}
}

func TestIgnitionAcceptsEveryConfigWithoutRemarks(t *testing.T) {
	t.Parallel()
	for name, c := range configs(t, server(t)) {
		if _, r, err := v3_6.Parse(c.JSON); err != nil || len(r.Entries) > 0 {
			t.Errorf("%s as 3.6.0: %v\n%v", name, err, r)
		}
		if _, r, err := upstream.Parse(c.JSON); err != nil || len(r.Entries) > 0 {
			t.Errorf("%s as the pinned Ignition reads it: %v\n%v", name, err, r)
		}
		if _, r, err := v3_6.Parse(c.Pretty()); err != nil || len(r.Entries) > 0 {
			t.Errorf("%s, pretty: %v\n%v", name, err, r)
		}
	}
}

func TestOrderOfLayersDoesNotShow(t *testing.T) {
	t.Parallel()
	forth, back := configs(t, server(t)), configs(t, backwards(server(t)))
	for name, c := range forth {
		if !bytes.Equal(c.Butane, back[name].Butane) || !bytes.Equal(c.JSON, back[name].JSON) {
			t.Errorf("%s depends on the order of the contributions", name)
		}
	}
}

func TestThePlanStaysAsItWas(t *testing.T) {
	t.Parallel()
	plan := backwards(server(t))
	before, _ := json.Marshal(plan)
	configs(t, plan)
	if after, _ := json.Marshal(plan); !bytes.Equal(before, after) {
		t.Errorf("rendering changed the plan from\n%s\nto\n%s", before, after)
	}
}

func TestKernelArgumentsLeaveTheImageConfig(t *testing.T) {
	t.Parallel()
	c := configs(t, server(t))
	if want := []string{"panic=10", "console=tty0"}; !slices.Equal(c["image"].KernelArguments, want) {
		t.Errorf("kernel arguments %q, want %q in this order", c["image"].KernelArguments, want)
	}
	if bytes.Contains(c["image"].JSON, []byte("panic")) {
		t.Error("the image config still holds kernel arguments")
	}
	if !bytes.Contains(c["standalone"].JSON, []byte(`"kernelArguments":{"shouldExist":["panic=10","console=tty0"]}`)) {
		t.Errorf("the standalone config lost the kernel arguments: %s", c["standalone"].JSON)
	}
}

// Whatever a file holds comes out at the other end: through YAML, where quoting
// could hurt it, and a data URL.
func FuzzContents(f *testing.F) {
	for _, s := range []string{
		strings.Repeat("compressible\n", 99), "", "\n", " ", "a", "0644", "null", "~", "yes", "a: b", "- a", "#", "'", "\"", "\\", "a\r\nb\r\n", "\ttab\n", " lead\ntrail \n",
		"no end", "two\n\n\n", "\u0085\u2028\ufeff", "\x00\x01\x7f", "\xff\xfe", "---\n", "...\n", "%YAML 1.2\n", "!!binary YQ==", "<<: *a", "é😀",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, contents string) {
		c, err := render(layers.Fragment{Files: []layers.File{{Path: "/f", Mode: 0o644, Contents: contents}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		config, _, err := v3_6.Parse(c.JSON)
		if err != nil {
			t.Fatal(err)
		}
		url, err := dataurl.DecodeString(*config.Storage.Files[0].Contents.Source)
		if err != nil {
			t.Fatal(err)
		}
		if string(url.Data) != contents {
			t.Fatalf("%q became %q", contents, url.Data)
		}
	})
}
