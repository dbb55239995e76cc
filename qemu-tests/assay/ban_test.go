package assay

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"ingot/layers/fail2ban"
	"ingot/qemu-tests/internet"
	"ingot/qemu-tests/vm"
)

// Hosts of the simulated internet, outside of every documentation range.
var (
	attacker  = netip.MustParseAddr("45.77.13.37")
	attacker6 = netip.MustParseAddr("2600:3c00:bad::1")
)

// The field notes' ritual (§10.2): SSH faces the internet until the tunnel is
// proven; meanwhile who fails to log in is banned, twice for long; then it is
// closed.
func TestExposedThenClosed(t *testing.T) {
	closed := image(t)
	turn(t, closed, 5)
	open := exposed(t)
	lab, id := newLab(t, open)
	m := boot(t, lab, id, BootOptions{Image: open.Image, Firmware: vm.BIOS, Instance: id.Instance, Reboots: true})
	r := ritual{session: up(t, m)} // the tunnel comes up, the owner logs in over it
	r.fingerprint = strings.Fields(r.must(t, "ssh-keygen", "-lf", hostKeyFile))[1]
	defer r.explain(t) // the machine is gone when cleanups run
	r.mustLogIn(t, traveller)

	r.tunnelIsNeverBanned(t)
	for _, address := range []netip.Addr{attacker, attacker6} {
		r.attack(t, address, "sshd")
		r.silentTo(t, address)
	}
	r.mustLogIn(t, traveller)

	r.must(t, "systemctl", "reload", "nftables.service")
	r.awaitBan(t, "sshd", attacker)
	r.silentTo(t, attacker)

	r.reboot(t)
	r.awaitBan(t, "sshd", attacker)
	r.silentTo(t, attacker)

	// The ban from before the reboot is the first of two.
	r.must(t, "fail2ban-client", "set", "sshd", "unbanip", attacker.String())
	r.attack(t, attacker, "recidive")
	if got := r.banSeconds(t, attacker); got != 30*24*time.Hour {
		t.Errorf("the second ban is for %v", got)
	}
	r.mustLogIn(t, traveller)
	r.powerOff(t)
	noAlarms(t, m)

	r.closes(t, closed, m)
}

// exposed is the image of the example with SSH open to the internet.
func exposed(t *testing.T) built {
	t.Helper()
	b, err := buildFolder(t.Context(), changedExample(t, "\n  ssh: {}\n", "\n  ssh: {expose: internet}\n"), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// changedExample is a folder with the example's file, one text in it replaced.
func changedExample(t *testing.T, old, replacement string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(*folder, "ingot.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		t.Fatalf("the example has no text %q", old)
	}
	dir := t.TempDir()
	changed := strings.Replace(string(text), old, replacement, 1)
	if err := os.WriteFile(filepath.Join(dir, "ingot.yaml"), []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

const hostKeyFile = "/var/lib/ingot/ssh/ssh_host_ed25519_key.pub"

// ritual is the machine on its way from exposed to closed.
type ritual struct {
	session
	fingerprint string
}

// ssh tries to log in from an address of the internet.
func (r *ritual) ssh(t *testing.T, from netip.Addr, key ssh.Signer) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), r.lab.Timeout(sshTime))
	defer cancel()
	conn, err := r.lab.Internet.Dial(ctx, "tcp", from, r.sshAt(from))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	return r.handshake(ctx, conn, key)
}

// sshAt is where SSH faces the internet, in the family of from.
func (r *ritual) sshAt(from netip.Addr) netip.AddrPort {
	port, _ := strconv.ParseUint(r.id.sshPort, 10, 16)
	if from.Is4() {
		return netip.AddrPortFrom(r.lab.Machine.IPv4(), uint16(port))
	}
	return netip.AddrPortFrom(r.lab.Machine.IPv6(), uint16(port))
}

// handshake logs in as the administrator, to a server that is the machine.
func (r *ritual) handshake(ctx context.Context, conn net.Conn, key ssh.Signer) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	c, _, _, err := ssh.NewClientConn(conn, "machine", &ssh.ClientConfig{
		User: r.id.Plan.Site.Admin.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(key)},
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if got := ssh.FingerprintSHA256(key); got != r.fingerprint {
				return fmt.Errorf("the host key is %s and should be %s", got, r.fingerprint)
			}
			return nil
		},
	})
	if err == nil {
		c.Close()
	}
	return err
}

func (r *ritual) mustLogIn(t *testing.T, from netip.Addr) {
	t.Helper()
	if err := r.ssh(t, from, r.id.admin); err != nil {
		t.Fatalf("the owner cannot log in from %v: %v", from, err)
	}
}

// attack makes as many failed logins as get an address banned, and waits for
// the ban of that jail to be in the firewall.
func (r *ritual) attack(t *testing.T, from netip.Addr, jail string) {
	t.Helper()
	r.fail(t, func(key ssh.Signer) error { return r.ssh(t, from, key) })
	r.awaitBan(t, jail, from)
}

// fail makes failed logins, all of which the server must refuse by itself. It
// shuts an address out only after as many (PerSourcePenalties).
func (r *ritual) fail(t *testing.T, try func(ssh.Signer) error) {
	t.Helper()
	for i := range fail2ban.DefaultMaxRetry {
		if err := try(unknownKey(t)); err == nil || !isAuthFailure(err) {
			t.Fatalf("failed login %d of %d ended with: %v", i+1, fail2ban.DefaultMaxRetry, err)
		}
	}
}

// unknownKey is a key that the machine does not know.
func unknownKey(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// awaitBan waits until the firewall holds the ban; fail2ban itself says so a
// moment earlier.
func (r *ritual) awaitBan(t *testing.T, jail string, address netip.Addr) {
	t.Helper()
	set := "addr-set-" + jail
	if address.Is6() {
		set = "addr6-set-" + jail
	}
	const wait = `until nft list set inet f2b-table "$1" 2>/dev/null | grep -qwF "$2"; do sleep 0.2; done`
	seconds := fmt.Sprint(r.lab.Timeout(10 * time.Second).Seconds())
	out, err := r.shell.Run(t.Context(), "timeout", seconds, "sh", "-c", wait, "sh", set, address.String())
	if err != nil || out.Exit != 0 {
		t.Fatalf("%v is not in %s: %v, exit %d, %s", address, set, err, out.Exit, out.Stderr)
	}
}

// silentTo wants a connection from a banned address to get no answer at all.
func (r *ritual) silentTo(t *testing.T, from netip.Addr) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), r.lab.Timeout(500*time.Millisecond))
	defer cancel()
	conn, err := r.lab.Internet.Dial(ctx, "tcp", from, r.sshAt(from))
	if err == nil {
		conn.Close()
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v is banned, and its connection ended with: %v", from, err)
	}
}

// tunnelIsNeverBanned fails to log in through the tunnel and wants fail2ban to
// say that it does not count.
func (r *ritual) tunnelIsNeverBanned(t *testing.T) {
	t.Helper()
	r.fail(t, func(key ssh.Signer) error {
		ctx, cancel := context.WithTimeout(t.Context(), r.lab.Timeout(sshTime))
		defer cancel()
		conn, err := r.tunnel.DialContext(ctx, "tcp", net.JoinHostPort(r.id.serverTunnel, r.id.sshPort))
		if err != nil {
			return err
		}
		defer conn.Close()
		return r.handshake(ctx, conn, key)
	})
	const wait = `until [ "$(journalctl -b -u fail2ban -o cat | grep -cF "[sshd] Ignore $1 by command")" -ge "$2" ]; do sleep 0.2; done`
	seconds := fmt.Sprint(r.lab.Timeout(10 * time.Second).Seconds())
	out, err := r.shell.Run(t.Context(), "timeout", seconds, "sh", "-c", wait, "sh", r.id.clientTunnel, strconv.Itoa(fail2ban.DefaultMaxRetry))
	if err != nil || out.Exit != 0 {
		t.Fatalf("fail2ban does not ignore the peer: %v, exit %d, %s", err, out.Exit, out.Stderr)
	}
	if banned := r.must(t, "fail2ban-client", "banned"); strings.Contains(banned, r.id.clientTunnel) {
		t.Fatalf("the peer is banned: %s", banned)
	}
}

// banSeconds is how long the second tier bans an address.
func (r *ritual) banSeconds(t *testing.T, address netip.Addr) time.Duration {
	t.Helper()
	const query = `import sqlite3, sys
db = sqlite3.connect("file:/var/lib/fail2ban/fail2ban.sqlite3?mode=ro", uri=True)
print(db.execute("SELECT bantime FROM bips WHERE jail = 'recidive' AND ip = ?", sys.argv[1:]).fetchone()[0])`
	seconds, err := strconv.Atoi(r.must(t, "python3", "-c", query, address.String()))
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(seconds) * time.Second
}

// reboot restarts the machine from inside and connects anew.
func (r *ritual) reboot(t *testing.T) {
	t.Helper()
	lines := r.ConsoleLines()
	if err := r.shell.Leave(t.Context(), "reboot"); err != nil {
		t.Fatal(err)
	}
	fingerprint, err := r.AwaitUp(t.Context(), lines)
	if err != nil {
		t.Fatal(err)
	}
	if fingerprint != r.fingerprint {
		t.Fatalf("the host key was %s and is %s", r.fingerprint, fingerprint)
	}
	r.shell.Close()
	r.tunnel.Close()
	r.session = up(t, r.Booted)
}

// closes boots the image without the exposure on the state of the old one.
func (r *ritual) closes(t *testing.T, b built, old *Booted) {
	t.Helper()
	m := boot(t, r.lab, r.id, BootOptions{
		Image: b.Image, Firmware: vm.BIOS, Instance: r.id.Instance, Disks: []vm.ExtraDisk{{Path: old.Overlay(), Format: vm.QCOW2}},
	})
	r.session = up(t, m)
	for _, address := range []netip.Addr{r.lab.Machine.IPv4(), r.lab.Machine.IPv6()} {
		scan, err := r.lab.Internet.ScanTCP(t.Context(), address, []uint16{22, 443})
		if err != nil {
			t.Fatal(err)
		}
		if scan.State(22) != internet.Filtered || scan.State(443) == internet.Filtered {
			t.Errorf("%v: port 22 is %s, port 443 %s", address, scan.State(22), scan.State(443))
		}
	}
	r.awaitBan(t, "recidive", attacker)
	r.powerOff(t)
	noAlarms(t, m)
}

// explain prints what the two services said when the test failed.
func (r *ritual) explain(t *testing.T) {
	if !t.Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.lab.Timeout(20*time.Second))
	defer cancel()
	for _, argv := range [][]string{
		{"journalctl", "-b", "--no-pager", "-u", "fail2ban", "-u", "ssh"},
		{"nft", "list", "ruleset"},
	} {
		out, err := r.shell.Run(ctx, argv...)
		t.Logf("%v: %v\n%s%s", argv, err, out.Stdout, out.Stderr)
	}
}
