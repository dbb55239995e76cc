package assay

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"ingot/ignition"
	"ingot/images"
	"ingot/layers"
	"ingot/qemu-tests/internet"
	"ingot/qemu-tests/report"
	"ingot/qemu-tests/verdict"
	"ingot/qemu-tests/vm"
)

// stockPackages are what Debian's own cloud images are made of, as far as it
// matters here: a kernel with its initrd, GRUB's tools, cloud-init with
// netplan and systemd-networkd, and sshd.
var stockPackages = []string{
	"ca-certificates", "cloud-init", "dbus", "e2fsprogs", "grub2-common", "initramfs-tools", "iproute2", "kmod",
	"linux-image-cloud-amd64", "netbase", "netplan.io", "openssh-server", "procps", "python3", "sudo", "systemd",
	"systemd-resolved", "systemd-sysv", "udev",
}

// mirrorHost is where a stock system looks for its packages.
const mirrorHost = "deb.debian.org"

// stock is a plain Debian system, or the test is skipped.
func stock(t *testing.T, complete func(built) images.StockOptions) (built, images.Stock) {
	t.Helper()
	if testing.Short() {
		t.Skip("installs and boots a Debian system in QEMU; run without -short")
	}
	if os.Geteuid() != 0 {
		t.Skip("makes a file system with the owners of its files: run as root")
	}
	for _, program := range []string{"mformat", "mcopy", "mkfs.ext4", "debugfs"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%v: run ./setup.sh", err)
		}
	}
	b := image(t)
	cache, err := images.OpenCache(os.Getenv("INGOT_CACHE"))
	if err != nil {
		t.Fatal(err)
	}
	o := complete(b)
	o.LockFile, o.Cache, o.Source = lockFile, cache, "deb [trusted=yes] http://"+mirrorHost+"/debian ./"
	s, err := images.MakeStock(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return b, s
}

// A plain Debian system that gets the rendered user-data, and nothing else,
// keeps the promises of the sealed image but for those that need the seal.
func TestCloudInit(t *testing.T) {
	turn(t, image(t), 2)
	b, system := stock(t, func(built) images.StockOptions { return images.StockOptions{Packages: stockPackages} })
	lab, id := newLab(t, b)
	userData, err := ignition.CloudInit(id.Plan, id.secrets)
	if err != nil {
		t.Fatal(err)
	}
	schema(t, system, userData)
	firstRequest := serveMirror(t, lab)

	m := boot(t, lab, id, BootOptions{Image: system.Disk, Kernel: &vm.Kernel{
		Image: system.Kernel, Initrd: system.Initrd, Arguments: "root=/dev/vda rw console=ttyS0",
	}, Disks: []vm.ExtraDisk{{Path: cidata(t, userData)}}})
	ctx, cancel := context.WithTimeout(t.Context(), lab.Timeout(2*bootTime))
	defer cancel()
	await(t, ctx, m, firstRequest)
	t.Logf("packages asked for %.0f s after power-on", time.Since(m.Since).Seconds())
	nothingAnswers(t, lab)
	exit := awaitConfigured(t, ctx, m)
	if exit.Reason != vm.Rebooted {
		t.Fatalf("the machine ended because %v:\n%s", exit, strings.Join(m.ConsoleTail(30), "\n"))
	}
	t.Logf("configured %.0f s after power-on", time.Since(m.Since).Seconds())

	arguments := grubArguments(t, lab, m)
	m = boot(t, lab, id, BootOptions{Image: system.Disk, After: m, Kernel: &vm.Kernel{
		Image: system.Kernel, Initrd: system.Initrd, Arguments: arguments,
	}})
	for _, argument := range layers.Stock(id.Plan).Image.KernelArguments {
		if !strings.Contains(" "+arguments+" ", " "+argument+" ") {
			t.Errorf("GRUB does not give the kernel %s but %s", argument, arguments)
		}
	}
	keepsItsPromises(t, lab, id, m)
}

// keepsItsPromises makes the standard checks of a stock system that is
// configured and powered on, all but those that need the seal.
func keepsItsPromises(t *testing.T, lab *Lab, id Identity, m *Booted) {
	t.Helper()
	id.Plan = layers.Stock(id.Plan)
	m.id = id
	var chosen []check
	for _, c := range catalogue(id.Plan) {
		if slices.Contains([]stage{outside, inside, flood, logins, console}, c.stage) {
			chosen = append(chosen, c)
		}
	}
	out := newRecord(Options{}, choice{chosen: chosen})
	r := &run{out: out, lab: lab, id: id, machine: m}
	var err error
	if r.tunnel, err = m.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer r.disconnect()
	r.fingerprint = m.hostKey(t, r.tunnel)
	if r.shell, err = m.Shell(t.Context(), r.tunnel, r.fingerprint); err != nil {
		t.Fatal(err)
	}
	r.look(t.Context())
	out.ask(t.Context(), r, console)
	v := out.verdict()
	if err := report.Text(os.Stdout, v, report.TextOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, s := range id.Plan.SealOnly {
		t.Logf("needs the seal: %s, layer %s: %s", s.What, s.Layer, s.Why)
	}
	if v.Verdict != verdict.Passed {
		t.Errorf("the verdict is %s", v.Verdict)
	}
}

// schema lets the system's own cloud-init judge the user-data.
func schema(t *testing.T, system images.Stock, userData []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "user-data")
	if err := os.WriteFile(file, userData, 0o600); err != nil {
		t.Fatal(err)
	}
	const inTree = `mount --bind "${2%/*}" "$1/mnt"; exec chroot "$1" cloud-init schema --config-file /mnt/user-data`
	out, err := exec.CommandContext(t.Context(), "unshare", "--mount", "--propagation=private", "sh", "-c", inTree, "sh", system.Tree, file).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Valid schema") || strings.Contains(strings.ToLower(string(out)), "deprecat") {
		t.Errorf("cloud-init schema: %v\n%s", err, out)
	}
}

// cidata is a volume that cloud-init's NoCloud reads.
func cidata(t *testing.T, userData []byte) string {
	t.Helper()
	dir := t.TempDir()
	volume := filepath.Join(dir, "cidata.img")
	for name, content := range map[string][]byte{"user-data": userData, "meta-data": []byte("instance-id: assay-1\n")} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, argv := range [][]string{
		{"mformat", "-C", "-i", volume, "-v", "cidata", "-f", "2880", "::"},
		{"mcopy", "-i", volume, filepath.Join(dir, "user-data"), filepath.Join(dir, "meta-data"), "::"},
	} {
		if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", argv[0], err, out)
		}
	}
	return volume
}

// serveMirror lets the internet serve the locked packages, and nothing else,
// as Debian's mirror. The channel is closed by the first request for one.
func serveMirror(t *testing.T, lab *Lab) <-chan struct{} {
	t.Helper()
	lock, err := images.ReadLock(lockFile)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := images.OpenCache(os.Getenv("INGOT_CACHE"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := images.Repository(t.Context(), lock, cache, filepath.Join(dir, "debian")); err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddr("151.101.2.132") // what the name stands for matters to nobody
	if err := lab.Internet.SetDNS(fmt.Sprintf("%s. IN A %s\n", mirrorHost, address)); err != nil {
		t.Fatal(err)
	}
	l, err := lab.Internet.Listen(netip.AddrPortFrom(address, 80))
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{})
	var once sync.Once
	files := http.FileServer(http.Dir(dir))
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".deb") {
			once.Do(func() { close(asked) })
		}
		files.ServeHTTP(w, r)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }() // returns when closed, and only then
	t.Cleanup(func() { server.Close(); l.Close(); <-done })
	return asked
}

// awaitConfigured waits for the machine's own restart, or for what it says when
// a step failed.
func awaitConfigured(t *testing.T, ctx context.Context, m *Booted) vm.Exit {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var line string
	failed := make(chan struct{})
	go func() {
		defer close(failed)
		if line, _ = m.WaitConsole(ctx, regexp.MustCompile("ingot: the configuration failed")); line != "" {
			cancel()
		}
	}()
	exit, err := m.Wait(ctx)
	cancel()
	<-failed
	if line != "" {
		t.Fatalf("%s\n%s", line, strings.Join(m.ConsoleTail(60), "\n"))
	}
	if err != nil {
		t.Fatal(m.Failure(err))
	}
	return exit
}

func await(t *testing.T, ctx context.Context, m *Booted, what <-chan struct{}) {
	t.Helper()
	select {
	case <-what:
	case <-m.Exited():
		t.Fatalf("the machine ended before:\n%s", strings.Join(m.ConsoleTail(30), "\n"))
	case <-ctx.Done():
		t.Fatal(m.Failure(ctx.Err()))
	}
}

// nothingAnswers scans a machine that is on its way: no door of the stock
// system is open while it is not yet what it should be.
func nothingAnswers(t *testing.T, lab *Lab) {
	t.Helper()
	scan, err := lab.Internet.ScanTCP(t.Context(), lab.Machine.IPv4(), internet.AllPorts())
	if err != nil {
		t.Fatal(err)
	}
	if open := scan.In(internet.Open); len(open) > 0 {
		t.Errorf("while it configures itself, ports %v are open", open)
	}
}

// linuxLine is a menu entry's kernel with its arguments.
var linuxLine = regexp.MustCompile(`(?m)^\s*linux\s+\S+\s+(.*)$`)

// grubArguments plays the boot loader: it reads what update-grub wrote on the
// disk of a machine that has ended.
func grubArguments(t *testing.T, lab *Lab, m *Booted) string {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "disk.raw")
	convert := lab.Toolchain.QEMUImg(t.Context(), "convert", "-O", "raw", m.Overlay(), raw)
	if out, err := convert.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), "debugfs", "-R", "cat /boot/grub/grub.cfg", raw).Output()
	if err != nil {
		t.Fatal(err)
	}
	found := linuxLine.FindSubmatch(out)
	if found == nil {
		t.Fatalf("there is no kernel in grub.cfg:\n%s", out)
	}
	return string(found[1])
}

// hostKey asks sshd for its key: who answers in the tunnel is known already.
func (b *Booted) hostKey(t *testing.T, tunnel *internet.Tunnel) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), b.lab.Timeout(bootTime))
	defer cancel()
	addr := net.JoinHostPort(b.id.serverTunnel, b.id.sshPort)
	for ctx.Err() == nil {
		conn, err := tunnel.DialContext(ctx, "tcp", addr)
		if err != nil {
			continue // refused: the socket is not there yet
		}
		var fingerprint string
		_, _, _, err = ssh.NewClientConn(conn, addr, &ssh.ClientConfig{User: "nobody", HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			fingerprint = ssh.FingerprintSHA256(key)
			return nil
		}})
		conn.Close()
		if fingerprint != "" {
			return fingerprint
		}
		t.Log(err)
	}
	t.Fatal(b.Failure(ctx.Err()))
	return ""
}
