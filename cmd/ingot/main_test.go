package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"ingot/fault"
)

var update = flag.Bool("update", false, "write what the scripts compare with anew")

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"ingot": main}) }

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "sign": sign, "attribute": attribute, "flip-bit": flipBit},
	})
}

// exits CODE PROGRAM ARG… wants the program to end with exactly that code.
func exits(ts *testscript.TestScript, not bool, args []string) {
	if not || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("run %s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%q ended with %d, want %d", args[1:], got, want)
	}
}

func TestExitCode(t *testing.T) {
	t.Parallel()
	failed := errors.New("failed")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		name string
		ctx  context.Context
		err  error
		want int
	}{
		{"fine", t.Context(), nil, 0},
		{"fine before the signal came", cancelled, nil, 0},
		{"checks", t.Context(), fault.Checks(failed), 1},
		{"input", t.Context(), fault.Input(failed), 2},
		{"input, wrapped", t.Context(), fmt.Errorf("deploy: %w", fault.Input(failed)), 2},
		{"machine", t.Context(), fault.Machine(failed), 3},
		{"provider", t.Context(), fault.Provider(failed), 4},
		{"unmarked", t.Context(), io.ErrShortWrite, 3},
		{"interrupted", cancelled, fault.Checks(failed), 130},
	} {
		if got := exitCode(tc.ctx, tc.err); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}

// failing is a file on a full disk.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestALostResultIsAnError(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"validate", "../../examples/openclaw"}, {"validate", "--json", "../../examples/openclaw"},
		{"render", "ignition", "../../examples/openclaw"}, {"render", "butane", "--json", "../../examples/openclaw"},
	} {
		if code := run(t.Context(), args, failing{}, io.Discard); code != exitMachine {
			t.Errorf("%q on a full disk ended with %d, want %d", args, code, exitMachine)
		}
	}
}
