package assay

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"ingot/layers"
)

// listeners compares the sockets that listen with what a check or the port
// table says: a firewall can hide a listener that should not be there.
func (s *Shell) listeners(ctx context.Context, c layers.ListenerCheck, ports []layers.Port) (string, error) {
	sockets, err := s.listening(ctx)
	if err != nil {
		return "", err
	}
	return judgeListeners(sockets, c, ports)
}

// listening lists the sockets that listen.
func (s *Shell) listening(ctx context.Context) ([]listener, error) {
	out, err := s.Run(ctx, "ss", "--no-header", "--listening", "--numeric", "--tcp", "--udp", "--processes", "--cgroup")
	if err != nil {
		return nil, err
	}
	if out.Exit != 0 {
		return nil, fmt.Errorf("ss: %s", clip(out.Stderr))
	}
	return parseSockets(out.Stdout), nil
}

// listener is one line of ss.
type listener struct {
	proto, host, port string
	programs          []string // names of the processes that have it
	cgroup            string   // of who opened it; systemd opens a socket unit's in that unit's
}

var (
	programOf = regexp.MustCompile(`\("([^"]*)",pid=`)
	cgroupOf  = regexp.MustCompile(` cgroup:(\S+)`)
)

func parseSockets(table string) []listener {
	var list []listener
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		at := strings.LastIndex(f[4], ":")
		if at < 0 {
			continue
		}
		l := listener{proto: f[0], host: f[4][:at], port: f[4][at+1:]}
		for _, m := range programOf.FindAllStringSubmatch(line, -1) {
			l.programs = append(l.programs, m[1])
		}
		if m := cgroupOf.FindStringSubmatch(line); m != nil {
			l.cgroup = m[1]
		}
		list = append(list, l)
	}
	return list
}

func (l listener) loopback() bool {
	return strings.HasPrefix(l.host, "127.") || strings.HasPrefix(l.host, "[::1]")
}

// isPrivate tells sockets that no port table needs: on loopback, and the
// client ports that networkd's DHCP has bound to the uplink's address.
func (l listener) isPrivate() bool {
	return l.loopback() || l.proto == "udp" && (l.port == "68" || l.port == "546")
}

// concerns reports whether a check is about the socket.
func (l listener) concerns(c layers.ListenerCheck) bool {
	switch {
	case c.Unit != "":
		return slices.Contains(strings.Split(l.cgroup, "/"), c.Unit)
	case c.Program != "":
		return slices.Contains(l.programs, c.Program)
	}
	return !l.isPrivate()
}

func (l listener) String() string {
	name := l.proto + "/" + l.port
	if l.loopback() {
		name += "@loopback"
	}
	return name
}

func judgeListeners(sockets []listener, c layers.ListenerCheck, ports []layers.Port) (string, error) {
	allowed := c.Exactly
	if len(allowed) == 0 {
		for _, p := range ports {
			allowed = append(allowed, fmt.Sprintf("%s/%d", p.Proto, p.Port))
		}
	}
	var seen, extra []string
	for _, l := range sockets {
		if !l.concerns(c) {
			continue
		}
		seen = append(seen, l.String())
		if !slices.Contains(allowed, l.String()) {
			extra = append(extra, l.String()+" on "+l.host)
		}
	}
	slices.Sort(seen)
	seen = slices.Compact(seen)
	evidence := strings.Join(seen, " ")
	missing := slices.DeleteFunc(slices.Clone(c.Exactly), func(name string) bool { return slices.Contains(seen, name) })
	switch {
	case len(extra) > 0 && len(c.Exactly) == 0:
		return evidence, unmet("not in the port table: %s", strings.Join(extra, ", "))
	case len(extra) > 0:
		return evidence, unmet("listening and not in the list: %s", strings.Join(extra, ", "))
	case len(missing) > 0:
		return evidence, unmet("in the list and not listening: %s", strings.Join(missing, ", "))
	}
	return evidence, nil
}
