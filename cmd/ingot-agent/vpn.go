package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"ingot/layers/vpn"
)

// How the tunnel is watched.
const (
	watchPause = 2 * time.Second
	// handshakeLimit is WireGuard's REJECT_AFTER_TIME: the keys of a handshake that
	// is older are thrown away, and no packet passes (WireGuard's paper, §6.1).
	handshakeLimit = 180 * time.Second
	// firstHandshake is four tries of REKEY_TIMEOUT (5 s, ibid.): an endpoint that
	// has not answered by then is not waited for.
	firstHandshake = 20 * time.Second
)

// vpnCommand is the service of the VPN's tunnel, and what tells of it.
func vpnCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "vpn",
		Short: "make the tunnel in the VPN namespace, watch it, and change to the next endpoint when one is silent",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return runVPN(cmd.Context(), os.Stderr) },
	}
	c.AddCommand(&cobra.Command{
		Use:   "status",
		Short: "say which endpoint the VPN uses and when it last answered; fails when it does not",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return printVPN(cmd.OutOrStdout(), vpn.StatusPath, time.Now())
		},
	})
	return c
}

// runVPN has the tunnel until ctx is done, or something is gone that only a new
// start brings back.
func runVPN(ctx context.Context, log io.Writer) error {
	tunnels, err := readTunnels(vpn.ConfigPath, vpn.OptionsPath)
	if err != nil {
		return configError{err}
	}
	ns, err := openNamespace(vpn.NamespacePath)
	if err != nil {
		return errors.Join(err, renewNamespace(ctx))
	}
	defer ns.close()
	link, err := ns.addLink()
	if err != nil {
		return err
	}
	s := &vpnService{ns: ns, link: link, log: log, choice: newFailover(tunnels, time.Now())}
	if err := s.use(ctx); err != nil {
		return err
	}
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady) // without systemd there is nobody to tell
	return s.watch(ctx)
}

// configError is what no second try can mend.
type configError struct{ error }

// exitConfig is EX_CONFIG of sysexits(3), after which systemd does not try again.
const exitConfig = 78

// readTunnels reads the provider's file, and what ingot.yaml says beside it.
func readTunnels(config, options string) ([]vpn.Tunnel, error) {
	data, err := os.ReadFile(config)
	if err != nil {
		return nil, err
	}
	tunnels, err := vpn.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", config, err)
	}
	data, err = os.ReadFile(options)
	if err != nil {
		return nil, err
	}
	return tunnels, useOptions(tunnels, data)
}

// vpnService is the tunnel under watch.
type vpnService struct {
	ns     *namespace
	link   *vpnLink
	log    io.Writer
	choice *failover
	end    string // the address of the endpoint in use
}

// use gives the interface the endpoint that is chosen. That a name has no address
// now is no error: it is asked for again.
func (s *vpnService) use(ctx context.Context) error {
	t := s.choice.current()
	if err := writeResolver(vpn.Resolver, t.DNS); err != nil {
		return err
	}
	address, lookup := resolve(ctx, t.Endpoint, s.choice.round())
	if lookup != nil {
		fmt.Fprintf(s.log, "the endpoint %s has no address now: %v\n", t.Endpoint, lookup)
	}
	s.end = address
	if err := s.link.configure(ctx, t, address); err != nil {
		return err
	}
	if address != "" {
		fmt.Fprintf(s.log, "endpoint %s (%d of %d)\n", describe(t.Endpoint, address), s.choice.index+1, len(s.choice.tunnels))
	}
	return nil
}

func describe(endpoint, address string) string {
	if endpoint == address {
		return endpoint
	}
	return endpoint + " at " + address
}

// watch looks at the handshake's age until the tunnel must be made anew.
func (s *vpnService) watch(ctx context.Context) error {
	tick := time.NewTicker(watchPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := s.ns.still(); err != nil {
			return errors.Join(err, renewNamespace(ctx))
		}
		last, err := s.link.lastHandshake(ctx)
		if err != nil {
			return fmt.Errorf("the tunnel's interface is gone: %w", err)
		}
		silent := s.choice.look(last, time.Now())
		if err := s.tell(); err != nil {
			return err
		}
		if !silent {
			continue
		}
		fmt.Fprintf(s.log, "the endpoint %s does not answer\n", s.choice.current().Endpoint)
		s.choice.next(time.Now())
		if err := s.use(ctx); err != nil {
			return err
		}
	}
}

// tell leaves what was seen for "ingot-agent vpn status" and systemctl.
func (s *vpnService) tell() error {
	seen := s.choice.status(time.Now())
	seen.Address = s.end
	b, err := json.Marshal(seen)
	if err != nil {
		return err
	}
	if err := os.WriteFile(vpn.StatusPath+".new", append(b, '\n'), 0o644); err != nil {
		return err
	}
	_, _ = daemon.SdNotify(false, "STATUS="+seen.text())
	return os.Rename(vpn.StatusPath+".new", vpn.StatusPath)
}

// vpnStatus is what the service saw last.
type vpnStatus struct {
	Endpoint string `json:"endpoint"`
	Address  string `json:"address"` // "" when the name has none
	Number   int    `json:"number"`  // of the endpoint, from 1
	Of       int    `json:"of"`
	// HandshakeSeconds is the age of the last handshake, -1 without any. It is
	// counted by the service, whatever the machine's clock does.
	HandshakeSeconds int `json:"handshakeSeconds"`
}

func (v vpnStatus) text() string {
	where := fmt.Sprintf("%s (%d of %d)", describe(v.Endpoint, v.Address), v.Number, v.Of)
	switch {
	case v.Address == "":
		return where + ": the name has no address"
	case v.HandshakeSeconds < 0:
		return where + ": no answer yet"
	}
	return fmt.Sprintf("%s: last handshake %d s ago", where, v.HandshakeSeconds)
}

// printVPN fails when the VPN cannot carry a packet.
func printVPN(w io.Writer, file string, now time.Time) error {
	info, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("the VPN's tunnel is not there; see systemctl status %s: %w", vpn.LinkUnit, err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var v vpnStatus
	if err := json.Unmarshal(b, &v); err != nil {
		return fmt.Errorf("read %s: %w", file, err)
	}
	if age := now.Sub(info.ModTime()); age > 10*watchPause {
		return fmt.Errorf("nobody watches the VPN's tunnel since %.0f s; see systemctl status %s", age.Seconds(), vpn.LinkUnit)
	}
	if v.HandshakeSeconds < 0 || v.HandshakeSeconds > int(handshakeLimit.Seconds()) {
		return errors.New(v.text())
	}
	_, err = fmt.Fprintln(w, v.text())
	return err
}

// failover chooses the endpoint: the first that answers, until it is silent. Times
// are monotonic; what wg says of handshakes is by the machine's clock, which may
// jump, and only whether it changes is looked at.
type failover struct {
	tunnels []vpn.Tunnel
	index   int
	rounds  int       // through the whole list
	began   time.Time // with this endpoint
	stamp   int64     // of the last handshake, as wg says it
	seen    time.Time // when stamp was new
}

func newFailover(tunnels []vpn.Tunnel, now time.Time) *failover {
	return &failover{tunnels: tunnels, began: now}
}

func (f *failover) current() vpn.Tunnel { return f.tunnels[f.index] }

func (f *failover) round() int { return f.rounds }

// look takes note of the last handshake and reports whether the endpoint is
// silent.
func (f *failover) look(stamp int64, now time.Time) (silent bool) {
	if stamp != 0 && stamp != f.stamp {
		f.stamp, f.seen = stamp, now
	}
	if f.stamp == 0 {
		return now.Sub(f.began) > firstHandshake
	}
	return now.Sub(f.seen) > handshakeLimit
}

func (f *failover) next(now time.Time) {
	f.index++
	if f.index == len(f.tunnels) {
		f.index = 0
		f.rounds++
	}
	f.began, f.stamp = now, 0
}

func (f *failover) status(now time.Time) vpnStatus {
	v := vpnStatus{Endpoint: f.current().Endpoint, Number: f.index + 1, Of: len(f.tunnels), HandshakeSeconds: -1}
	if f.stamp != 0 {
		v.HandshakeSeconds = int(now.Sub(f.seen).Seconds())
	}
	return v
}

// wgConfig is what wg(8) takes, with one peer.
func wgConfig(t vpn.Tunnel, address string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[Interface]\nPrivateKey = %s\nListenPort = %d\nFwMark = %#x\n", t.PrivateKey, vpn.SourcePort, vpn.Mark)
	if address == "" {
		return b.String()
	}
	fmt.Fprintf(&b, "[Peer]\nPublicKey = %s\nEndpoint = %s\nPersistentKeepalive = %d\n", t.PublicKey, address, t.Keepalive)
	if t.PresharedKey != "" {
		fmt.Fprintf(&b, "PresharedKey = %s\n", t.PresharedKey)
	}
	for _, p := range t.AllowedIPs {
		fmt.Fprintf(&b, "AllowedIPs = %s\n", p)
	}
	return b.String()
}
