package assay

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"ingot/config"
	"ingot/layers"
	"ingot/layers/system"
	"ingot/qemu-tests/vm"
)

var sabotageLayer = flag.String("sabotage-layer", "", "TestSabotage runs all sabotages of this layer, and no other's")

var sabotageAll = flag.Bool("sabotage-all", false, "TestSabotage runs every sabotage, not one a layer")

var sabotageOthers = flag.Bool("sabotage-others", false, "TestSabotage also asks which other checks fail, which takes half a minute for each")

// sabotage is a command that breaks a healthy machine and the check that must
// notice.
type sabotage struct{ layer, check, command string }

// ours are the sabotages of what the assay itself looks at.
var ours = []sabotage{
	{"internet", "internet.tcp-ipv4", "nft insert rule inet ingot inbound tcp dport 8080 accept"},
	{"internet", "internet.tcp-ipv6", "nft insert rule inet ingot inbound tcp dport 8080 accept"},
	{"internet", "internet.udp-ipv4", "nft insert rule inet ingot inbound udp dport 9999 accept"},
	{"internet", "internet.udp-ipv6", "nft insert rule inet ingot inbound udp dport 9999 accept"},
	{"depth", "depth.suid", "cp /usr/bin/true /var/lib/ingot/sabotage && chmod 4755 /var/lib/ingot/sabotage"},
	{"depth", "depth.world-writable", "touch /run/sabotage && chmod 0666 /run/sabotage"},
	{"depth", "depth.world-writable-folders", "mkdir --mode=0777 /run/sabotage"},
	{"depth", "depth.unowned", "touch /run/sabotage && chown 12345 /run/sabotage"},
	{"depth", "depth.exposure", "systemd-run --quiet --unit=sabotage systemd-socket-activate --listen=0.0.0.0:9999 /usr/bin/true" +
		" && until ss -Hltn | grep -q :9999; do sleep 0.1; done"},
}

// sabotages are all of a plan's, in its order, and ours.
func sabotages(plan layers.Plan) []sabotage {
	list := slices.Clone(ours)
	for _, c := range plan.Checks {
		if c.Sabotage != "" {
			list = append(list, sabotage{c.Layer, c.ID, c.Sabotage})
		}
	}
	return list
}

// onePerLayer picks by a seed from the image, so that another image tries
// others and the same image the same.
func onePerLayer(list []sabotage, imageSHA256 string) ([]sabotage, error) {
	sum, err := hex.DecodeString(imageSHA256)
	if err != nil || len(sum) != 32 {
		return nil, fmt.Errorf("%q is no SHA-256", imageSHA256)
	}
	random := rand.New(rand.NewPCG(binary.BigEndian.Uint64(sum), binary.BigEndian.Uint64(sum[8:])))
	byLayer := map[string][]sabotage{}
	var order []string
	for _, s := range list {
		if byLayer[s.layer] == nil {
			order = append(order, s.layer)
		}
		byLayer[s.layer] = append(byLayer[s.layer], s)
	}
	var picked []sabotage
	for _, layer := range order {
		of := byLayer[layer]
		picked = append(picked, of[random.IntN(len(of))])
	}
	return picked, nil
}

// outcome is one line of the matrix: a check, whether it caught its sabotage,
// and who else complained.
type outcome struct {
	sabotage
	caught bool
	others []string
}

// Break the running machine, and the check that is there for it must say so.
func TestSabotage(t *testing.T) {
	b := image(t)
	lab, id := newLab(t, b)
	list := sabotages(id.Plan)
	total := len(list)
	switch {
	case *sabotageLayer != "":
		list = slices.DeleteFunc(list, func(s sabotage) bool { return s.layer != *sabotageLayer })
		if len(list) == 0 {
			t.Fatalf("the layer %s has no sabotages", *sabotageLayer)
		}
	case !*sabotageAll:
		var err error
		if list, err = onePerLayer(list, b.SHA256); err != nil {
			t.Fatal(err)
		}
		t.Logf("%d of %d sabotages, one a layer, picked by the image %s; -sabotage-all runs all", len(list), total, b.SHA256)
	}
	m := boot(t, lab, id, BootOptions{Image: b.Image, Firmware: vm.BIOS, Instance: id.Instance})
	s := up(t, m)
	r := &run{lab: lab, id: id, machine: m, tunnel: s.tunnel, shell: s.shell, fingerprint: s.fingerprint}
	s.snapshot(t, "healthy")
	var matrix []outcome
	all := t // a connection outlives the subtest that makes it
	for _, sab := range list {
		t.Run(sab.check, func(t *testing.T) {
			defer func() { // also when the machine does not even answer
				if err := m.Loadvm(all.Context(), "healthy"); err != nil {
					t.Error(err)
					return
				}
				s = s.again(all)
				r.tunnel, r.shell = s.tunnel, s.shell
			}()
			matrix = append(matrix, r.sabotage(t, sab))
		})
	}
	t.Logf("\n%s", table(matrix))
}

// sabotage breaks the machine once and asks the check before and after.
func (r *run) sabotage(t *testing.T, sab sabotage) outcome {
	t.Helper()
	check := r.find(t, sab.check)
	if _, err := check(t.Context()); err != nil {
		out, _ := r.shell.Run(t.Context(), "journalctl", "--boot", "--lines=20", "--no-pager")
		t.Fatalf("fails on a healthy machine: %v\n%s", err, out.Stdout)
	}
	ctx, cancel := context.WithTimeout(t.Context(), r.lab.Timeout(30*time.Second))
	defer cancel()
	out, err := r.shell.Run(ctx, "sh", "-c", "stranger='"+authorizedKey(r.id.stranger)+"'\n"+sab.command)
	if err != nil || out.Exit != 0 {
		t.Fatalf("%s: %v, exit %d: %s", sab.command, err, out.Exit, out.Stderr)
	}
	o := outcome{sabotage: sab}
	_, err = check(ctx)
	if o.caught = errors.Is(err, errUnmet); !o.caught {
		t.Errorf("%s went unnoticed: %v", sab.command, err)
	}
	if *sabotageOthers {
		o.others = r.complaints(t.Context(), sab.check)
	}
	return o
}

// complaints are the planned checks but one that do not hold, of those that a
// shell can make.
func (r *run) complaints(ctx context.Context, but string) []string {
	var list []string
	for _, c := range r.id.Plan.Checks {
		if c.ID == but || c.SSHAuth != nil || c.Ping != nil {
			continue
		}
		if _, err := r.one(ctx, c); err != nil {
			list = append(list, c.ID)
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
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", o.check, caught, others, clip(o.command))
	}
	w.Flush()
	return s.String()
}

// A layer whose checks were never seen failing promises nothing.
func TestEveryLayerHasASabotage(t *testing.T) {
	loaded, findings, err := config.Load("../../examples/openclaw", system.Layer{})
	if err != nil || len(findings) > 0 {
		t.Fatal(errors.Join(err, config.Render(os.Stderr, findings)))
	}
	has := map[string]bool{}
	for _, s := range sabotages(loaded.Plan) {
		has[s.layer] = true
	}
	for _, name := range loaded.Plan.LayerNames {
		if !has[name] {
			t.Errorf("no check of the layer %s has a Sabotage", name)
		}
	}
}

func TestOnePerLayer(t *testing.T) {
	list := []sabotage{{"a", "a.1", "x"}, {"b", "b.1", "x"}, {"a", "a.2", "x"}}
	seen := map[string]bool{}
	for i := range 32 {
		sum := fmt.Sprintf("%02x%062x", i*8, i)
		picked, err := onePerLayer(list, sum)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := onePerLayer(list, sum)
		if len(picked) != 2 || picked[1].check != "b.1" || !slices.Equal(picked, again) {
			t.Errorf("%s: picked %v, then %v", sum, picked, again)
		}
		seen[picked[0].check] = true
	}
	if !seen["a.1"] || !seen["a.2"] {
		t.Errorf("32 images tried only %v", seen)
	}
	if _, err := onePerLayer(list, "no digest"); err == nil {
		t.Error("takes what is no digest")
	}
}

// find is a check of the standard assay by its id.
func (r *run) find(t *testing.T, id string) func(context.Context) (string, error) {
	t.Helper()
	o := outside{r.lab, r.id.Plan}
	switch id {
	case "internet.tcp-ipv4":
		return func(ctx context.Context) (string, error) { return o.tcp(ctx, r.lab.Machine.IPv4()) }
	case "internet.tcp-ipv6":
		return func(ctx context.Context) (string, error) { return o.tcp(ctx, r.lab.Machine.IPv6()) }
	case "internet.udp-ipv4":
		return func(ctx context.Context) (string, error) { return o.udp(ctx, r.lab.Machine.IPv4()) }
	case "internet.udp-ipv6":
		return func(ctx context.Context) (string, error) { return o.udp(ctx, r.lab.Machine.IPv6()) }
	}
	for _, c := range r.quickDepth() {
		if c.id == id {
			return c.check
		}
	}
	i := slices.IndexFunc(r.id.Plan.Checks, func(c layers.Check) bool { return c.ID == id })
	if i < 0 {
		t.Fatalf("there is no check %s", id)
	}
	c := r.id.Plan.Checks[i]
	switch {
	case c.Ping != nil:
		return func(ctx context.Context) (string, error) { return o.ping(ctx, *c.Ping) }
	case c.SSHAuth != nil:
		return func(ctx context.Context) (string, error) { return r.auth(ctx, *c.SSHAuth) }
	}
	return func(ctx context.Context) (string, error) { return r.one(ctx, c) }
}
