package assay

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"ingot/images"
	"ingot/qemu-tests/vm"
)

var audit = flag.Bool("audit", false, "let lynis audit a plain Debian system, for comparison; takes minutes")

// offered are what Debian's own cloud images have beside stockPackages that
// lynis has an opinion on.
var offered = []string{"apparmor", "cron", "systemd-timesyncd", "unattended-upgrades"}

// What a provider's Debian looks like to lynis, on the same machine, with the
// same lynis: the other half of the comparison in docs/hardening.md.
func TestAuditOfStockDebian(t *testing.T) {
	if !*audit {
		t.Skip("measures and proves nothing; make depth runs it")
	}
	b, system := stock(t, func(built) images.StockOptions {
		return images.StockOptions{Packages: slices.Concat(stockPackages, offered)}
	})
	tree := auditTree(t, b)
	lab, id := newLab(t, b)
	m := boot(t, lab, id, BootOptions{Image: system.Disk, Kernel: &vm.Kernel{
		Image: system.Kernel, Initrd: system.Initrd, Arguments: "root=/dev/vda rw console=ttyS0",
	}, Disks: []vm.ExtraDisk{{Path: cidata(t, []byte("#cloud-config\nssh_authorized_keys: ['"+authorizedKey(id.admin)+"']\n"))}}})
	s := m.overTheInternet(t)
	defer s.Close()
	r := &run{opts: Options{Audit: tree, Dir: lab.dir}, lab: lab, id: id, machine: m, shell: s}
	ready, err := s.Run(t.Context(), "cloud-init", "status", "--wait")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("cloud-init: %s", clip(ready.Stdout))
	report, err := r.lynis(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	setID, err := s.find(t.Context(), []string{"-type", "f", "-perm", "/6000"})
	if err != nil {
		t.Fatal(err)
	}
	listeners, err := s.Run(t.Context(), "ss", "-Hlntu")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("stock Debian: lynis %s gives %d of 100 with %d suggestions; %d set-ID files; listening:\n%s",
		report.Version, report.Index, len(report.Suggestions), len(setID), listeners.Stdout)
}

// auditTree is the locked tree with lynis.
func auditTree(t *testing.T, b built) string {
	t.Helper()
	cache, err := images.OpenCache(os.Getenv("INGOT_CACHE"))
	if err != nil {
		t.Fatal(err)
	}
	tree, err := images.AuditTree(t.Context(), b.loaded.Plan, images.Options{
		LockFile: filepath.Join(*folder, "ingot.lock"), Out: t.TempDir(), Cache: cache,
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// overTheInternet logs in as the user that Debian's cloud images make.
func (b *Booted) overTheInternet(t *testing.T) *Shell {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), b.lab.Timeout(bootTime))
	defer cancel()
	to := netip.AddrPortFrom(b.lab.Machine.IPv4(), 22)
	var last error
	for ctx.Err() == nil {
		conn, err := b.lab.Internet.Dial(ctx, "tcp", traveller, to)
		if err == nil {
			var c ssh.Conn
			var channels <-chan ssh.NewChannel
			var requests <-chan *ssh.Request
			c, channels, requests, err = ssh.NewClientConn(conn, "stock", &ssh.ClientConfig{
				User: "debian", Auth: []ssh.AuthMethod{ssh.PublicKeys(b.id.admin)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(),
			})
			if err == nil {
				return &Shell{client: ssh.NewClient(c, channels, requests)}
			}
			conn.Close()
		}
		last = err
		select { // refused, or the key is not there yet: ask again in a while
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	t.Fatal(b.Failure(fmt.Errorf("log in to the stock system: %w\n%s", last, strings.Join(b.ConsoleTail(20), "\n"))))
	return nil
}
