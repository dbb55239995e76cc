// Package lab is a host with a libvirt of its own, for tests: Debian's libvirtd in
// namespaces for processes, mounts and networks, with its own configuration, state and
// run-time folders. Nothing of it is seen outside but its socket, and nothing is left.
package lab

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	api "github.com/digitalocean/go-libvirt"
	"github.com/vishvananda/netns"
)

// Options of a lab.
type Options struct {
	// Dir is an empty folder for everything, with a short path: sockets are in it.
	Dir string
	// Tools is a Debian tree with QEMU, such as Ingot's builds make. Without one the
	// host's QEMU is used.
	Tools string
}

// Lab is a running libvirtd.
type Lab struct {
	// Emulator is the path of QEMU for a domain, empty when libvirt finds it.
	Emulator string
	// ConsoleDir may have the servers' consoles; it is Consoles outside the lab.
	ConsoleDir, Consoles string
	// Images is the folder of the storage pool, seen from outside.
	Images string

	dir   string
	cmd   *exec.Cmd
	done  chan struct{} // closed when the namespaces have ended
	net   netns.NsHandle
	conn  *api.Libvirt
	hosts []*Host
}

// Bridge is the network's, and these are its addresses. The DHCP server gives out what
// is between the last two.
const (
	Bridge   = "virbr0"
	Gateway  = "192.168.122.1"
	Gateway6 = "fd00:122::1"

	firstLease, lastLease = "192.168.122.100", "192.168.122.120"
)

//go:embed libvirtd.sh
var script string

// programs are what a lab is made with, and Debian's packages that have them.
var programs = map[string]string{
	"libvirtd": "libvirt-daemon-system", "virsh": "libvirt-clients", "qemu-system-x86_64": "qemu-system-x86", "dnsmasq": "dnsmasq-base",
	"iptables": "iptables", "ebtables": "iptables", "ip": "iproute2", "unshare": "util-linux",
}

// startTime is how long libvirtd may take to answer. It asks QEMU for its abilities
// first, which takes seconds on a busy machine.
const startTime = time.Minute

// Missing says why there can be no lab here, or is nil.
func Missing() error {
	if os.Geteuid() != 0 {
		return errors.New("libvirtd in namespaces of its own needs root; run the tests as root")
	}
	for name, deb := range programs {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("there is no %s; install %s", name, deb)
		}
	}
	return nil
}

// Start starts libvirtd with a storage pool and a network, both called default. Close
// ends it.
func Start(ctx context.Context, o Options) (*Lab, error) {
	l := &Lab{
		dir: o.Dir, done: make(chan struct{}), net: netns.None(),
		ConsoleDir: "/var/log/libvirt/consoles", Consoles: filepath.Join(o.Dir, "root/var/log/libvirt/consoles"),
		Images: filepath.Join(o.Dir, "root/var/lib/libvirt/images"),
	}
	modules := ""
	if o.Tools != "" {
		l.Emulator = filepath.Join(o.Dir, "qemu")
		modules = filepath.Join(o.Tools, moduleDir)
		if err := os.WriteFile(l.Emulator, []byte(emulator(o.Tools)), 0o755); err != nil {
			return nil, err
		}
	}
	log, err := os.Create(filepath.Join(o.Dir, "lab.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	l.cmd = exec.Command("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-eu", "-c", script, "sh", o.Dir, modules)
	l.cmd.Stdout, l.cmd.Stderr = log, log
	// When this process ends in any way, so do the namespaces with all that runs in
	// them. The signal comes when the thread ends, so that one is kept for it.
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := l.cmd.Start()
		started <- err
		if err == nil {
			_ = l.cmd.Wait() // it is killed
		}
		close(l.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	if err := l.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%w\n%s", err, l.Log()), l.Close())
	}
	return l, nil
}

// Socket is the path of libvirtd's socket.
func (l *Lab) Socket() string { return filepath.Join(l.dir, "run", "libvirt-sock") }

// URI is libvirt's name of the connection.
func (l *Lab) URI() string { return "qemu+unix:///system?socket=" + url.QueryEscape(l.Socket()) }

// Log is what libvirtd and the lab had to complain of.
func (l *Lab) Log() string {
	var b bytes.Buffer
	for _, name := range []string{"lab.log", "libvirtd.log"} {
		text, err := os.ReadFile(filepath.Join(l.dir, name))
		if err == nil {
			b.Write(text)
		}
	}
	return b.String()
}

// Close ends everything in the lab, servers included.
func (l *Lab) Close() error {
	for _, h := range l.hosts {
		h.net.Close()
	}
	if l.conn != nil {
		_ = l.conn.Disconnect() // it may be gone
	}
	if l.net.IsOpen() {
		l.net.Close()
	}
	err := l.cmd.Process.Kill()
	<-l.done
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Virsh runs libvirt's own client.
func (l *Lab) Virsh(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "virsh", append([]string{"--quiet", "--connect", l.URI()}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("virsh %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out)), err
}

// Small mounts a file system of so many MiB on a folder, for the lab only.
func (l *Lab) Small(dir string, mib int) error {
	pid, err := l.init()
	if err != nil {
		return err
	}
	out, err := exec.Command("nsenter", "--target", strconv.Itoa(pid), "--mount", "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm", mib), "ingot", dir).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("mount a small file system: %w: %s", err, out)
	}
	return err
}

// init is the first process in the namespaces, seen from outside.
func (l *Lab) init() (int, error) {
	pid := l.cmd.Process.Pid
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// prepare waits for libvirtd and defines what its packages would.
func (l *Lab) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	uri, err := url.Parse(l.URI())
	if err != nil {
		return err
	}
	for l.conn == nil {
		if l.conn, err = api.ConnectToURI(uri); err == nil {
			break
		}
		select {
		case <-l.done:
			return errors.New("libvirtd has ended")
		case <-ctx.Done():
			return fmt.Errorf("libvirtd does not answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
	pid, err := l.init()
	if err != nil {
		return err
	}
	if l.net, err = netns.GetFromPid(pid); err != nil {
		return err
	}
	pool, err := l.conn.StoragePoolDefineXML("<pool type='dir'><name>default</name><target><path>/var/lib/libvirt/images</path></target></pool>", 0)
	if err != nil {
		return err
	}
	if err := l.conn.StoragePoolCreate(pool, 0); err != nil {
		return err
	}
	network, err := l.conn.NetworkDefineXML(fmt.Sprintf(`<network><name>default</name><forward mode='nat'/><bridge name='%s' stp='off'/>
<ip address='%s' prefix='24'><dhcp><range start='%s' end='%s'/></dhcp></ip><ip family='ipv6' address='%s' prefix='64'/></network>`,
		Bridge, Gateway, firstLease, lastLease, Gateway6))
	if err != nil {
		return err
	}
	return l.conn.NetworkCreate(network)
}

// Bind puts a filter before a bridge's port that is no domain's.
func (l *Lab) Bind(port, mac, filter string) error {
	_, err := l.conn.NwfilterBindingCreateXML(fmt.Sprintf(`<filterbinding><owner><name>%s</name><uuid>11111111-2222-3333-4444-555555555555</uuid></owner>
<portdev name='%[1]s'/><mac address='%s'/><filterref filter='%s'/></filterbinding>`, port, mac, filter), 0)
	return err
}

// moduleDir is where QEMU of Debian has its modules, in a tree and on a host.
const moduleDir = "usr/lib/x86_64-linux-gnu/qemu"

// emulator starts QEMU of a tree by the tree's own linker.
func emulator(tree string) string {
	quoted := "'" + strings.ReplaceAll(tree, "'", `'\''`) + "'"
	return fmt.Sprintf(`#!/bin/sh
t=%s
lib=$t/usr/lib/x86_64-linux-gnu
export LC_ALL=C QEMU_MODULE_DIR="$lib/qemu"
exec "$lib/ld-linux-x86-64.so.2" --library-path "$lib" "$t/usr/bin/qemu-system-x86_64" -L "$t/usr/share/qemu" -L "$t/usr/share/seabios" "$@"
`, quoted)
}
