package hetzner

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"ingot/fault"
	"ingot/providers"
	"ingot/providers/fake"
)

// withState is a bench whose servers get a volume.
func withState(t *testing.T) *bench {
	b := newBench(t)
	b.opts.State = 10
	return b
}

// needLoop is for tests with real disks.
func needLoop(t *testing.T) {
	t.Helper()
	needRoot(t)
	for _, program := range []string{"losetup", "unshare", "blkid", "e2fsck"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("there is no %s; apt-get install mount util-linux e2fsprogs", program)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "losetup", "--find").CombinedOutput(); err != nil {
		t.Skipf("there are no loop devices: %s; run the tests where root may make them", out)
	}
}

// volume is the only one that was made.
func (b *bench) volume(t *testing.T) obj {
	t.Helper()
	var found []obj
	for _, v := range b.cloud.kinds["volumes"] {
		if strings.HasPrefix(v["name"].(string), "ingot-state-") {
			found = append(found, v)
		}
	}
	if len(found) != 1 {
		t.Fatalf("there are %d volumes", len(found))
	}
	return found[0]
}

// deployedWithState is what there is after a deploy, and nothing of what was needed for
// a while.
func deployedWithState(t *testing.T, b *bench, e *providers.Entry) {
	t.Helper()
	v, s := b.volume(t), b.cloud.byRef("servers", "claw-1")
	if n(v["server"]) != id(s) || n(v["size"]) != 10 {
		t.Errorf("the volume is %v", v)
	}
	if got := b.cloud.fileSystem(v); got != "ingot-var" {
		t.Errorf("the label of the file system is %q", got)
	}
	if got, want := fmt.Sprint(v["labels"]), fmt.Sprintf("map[ingot-id:%s ingot-server:claw-1 ingot-state:%[1]s]", e.ID); got != want {
		t.Errorf("the labels are %s", got)
	}
	if s["status"] != "running" || s["_state"] != "a volume" {
		t.Errorf("the server is %v, its state on %v", s["status"], s["_state"])
	}
	var kinds []string
	for _, name := range strings.Split(b.made(), ", ") {
		kinds = append(kinds, strings.Fields(name)[0])
	}
	if got := strings.Join(kinds, " "); got != "servers firewalls primary_ips primary_ips volumes snapshot" {
		t.Errorf("there is %s", b.made())
	}
}

// With a real sshd, and a real mke2fs on a loop device.
func TestDeployWithState(t *testing.T) {
	t.Parallel()
	needLoop(t)
	b := withState(t)
	b.cloud.lab.mock = false
	e := b.begin(t)
	m := machine(b.addSnapshot(), e)
	server, err := b.Deploy(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	deployedWithState(t, b, e)
	// A program that was not written here finds it whole.
	file := b.cloud.lab.file(id(b.volume(t)), "volume")
	if out, err := exec.CommandContext(t.Context(), "e2fsck", "-f", "-n", file).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
	var kinds []string
	for _, r := range e.Created {
		kinds = append(kinds, r.Kind)
	}
	if got := strings.Join(kinds, ", "); got != "firewall, volume, firewall, ssh key, server, server" {
		t.Errorf("the journal has %s", got)
	}
	// The temporary server is gone before the other one costs anything.
	var order []string
	for _, r := range b.api.Requests() {
		if r.Method != "GET" && (strings.HasPrefix(r.Path, "/servers") || strings.HasPrefix(r.Path, "/volumes")) {
			order = append(order, r.Method+r.Path[strings.LastIndex(r.Path, "/"):])
		}
	}
	number := func(o obj) string { return fmt.Sprint(id(o)) }
	if got, want := strings.Join(order, " "), fmt.Sprintf("POST/volumes POST/servers POST/attach POST/poweron PUT/%s POST/detach DELETE/", number(b.volume(t))); !strings.HasPrefix(got, want) ||
		!strings.HasSuffix(got, " POST/servers POST/attach POST/poweron") || len(order) != 10 {
		t.Errorf("the order is %s", got)
	}
	// The same work again finds all.
	b.api.Forget()
	again, err := b.Deploy(t.Context(), m)
	if err != nil || again.ID != server.ID || b.writes() != 0 {
		t.Errorf("again it is %v, %v, after %d writes", again, err, b.writes())
	}
	// The volume goes with the server.
	kinds = nil
	for _, r := range b.collect(t, e) {
		kinds = append(kinds, r.Kind)
	}
	if got := strings.Join(kinds, ", "); got != "server, volume, firewall" || b.made() != "snapshot openclaw" {
		t.Errorf("removed %s; there is %s", got, b.made())
	}
}

func TestStateRefusals(t *testing.T) {
	t.Parallel()
	for _, size := range []int{-1, 1, 9, 10241} {
		_, err := New(Options{Token: providers.NewSecret("a"), State: size})
		wantError(t, err, fault.OfInput, "10 to 10240 GiB", fmt.Sprint("not ", size))
	}
	for _, size := range []int{0, 10, 10240} {
		if _, err := New(Options{Token: providers.NewSecret("a"), State: size}); err != nil {
			t.Errorf("%d: %v", size, err)
		}
	}
	for name, test := range map[string]struct {
		change func(*bench)
		kind   fault.Kind
		words  []string
		left   string // beside the snapshot and the firewall
	}{
		"limit": {func(b *bench) { b.cloud.maxVolumes = 3 }, fault.OfInput, []string{"create the volume ingot-state-", "the project's limit is reached"}, ""},
		"full": {func(b *bench) {
			b.api.Plan(fake.Fault{On: "POST /volumes", Status: 422, Body: refusal("no_space_left_in_location")})
		}, fault.OfProvider, []string{"no room for volumes"}, ""},
		"mke2fs":   {func(b *bench) { b.cloud.lab.broken = true }, fault.OfProvider, []string{"make the file system of the volume ingot-state-", "mke2fs: it is said"}, "volumes "},
		"stranger": {func(b *bench) { b.cloud.lab.otherHost = true }, fault.OfProvider, []string{"another SSH host key"}, "volumes "},
		"device":   {func(b *bench) { b.cloud.device = "/dev/sda; reboot" }, fault.OfProvider, []string{"cannot be the device"}, "volumes "},
		"no temporary server": {func(b *bench) {
			b.api.Plan(fake.Fault{On: "POST /servers", Status: 412, Body: refusal("resource_unavailable")})
		}, fault.OfProvider, []string{"create the server ingot-format-", "sold out"}, "volumes "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := withState(t)
			e := b.begin(t)
			test.change(b)
			_, err := b.Deploy(t.Context(), machine(b.addSnapshot(), e))
			wantError(t, err, test.kind, test.words...)
			// Nothing that runs is left, and the rest is found.
			left := strings.ReplaceAll(b.made(), "ingot-state-"+e.ID, "")
			want := "firewalls ingot-claw-1, " + test.left + ", snapshot openclaw"
			if left != strings.ReplaceAll(want, ", , ", ", ") {
				t.Errorf("there is %s", left)
			}
			for _, v := range b.cloud.kinds["volumes"] {
				if v["labels"].(obj)[labelState] != nil {
					t.Errorf("the volume %s is taken for whole", v["name"])
				}
			}
			e.Abandon()
			b.collectLeft(t)
			if got := b.made(); got != "snapshot openclaw" {
				t.Errorf("there is %s", got)
			}
		})
	}
}

func TestStateInBadWeather(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes ten seconds; run without -short")
	}
	t.Parallel()
	b := withState(t)
	image := b.addSnapshot()
	before := b.made()
	all := bad("POST /volumes", "POST /volumes/*/actions/attach", "POST /volumes/*/actions/detach", "PUT /volumes/*", "POST /servers", "POST /ssh_keys")
	for name, faults := range all {
		t.Run(name, func(t *testing.T) {
			e := b.begin(t)
			b.api.Calm()
			b.api.Plan(faults...)
			_, err := b.Deploy(t.Context(), machine(image, e))
			b.api.Calm()
			if err != nil {
				t.Error(err)
			} else {
				deployedWithState(t, b, e)
			}
			if b.collect(t, e); b.made() != before {
				t.Errorf("there is %s", b.made())
			}
		})
	}
}

// Ended after any request, the same work goes on with what it has made.
func TestEndedDeployGoesOn(t *testing.T) {
	t.Parallel()
	b := withState(t)
	b.grace = time.Nanosecond
	b.cloud.patient = 1
	image := b.addSnapshot()
	before := b.made()
	step := 1
	if testing.Short() {
		step = 7
	}
	for n := 0; ; n += step {
		ctx, kill := context.WithCancel(t.Context())
		b.api.Forget()
		b.endAt(n, fake.Fault{Lost: true}, kill)
		e := b.begin(t)
		_, err := b.Deploy(ctx, machine(image, e))
		kill()
		b.api.Calm()
		if err == nil {
			t.Logf("ended at each of %d requests", n)
			b.collect(t, e)
			return
		}
		ended := b.api.Requests()[n]
		// What was formatted is not formatted again.
		made := slices.ContainsFunc(b.cloud.kinds["volumes"], func(v obj) bool { return v["labels"].(obj)[labelState] != nil })
		b.api.Forget()
		if _, err := b.Deploy(t.Context(), machine(image, e)); err != nil {
			t.Fatalf("ended at request %d, %v, and again: %v", n, ended, err)
		}
		if made && b.api.Count("PUT /volumes/*") > 0 {
			t.Errorf("ended at request %d, %v: it was formatted twice", n, ended)
		}
		deployedWithState(t, b, e)
		if b.collect(t, e); b.made() != before {
			t.Fatalf("ended at request %d, %v: there is %s", n, ended, b.made())
		}
	}
}

// All is where the server is.
func TestStateElsewhere(t *testing.T) {
	t.Parallel()
	b := withState(t)
	e := b.begin(t)
	m := machine(b.addSnapshot(), e)
	m.Location = "nbg1"
	if _, err := b.Deploy(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	deployedWithState(t, b, e)
	for _, o := range []obj{b.volume(t), b.cloud.byRef("servers", "claw-1")} {
		if at := o["location"].(obj)["name"]; at != "nbg1" {
			t.Errorf("%s is in %s", o["name"], at)
		}
	}
}

// A Ctrl-C has time to clear up what runs.
func TestInterruptedFormat(t *testing.T) {
	t.Parallel()
	b := withState(t)
	image := b.addSnapshot()
	for _, at := range []string{"POST /ssh_keys", "POST /servers", "POST /volumes/*/actions/attach", "POST /servers/*/actions/poweron", "PUT /volumes/*"} {
		t.Run(at, func(t *testing.T) {
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			b.api.Calm()
			b.api.Plan(fake.Fault{On: at, Hook: interrupt})
			e := b.begin(t)
			_, err := b.Deploy(ctx, machine(image, e))
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the error is %v", err)
			}
			if got, want := b.made(), "firewalls ingot-claw-1, volumes ingot-state-"+e.ID+", snapshot openclaw"; got != want {
				t.Errorf("there is %s", got)
			}
			b.collect(t, e)
		})
	}
}
