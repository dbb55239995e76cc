package assay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gopacket/gopacket"
	packet "github.com/gopacket/gopacket/layers"

	"ingot/layers"
	"ingot/layers/vpn"
	"ingot/qemu-tests/internet"
	"ingot/qemu-tests/swarm"
)

// A tracker and a seeder, whose names and addresses nobody else uses.
var (
	trackerAddress = netip.MustParseAddrPort("45.77.90.1:6969")
	seederAddress  = netip.MustParseAddrPort("45.77.90.2:51413")
)

const trackerName = "tracker.ingot-assay.example."

// downloaderPackage is the client that these scenarios know how to speak to.
const downloaderPackage = "transmission-daemon"

// vpnScenarios are about a downloader in the VPN namespace.
func vpnScenarios() []scenario {
	return []scenario{
		{
			id: "vpn-download", title: "a download goes through the VPN or not at all, whatever happens to the VPN, and arrives bit for bit", seconds: 370, play: playDownload, about: hasDownloader,
			sabotage: sabotage{what: "the namespace gets a second way out", command: vpn.WayOut},
		},
		{
			id: "vpn-wrong-key", title: "with a wrong key for the VPN, and no IPv6 in it, nothing of the downloader leaves the machine", seconds: 250, play: playWrongKey, about: hasDownloader,
			sabotage: sabotage{what: "the namespace gets a second way out", command: vpn.WayOut},
		},
		{
			id: "vpn-failover", title: "when the VPN's first endpoint is silent, the second one is used", seconds: 125, play: playFailover, about: hasVPN,
			sabotage: sabotage{what: "the second endpoint is silent, too", world: true},
		},
	}
}

// hasDownloader reports whether a downloader that is known here lives in the VPN
// namespace, with a page for peers.
func hasDownloader(p layers.Plan) bool {
	return hasVPN(p) && len(vpnPages(p)) > 0 && slices.ContainsFunc(p.Images, func(i layers.ContainerImage) bool {
		return slices.Contains(i.Packages, downloaderPackage)
	})
}

// vpnPages are the ports of the VPN namespace that peers may open.
func vpnPages(p layers.Plan) []int {
	var list []int
	for _, port := range p.Ports {
		if port.Layer == (vpn.Layer{}).Name() && port.From == layers.FromWireGuard && port.Proto == "tcp" {
			list = append(list, port.Port)
		}
	}
	return list
}

// torrent is a tracker and a seeder in the scene's internet.
type torrent struct {
	swarm.Torrent
	tracker *swarm.Tracker
	seeder  *swarm.Seeder
}

// torrentSize is what is downloaded, in bytes: a part between two misfortunes is
// more than a client keeps in flight.
const torrentSize = 6 << 20

// swarm starts a tracker and a seeder.
func (s *scene) swarm() (*torrent, error) {
	data := make([]byte, torrentSize)
	for i := range data {
		data[i] = byte(s.random.Uint32())
	}
	t := &torrent{Torrent: swarm.Torrent{
		Name: "ingot-assay.bin", Data: data,
		Announce: fmt.Sprintf("http://%s:%d/announce", strings.TrimSuffix(trackerName, "."), trackerAddress.Port()),
	}}
	t.seeder = swarm.NewSeeder(t.Torrent)
	t.tracker = &swarm.Tracker{Seeder: seederAddress, Interval: 10}
	web, err := s.lab.Internet.Listen(trackerAddress)
	if err != nil {
		return nil, err
	}
	peers, err := s.lab.Internet.Listen(seederAddress)
	if err != nil {
		return nil, err
	}
	server := &http.Server{Handler: t.tracker, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(web) }() // both return when the internet is closed
	go func() { _ = t.seeder.Serve(peers) }()
	return t, nil
}

// strangers are the visitors of the tracker and the seeder who did not come
// through the VPN.
func (t *torrent) strangers() []netip.Addr {
	return slices.DeleteFunc(append(t.tracker.Visitors.Addresses(), t.seeder.Visitors.Addresses()...), isExit)
}

// client is Transmission's RPC, asked through the tunnel as a peer does.
type transmission struct {
	http    http.Client
	url     string
	session string
}

func (s *scene) transmission() *transmission {
	port := vpnPages(s.id.Plan)[0]
	return &transmission{
		http: http.Client{Transport: &http.Transport{DialContext: s.tunnel.DialContext, DisableKeepAlives: true}},
		url:  "http://" + net.JoinHostPort(s.id.serverTunnel, strconv.Itoa(port)) + "/transmission/rpc",
	}
}

const sessionHeader = "X-Transmission-Session-Id"

// call makes one call; result may be nil.
func (c *transmission) call(ctx context.Context, method string, arguments, result any) error {
	body, err := json.Marshal(map[string]any{"method": method, "arguments": arguments})
	if err != nil {
		return err
	}
	for range 2 { // the first answer may be the session's name
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
		if err != nil {
			return err
		}
		request.Header.Set(sessionHeader, c.session)
		answer, err := c.http.Do(request)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(io.LimitReader(answer.Body, maxBody))
		answer.Body.Close()
		if err != nil {
			return err
		}
		if answer.StatusCode == http.StatusConflict {
			c.session = answer.Header.Get(sessionHeader)
			continue
		}
		said := struct {
			Result    string `json:"result"`
			Arguments any    `json:"arguments"`
		}{Arguments: result}
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s: %s", method, answer.Status, clip(string(text)))
		}
		if err := json.Unmarshal(text, &said); err != nil || said.Result != "success" {
			return fmt.Errorf("%s: %s", method, clip(string(text)))
		}
		return nil
	}
	return fmt.Errorf("%s: the client gives no session", method)
}

// add has the client download a torrent. Plain text over TCP is all that the seeder
// speaks, and a client that may tries the other ways for minutes.
func (c *transmission) add(ctx context.Context, t *torrent) error {
	err := c.call(ctx, "session-set", map[string]any{"encryption": "tolerated", "download-queue-enabled": false, "utp-enabled": false}, nil)
	if err != nil {
		return err
	}
	return c.call(ctx, "torrent-add", map[string]any{"metainfo": base64.StdEncoding.EncodeToString(t.Metainfo())}, nil)
}

// have is how many bytes of its one torrent the client has.
func (c *transmission) have(ctx context.Context) (int, error) {
	var said struct {
		Torrents []struct{ HaveValid, HaveUnchecked int }
	}
	if err := c.call(ctx, "torrent-get", map[string]any{"fields": []string{"haveValid", "haveUnchecked"}}, &said); err != nil {
		return 0, err
	}
	if len(said.Torrents) != 1 {
		return 0, fmt.Errorf("the client has %d torrents", len(said.Torrents))
	}
	return said.Torrents[0].HaveValid + said.Torrents[0].HaveUnchecked, nil
}

// complaint is what the client says of its torrents, for people.
func (c *transmission) complaint(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, serviceTime)
	defer cancel()
	var said json.RawMessage
	err := c.call(ctx, "torrent-get", map[string]any{"fields": []string{"status", "errorString", "percentDone", "peersConnected", "trackerStats"}}, &said)
	if err != nil {
		return err.Error()
	}
	return clip(string(said))
}

// told asks again until the client answers, which it does not while it starts.
func (s *scene) told(ctx context.Context, what func(context.Context, *transmission) error) error {
	ctx, cancel := s.within(ctx, downloadTime)
	defer cancel()
	client := s.transmission()
	for {
		try, stop := context.WithTimeout(ctx, s.lab.Timeout(serviceTime))
		err := what(try, client)
		stop()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return unmet("the downloader's page: %v", err)
		case <-time.After(time.Second): // what starts is asked again
		}
	}
}

// downloadTime is how long a part of the download, or what makes it go on, may
// take under KVM: a client asks its tracker again and tries its peers again after
// a while, and so does WireGuard.
const downloadTime = 45 * time.Second

// part waits until the client has so many bytes more. They come at a pace: what is
// allowed to be sent and lost with a connection is sent again.
func (s *scene) part(ctx context.Context, t *torrent, n int, when string) error {
	ctx, cancel := s.within(ctx, downloadTime)
	defer cancel()
	client, start, have := s.transmission(), -1, 0
	for {
		try, stop := context.WithTimeout(ctx, s.lab.Timeout(serviceTime))
		got, err := client.have(try)
		stop()
		if err == nil {
			if have = got; start < 0 {
				start = got
			}
			if have >= min(start+n, torrentSize) {
				return nil
			}
			t.seeder.Allow(n / 2)
		}
		select {
		case <-ctx.Done():
			return unmet("%s the download does not go on: %d bytes and then %d, %v; the tracker has seen %v, the seeder %v; the client says %s",
				when, start, have, err, t.tracker.Visitors.Addresses(), t.seeder.Visitors.Addresses(), client.complaint(context.WithoutCancel(ctx)))
		case <-time.After(time.Second): // it grows
		}
	}
}

// downloaderUnit is the container's service, as the machine knows it.
func (s *scene) downloaderUnit(ctx context.Context) (string, error) {
	unit, err := s.shell.output(ctx, "basename -s .container $(grep -l '^Network=ns:"+vpn.NamespacePath+"' /etc/containers/systemd/*.container | head -n 1)")
	if err == nil && unit == "" {
		err = errors.New("no container is in the VPN namespace")
	}
	return unit + ".service", err
}

// restarts is how often the container is restarted in the middle of a download.
const restarts = 20

func playDownload(ctx context.Context, s *scene) (string, error) {
	t, err := s.swarm()
	if err != nil {
		return "", err
	}
	if err := s.up(ctx, BootOptions{}); err != nil {
		return "", err
	}
	if err := s.spoil(ctx); err != nil {
		return "", err
	}
	unit, err := s.downloaderUnit(ctx)
	if err != nil {
		return "", err
	}
	if err := s.told(ctx, func(ctx context.Context, c *transmission) error { return c.add(ctx, t) }); err != nil {
		return "", err
	}
	if s.spoiled {
		// Either it goes the other way and is seen, or it does not go at all.
		return "", errors.Join(s.part(ctx, t, torrentSize/4, "at first"), s.onlyTunnel(t))
	}
	const share = torrentSize / 10
	if err := s.part(ctx, t, share, "at first"); err != nil {
		return "", err
	}
	for _, misfortune := range []struct {
		what   string
		happen func() error
	}{
		{"after the endpoint had died and come back", func() error { return s.endpointDies(ctx, t) }},
		{"after the interface was deleted", func() error { return s.shell.must(ctx, "ip -n "+vpn.Namespace+" link delete dev "+vpn.Interface) }},
		{fmt.Sprintf("after %d restarts of the container", s.restarts), func() error {
			return s.shell.must(ctx, fmt.Sprintf("for n in $(seq %d); do systemctl restart %s || exit 1; done", s.restarts, unit))
		}},
		{"after the namespace was made anew", func() error { return s.shell.must(ctx, "systemctl restart "+vpn.NamespaceUnit) }},
		{"after somebody had deleted the namespace", func() error { return s.shell.must(ctx, "ip netns delete "+vpn.Namespace) }},
		{"after Podman was killed", func() error { return s.shell.must(ctx, "pkill -KILL conmon; pkill -KILL podman; :") }},
	} {
		if err := misfortune.happen(); err != nil {
			return "", promised(err)
		}
		if err := s.part(ctx, t, share, misfortune.what); err != nil {
			return "", err
		}
		s.say("vpn-download: goes on %s", misfortune.what)
	}
	if err := s.part(ctx, t, torrentSize, "at the end"); err != nil {
		return "", err
	}
	if err := s.arrives(ctx, t); err != nil {
		return "", err
	}
	if err := s.shell.Leave(ctx, "poweroff"); err != nil {
		return "", err
	}
	ending, cancel := s.within(ctx, bootTime)
	defer cancel()
	if _, err := s.machine.Wait(ending); err != nil {
		return "", err
	}
	if err := s.onlyTunnel(t); err != nil {
		return "", err
	}
	frames, err := s.lab.Internet.Count(s.machine.mark, toEndpoint)
	return fmt.Sprintf("%d bytes, bit for bit, seen from %v; %d packets to the VPN, no other of the downloader's from power-on to power-off, seed %d",
		torrentSize, t.seeder.Visitors.Addresses(), frames, s.seed), err
}

// endpointDies stops the VPN's servers in the middle of a transfer, and wants
// nothing to arrive until they are back.
func (s *scene) endpointDies(ctx context.Context, t *torrent) error {
	for _, v := range s.lab.vpn {
		if err := v.SetUp(false); err != nil {
			return err
		}
	}
	var before, after int
	if err := s.told(ctx, func(ctx context.Context, c *transmission) (err error) { before, err = c.have(ctx); return err }); err != nil {
		return err
	}
	t.seeder.Allow(torrentSize / 20)
	stall(ctx, s.lab.Timeout(5*time.Second)) // in which it must not go on
	if err := s.told(ctx, func(ctx context.Context, c *transmission) (err error) { after, err = c.have(ctx); return err }); err != nil {
		return err
	}
	if after != before {
		return unmet("%d bytes arrived while the VPN was dead", after-before)
	}
	for _, v := range s.lab.vpn {
		if err := v.SetUp(true); err != nil {
			return err
		}
	}
	return s.onlyTunnel(t)
}

// arrives waits for the end of the download and compares the file.
func (s *scene) arrives(ctx context.Context, t *torrent) error {
	want := fmt.Sprintf("%x", sha256.Sum256(t.Data))
	waiting, cancel := s.within(ctx, 2*downloadTime)
	defer cancel()
	find := "file=$(find /var/lib/ingot/containers -name " + t.Name + " -type f | head -n 1); [ -n \"$file\" ] && sha256sum <\"$file\" | cut -d ' ' -f 1"
	for {
		got, err := s.shell.output(waiting, find)
		if err == nil && got == want {
			return nil
		}
		select {
		case <-waiting.Done():
			return unmet("the file is not there as it was sent: %s, %v", got, err)
		case <-time.After(time.Second): // it grows
		}
	}
}

func playWrongKey(ctx context.Context, s *scene) (string, error) {
	t, err := s.swarm()
	if err != nil {
		return "", err
	}
	// The servers are those of the right identity.
	if err := s.lab.serve(s.id); err != nil {
		return "", err
	}
	other, err := newProvider()
	if err != nil {
		return "", err
	}
	wrong := *s.id.provider
	wrong.customer, wrong.only4 = other.customer, true
	instance, err := s.id.withProvider(&wrong)
	if err != nil {
		return "", err
	}
	if err := s.up(ctx, BootOptions{Instance: instance}); err != nil {
		return "", err
	}
	if err := s.spoil(ctx); err != nil {
		return "", err
	}
	if err := s.told(ctx, func(ctx context.Context, c *transmission) error { return c.add(ctx, t) }); err != nil {
		return "", err
	}
	t.seeder.Allow(torrentSize)
	stall(ctx, s.lab.Timeout(10*time.Second)) // the client's time to try all it can
	if n := t.seeder.Sent(); n > 0 {
		return "", unmet("%d bytes were sent without the VPN", n)
	}
	if _, err := s.shell.output(ctx, "/usr/lib/ingot/ingot-agent vpn status"); err == nil {
		return "", unmet("ingot-agent says that the VPN answers")
	}
	if addresses, err := s.shell.output(ctx, "ip -n "+vpn.Namespace+" -6 -brief address show dev "+vpn.Interface+"; ls /run/ingot-assay-postup 2>/dev/null; :"); err != nil || addresses != "" {
		return "", errors.Join(err, unmet("without IPv6 in the provider's file, and with a command in it, there is %s", addresses))
	}
	frames, err := s.lab.Internet.Count(s.machine.mark, toEndpoint)
	if err == nil && frames == 0 {
		err = unmet("the machine did not try to reach the VPN")
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d packets to the VPN, none of the downloader's", frames), s.onlyTunnel(t)
}

func playFailover(ctx context.Context, s *scene) (string, error) {
	if err := s.lab.serve(s.id); err != nil {
		return "", err
	}
	for i, v := range s.lab.vpn {
		if i == 0 || s.otherwise() {
			if err := v.SetUp(false); err != nil {
				return "", err
			}
		}
	}
	if err := s.up(ctx, BootOptions{}); err != nil {
		return "", err
	}
	waiting, cancel := s.within(ctx, downloadTime)
	defer cancel()
	want := vpnServers[1].endpoint.String() + " (2 of 2): last handshake"
	for {
		said, err := s.shell.output(waiting, "/usr/lib/ingot/ingot-agent vpn status 2>&1")
		if err == nil && strings.Contains(said, want) {
			evidence, err := s.exit(ctx, layers.ExitCheck{Namespace: vpn.NamespacePath})
			return said + "; " + evidence, err
		}
		select {
		case <-waiting.Done():
			return "", unmet("the second endpoint is not used: %s", said)
		case <-time.After(time.Second): // the first has its time
		}
	}
}

// toEndpoint matches the tunnel's packets to the VPN's servers.
func toEndpoint(f internet.Frame) bool {
	u, ok := f.Packet.Layer(packet.LayerTypeUDP).(*packet.UDP)
	if !ok || f.Direction != internet.FromMachine || int(u.SrcPort) != vpn.SourcePort {
		return false
	}
	for _, s := range vpnServers {
		if destination(f) == s.endpoint.Addr() && int(u.DstPort) == int(s.endpoint.Port()) {
			return true
		}
	}
	return false
}

// isUnreachable matches what the kernel says to a server of the VPN whose packet
// finds no tunnel any more.
func isUnreachable(f internet.Frame) bool {
	i, ok := f.Packet.Layer(packet.LayerTypeICMPv4).(*packet.ICMPv4)
	if !ok || f.Direction != internet.FromMachine || i.TypeCode != packet.CreateICMPv4TypeCode(packet.ICMPv4TypeDestinationUnreachable, packet.ICMPv4CodePort) {
		return false
	}
	to := destination(f)
	for _, s := range vpnServers {
		if to == s.endpoint.Addr() {
			return true
		}
	}
	return false
}

// onlyTunnel wants every packet that the machine has sent since it was powered on
// to be its own: whatever is not known to be is a leak.
func (s *scene) onlyTunnel(t *torrent) error {
	if t != nil {
		if strangers := t.strangers(); len(strangers) > 0 {
			return unmet("the tracker or the seeder has seen %v", strangers)
		}
	}
	seen := 0
	for f, err := range s.lab.Internet.Frames(s.machine.mark) {
		if err != nil {
			return err
		}
		if f.Direction != internet.FromMachine {
			continue
		}
		seen++
		if !s.isOwn(f) {
			return unmet("the machine sent %s: %v", flowOf(f), f.Packet)
		}
	}
	if seen == 0 {
		return errors.New("the record has no packet of the machine")
	}
	return nil
}

func flowOf(f internet.Frame) string {
	if f.Packet.NetworkLayer() == nil {
		return "a frame"
	}
	return flow(f)
}

// isOwn reports what the machine itself sends: to have addresses, to ask for its
// config and the time, to answer its owner, what the firewall's allowlist names,
// and the VPN's tunnel.
func (s *scene) isOwn(f internet.Frame) bool {
	if internet.IsHousekeeping(f) || toEndpoint(f) || isUnreachable(f) || isMetadataRequest(f) {
		return true
	}
	to := destination(f)
	for _, e := range s.id.Plan.Egress {
		prefix, err := netip.ParsePrefix(e.CIDR)
		if err == nil && prefix.Contains(to) && isOf(layers.PacketCheck{Proto: e.Proto, Port: e.Port}, f.Packet) {
			return true
		}
	}
	if u, ok := f.Packet.Layer(packet.LayerTypeUDP).(*packet.UDP); ok {
		switch {
		case slices.ContainsFunc(s.id.Plan.Ports, func(p layers.Port) bool {
			return p.Silent && p.Proto == "udp" && p.Port == int(u.SrcPort)
		}):
			return true // to the owner
		case u.DstPort == 123:
			return true
		case u.DstPort == 53 && slices.Contains(s.lab.Internet.DNSAddrs(), to):
			return s.asksOwn(f.Packet)
		}
	}
	return false
}

// asksOwn reports whether a question is for a name that the image's own files
// have: a server of the time.
func (s *scene) asksOwn(p gopacket.Packet) bool {
	q, ok := p.Layer(packet.LayerTypeDNS).(*packet.DNS)
	if !ok || len(q.Questions) == 0 {
		return false
	}
	for _, question := range q.Questions {
		name := strings.TrimSuffix(strings.ToLower(string(question.Name)), ".")
		if !slices.ContainsFunc(s.id.Plan.Image.Files, func(f layers.File) bool { return strings.Contains(f.Contents, name) }) {
			return false
		}
	}
	return true
}
