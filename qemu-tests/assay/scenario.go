package assay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"ingot/layers"
	"ingot/qemu-tests/internet"
	"ingot/qemu-tests/verdict"
	"ingot/qemu-tests/vm"
)

// scenario is a misfortune: the shipped bytes are booted once more, something
// goes wrong, and the machine must keep a promise all the same.
type scenario struct {
	id, title string
	// seconds is how long it took on two processors under TCG with another one
	// beside it, for the estimate.
	seconds int
	play    func(context.Context, *scene) (string, error)
	// about says whether the scenario is about a plan; nil is about every one.
	about func(layers.Plan) bool
	sabotage
}

// sabotage is what makes a scenario fail, to see that it can. Exactly one field
// beside what is set.
type sabotage struct {
	what    string               // in words
	plan    func(p *layers.Plan) // another image, with this fault
	command string               // root runs it on the machine, where the scenario says [scene.spoil]
	world   bool                 // [scene.spoiled] is true, and the scenario's surroundings are other ones
}

// scene is a scenario under way: a lab of its own, and what there is to play
// with.
type scene struct {
	*run
	random *rand.Rand
	seed   uint64
	// spoiled asks for the sabotage.
	spoiled  bool
	sabotage sabotage
	name     string // of the lab's folder
	// spoiledImage has the sabotage of the plan; empty when there is none.
	spoiledImage string
	// restarts is how often the downloader is restarted.
	restarts int
}

// allScenarios are those of the suite verdict.Full, the longest first.
func allScenarios() []scenario {
	var list []scenario
	for _, part := range [][]scenario{powerScenarios(), bootScenarios(), hardwareScenarios(), sourceScenarios(), runningScenarios(), bitScenarios(), vpnScenarios()} {
		list = append(list, part...)
	}
	return list
}

// scenariosOf are those that are about a plan.
func scenariosOf(p layers.Plan) []scenario {
	return slices.DeleteFunc(allScenarios(), func(s scenario) bool { return s.about != nil && !s.about(p) })
}

// check is the scenario as the catalogue has it.
func (s scenario) check() check {
	return check{
		id: verdict.Scenarios + "." + s.id, layer: verdict.Scenarios, title: s.title, stage: scenarios, sabotage: s.what,
		make: func(ctx context.Context, r *run) (string, error) { return s.on(ctx, r, nil) },
	}
}

// on plays the scenario in a lab of its own beside r's. With spoil it is changed
// first.
func (s scenario) on(ctx context.Context, r *run, spoil func(*scene)) (evidence string, err error) {
	name := s.id
	if spoil != nil {
		name += "-sabotaged"
	}
	if r.repeated {
		name += "-again" // what the first left behind is not overwritten
	}
	sc, err := newScene(r, name)
	if err != nil {
		return "", err
	}
	sc.sabotage = s.sabotage
	if spoil != nil {
		spoil(sc)
	}
	evidence, err = s.play(ctx, sc)
	sc.end()
	if err == nil && !r.opts.Keep {
		err = forgetDisks(sc.lab.dir)
	}
	return evidence, err
}

// newScene is a scene in a lab of its own beside r's.
func newScene(r *run, name string) (*scene, error) {
	lab, err := r.lab.Another(name, nil)
	if err != nil {
		return nil, err
	}
	n := *r
	n.lab, n.machine, n.tunnel, n.shell = lab, nil, nil, nil
	sc := &scene{run: &n, name: name, seed: rand.Uint64(), restarts: restarts}
	sc.random = rand.New(rand.NewPCG(sc.seed, 0))
	return sc, nil
}

// end ends the machine, if there is one.
func (s *scene) end() {
	s.disconnect()
	if s.machine != nil {
		s.machine.Close()
	}
	s.lab.Close()
}

// forgetDisks removes what the machines wrote: hundreds of megabytes each.
func forgetDisks(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".qcow2" {
			err = os.Remove(path)
		}
		return err
	})
}

// spoil runs the scenario's sabotage on the machine, when it is to be.
func (s *scene) spoil(ctx context.Context) error {
	if !s.spoiled || s.sabotage.command == "" {
		return nil
	}
	return s.shell.must(ctx, s.sabotage.command)
}

// otherwise is whether the scenario's surroundings are to be sabotaged.
func (s *scene) otherwise() bool { return s.spoiled && s.sabotage.world }

// inInternet moves the scene to an internet with other options.
func (s *scene) inInternet(change func(*internet.Options)) error {
	if err := s.lab.Close(); err != nil {
		return err
	}
	change(&s.lab.options)
	return s.lab.open()
}

// boot powers a machine on with the usual firmware, and with the identity unless
// o says otherwise.
func (s *scene) boot(ctx context.Context, o BootOptions) error {
	if o.Image == "" {
		o.Image = cmp.Or(s.spoiledImage, s.opts.Image)
	}
	if o.Firmware == "" {
		o.Firmware = vm.BIOS
	}
	var err error
	s.machine, err = s.lab.Boot(ctx, s.id, o)
	return err
}

// up boots, connects, and looks whether the machine is well.
func (s *scene) up(ctx context.Context, o BootOptions) error {
	if o.Instance == nil {
		o.Instance = s.id.Instance
	}
	if err := s.boot(ctx, o); err != nil {
		return err
	}
	return s.connected(ctx)
}

// reachTime is how long a machine that is up may take to be reachable under KVM.
const reachTime = 15 * time.Second

// connected waits for a machine that boots, and connects as its owner does.
func (s *scene) connected(ctx context.Context) (err error) {
	if s.fingerprint, err = s.machine.AwaitUp(ctx, 0); err != nil {
		return promised(err)
	}
	reaching, cancel := s.within(ctx, reachTime)
	defer cancel()
	if s.tunnel, err = s.machine.Connect(reaching); err != nil {
		return promised(err)
	}
	if s.shell, err = s.machine.Shell(ctx, s.tunnel, s.fingerprint); err != nil {
		return promised(err)
	}
	return nil
}

// promised makes a promise of what a machine must do: come up, answer. What QEMU
// did is not its fault.
func promised(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || classify(err) == verdict.Environment {
		return err
	}
	return fmt.Errorf("%w%w", err, errUnmet)
}

// well looks for failed units and for lines that a healthy machine never writes.
func (s *scene) well(ctx context.Context) error {
	if err := s.spoil(ctx); err != nil {
		return err
	}
	out, err := s.shell.Run(ctx, "systemctl", "--failed", "--plain", "--no-legend")
	if err != nil {
		return promised(err)
	}
	if failed := clip(out.Stdout); failed != "" {
		return unmet("failed units: %s", failed)
	}
	return s.noAlarms()
}

func (s *scene) noAlarms() error {
	if alarms := vm.Alarms(s.machine.Console()); len(alarms) > 0 {
		return unmet("console line %d, %s: %s", alarms[0].Number, alarms[0].Pattern, clip(alarms[0].Line))
	}
	return nil
}

// must runs a shell command that has to succeed.
func (s *Shell) must(ctx context.Context, command string) error {
	_, err := s.output(ctx, command)
	return err
}

// output runs a shell command that has to succeed, and returns what it prints.
func (s *Shell) output(ctx context.Context, command string) (string, error) {
	out, err := s.Run(ctx, "sh", "-c", command)
	if err == nil && out.Exit != 0 {
		err = fmt.Errorf("%s ended with %d: %s", clip(command), out.Exit, clip(out.Stderr))
	}
	return clip(out.Stdout), err
}

// scenarios plays the chosen ones, as many at a time as this machine can.
func (r *run) scenarios(ctx context.Context) {
	var list []check
	seconds := 0
	for _, c := range r.out.chosen {
		if c.stage == scenarios {
			list = append(list, c)
		}
	}
	if len(list) == 0 {
		return
	}
	for _, s := range allScenarios() {
		for _, c := range list {
			if c.id == s.check().id {
				seconds += s.seconds
			}
		}
	}
	places, why := vm.Places()
	r.say("%d scenarios, %d at a time (%s), about %d minutes", len(list), places, why, 1+seconds/places/60)
	r.out.askMany(ctx, r.audience(), scenarios, places)
	r.replay(ctx)
}

// replay plays what failed once more: a scenario that holds now is a flake,
// which tells its finder where to look.
func (r *run) replay(ctx context.Context) {
	for _, c := range r.out.failures(scenarios) {
		r.say("%s failed; once more", c.id)
		second := r.audience()
		second.repeated = true
		if second.judge(ctx, c).Result == verdict.Passed {
			r.out.flaky(c.id)
		}
	}
}

// audience is a run without a machine, for scenarios.
func (r *run) audience() *run {
	n := *r
	n.machine, n.tunnel, n.shell = nil, nil, nil
	return &n
}

// restored is a scene that goes on from the moment the machine was up.
func (s *scene) restored(ctx context.Context) error {
	if s.spoiledImage != "" {
		s.moment = &moment{} // one of its own
	}
	saved, err := s.moment.get(ctx, s)
	if err != nil {
		return err
	}
	disk := filepath.Join(s.lab.dir, "disk.qcow2")
	if err := copyDisk(ctx, saved.disk, disk); err != nil {
		return err
	}
	if s.machine, err = s.lab.resume(ctx, saved, disk); err != nil {
		return err
	}
	s.fingerprint = saved.fingerprint
	return s.reconnect(ctx)
}

// moment is the one snapshot that all restored scenarios share; made when the
// first one asks, unless the standard assay has made it.
type moment struct {
	mu    sync.Mutex
	saved *Saved
}

func (m *moment) set(s Saved) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.saved = &s
}

func (m *moment) get(ctx context.Context, s *scene) (Saved, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.saved != nil {
		return *m.saved, nil
	}
	lab, err := s.lab.Another("moment-"+filepath.Base(s.lab.dir), nil)
	if err != nil {
		return Saved{}, err
	}
	n := *s.run
	n.lab = lab
	sc := &scene{run: &n, spoiledImage: s.spoiledImage}
	defer sc.end()
	if err := sc.up(ctx, BootOptions{Reboots: true}); err != nil {
		return Saved{}, err
	}
	saved, err := n.save(ctx)
	if err == nil {
		m.saved = &saved
	}
	return saved, err
}

// within gives a step a limit of its own, as long as one under KVM times the
// accelerator's factor.
func (s *scene) within(ctx context.Context, kvm time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.lab.Timeout(kvm))
}
