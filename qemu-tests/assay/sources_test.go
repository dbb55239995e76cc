package assay

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/diskfs/go-diskfs"
	"github.com/diskfs/go-diskfs/disk"
	"github.com/diskfs/go-diskfs/filesystem"

	"ingot/qemu-tests/internet"
	"ingot/qemu-tests/vm"
)

// Each place an instance config may come from is shown on a real boot, and with
// it a place before it that holds something else. Without fw_cfg.

const cloudConfig = "#cloud-config\npassword: hunter2\n"

// The ESP of the boot disk has the config.
func TestConfigOnESP(t *testing.T) {
	b := image(t)
	turn(t, b, 3)
	lab, id := newLab(t, b)
	m := boot(t, lab, id, BootOptions{Image: withESP(t, b.Image, id.Instance), Firmware: vm.BIOS})
	s := up(t, m)
	says(t, m, "instance config applied from the ESP's /instance.ign")
	unmounted(t, s)
	s.powerOff(t)
	noAlarms(t, m)
}

// The ESP has a config that is too large, a NoCloud ISO has a good one.
func TestConfigOnCidata(t *testing.T) {
	b := image(t)
	turn(t, b, 4)
	lab, id := newLab(t, b)
	m := boot(t, lab, id, BootOptions{
		Image: withESP(t, b.Image, bytes.Repeat([]byte("{"), 10<<20)), Firmware: vm.BIOS,
		Disks: []vm.ExtraDisk{{Path: isoWith(t, "cidata", "user-data", id.Instance), Overlay: true}},
	})
	s := up(t, m)
	says(t, m, "instance config applied from a volume labelled cidata",
		"tried the ESP's /instance.ign: not an instance config: larger than 4194304 bytes")
	unmounted(t, s)
	s.powerOff(t)
	noAlarms(t, m)
}

// A NoCloud volume has cloud-config, an OpenStack config drive a good config;
// the one after it, the metadata service, is not asked.
func TestConfigOnConfigDrive(t *testing.T) {
	b := image(t)
	turn(t, b, 5)
	lab, id := newLab(t, b)
	m := boot(t, lab, id, BootOptions{
		Image: b.Image, Firmware: vm.BIOS,
		Disks: []vm.ExtraDisk{
			{Path: fatWith(t, "CIDATA", "/user-data", []byte(cloudConfig)), Overlay: true},
			{Path: isoWith(t, "config-2", "openstack/latest/user_data", id.Instance), Overlay: true},
		},
	})
	s := up(t, m)
	says(t, m, "instance config applied from a volume labelled config-2",
		"tried a volume labelled cidata: not an instance config: it is cloud-config")
	if strings.Contains(m.Console(), "hunter2") {
		t.Error("the console shows what a refused config holds")
	}
	asked, err := lab.Internet.Count(m.mark, isMetadataRequest)
	if err != nil || asked > 0 {
		t.Errorf("%d packets to a metadata service, %v", asked, err)
	}
	unmounted(t, s)
	s.powerOff(t)
	noAlarms(t, m)
}

// Hetzner's metadata service has the config, and the IPv6 address, which nothing else
// says there; IPv4 is a /32. While the machine asks for it, in the initrd, nobody else
// gets an answer. At the second boot the service has cloud-config, and the last good
// config stays.
func TestConfigFromMetadata(t *testing.T) {
	b := image(t)
	turn(t, b, 4)
	first, id := newLab(t, b)
	lab := elsewhere(t, first, func(o *internet.MachineOptions) {
		o.IPv4, o.Unadvertised = netip.MustParsePrefix("203.0.113.66/32"), true
	})
	address := lab.Machine.IPv6Prefix().Addr().Next()
	service := &metadataService{
		config: id.Instance, probe: func() { unanswered(t, lab) },
		network: fmt.Sprintf(hetznerNetwork, lab.Machine.MAC(), address),
	}
	if err := lab.Internet.SetMetadata(service); err != nil {
		t.Fatal(err)
	}
	o := BootOptions{Image: b.Image, Firmware: vm.BIOS, SMBIOS: hetzner}
	m := boot(t, lab, id, o)
	s := up(t, m)
	says(t, m, "instance config applied from the metadata service", "IPv6 address "+address.String()+"/64 from the metadata service")
	six, err := m.connectTo(t.Context(), id.owner, netip.Addr{}, address)
	if err != nil {
		t.Fatalf("the tunnel over IPv6: %v", err)
	}
	six.Close()
	// Nothing of the initrd's network is left but the card.
	if left := s.must(t, "sh", "-c", "ls /run/netns 2>/dev/null; nft list tables | grep -v 'inet ingot$' || true"); left != "" {
		t.Errorf("left of the initrd's network: %s", left)
	}
	noAlarms(t, m)
	s.powerOff(t)

	service.config = []byte(cloudConfig)
	// A machine that has an identity waits 15 s for its metadata service, which
	// a slow host may need for more than that. It must say so then.
	for range 3 {
		o.After = m
		m = boot(t, lab, id, o)
		s = up(t, m)
		s.powerOff(t)
		if c := m.Console(); !strings.Contains(c, "tried the metadata service: ") || strings.Contains(c, "not an instance config") {
			break
		}
		t.Log("the host was too slow for the machine's patience; once more")
	}
	says(t, m, "INSTANCE CONFIG REFUSED: the identity made from the last good one stays",
		"hetzner: not an instance config: it is cloud-config")
}

// hetznerNetwork is what Hetzner's service says of the network, for a MAC address and
// an IPv6 address.
const hetznerNetwork = `config:
- mac_address: %s
  name: eth0
  subnets:
  - ipv4: true
    type: dhcp
  - address: %s/64
    gateway: fe80::1
    ipv6: true
    type: static
  type: physical
version: 1
`

// metadataService is Hetzner's. The first request waits for a probe.
type metadataService struct {
	config   []byte
	network  string
	probe    func()
	requests atomic.Int32
}

func (s *metadataService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case userDataPath:
		if s.requests.Add(1) == 1 {
			s.probe()
		}
		_, _ = w.Write(s.config)
	case "/hetzner/v1/metadata/network-config":
		fmt.Fprint(w, s.network)
	default:
		http.NotFound(w, r)
	}
}

// unanswered knocks at a machine that is asking its metadata service. The
// connection that brought the request is the proof that it is up.
func unanswered(t *testing.T, lab *Lab) {
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second) // of the agent's 20 for a request
	defer cancel()
	target := lab.Machine.IPv4()
	if a, err := lab.Internet.Ping(ctx, target); err != nil || a.State != internet.Filtered {
		t.Errorf("ping in the initrd: %v, %v", a.State, err)
	}
	ports := []uint16{22, 53, 68, 80, 111, 443, 5355, 51820}
	tcp, err := lab.Internet.ScanTCP(ctx, target, ports)
	if err != nil || len(tcp.Answers) > 0 {
		t.Errorf("TCP in the initrd: %v, %v", tcp.Answers, err)
	}
	udp, err := lab.Internet.ProbeUDP(ctx, target, ports, nil)
	if err != nil || len(udp.Answers) > 0 {
		t.Errorf("UDP in the initrd: %v, %v", udp.Answers, err)
	}
}

// unmounted wants no volume to be left where the initrd read it.
func unmounted(t *testing.T, s session) {
	t.Helper()
	if left := s.must(t, "sh", "-c", "grep -e iso9660 -e vfat /proc/mounts || true"); left != "" {
		t.Errorf("still mounted: %s", left)
	}
}

// withESP is a copy of an image with an instance.ign on its ESP.
func withESP(t *testing.T, image string, config []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.raw")
	if out, err := exec.Command("cp", "--sparse=always", image, file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	d, err := diskfs.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	const esp = 2 // docs/image.md
	fs, err := d.GetFilesystem(esp)
	if err != nil {
		t.Fatal(err)
	}
	put(t, fs, "/instance.ign", config)
	return file
}

// isoWith is an ISO 9660 volume with one file.
func isoWith(t *testing.T, label, name string, content []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "volume")
	if err := writeISO(file, label, name, content); err != nil {
		t.Fatal(err)
	}
	return file
}

// fatWith is a FAT volume with one file.
func fatWith(t *testing.T, label, name string, content []byte) string {
	t.Helper()
	file, d := newDisk(t, 64<<20)
	fs, err := d.CreateFilesystem(disk.FilesystemSpec{FSType: filesystem.TypeFat32, VolumeLabel: label})
	if err != nil {
		t.Fatal(err)
	}
	put(t, fs, name, content)
	return file
}

func newDisk(t *testing.T, size int64) (string, *disk.Disk) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "volume")
	d, err := diskfs.Create(file, size, diskfs.SectorSizeDefault)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return file, d
}

func put(t *testing.T, fs filesystem.FileSystem, name string, content []byte) {
	t.Helper()
	if err := writeFile(fs, name, content); err != nil {
		t.Fatal(err)
	}
}
