package assay

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"ingot/qemu-tests/vm"
)

var sabotageLayer = flag.String("sabotage-layer", "", "TestSabotage runs all sabotages of this layer, and no other's")

var sabotageAll = flag.Bool("sabotage-all", false, "TestSabotage runs every sabotage, not one a layer")

var sabotageOthers = flag.Bool("sabotage-others", false, "TestSabotage also asks which other checks fail, which takes half a minute for each")

// breakable are the checks that a command on a healthy machine makes fail.
// Scenarios have sabotages of another kind (TestScenarios).
func breakable(list []check) []check {
	return slices.DeleteFunc(slices.Clone(list), func(c check) bool { return c.stage == scenarios })
}

// randomFrom makes another seed try other things, and the same seed the same.
func randomFrom(seed string) (*rand.Rand, error) {
	sum, err := hex.DecodeString(seed)
	if err != nil || len(sum) != 32 {
		return nil, fmt.Errorf("%q is no SHA-256", seed)
	}
	return rand.New(rand.NewPCG(binary.BigEndian.Uint64(sum), binary.BigEndian.Uint64(sum[8:]))), nil
}

// onePerLayer picks one check of each layer by a seed.
func onePerLayer(list []check, seed string) ([]check, error) {
	random, err := randomFrom(seed)
	if err != nil {
		return nil, err
	}
	byLayer := map[string][]check{}
	var order []string
	for _, s := range list {
		if byLayer[s.layer] == nil {
			order = append(order, s.layer)
		}
		byLayer[s.layer] = append(byLayer[s.layer], s)
	}
	var picked []check
	for _, layer := range order {
		of := byLayer[layer]
		picked = append(picked, of[random.IntN(len(of))])
	}
	return picked, nil
}

// outcome is one line of the matrix: a check, whether it caught its sabotage,
// and who else complained.
type outcome struct {
	check
	caught bool
	others []string
}

// Break the running machine, and the check that is there for it must say so.
func TestSabotage(t *testing.T) {
	b := image(t)
	lab, id := newLab(t, b)
	list := breakable(catalogue(id.Plan))
	total := len(list)
	switch {
	case *sabotageLayer != "":
		list = slices.DeleteFunc(list, func(c check) bool { return c.layer != *sabotageLayer })
		if len(list) == 0 {
			t.Fatalf("the layer %s has no sabotages", *sabotageLayer)
		}
	case !*sabotageAll:
		var err error
		if list, err = onePerLayer(list, seed(b)); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d of %d sabotages, one a layer, picked by the commit and the image, %s; -sabotage-all runs all", len(list), total, seed(b))
	}
	list = slices.DeleteFunc(list, func(c check) bool {
		leave := !*audit && (c.id == "depth.lynis" || c.id == "depth.ssh-audit")
		if leave {
			t.Logf("%s is left out, its tool takes minutes: -audit runs it", c.id)
		}
		return leave
	})
	m := boot(t, lab, id, BootOptions{Image: b.Image, Firmware: vm.BIOS, Instance: id.Instance, Reboots: true})
	s := up(t, m)
	r := &run{lab: lab, id: id, machine: m, tunnel: s.tunnel, shell: s.shell, fingerprint: s.fingerprint, out: newRecord(Options{}, choice{chosen: list})}
	r.opts.Locked = b.Digests
	if *audit {
		r.opts.Audit, r.opts.Dir = auditTree(t, b), lab.dir
	}
	s.snapshot(t, "healthy")
	var matrix []outcome
	all := t // a connection outlives the subtest that makes it
	for _, c := range list {
		t.Run(c.id, func(t *testing.T) {
			defer func() { // also when the machine does not even answer
				if err := m.Loadvm(all.Context(), "healthy"); err != nil {
					t.Error(err)
					return
				}
				if err := r.reconnect(all.Context()); err != nil {
					t.Error(err)
				}
			}()
			matrix = append(matrix, r.sabotage(t, c))
		})
	}
	r.disconnect()
	t.Logf("\n%s", table(matrix))
}

// sabotage breaks the machine once and asks the check before and after.
func (r *run) sabotage(t *testing.T, c check) outcome {
	t.Helper()
	if c.stage != rebooted && c.stage != console {
		if _, err := c.make(t.Context(), r); err != nil {
			out, _ := r.shell.Run(t.Context(), "journalctl", "--boot", "--lines=20", "--no-pager")
			t.Fatalf("fails on a healthy machine: %v\n%s", err, out.Stdout)
		}
	}
	limit := 30 * time.Second
	if c.stage == rebooted {
		limit = 2 * bootTime
	}
	ctx, cancel := context.WithTimeout(t.Context(), r.lab.Timeout(limit))
	defer cancel()
	lines := r.machine.ConsoleLines()
	r.breaks(t, ctx, c)
	if c.stage == console {
		if _, err := r.machine.WaitConsoleAfter(ctx, lines, regexp.MustCompile("sabotage")); err != nil {
			t.Fatal(err)
		}
	}
	o := outcome{check: c}
	_, err := c.make(ctx, r)
	if o.caught = errors.Is(err, errUnmet); !o.caught {
		t.Errorf("%s went unnoticed: %v", c.sabotage, err)
	}
	if *sabotageOthers {
		o.others = r.complaints(t.Context(), c.id)
	}
	return o
}

// breaks runs a check's sabotage, at the right moment of a reboot if it needs
// one.
func (r *run) breaks(t *testing.T, ctx context.Context, c check) {
	t.Helper()
	now := func() error {
		out, err := r.shell.Run(ctx, "sh", "-c", "stranger='"+authorizedKey(r.id.stranger)+"'\n"+c.sabotage)
		if err != nil || out.Exit != 0 {
			return fmt.Errorf("%s: %w, exit %d: %s", c.sabotage, err, out.Exit, out.Stderr)
		}
		return nil
	}
	var err error
	switch {
	case c.stage == rebooted && c.sabotagedLate:
		err = errors.Join(r.plantAndRestart(ctx, nil), now())
	case c.stage == rebooted:
		err = r.plantAndRestart(ctx, now)
	default:
		err = now()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// complaints are the checks but one that do not hold, of those that a shell can
// make.
func (r *run) complaints(ctx context.Context, but string) []string {
	var list []string
	for _, c := range catalogue(r.id.Plan) {
		if c.id == but || c.stage != inside {
			continue
		}
		if _, err := c.make(ctx, r); err != nil {
			list = append(list, c.id)
		}
	}
	return list
}

// table is the matrix for people.
func table(matrix []outcome) string {
	var s strings.Builder
	w := tabwriter.NewWriter(&s, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "check\tcaught\tothers that fail\tsabotage")
	for _, o := range matrix {
		caught := "NO"
		if o.caught {
			caught = "yes"
		}
		others := "not asked"
		if *sabotageOthers {
			others = orNone(o.others)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", o.id, caught, others, clip(o.check.sabotage))
	}
	w.Flush()
	return s.String()
}

func TestOnePerLayer(t *testing.T) {
	list := []check{{layer: "a", id: "a.1"}, {layer: "b", id: "b.1"}, {layer: "a", id: "a.2"}}
	seen := map[string]bool{}
	for i := range 32 {
		sum := fmt.Sprintf("%02x%062x", i*8, i)
		picked, err := onePerLayer(list, sum)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := onePerLayer(list, sum)
		if len(picked) != 2 || picked[1].id != "b.1" || picked[0].id != again[0].id {
			t.Errorf("%s: picked %v, then %v", sum, picked, again)
		}
		seen[picked[0].id] = true
	}
	if !seen["a.1"] || !seen["a.2"] {
		t.Errorf("32 images tried only %v", seen)
	}
	if _, err := onePerLayer(list, "no digest"); err == nil {
		t.Error("takes what is no digest")
	}
}
