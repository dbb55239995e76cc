package libvirt

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ingot/fault"
	"ingot/providers"
)

// planted is in the instance config, and must be nowhere else.
const planted = "hunter2-the-planted-secret"

func machine(e *providers.Entry, i providers.Image, name string) providers.Machine {
	return providers.Machine{
		Name: name, Image: i, UserData: []byte(`{"ignition":{"version":"3.4.0"},"secret":"` + planted + `"}`), Journal: e,
		Rules:  []providers.Rule{{Proto: "udp", From: 51820, To: 51820, Source: netip.MustParsePrefix("0.0.0.0/0"), Why: "tunnel"}},
		Labels: map[string]string{providers.LabelID: e.ID, providers.LabelImage: i.Labels[providers.LabelImage]},
	}
}

func deployed(t *testing.T, p *Provider, e *providers.Entry, i providers.Image, name string) providers.Server {
	t.Helper()
	s, err := p.Deploy(t.Context(), machine(e, i, name))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDeploy(t *testing.T) {
	p, j := connect(t, func(o *Options) { o.State = 512 << 20 })
	e := begin(t, p, j)
	image := rawDisk(t, 8)
	i := uploaded(t, p, e, image)
	s := deployed(t, p, e, i, "web-1")
	if s.State != "running" || s.Name != "web-1" || s.Labels[providers.LabelServer] != "web-1" || s.Labels[providers.LabelImage] != i.Labels[providers.LabelImage] {
		t.Errorf("%+v", s)
	}
	if len(s.Addresses) != 1 || !netip.MustParsePrefix("192.168.122.0/24").Contains(s.Addresses[0]) {
		t.Errorf("addresses %v", s.Addresses)
	}
	list, err := p.Servers(t.Context())
	if err != nil || len(list) != 1 || list[0].ID != s.ID || list[0].Labels[providers.LabelID] != e.ID {
		t.Errorf("servers: %+v, %v", list, err)
	}

	t.Run("disk", func(t *testing.T) {
		b, err := os.ReadFile(file(e, "web-1-disk.raw"))
		if err != nil || int64(len(b)) != p.o.Disk || !bytes.Equal(b[:len(image)], image) || len(bytes.Trim(b[len(image):], "\x00")) > 0 {
			t.Errorf("the disk of %d bytes is not the image and zeros (%v)", len(b), err)
		}
	})
	t.Run("config", func(t *testing.T) { checkConfig(t, file(e, "web-1-config.iso"), machine(e, i, "").UserData) })
	t.Run("state", func(t *testing.T) {
		out, err := exec.CommandContext(t.Context(), "/sbin/e2fsck", "-fn", file(e, "web-1-state.raw")).CombinedOutput()
		if err != nil || !strings.Contains(string(out), providers.StateLabel) {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("secret", func(t *testing.T) {
		text, err := home.lab.Virsh(t.Context(), "dumpxml", "--security-info", "web-1")
		if err != nil || strings.Contains(text, planted) {
			t.Errorf("the domain shows the config (%v)", err)
		}
		if strings.Contains(home.lab.Log(), planted) {
			t.Error("libvirtd's log shows the config")
		}
	})
	t.Run("again", func(t *testing.T) {
		again := deployed(t, p, e, i, "web-1")
		if again.ID != s.ID {
			t.Errorf("made another one: %+v", again)
		}
		other := begin(t, p, j)
		if _, err := p.Deploy(t.Context(), machine(other, i, "web-1")); fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "another name") {
			t.Errorf("a second server of this name: %v", err)
		}
	})
	t.Run("image goes", func(t *testing.T) {
		if err := p.Delete(t.Context(), providers.Resource{Kind: kindVolume, Name: i.ID}); err != nil {
			t.Error(err) // the disk is no overlay on it
		}
	})
	t.Run("journal", func(t *testing.T) {
		var want []string
		for _, r := range e.Created {
			want = append(want, r.Kind+" "+r.Name)
		}
		found, err := p.Find(t.Context(), e.ID)
		for _, f := range names(found) {
			if !slices.Contains(want, f) {
				t.Errorf("%s was made without a line in the journal", f)
			}
		}
		if err != nil || len(found) != 7 { // note, three disks, server, filter, address
			t.Errorf("found %q, %v", names(found), err)
		}
	})
	t.Run("destroy", func(t *testing.T) {
		if _, err := e.Collect(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		nothingLeft(t, p, e.ID)
	})
}

func file(e *providers.Entry, what string) string {
	return filepath.Join(home.lab.Images, "ingot-"+e.ID+"-"+what)
}

// nothingLeft looks with libvirt's own client.
func nothingLeft(t *testing.T, p *Provider, id string) {
	t.Helper()
	if found, err := p.Find(t.Context(), id); err != nil || len(found) > 0 {
		t.Errorf("left %v, %v", found, err)
	}
	for _, command := range [][]string{{"list", "--all", "--name"}, {"vol-list", "default"}, {"nwfilter-list"}, {"net-dumpxml", "default"}} {
		if out, err := home.lab.Virsh(t.Context(), command...); err != nil || strings.Contains(out, id) || strings.Contains(out, "ingot-web") || strings.Contains(out, "web-1") {
			t.Errorf("virsh %v: %s, %v", command, out, err)
		}
	}
}

// checkConfig reads the volume as the machine does, by label and name.
func checkConfig(t *testing.T, iso string, want []byte) {
	t.Helper()
	info, err := os.Stat(iso)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 || info.Size() > 2<<20 {
		t.Errorf("the volume with the config: %v, %d bytes", info.Mode(), info.Size())
	}
	out, err := exec.CommandContext(t.Context(), "/sbin/blkid", "--probe", "--output", "export", iso).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "LABEL=cidata\n") || !strings.Contains(string(out), "TYPE=iso9660\n") {
		t.Errorf("blkid: %v, %s", err, out)
	}
	b, err := os.ReadFile(iso)
	if err != nil || bytes.Count(b, want) != 1 {
		t.Errorf("the config is in the volume %d times (%v)", bytes.Count(b, want), err)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "ingot-config-*")); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

func TestDeployRefuses(t *testing.T) {
	p, j := connect(t, nil)
	e := begin(t, p, j)
	i := uploaded(t, p, e, rawDisk(t, 4))
	for name, spoil := range map[string]func(*providers.Machine){
		"no label":    func(m *providers.Machine) { m.Labels = nil },
		"a path":      func(m *providers.Machine) { m.Name = "../web" },
		"capitals":    func(m *providers.Machine) { m.Name = "Web" },
		"no config":   func(m *providers.Machine) { m.UserData = nil },
		"much config": func(m *providers.Machine) { m.UserData = make([]byte, providers.MaxUserData+1) },
		"a size":      func(m *providers.Machine) { m.Size = "cx22" },
		"a place":     func(m *providers.Machine) { m.Location = "fsn1" },
		"no image":    func(m *providers.Machine) { m.Image.ID = imageVolume(e.ID, strings.Repeat("0", 64)) },
		"strange":     func(m *providers.Machine) { m.Image.ID = "somebody.raw" },
		"esp":         func(m *providers.Machine) { m.Rules[0].Proto = "esp" },
	} {
		m := machine(e, i, "web-1")
		spoil(&m)
		if _, err := p.Deploy(t.Context(), m); fault.Of(err) != fault.OfInput || strings.Contains(err.Error(), planted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDeployCutShort fails at the last step, then succeeds: what was there is used or
// made anew.
func TestDeployCutShort(t *testing.T) {
	p, j := connect(t, nil)
	e := begin(t, p, j)
	i := uploaded(t, p, e, rawDisk(t, 4))
	emulator := p.o.Emulator
	p.o.Emulator = "/nowhere/qemu"
	if _, err := p.Deploy(t.Context(), machine(e, i, "web-1")); err == nil {
		t.Fatal("libvirt took an emulator that is not there")
	}
	found, err := p.Find(t.Context(), e.ID)
	if want := []string{"volume " + noteName(i.ID), "volume " + i.ID}; err != nil || !slices.Equal(names(found)[:2], want) || len(found) != 6 {
		t.Errorf("found %q, %v", names(found), err)
	}
	p.o.Emulator = emulator
	if s := deployed(t, p, e, i, "web-1"); s.State != "running" {
		t.Errorf("%+v", s)
	}
	if _, err := e.Collect(t.Context(), p); err != nil {
		t.Error(err)
	}
	nothingLeft(t, p, e.ID)
}

// TestStrangers: what Ingot did not make is not listed and not removed.
func TestStrangers(t *testing.T) {
	p, j := connect(t, nil)
	e := begin(t, p, j)
	dir := t.TempDir()
	define := func(command, text string) {
		t.Helper()
		name := filepath.Join(dir, command)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := home.lab.Virsh(t.Context(), command, name); err != nil {
			t.Fatal(err)
		}
	}
	define("define", "<domain type='qemu'><name>theirs</name><memory>65536</memory><os><type arch='x86_64'>hvm</type></os></domain>")
	define("nwfilter-define", "<filter name='ingot-theirs'><rule action='accept' direction='in'><tcp dstportstart='22'/></rule></filter>")
	for _, command := range [][]string{{"vol-create-as", "default", "ingot-theirs.raw", "1M"}, {"net-update", "default", "add", "ip-dhcp-host", "<host mac='52:54:00:00:00:01' name='theirs' ip='192.168.122.50'/>", "--live", "--config"}} {
		if _, err := home.lab.Virsh(t.Context(), command...); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		ctx := context.Background() // the test's has ended
		for _, command := range [][]string{{"undefine", "theirs"}, {"nwfilter-undefine", "ingot-theirs"}, {"vol-delete", "ingot-theirs.raw", "default"}, {"net-update", "default", "delete", "ip-dhcp-host", "<host mac='52:54:00:00:00:01' name='theirs' ip='192.168.122.50'/>", "--live", "--config"}} {
			if _, err := home.lab.Virsh(ctx, command...); err != nil {
				t.Errorf("it did not stay: %v", err)
			}
		}
	})

	if list, err := p.Servers(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("servers: %v, %v", list, err)
	}
	if list, err := p.Images(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("images: %v, %v", list, err)
	}
	for _, r := range []providers.Resource{
		{Kind: kindServer, Name: "theirs"}, {Kind: kindVolume, Name: "ingot-theirs.raw"}, {Kind: kindFilter, Name: "ingot-theirs"}, {Kind: kindAddress, Name: "theirs"}, {Kind: "network", Name: "default"},
	} {
		if err := p.Delete(t.Context(), r); fault.Of(err) != fault.OfInput {
			t.Errorf("delete the %s %s: %v", r.Kind, r.Name, err)
		}
	}
	i := uploaded(t, p, e, rawDisk(t, 4))
	if _, err := p.Deploy(t.Context(), machine(e, i, "theirs")); fault.Of(err) != fault.OfInput {
		t.Errorf("a server with the name of a stranger's: %v", err)
	}
	for _, r := range []providers.Resource{
		{Kind: kindServer, Name: "nobody"}, {Kind: kindVolume, Name: imageVolume(e.ID, strings.Repeat("0", 40))}, {Kind: kindFilter, Name: "ingot-nobody"}, {Kind: kindAddress, Name: reservationName(e.ID, "nobody")},
	} {
		if err := p.Delete(t.Context(), r); err != nil {
			t.Errorf("delete the %s %s, which is not there: %v", r.Kind, r.Name, err)
		}
	}
}

func TestConnect(t *testing.T) {
	l := host(t)
	for name, c := range map[string]struct {
		o    Options
		kind fault.Kind
		want string
	}{
		"no libvirtd":    {Options{URI: filepath.Join(t.TempDir(), "none")}, fault.OfMachine, "systemctl start libvirtd"},
		"no pool":        {Options{URI: l.Socket(), Pool: "none"}, fault.OfInput, "virsh pool-define-as none"},
		"no network":     {Options{URI: l.Socket(), Network: "none"}, fault.OfInput, "virsh net-start none"},
		"session":        {Options{URI: "qemu:///session"}, fault.OfInput, "/system"},
		"xen":            {Options{URI: "xen:///system"}, fault.OfInput, "qemu:///system"},
		"password":       {Options{URI: "qemu+ssh://root:" + planted + "@host/system"}, fault.OfInput, "use a key"},
		"no URI":         {Options{URI: "://"}, fault.OfInput, "qemu:///system"},
		"accelerator":    {Options{URI: l.Socket(), Accelerator: "hvf"}, fault.OfInput, "kvm, qemu"},
		"nobody listens": {Options{URI: "qemu+tcp://127.0.0.1:1/system"}, fault.OfProvider, "does not answer"},
	} {
		_, err := New(t.Context(), c.o)
		if fault.Of(err) != c.kind || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), planted) {
			t.Errorf("%s: %v (kind %v)", name, err, fault.Of(err))
		}
	}
	p, err := New(t.Context(), Options{URI: l.Socket()})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if a, err := p.accelerator(t.Context()); err != nil || a != "kvm" && a != "qemu" || p.Account() != "qemu+unix:///system?socket="+strings.ReplaceAll(l.Socket(), "/", "%2F") {
		t.Errorf("accelerator %q, %v, account %q", a, err, p.Account())
	}
}

// TestRoutedNetwork: a filter sees nothing of what a host routes in.
func TestRoutedNetwork(t *testing.T) {
	l := host(t)
	name := filepath.Join(t.TempDir(), "net.xml")
	if err := os.WriteFile(name, []byte("<network><name>routed</name><forward mode='route'/><bridge name='virbr9'/><ip address='192.168.129.1' prefix='24'/></network>"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"net-define", name}, {"net-start", "routed"}} {
		if _, err := l.Virsh(t.Context(), command...); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := New(t.Context(), Options{URI: l.Socket(), Network: "routed"}); fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "route") {
		t.Errorf("%v", err)
	}
	for _, command := range [][]string{{"net-destroy", "routed"}, {"net-undefine", "routed"}} {
		if _, err := l.Virsh(t.Context(), command...); err != nil {
			t.Fatal(err)
		}
	}
}
