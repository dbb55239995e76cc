package main

import (
	"strings"
	"testing"
)

// nft's word counts: a broken ruleset is refused where nft can be asked.
func TestCheckRuleset(t *testing.T) {
	t.Parallel()
	unchecked, err := checkRuleset(t.Context(), "table inet x { chain y {\ntcp dport 22 accept\n}\n}\n")
	if unchecked != "" {
		t.Skip(unchecked)
	}
	if err != nil {
		t.Errorf("a ruleset is refused: %v", err)
	}
	if _, err := checkRuleset(t.Context(), "table inet x { chain y {\ntcp dport 22 perhaps\n}\n}\n"); err == nil || !strings.Contains(err.Error(), "nft refuses") {
		t.Errorf("a broken ruleset: %v", err)
	}
}
