package config

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"ingot/layers/system"
)

func TestWhichVerdictsAreReliedOn(t *testing.T) {
	t.Parallel()
	loaded, findings, err := Load(complete, system.Layer{})
	if err != nil || len(findings) > 0 {
		t.Fatal(err, findings)
	}
	if len(loaded.Test.Keys) != 1 || len(loaded.Test.Keys[0]) != 32 || loaded.Test.Keys[0][0] != 0x19 { // Gb9E…
		t.Errorf("keys: %x", loaded.Test.Keys)
	}
	if want := []string{"full", "ssh.no-password"}; !reflect.DeepEqual(loaded.Test.Require, want) {
		t.Errorf("required: %q, want %q", loaded.Test.Require, want)
	}
	if loaded.Test.MaxAge != 7*24*time.Hour {
		t.Errorf("max_age is %v", loaded.Test.MaxAge)
	}
}

// Whose verdict is relied on changes nothing on the machine.
func TestTheTestIsNotOfTheImage(t *testing.T) {
	t.Parallel()
	with, problems := loadTree(t, completeTree(t))
	tree := completeTree(t)
	delete(tree, "test")
	without, more := loadTree(t, tree)
	if len(problems)+len(more) > 0 {
		t.Fatal(problems, more)
	}
	if !reflect.DeepEqual(with, without) {
		t.Error("the section test changes the plan")
	}
}

func TestMaxAge(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"60m": time.Hour, "90m": 90 * time.Minute, "1h": time.Hour, "8760h": 8760 * time.Hour, "365d": 8760 * time.Hour, "525600m": 8760 * time.Hour,
		"59m": 0, "0m": 0, "0d": 0, "525601m": 0, "8761h": 0, "366d": 0, "7": 0, "7D": 0, "+7d": 0, " 7d": 0, "7 d": 0, "": 0, "d": 0, "9223372036854775807d": 0, "106751991167d": 0,
	} {
		var a maxAge
		if err := a.UnmarshalText([]byte(text)); time.Duration(a) != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %v, %v; want %v", text, time.Duration(a), err, want)
		}
	}
}

// The ids of all checks that the layers make can be required.
func TestEveryCheckCanBeRequired(t *testing.T) {
	t.Parallel()
	loaded, findings, err := Load(complete, system.Layer{})
	if err != nil || len(findings) > 0 {
		t.Fatal(err, findings)
	}
	names := []string{"standard", "full", "depth", "internet.tcp-ipv4", "scenarios.dns-dead"}
	for _, c := range loaded.Plan.Checks {
		names = append(names, c.ID)
	}
	if len(names) < 100 {
		t.Fatalf("only %d checks", len(names))
	}
	d := decoder{doc: loaded.doc}
	for _, f := range d.testProblems(testOptions{Require: names}) {
		t.Errorf("%s", strings.TrimSpace(f.Message))
	}
}
