package source

import (
	"os"
	"strings"
	"testing"
)

// The config that this module writes and the program that reads it are of one
// version.
func TestVersionIsIngots(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if want := "\t" + Module + " " + Version() + "\n"; !strings.Contains(string(data), want) {
		t.Errorf("Ingot's go.mod does not name %s %s", Module, Version())
	}
}
