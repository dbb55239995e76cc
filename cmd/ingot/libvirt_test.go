package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"ingot/providers"
	"ingot/providers/libvirt"
	"ingot/providers/libvirt/lab"
)

// TestLibvirt is the whole way on a real libvirtd: the example's image uploaded, a
// server started under TCG and proven through its tunnel, the wall enforced and changed
// live, the server replaced by a new version that has its state and address, rolled
// back, and all of it destroyed.
func TestLibvirt(t *testing.T) {
	if testing.Short() {
		t.Skip("boots machines in QEMU; run without -short")
	}
	if err := lab.Missing(); err != nil {
		t.Skip(err)
	}
	o := newOwned(t)
	first := o.deploy("deploy", "--option", "state=1") // its successor's is as large
	t.Logf("deployed: the tunnel answered after %.0f s, %d checks", first.Proof.Ready, len(first.Proof.Checks))
	address := first.Server.Addresses[0]

	t.Run("wall", func(t *testing.T) { o.walled(t, first.Server) })
	t.Run("memory", func(t *testing.T) { o.tellsItsMemory(t, first.Server.Name) })

	// Another image: the port is open in it and before it.
	replace(t, o.dir, "why: HTTPS reverse proxy}", "why: HTTPS reverse proxy}\n      - {port: 8443, proto: tcp, why: beside it}")
	o.build()
	o.filtered(t, address, 8443)
	second := o.deploy("deploy", "--replace", "openclaw")
	if second.Server.Name != "openclaw-2" || second.Server.Addresses[0] != address {
		t.Errorf("the new server is %s at %v, want openclaw-2 at %s", second.Server.Name, second.Server.Addresses, address)
	}
	if second.Proof.HostKey != first.Proof.HostKey {
		t.Errorf("the state did not move: host key %s, was %s", second.Proof.HostKey, first.Proof.HostKey)
	}
	o.answers(t, address, 8443)

	back := o.deploy("rollback", "--server", "openclaw-2", "--to", "openclaw")
	if back.Server.Addresses[0] != address || back.Proof.HostKey != first.Proof.HostKey {
		t.Errorf("rolled back: %+v", back)
	}
	o.filtered(t, address, 8443)

	for _, name := range []string{"openclaw-2", "openclaw"} {
		o.run(t, "destroy", append(slices.Clone(o.where), "--server", name, "--yes", name, o.dir)...)
	}
	if list, err := o.provider.Servers(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("servers: %+v, %v", list, err)
	}
	images, err := o.provider.Images(t.Context())
	if err != nil || len(images) != 2 {
		t.Errorf("images: %+v, %v", images, err)
	}
	if out, err := o.lab.Virsh(t.Context(), "vol-list", "default"); err != nil || strings.Count(out, "\n") != 2*len(images)-1 {
		t.Errorf("beside images and notes there is\n%s (%v)", out, err)
	}
}

// owned is a folder whose owner's keys are here, and a host to have its server on.
type owned struct {
	*testing.T
	dir, cache string
	lab        *lab.Lab
	provider   *libvirt.Provider
	owner      *lab.Host // the owner's computer
	stranger   *lab.Host
	env        []string
	where      []string // flags
	key        string   // file of the administrator's SSH key
}

// exampleKey is the public key in the example, whose private half nobody has.
const exampleKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP3n5fysqTSD2F59GBq32PWPdQRwN1IviHFzfiRUHI5A"

func newOwned(t *testing.T) *owned {
	t.Helper()
	s := newServer(t)
	o := &owned{T: t, dir: s.dir, cache: s.cache, key: filepath.Join(t.TempDir(), "id_ed25519")}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.key, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	line, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, o.dir, exampleKey, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(line))))
	o.run(t, "client", "add", "tester", "--endpoint", "192.0.2.1", o.dir)
	o.build()

	trees, err := filepath.Glob(filepath.Join(s.cache, "stages", "tools-*", "tree"))
	if err != nil || len(trees) == 0 {
		t.Fatalf("the build has left no tree with QEMU in %s (%v)", s.cache, err)
	}
	dir, err := os.MkdirTemp("", "ingot-lab-") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if o.lab, err = lab.Start(t.Context(), lab.Options{Dir: dir, Tools: trees[len(trees)-1]}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.lab.Close() })
	t.Cleanup(o.consoles)
	for name, h := range map[string]**lab.Host{"owner": &o.owner, "stranger": &o.stranger} {
		address := map[string]string{"owner": "192.168.122.9/24", "stranger": "192.168.122.8/24"}[name]
		if *h, err = o.lab.NewHost(name, address); err != nil {
			t.Fatal(err)
		}
	}
	o.env = []string{"INGOT_STATE=" + t.TempDir()}
	o.where = []string{"--provider", "libvirt", "--endpoint", o.lab.Socket()}
	if o.provider, err = libvirt.New(t.Context(), libvirt.Options{URI: o.lab.Socket(), Accelerator: "qemu"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.provider.Close() })
	return o
}

// consoles shows what the servers had to say when something went wrong.
func (o *owned) consoles() {
	if !o.Failed() {
		return
	}
	files, _ := filepath.Glob(filepath.Join(o.lab.Consoles, "*.log"))
	for _, file := range files {
		b, _ := os.ReadFile(file)
		o.Logf("%s ends with\n%s", filepath.Base(file), b[max(0, len(b)-4000):])
	}
	o.Logf("libvirtd: %s", o.lab.Log())
}

// run has ingot succeed, on the owner's computer once there is one.
func (o *owned) run(t *testing.T, verb string, args ...string) string {
	t.Helper()
	cmd := ingot(t, o.cache, append([]string{verb}, args...)...)
	cmd.Env = append(cmd.Env, o.env...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := cmd.Start
	if o.owner != nil {
		start = func() error { return o.owner.Do(cmd.Start) }
	}
	err := start()
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		t.Fatalf("ingot %s %q: %v\n%s", verb, args, err, &stderr)
	}
	return stdout.String()
}

func (o *owned) build() {
	o.Helper()
	o.run(o.T, "build", "--quiet", o.dir)
}

// deploy runs a verb that ends with a server that was looked at.
func (o *owned) deploy(verb string, args ...string) deployed {
	o.Helper()
	args = append(args, o.where...)
	for _, option := range []string{"accelerator=qemu", "emulator=" + o.lab.Emulator, "console=" + o.lab.ConsoleDir} {
		args = append(args, "--option", option)
	}
	args = append(args, "--identity", o.key, "--client", filepath.Join(o.dir, "secrets", "clients", "tester.conf"))
	if verb == "deploy" {
		args = append(args, "--unproven", "a test of what comes after the verdict")
	}
	begun := time.Now()
	var d deployed
	if err := json.Unmarshal([]byte(o.run(o.T, verb, append(args, "--json", o.dir)...)), &d); err != nil {
		o.Fatal(err)
	}
	o.Logf("%s %s: %.0f s", verb, d.Server.Name, time.Since(begun).Seconds())
	return d
}

// walled: the firewall before the machine is another wall than the machine's own, and
// is changed while the machine runs. Nothing listens at port 443 of the example, so
// that what is let through both is refused by the machine.
func (o *owned) walled(t *testing.T, s providers.Server) {
	address := s.Addresses[0]
	o.answers(t, address, 443)
	o.filtered(t, address, 22)
	w, err := o.provider.Wall(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	have, err := w.Read(t.Context())
	if err != nil || !have.Active {
		t.Fatalf("%+v, %v", have, err)
	}
	https := slices.DeleteFunc(slices.Clone(have.Rules), func(i providers.Installed) bool { return i.From != 443 })
	if len(https) != 2 || https[0].Why != "HTTPS reverse proxy" {
		t.Fatalf("rules for 443: %+v", https)
	}
	if err := w.Change(t.Context(), nil, https); err != nil {
		t.Fatal(err)
	}
	o.filtered(t, address, 443)
	plan := o.run(t, "firewall", append([]string{"plan"}, append(slices.Clone(o.where), o.dir)...)...)
	if strings.Count(plan, "+ tcp 443") != 2 {
		t.Errorf("the plan is\n%s", plan)
	}
	o.run(t, "firewall", append([]string{"apply"}, append(slices.Clone(o.where), o.dir)...)...)
	o.answers(t, address, 443)
}

// tellsItsMemory: a machine's own count of its free memory comes by the balloon, and is
// what OpenStack's metric memory.usage, and so its alarm, is made of.
func (o *owned) tellsItsMemory(t *testing.T, domain string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := o.lab.Virsh(ctx, "dommemstat", domain, "--live", "--period", "1")
	var told string
	for err == nil && !strings.Contains(told, "unused") {
		told, err = o.lab.Virsh(ctx, "dommemstat", domain)
	}
	if err != nil {
		t.Errorf("the machine tells\n%s\n%v", told, err)
	}
}

// reaches tries to connect from the stranger's host.
func (o *owned) reaches(address netip.Addr, port int, wait time.Duration) error {
	d := net.Dialer{Timeout: wait}
	return o.stranger.Do(func() error {
		c, err := d.Dial("tcp", net.JoinHostPort(address.String(), strconv.Itoa(port)))
		if err == nil {
			c.Close()
		}
		return err
	})
}

// answers: the machine accepts or refuses.
func (o *owned) answers(t *testing.T, address netip.Addr, port int) {
	t.Helper()
	if err := o.reaches(address, port, 30*time.Second); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("port %d of %s: %v", port, address, err)
	}
}

// filtered: nothing comes back, also of the second SYN.
func (o *owned) filtered(t *testing.T, address netip.Addr, port int) {
	t.Helper()
	var timeout net.Error
	if err := o.reaches(address, port, 3*time.Second); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("port %d of %s gives %v", port, address, err)
	}
}
