package assay

import (
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"ingot/qemu-tests/verdict"
)

var (
	scenarioNames = flag.String("scenario", "", "TestScenarios plays these, separated by commas, and no others")
	healthy       = flag.Bool("healthy", false, "TestScenarios also plays them without the sabotage, as ingot test --full does")
)

// samples is how many scenarios a run of the tests sabotages, of all there are: each
// takes minutes.
const samples = 1

// A scenario that cannot fail is none: each is played on a machine, or in a
// world, on which it must.
func TestScenarios(t *testing.T) {
	b := image(t)
	lab, id := newLab(t, b)
	lab.dir = filepath.Join(lab.dir, "standard") // the scenarios' folders are beside it
	r := &run{opts: Options{Image: b.Image, Dir: lab.dir}, lab: lab, id: id, moment: &moment{}}
	r.out = newRecord(r.opts, choice{})
	var mu sync.Mutex
	matrix := map[string]string{}
	list := picked(t, b)
	t.Run("play", func(t *testing.T) { // returns when all have been played, as many at a time as there are processors
		for _, s := range list {
			if *healthy {
				t.Run(s.id+"/holds", func(t *testing.T) {
					t.Parallel()
					evidence, err := s.on(t.Context(), r, nil)
					t.Logf("%s", evidence)
					if err != nil {
						t.Fatal(err)
					}
				})
			}
			t.Run(s.id+"/sabotaged", func(t *testing.T) {
				t.Parallel()
				_, err := s.on(t.Context(), r, s.spoiler(t))
				caught := errors.Is(err, errUnmet)
				if !caught {
					t.Errorf("%s went unnoticed: %v", s.what, err)
				}
				mu.Lock()
				defer mu.Unlock()
				matrix[s.id] = fmt.Sprintf("%v\t%s\t%s", caught, s.what, clip(fmt.Sprint(err)))
			})
		}
	})
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "scenario\tcaught\tsabotage\twhat it said")
	for _, s := range list {
		fmt.Fprintf(w, "%s\t%s\n", s.id, matrix[s.id])
	}
	w.Flush()
	t.Logf("\n%s", text.String())
}

// spoiler makes what the sabotage needs.
func (s scenario) spoiler(t *testing.T) func(*scene) {
	t.Helper()
	if s.plan == nil {
		return func(sc *scene) { sc.spoiled = true }
	}
	bad := sabotaged(t, s.plan)
	return func(sc *scene) { sc.spoiled, sc.spoiledImage = true, bad.Image }
}

// picked are the scenarios to play: those named, all, or some that depend on
// the image.
func picked(t *testing.T, b built) []scenario {
	t.Helper()
	all := scenariosOf(b.loaded.Plan)
	if *scenarioNames != "" {
		var list []scenario
		for _, name := range strings.Split(*scenarioNames, ",") {
			found := false
			for _, s := range all {
				if s.id == name {
					list, found = append(list, s), true
				}
			}
			if !found {
				t.Fatalf("there is no scenario %q", name)
			}
		}
		return list
	}
	if *sabotageAll {
		return all
	}
	random, err := randomFrom(seed(b))
	if err != nil {
		t.Fatal(err)
	}
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	t.Logf("%d of %d scenarios, picked by the commit and the image, %s; -sabotage-all plays all", samples, len(all), seed(b))
	return all[:samples]
}

// Every scenario has an id of its own, an estimate, and one way to fail.
func TestScenarioList(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, s := range allScenarios() {
		ways := 0
		for _, has := range []bool{s.plan != nil, s.command != "", s.world} {
			if has {
				ways++
			}
		}
		if s.id == "" || seen[s.id] || s.title == "" || s.seconds == 0 || s.what == "" || ways != 1 {
			t.Errorf("%+v", s)
		}
		seen[s.id] = true
		if c := s.check(); c.suite() != verdict.Full || c.sabotage == "" {
			t.Errorf("%s is no check of the full suite with a sabotage", s.id)
		}
	}
}
