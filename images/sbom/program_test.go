package sbom

import (
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

// TestReadProgram reads this test: it is a Go program with modules.
func TestReadProgram(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	list, err := ReadProgram(self, "self", InRoot)
	if err != nil {
		t.Fatal(err)
	}
	if p := list[0]; p.Kind != Program || p.Name != "self" || len(p.SHA256) != 64 || p.Version == "(devel)" || !slices.Equal(p.Parts, []string{InRoot}) {
		t.Errorf("the program is %+v", p)
	}
	if s := list[1]; s.Kind != Module || s.Name != "stdlib" || s.Version != strings.TrimPrefix(runtime.Version(), "go") || !slices.Equal(s.Programs, []string{"self"}) {
		t.Errorf("its library is %+v", s)
	}
	if _, err := ReadProgram("program_test.go", "text", InRoot); err == nil {
		t.Error("a text was linked from modules")
	}
}

func TestGoRelease(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{
		"go1.26.3": "1.26.3", "go1.26": "1.26", "go1.26.3 X:nodwarf5": "1.26.3", "go1.27rc1": "1.27.0-rc.1", "go1.27beta2 X:a,b": "1.27.0-beta.2", "go1.26.3-us": "1.26.3-us",
	} {
		if got := goRelease(version); got != want {
			t.Errorf("%s is %q, want %q", version, got, want)
		}
	}
}

func TestLinked(t *testing.T) {
	t.Parallel()
	deps := []*debug.Module{
		{Path: "example.org/a", Version: "v1.2.3"},
		{Path: "example.org/b", Version: "v1.0.0", Replace: &debug.Module{Path: "example.org/fork", Version: "v1.0.1"}},
	}
	for _, tc := range []struct{ version, want string }{
		{"(devel)", "program p |module stdlib 1.26.3|module example.org/a v1.2.3|module example.org/fork v1.0.1"},
		{"", "program p |module stdlib 1.26.3|module example.org/a v1.2.3|module example.org/fork v1.0.1"},
		{"v2.0.0", "program p v2.0.0|module stdlib 1.26.3|module example.org/a v1.2.3|module example.org/fork v1.0.1|module example.org/p v2.0.0"},
	} {
		info := &debug.BuildInfo{GoVersion: "go1.26.3", Main: debug.Module{Path: "example.org/p", Version: tc.version}, Deps: deps}
		var got []string
		for _, c := range linked(info, "p", digits("a"), nil) {
			got = append(got, string(c.Kind)+" "+c.Name+" "+c.Version)
		}
		if strings.Join(got, "|") != tc.want {
			t.Errorf("%q: %q, want %q", tc.version, got, tc.want)
		}
	}
}
