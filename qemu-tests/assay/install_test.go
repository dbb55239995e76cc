package assay

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"ingot/images"
	"ingot/providers/install"
	"ingot/qemu-tests/vm"
)

// A plain Debian, as a provider hands it out, becomes an Ingot over SSH: its own
// disk is overwritten while it runs. Before that, whatever can go wrong leaves it as
// it was.
func TestInstallOverDebian(t *testing.T) {
	b, system := stock(t, func(built) images.StockOptions { return images.StockOptions{Packages: stockPackages} })
	lab, id := newLab(t, b)
	server := newDebian(t, system, "/dev/vda")
	m := server.boot(t, lab, id, nil)
	target := server.target(lab)
	client := m.loginToDebian(t, target)
	o := install.Options{
		Client: client, Image: b.Image, SHA256: b.SHA256, Instance: id.Instance, Agent: agentOf(t, b), Disk: "/dev/vda",
		MinDisk: 4803 << 20, // docs/image.md
		Say:     func(s string) { t.Logf("%3.0f s: %s", time.Since(m.Since).Seconds(), s) },
	}
	refuses(t, o, client)

	// The network dies in the middle of the image.
	o.Client, o.Confirmed = nil, func(install.Disk) error { return nil }
	o.Target = target
	o.Target.DialContext = breaking(target.DialContext, b.DiskBytes/4)
	if _, err := install.Install(t.Context(), o); err == nil || !strings.Contains(err.Error(), "the machine's disk was not touched") {
		t.Fatalf("a connection that broke in the middle of the image: %v", err)
	}
	client.Close()
	m.Close() // the power goes too
	m = server.boot(t, lab, id, m)
	client = m.loginToDebian(t, target)

	// Not by systemd, which gives up on a busy host.
	runOn(t, client, "swapon /dev/vda2")
	// Many providers let nobody log in as root.
	runOn(t, client, "useradd --create-home cloud && echo 'cloud ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/cloud && cp -r /root/.ssh /home/cloud && chown -R cloud /home/cloud")
	// A service of the old system says on the console that it is alive.
	runOn(t, client, "systemd-run --quiet sh -c 'while sleep 0.2; do echo old system alive >/dev/ttyS0; done'")
	target.User = "cloud"
	client = m.loginToDebian(t, target)
	t.Logf("Debian is up again after %.0f s", time.Since(m.Since).Seconds())
	o.Client = client
	step := ""
	o.Progress = func(p install.Progress) {
		if p.Step != step {
			step = p.Step
			t.Logf("%3.0f s: %s", time.Since(m.Since).Seconds(), step)
		}
	}
	var asked []install.Disk
	o.Confirmed = func(d install.Disk) error { asked = append(asked, d); return nil }
	r, err := install.Install(t.Context(), o)
	if err != nil {
		t.Fatal(m.Failure(err))
	}
	if len(asked) != 1 || asked[0].Path != "/dev/vda" || !asked[0].Root || !slices.Contains(asked[0].Mounts, "[SWAP]") {
		t.Errorf("asked about %v", asked)
	}
	if !r.Staged || !r.Rebooted || r.ReadBack != b.SHA256 {
		t.Errorf("the result is %+v; want %s to be read back", r, b.SHA256)
	}
	ctx, cancel := context.WithTimeout(t.Context(), lab.Timeout(bootTime))
	defer cancel()
	exit, err := m.Wait(ctx)
	if err != nil || exit.Reason != vm.Rebooted {
		t.Fatalf("the machine does not restart: %v, %v\n%s", exit, err, strings.Join(m.ConsoleTail(30), "\n"))
	}
	isFrozen(t, m)

	// The firmware starts what is on the disk now.
	m = boot(t, lab, id, BootOptions{Image: server.disk, DiskBytes: serverBytes, After: m, Firmware: vm.BIOS})
	s := up(t, m)
	t.Logf("an Ingot after %.0f s", time.Since(m.Since).Seconds())
	says(t, m, "instance config applied from the ESP's /instance.ign")
	if labels := s.must(t, "sh", "-c", "lsblk --noheadings --output LABEL | grep -c ingot-var"); labels != "1" {
		t.Errorf("%s volumes are labelled ingot-var", labels)
	}
	if failed := s.must(t, "systemctl", "--failed", "--plain", "--no-legend"); failed != "" {
		t.Errorf("failed units: %s", failed)
	}
	s.powerOff(t)
	noAlarms(t, m)
}

// A rescue system, which runs from another disk: the image is written while it
// arrives. The network dies in the middle of it, and the next try goes through.
func TestInstallFromRescue(t *testing.T) {
	turn(t, image(t), 3)
	b, system := stock(t, func(built) images.StockOptions { return images.StockOptions{Packages: stockPackages} })
	lab, id := newLab(t, b)
	rescue := newDebian(t, system, "/dev/vdb")
	disk := filepath.Join(t.TempDir(), "disk.raw")
	shell(t, "truncate", "--size", fmt.Sprint(serverBytes), disk)
	m := boot(t, lab, id, BootOptions{
		Image: disk, DiskBytes: serverBytes, Disks: []vm.ExtraDisk{{Path: rescue.disk, Overlay: true}}, Kernel: rescue.boots(),
	})
	target := rescue.target(lab)
	client := m.loginToDebian(t, target)
	o := install.Options{
		Target: target, Image: b.Image, SHA256: b.SHA256, Instance: id.Instance, Agent: agentOf(t, b), Disk: "/dev/vda",
		MinDisk: 4803 << 20, // docs/image.md
		Confirmed: func(d install.Disk) error {
			if d.Root || len(d.Mounts) > 0 {
				t.Errorf("the disk is in use: %+v", d)
			}
			return nil
		},
	}
	o.Target.DialContext = breaking(target.DialContext, b.DiskBytes/4)
	if _, err := install.Install(t.Context(), o); err == nil || !strings.Contains(err.Error(), "the disk may be written in part: run this again") {
		t.Fatalf("a connection that broke in the middle of the image: %v", err)
	}
	o.Client = client // the other one has seen nothing of it
	r, err := install.Install(t.Context(), o)
	if err != nil {
		t.Fatal(m.Failure(err))
	}
	if r.Staged || !r.Rebooted || r.ReadBack != b.SHA256 {
		t.Errorf("the result is %+v; want %s to be read back", r, b.SHA256)
	}
	ctx, cancel := context.WithTimeout(t.Context(), lab.Timeout(bootTime))
	defer cancel()
	if exit, err := m.Wait(ctx); err != nil || exit.Reason != vm.Rebooted {
		t.Fatalf("the machine does not restart: %v, %v\n%s", exit, err, strings.Join(m.ConsoleTail(30), "\n"))
	}
	m = boot(t, lab, id, BootOptions{Image: disk, DiskBytes: serverBytes, After: m, Firmware: vm.BIOS})
	s := up(t, m)
	says(t, m, "instance config applied from the ESP's /instance.ign")
	s.powerOff(t)
	noAlarms(t, m)
}

// A temporary Debian at a provider that takes no images: its disk becomes the image,
// to the last bit, and it is switched off.
func TestReplaceDebian(t *testing.T) {
	turn(t, image(t), 4)
	b, system := stock(t, func(built) images.StockOptions { return images.StockOptions{Packages: stockPackages} })
	lab, id := newLab(t, b)
	server := newDebian(t, system, "/dev/vda")
	m := server.boot(t, lab, id, nil)
	client := m.loginToDebian(t, server.target(lab))
	f, err := os.Open(b.Image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = install.Replace(t.Context(), client, install.Image{Data: f, Bytes: b.Bytes, SHA256: b.SHA256}, install.ReplaceOptions{Agent: agentOf(t, b)})
	if err != nil {
		t.Fatal(m.Failure(err))
	}
	ctx, cancel := context.WithTimeout(t.Context(), lab.Timeout(bootTime))
	defer cancel()
	exit, err := m.Wait(ctx)
	if err != nil || exit.Reason != vm.PoweredOff {
		t.Fatalf("the machine does not switch itself off: %v, %v\n%s", exit, err, strings.Join(m.ConsoleTail(30), "\n"))
	}
	raw := filepath.Join(t.TempDir(), "disk.raw")
	if out, err := lab.Toolchain.QEMUImg(t.Context(), "convert", "-O", "raw", m.Overlay(), raw).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	disk, err := os.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	sum := sha256.New()
	if _, err := io.CopyN(sum, disk, b.Bytes); err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != b.SHA256 {
		t.Errorf("the disk has the SHA-256 %s and the image %s", got, b.SHA256)
	}
	// Of the old system's table, whose copy is at the end, and of its file systems
	// nothing is left.
	for what, at := range map[string]int64{"copy of the partition table": serverBytes - 1<<20, "old file system": oldVar} {
		edge := make([]byte, 1<<20)
		if _, err := disk.ReadAt(edge, at); err != nil {
			t.Fatal(err)
		}
		if len(bytes.Trim(edge, "\x00")) > 0 {
			t.Errorf("the old system's %s is still there", what)
		}
	}
}

// isFrozen wants nothing of the old system to run any more when its disk is
// overwritten.
func isFrozen(t *testing.T, m *Booted) {
	t.Helper()
	const sign = "old system alive"
	before, after, ok := strings.Cut(m.Console(), "Emergency Remount complete")
	if !ok || !strings.Contains(before, sign) {
		t.Fatalf("the console says nothing of the old system's end:\n%s", strings.Join(m.ConsoleTail(30), "\n"))
	}
	if n := strings.Count(after, sign); n > 0 {
		t.Errorf("the old system was alive %d times while its disk was overwritten", n)
	}
}

// refuses wants wrong disks to be refused, with a list of what there is.
func refuses(t *testing.T, o install.Options, client *ssh.Client) {
	t.Helper()
	o.Confirmed = func(install.Disk) error { t.Error("somebody is asked"); return errors.New("no") }
	for disk, want := range map[string]string{
		"":           "name the disk to be overwritten",
		"/dev/sda":   "the machine has no disk /dev/sda",
		"/dev/vda1":  `/dev/vda1 is no whole disk but of the type "part"`,
		"/dev/vdb":   "/dev/vdb has 1024 MiB and at least 4803 MiB are needed",
		"/dev/vda\n": "is no device",
	} {
		o.Disk = disk
		_, err := install.Install(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("disk %q: %v; want %q", disk, err, want)
		}
		if err == nil || !strings.Contains(err.Error(), "/dev/vda, 6.0 GiB, the running system") {
			t.Errorf("disk %q: there is no list in %v", disk, err)
		}
	}
	disks, err := install.Disks(t.Context(), client)
	if err != nil || len(disks) != 2 || !disks[0].Root || disks[1].Root {
		t.Errorf("the disks are %v, %v", disks, err)
	}
}

// breaking is a network that breaks when so many bytes were sent.
func breaking(dial func(context.Context, string, string) (net.Conn, error), after int64) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		return &breakingConn{conn, after}, err
	}
}

type breakingConn struct {
	net.Conn
	left int64
}

func (c *breakingConn) Write(p []byte) (int, error) {
	if c.left -= int64(len(p)); c.left < 0 {
		c.Conn.Close()
		return 0, errors.New("the network broke")
	}
	return c.Conn.Write(p)
}

// debian is a server with a partitioned disk: what a boot loader needs, the system,
// swap, and something in an old file system of the name that an Ingot looks for.
type debian struct {
	disk, small    string // files of the disks
	device         string // that the first is on the machine
	kernel, initrd string
	login          ssh.Signer
	hostKey        string // fingerprint
}

// Where things are on the server's disk, in bytes.
const (
	serverBytes = 6 << 30
	oldRoot     = 2 << 20
	oldSwap     = oldRoot + 4<<30
	oldVar      = oldSwap + 256<<20
)

func newDebian(t *testing.T, system images.Stock, device string) debian {
	t.Helper()
	for _, program := range []string{"sgdisk", "mkswap", "dd"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%v: run ./setup.sh", err)
		}
	}
	dir := t.TempDir()
	d := debian{disk: filepath.Join(dir, "disk.raw"), small: filepath.Join(dir, "small.raw"), device: device, kernel: system.Kernel, initrd: system.Initrd}
	shell(t, "truncate", "--size=1G", d.small)
	root := filepath.Join(dir, "root.raw")
	shell(t, "cp", "--sparse=always", system.Disk, root)
	d.prepare(t, dir, root)
	shell(t, "truncate", "--size", fmt.Sprint(serverBytes), d.disk)
	shell(t, "sgdisk", "--clear", "--new=1:2M:+4G", "--new=2:0:+256M", "--typecode=2:8200", "--new=3:0:+512M", d.disk)
	shell(t, "dd", "if="+root, "of="+d.disk, "bs=1M", "seek=2", "conv=sparse,notrunc", "status=none")
	if err := os.Remove(root); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "swap")
	shell(t, "truncate", "--size=256M", file)
	shell(t, "mkswap", "--quiet", file)
	shell(t, "dd", "if="+file, "of="+d.disk, "bs=1M", fmt.Sprintf("seek=%d", oldSwap>>20), "conv=sparse,notrunc", "status=none")
	shell(t, "mkfs.ext4", "-q", "-F", "-L", "ingot-var", "-E", fmt.Sprintf("offset=%d", oldVar), d.disk, "512M")
	return d
}

// prepare gives the system keys and mounts, without starting it.
func (d *debian) prepare(t *testing.T, dir, root string) {
	t.Helper()
	_, hostKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(hostKey)
	if err != nil {
		t.Fatal(err)
	}
	d.hostKey = ssh.FingerprintSHA256(signer.PublicKey())
	block, err := ssh.MarshalPrivateKey(hostKey, "")
	if err != nil {
		t.Fatal(err)
	}
	if d.login, err = newKey(false); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"authorized_keys": authorizedKey(d.login) + "\n", "ssh_host_ed25519_key": string(pem.EncodeToMemory(block)),
		"fstab": fmt.Sprintf("%[1]s1 / ext4 defaults 0 1\n%[1]s2 none swap noauto 0 0\n", d.device),
		"commands": "mkdir /root/.ssh\ncd /root/.ssh\nwrite authorized_keys authorized_keys\n" +
			"cd /etc/ssh\nwrite ssh_host_ed25519_key ssh_host_ed25519_key\ncd /etc\nrm fstab\nwrite fstab fstab\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "debugfs", "-w", "-f", "commands", root)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("debugfs: %v\n%s", err, out)
	}
}

// boot powers the server on. A restart ends the machine.
func (d debian) boot(t *testing.T, lab *Lab, id Identity, after *Booted) *Booted {
	t.Helper()
	return boot(t, lab, id, BootOptions{
		Image: d.disk, DiskBytes: serverBytes, After: after, Disks: []vm.ExtraDisk{{Path: d.small, Overlay: true}},
		Kernel: d.boots(),
	})
}

// boots is what its boot loader would load.
func (d debian) boots() *vm.Kernel {
	return &vm.Kernel{Image: d.kernel, Initrd: d.initrd, Arguments: "root=" + d.device + "1 rw console=ttyS0 cloud-init=disabled"}
}

// target is the server on the simulated internet.
func (d debian) target(lab *Lab) install.Target {
	return install.Target{
		Host: lab.Machine.IPv4().String(), HostKey: d.hostKey, Auth: []ssh.AuthMethod{ssh.PublicKeys(d.login)},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return nil, err
			}
			return lab.Internet.Dial(ctx, network, traveller, to)
		},
	}
}

// loginToDebian logs in as soon as it is possible.
func (b *Booted) loginToDebian(t *testing.T, target install.Target) *ssh.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), b.lab.Timeout(2*bootTime))
	defer cancel()
	var last error
	for ctx.Err() == nil {
		client, err := install.Dial(ctx, target)
		if err == nil {
			t.Cleanup(func() { client.Close() })
			return client
		}
		last = err
		select { // refused: sshd is not there yet
		case <-ctx.Done():
		case <-b.Exited():
			cancel()
		case <-time.After(time.Second):
		}
	}
	t.Fatal(b.Failure(fmt.Errorf("log in to the Debian: %w\n%s", last, strings.Join(b.ConsoleTail(20), "\n"))))
	return nil
}

// runOn gives a command to the Debian.
func runOn(t *testing.T, client *ssh.Client, command string) {
	t.Helper()
	s, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if out, err := s.CombinedOutput(command); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

// agentOf is the agent that an image was built with.
func agentOf(t *testing.T, b built) string {
	t.Helper()
	return filepath.Join(filepath.Dir(b.Image), "ingot-agent")
}

func shell(t *testing.T, argv ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
}
