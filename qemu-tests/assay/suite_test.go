package assay

import (
	"context"
	"errors"
	"flag"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"ingot/config"
	"ingot/images"
	"ingot/layers"
	"ingot/layers/system"
	"ingot/qemu-tests/internet"
	"ingot/qemu-tests/report"
	"ingot/qemu-tests/verdict"
	"ingot/qemu-tests/vm"
)

// These tests boot real images in QEMU. They build the openclaw example with
// the cache that everything else uses; -short leaves them out.

var keep = flag.String("artefacts", "", "keep console logs and packets of the machines in this folder")

// folder has the server that the tests build; with another one, run the tests
// that any server must pass, such as TestSabotage.
var folder = flag.String("folder", "../../examples/openclaw", "folder of the ingot.yaml to build")

const lockFile = "../../examples/openclaw/ingot.lock"

// exampleDir is where the example's image is, empty when no test needed it.
var exampleDir string

// example is the image of examples/openclaw, built once.
var example = sync.OnceValues(func() (built, error) {
	var err error
	if exampleDir, err = os.MkdirTemp("", "ingot-suite-"); err != nil {
		return built{}, err
	}
	return build(context.Background(), exampleDir, nil)
})

type built struct {
	images.Result
	loaded config.Loaded
}

// build makes the image of the example with a change to its plan.
func build(ctx context.Context, dir string, change func(*layers.Plan)) (built, error) {
	return buildFolder(ctx, *folder, dir, change)
}

// buildFolder does the same with another ingot.yaml, with a lock of its own if
// it needs other packages than the folder under test.
func buildFolder(ctx context.Context, from, dir string, change func(*layers.Plan)) (built, error) {
	loaded, findings, err := config.Load(from, system.Layer{})
	if err != nil || len(findings) > 0 {
		return built{}, errors.Join(err, config.Render(os.Stderr, findings))
	}
	cache, err := images.OpenCache(os.Getenv("INGOT_CACHE"))
	if err != nil {
		return built{}, err
	}
	agent := filepath.Join(dir, "ingot-agent")
	compile := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", agent, "ingot/cmd/ingot-agent")
	compile.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := compile.CombinedOutput(); err != nil {
		return built{}, errors.Join(err, errors.New(string(out)))
	}
	if change != nil {
		change(&loaded.Plan)
	}
	lock := filepath.Join(*folder, images.LockFile)
	if from != *folder && len(loaded.Plan.Images) > 0 {
		lock = filepath.Join(dir, images.LockFile)
	}
	r, err := images.Build(ctx, loaded.Plan, images.Options{LockFile: lock, Dir: from, Out: dir, Agent: agent, Cache: cache})
	return built{Result: r, loaded: loaded}, err
}

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if exampleDir != "" {
		os.RemoveAll(exampleDir)
	}
	os.Exit(code)
}

// image is the example's image, or the test is skipped.
func image(t *testing.T) built {
	t.Helper()
	if testing.Short() {
		t.Skip("boots machines in QEMU; run without -short")
	}
	b, err := example()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sabotaged is the example's image with a change to its plan.
func sabotaged(t *testing.T, change func(*layers.Plan)) built {
	t.Helper()
	image(t)
	b, err := build(t.Context(), t.TempDir(), change)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// artefacts is where a test's machines write, empty at first: logs are appended.
func artefacts(t *testing.T) string {
	t.Helper()
	if *keep == "" {
		return t.TempDir()
	}
	dir := filepath.Join(*keep, strings.ReplaceAll(t.Name(), "/", "-"))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func newLab(t *testing.T, b built) (*Lab, Identity) {
	t.Helper()
	lab, err := NewLab(t.Context(), vm.Toolchain{Root: b.Tools, Kernel: b.Kernel}, artefacts(t), exampleDir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lab.Close() })
	id, err := NewIdentity(b.loaded.Plan.Site, b.loaded.Layers)
	if err != nil {
		t.Fatal(err)
	}
	return lab, id
}

// elsewhere is the same lab with the machine at another place of its internet.
func elsewhere(t *testing.T, lab *Lab, change func(*internet.MachineOptions)) *Lab {
	t.Helper()
	other, err := lab.Another("elsewhere", change)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	return other
}

func boot(t *testing.T, lab *Lab, id Identity, o BootOptions) *Booted {
	t.Helper()
	m, err := lab.Boot(t.Context(), id, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// session is a booted machine and a root shell on it.
type session struct {
	*Booted
	tunnel      *internet.Tunnel
	shell       *Shell
	fingerprint string // of the host key
}

// up waits until the machine is reachable and opens a root shell.
func up(t *testing.T, m *Booted) session {
	t.Helper()
	tunnel, err := m.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tunnel.Close() })
	fingerprint, err := m.AwaitUp(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	shell, err := m.Shell(t.Context(), tunnel, fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shell.Close() })
	return session{m, tunnel, shell, fingerprint}
}

// snapshot saves the machine.
func (s session) snapshot(t *testing.T, name string) {
	t.Helper()
	s.must(t, "sh", "-c", steadyClock)
	if err := s.Savevm(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

// must runs a command that has to succeed.
func (s session) must(t *testing.T, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), s.lab.Timeout(20*time.Second))
	defer cancel()
	out, err := s.shell.Run(ctx, argv...)
	if err != nil || out.Exit != 0 {
		t.Fatalf("%v: %v, exit %d, %s", argv, err, out.Exit, out.Stderr)
	}
	return strings.TrimSpace(out.Stdout)
}

// powerOff shuts the machine down in good order and waits for its end.
func (s session) powerOff(t *testing.T) {
	t.Helper()
	if err := s.shell.Leave(t.Context(), "poweroff"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), s.lab.Timeout(bootTime))
	defer cancel()
	exit, err := s.Wait(ctx)
	if err != nil || exit.Reason != vm.PoweredOff {
		t.Fatalf("power off: %v, %v", exit, err)
	}
	// A second client with the same key would take the peer away from it.
	s.shell.Close()
	s.tunnel.Close()
}

func noAlarms(t *testing.T, m *Booted) {
	t.Helper()
	for _, a := range vm.Alarms(m.Console()) {
		t.Errorf("console line %d, %s: %s", a.Number, a.Pattern, a.Line)
	}
}

func TestVerdict(t *testing.T) {
	b := image(t)
	v := standardVerdict(t, b, artefacts(t))
	if err := report.Text(os.Stdout, v, report.TextOptions{}); err != nil {
		t.Fatal(err)
	}
	if v.Verdict != verdict.Passed || v.ImageSHA256 != b.SHA256 {
		t.Errorf("verdict %s for image %s, built %s", v.Verdict, v.ImageSHA256, b.SHA256)
	}
}

func standardVerdict(t *testing.T, b built, dir string) verdict.Verdict {
	t.Helper()
	v, err := Run(t.Context(), Options{
		Image: b.Image, Site: b.loaded.Plan.Site, Layers: b.loaded.Layers, Locked: b.Digests,
		Toolchain: vm.Toolchain{Root: b.Tools, Kernel: b.Kernel}, Dir: dir, Cache: exampleDir, Firmware: vm.BIOS,
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

var repeat = flag.Int("repeat", 0, "TestVerdictRepeats makes this many verdicts")

// The same image has the same verdict, however often it is asked for.
func TestVerdictRepeats(t *testing.T) {
	if *repeat == 0 {
		t.Skip("takes two minutes for each of -repeat; make repeat runs it")
	}
	b := image(t)
	dir := artefacts(t)
	for n := range *repeat {
		v := standardVerdict(t, b, filepath.Join(dir, strconv.Itoa(n)))
		t.Logf("%2d: %s, %d of %d, %.1f s, ready after %.1f s", n+1, v.Verdict, v.Passes(), len(v.Checks), v.Seconds, v.ReadySeconds)
		if v.Verdict != verdict.Passed {
			t.Errorf("%d: %s %s", n+1, v.Class, v.Error)
		}
		for _, c := range v.Checks {
			if c.Result != verdict.Passed {
				t.Errorf("%d: %s %s %s: %s", n+1, c.ID, c.Result, c.Class, c.Problem)
			}
		}
	}
}

func TestUEFI(t *testing.T) {
	b := image(t)
	turn(t, b, 0)
	lab, id := newLab(t, b)
	m := boot(t, lab, id, BootOptions{Image: b.Image, Firmware: vm.UEFI, Instance: id.Instance})
	s := up(t, m)
	s.must(t, "test", "-d", "/sys/firmware/efi")
	s = roams(t, s)
	others(t, s)
	if failed := s.must(t, "systemctl", "--failed", "--plain", "--no-legend"); failed != "" {
		t.Errorf("failed units: %s", failed)
	}
	s.powerOff(t)
	noAlarms(t, m)
}

// roams moves the owner to another address on the internet, with the same key:
// the server follows without being told.
func roams(t *testing.T, s session) session {
	t.Helper()
	endpoint := func(s session) string { return s.must(t, "wg", "show", "wg0", "endpoints") }
	before := endpoint(s)
	s.shell.Close()
	s.tunnel.Close()
	var err error
	if s.tunnel, err = s.connectAs(t.Context(), s.id.owner, traveller); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.tunnel.Close() })
	if s.shell, err = s.Shell(t.Context(), s.tunnel, s.fingerprint); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.shell.Close() })
	if after := endpoint(s); !strings.Contains(after, traveller.String()+":") || after == before {
		t.Errorf("the peer was at %s and is at %s; it went to %v", before, after, traveller)
	}
	return s
}

// others connects the second peer beside the first, who stays connected; and who
// has one peer's key does not speak in the other's name.
func others(t *testing.T, s session) {
	t.Helper()
	tunnel, err := s.connectAs(t.Context(), s.id.other, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	shell, err := s.Shell(t.Context(), tunnel, s.fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	shell.Close()
	s.must(t, "true")
	tunnel.Close()

	impostor := s.id.other
	impostor.addresses = s.id.owner.addresses
	if tunnel, err = s.connectAs(t.Context(), impostor, netip.Addr{}); err != nil { // the key is right
		t.Fatal(err)
	}
	defer tunnel.Close()
	ctx, cancel := context.WithTimeout(t.Context(), s.lab.Timeout(notThroughTime))
	defer cancel()
	if conn, err := tunnel.DialContext(ctx, "tcp", net.JoinHostPort(s.id.serverTunnel, s.id.sshPort)); err == nil {
		conn.Close()
		t.Error("a peer speaks in another's name")
	} else if ctx.Err() == nil {
		t.Errorf("a peer that speaks in another's name: %v", err)
	}
	s.must(t, "true")
}

// says looks for texts on a machine's console.
func says(t *testing.T, m *Booted, texts ...string) {
	t.Helper()
	console := m.Console()
	var status []string
	for line := range strings.Lines(console) {
		if strings.Contains(line, "ingot: ") {
			status = append(status, line)
		}
	}
	for _, want := range texts {
		if !strings.Contains(console, want) {
			t.Errorf("the console does not say %q:\n%s", want, strings.Join(status, ""))
		}
	}
}

// A firewall that does not load means a machine that does not talk.
func TestBrokenRulesetFailsClosed(t *testing.T) {
	b := sabotaged(t, func(p *layers.Plan) {
		for i, f := range p.Image.Files {
			if f.Path == "/etc/nftables.conf" {
				p.Image.Files[i].Contents += "\nthis is not a rule\n"
			}
		}
		// The build would refuse it; this is about what happens when it does not.
		p.Validators = slices.DeleteFunc(p.Validators, func(v layers.Validator) bool { return v.Layer == "nftables" })
	})
	lab, id := newLab(t, b)
	m := boot(t, lab, id, BootOptions{Image: b.Image, Firmware: vm.BIOS, Instance: id.Instance})
	if _, err := m.AwaitUp(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(vm.Alarms(m.Console()), func(a vm.Alarm) bool { return strings.Contains(a.Line, "nftables") }) {
		t.Error("the console does not say that the firewall failed")
	}
	if err := m.staysSilent(t.Context(), m.mark); err != nil {
		t.Error(err)
	}
}

// The build refuses a broken ruleset before anything can boot it.
func TestBrokenRulesetIsRefused(t *testing.T) {
	image(t)
	_, err := build(t.Context(), t.TempDir(), func(p *layers.Plan) {
		for i, f := range p.Image.Files {
			if f.Path == "/etc/nftables.conf" {
				p.Image.Files[i].Contents += "\nthis is not a rule\n"
			}
		}
	})
	if err == nil || !strings.Contains(err.Error(), "layer nftables: /usr/sbin/nft") {
		t.Errorf("got %v, want a refusal that names the layer nftables", err)
	}
}

// So it does a tree that holds what no image may.
func TestBadTreeIsRefused(t *testing.T) {
	image(t)
	_, err := build(t.Context(), t.TempDir(), func(p *layers.Plan) {
		for path, mode := range map[string]int{"/usr/bin/gcc": 0o755, "/usr/share/everybody": 0o666} {
			p.Image.Files = append(p.Image.Files, layers.File{Path: path, Mode: mode, Contents: "x"})
			p.Owner["file "+path] = "custom/bad"
		}
		p.Image.Directories = append(p.Image.Directories, layers.Directory{Path: "/usr/share/open", Mode: 0o777})
		p.Owner["directory /usr/share/open"] = "custom/bad"
	})
	for _, want := range []string{"/usr/bin/gcc", "/usr/share/everybody", "/usr/share/open"} {
		if err == nil || !strings.Contains(err.Error(), "layer custom/bad") || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want a refusal that names the layer and %s", err, want)
		}
	}
}

// The state volume follows to a new machine with a new image: it gives the
// machine its old identity, with the network dead.
func TestStateMovesToNewImage(t *testing.T) {
	b := image(t)
	turn(t, b, 1)
	lab, id := newLab(t, b)
	old := boot(t, lab, id, BootOptions{Image: b.Image, Firmware: vm.BIOS, Instance: id.Instance})
	s := up(t, old)
	facts := func(s session) string {
		return s.must(t, "cat", "/etc/machine-id") + s.must(t, "cat", "/var/lib/ingot/ssh/ssh_host_ed25519_key.pub") + s.must(t, "wg", "show", "wg0", "public-key")
	}
	before := facts(s)
	s.powerOff(t)

	next := sabotaged(t, func(p *layers.Plan) {
		p.Image.Files = append(p.Image.Files, layers.File{Path: "/etc/ingot-version", Mode: 0o644, Contents: "2\n"})
	})
	if next.RootHash == b.RootHash {
		t.Fatal("the new image has the old root hash")
	}
	lab.Internet.SetInternet(false)
	disks := []vm.ExtraDisk{{Path: old.Overlay(), Format: vm.QCOW2}}
	m := boot(t, lab, id, BootOptions{Image: next.Image, Firmware: vm.BIOS, Disks: disks})
	if _, err := m.AwaitUp(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if want := "instance config applied from the last good config on ingot-var"; !strings.Contains(m.Console(), want) {
		t.Errorf("the console does not say %q", want)
	}
	lab.Internet.SetInternet(true)
	s = up(t, m)
	if got := s.must(t, "cat", "/etc/ingot-version"); got != "2" {
		t.Errorf("the machine runs version %q of the image", got)
	}
	if after := facts(s); after != before {
		t.Errorf("identity before:\n%s\nafter:\n%s", before, after)
	}
	if labels := s.must(t, "sh", "-c", "lsblk --noheadings --output LABEL | grep -c ingot-var"); labels != "1" {
		t.Errorf("%s volumes are labelled ingot-var", labels)
	}
	host := s.fingerprint
	s.powerOff(t)
	reprovisioned(t, lab, b, id, host, BootOptions{Image: next.Image, Firmware: vm.BIOS, After: m, Disks: disks})
}

// reprovisioned gives a machine another identity of the same server: whoever got
// in with the old one is out, and it is still the same machine.
func reprovisioned(t *testing.T, lab *Lab, b built, old Identity, host string, o BootOptions) {
	t.Helper()
	id, err := old.Successor(b.loaded.Plan.Site, b.loaded.Layers)
	if err != nil {
		t.Fatal(err)
	}
	if id.serverPublic != old.serverPublic {
		t.Fatal("the old client would speak to another server")
	}
	o.Instance = id.Instance
	m := boot(t, lab, id, o)
	s := up(t, m)
	if s.fingerprint != host {
		t.Errorf("the host key was %s and is %s", host, s.fingerprint)
	}
	if client, err := m.login(t.Context(), s.tunnel, old.Plan.Site.Admin.User, host, ssh.PublicKeys(old.admin)); err == nil {
		client.Close()
		t.Error("the old key still logs in")
	} else if !isAuthFailure(err) {
		t.Errorf("the old key: %v", err)
	}
	was := *m
	was.id = old
	ctx, cancel := context.WithTimeout(t.Context(), lab.Timeout(3*time.Second))
	defer cancel()
	if tunnel, err := was.Connect(ctx); err == nil {
		tunnel.Close()
		t.Error("the old peer still gets an answer")
	}
}
