package assay

import (
	"strings"
	"testing"

	"ingot/layers"
)

// As ss of iproute2 6.1 and 6.15 prints it.
const sockets = `udp UNCONN 0 0 203.0.113.10%eth0:68 0.0.0.0:* users:(("systemd-network",pid=300,fd=20)) cgroup:/system.slice/systemd-networkd.service
udp UNCONN 0 0 0.0.0.0:51820 0.0.0.0:* cgroup:/
udp UNCONN 0 0 127.0.0.1:323 0.0.0.0:* users:(("chronyd",pid=400,fd=5)) cgroup:/system.slice/chrony.service
udp UNCONN 0 0 [::1]:323 [::]:* users:(("chronyd",pid=400,fd=6)) cgroup:/system.slice/chrony.service
tcp LISTEN 0 4096 0.0.0.0%wg0:22 0.0.0.0:* users:(("sshd",pid=500,fd=3),("systemd",pid=1,fd=60)) cgroup:/system.slice/ssh.socket
tcp LISTEN 0 4096 [::]%wg0:22 [::]:* users:(("sshd",pid=500,fd=4),("systemd",pid=1,fd=61)) cgroup:/system.slice/ssh.socket
tcp LISTEN 0 128 *:8080 *:* users:(("my app",pid=600,fd=3)) cgroup:/system.slice/my-app.service/worker
`

func TestListeners(t *testing.T) {
	t.Parallel()
	s := fakeShell(t, func(string) Output { return Output{Stdout: sockets} })
	ports := []layers.Port{{Proto: "tcp", Port: 22}, {Proto: "udp", Port: 51820}, {Proto: "tcp", Port: 8080}, {Proto: "tcp", Port: 443}}
	for name, c := range map[string]struct {
		check layers.ListenerCheck
		ports []layers.Port
		want  string
	}{
		"port table":         {layers.ListenerCheck{}, ports, ""},
		"not in port table":  {layers.ListenerCheck{}, ports[:2], "not in the port table: tcp/8080 on *"},
		"everybody's":        {layers.ListenerCheck{Exactly: []string{"udp/51820", "tcp/22", "tcp/8080"}}, nil, ""},
		"everybody's, more":  {layers.ListenerCheck{Exactly: []string{"udp/51820", "tcp/22"}}, nil, "listening and not in the list: tcp/8080 on *"},
		"everybody's, fewer": {layers.ListenerCheck{Exactly: []string{"udp/51820", "tcp/22", "tcp/8080", "tcp/443"}}, nil, "in the list and not listening: tcp/443"},
		"socket unit":        {layers.ListenerCheck{Unit: "ssh.socket", Exactly: []string{"tcp/22"}}, nil, ""},
		"part of a service":  {layers.ListenerCheck{Unit: "my-app.service", Exactly: []string{"tcp/8080"}}, nil, ""},
		"on loopback":        {layers.ListenerCheck{Unit: "chrony.service", Exactly: []string{"udp/323@loopback"}}, nil, ""},
		"not on loopback":    {layers.ListenerCheck{Unit: "chrony.service", Exactly: []string{"udp/323"}}, nil, "udp/323@loopback on 127.0.0.1"},
		"program":            {layers.ListenerCheck{Program: "sshd", Exactly: []string{"tcp/22"}}, nil, ""},
		"with a blank":       {layers.ListenerCheck{Program: "my app", Exactly: []string{"tcp/8080"}}, nil, ""},
		"part of a name":     {layers.ListenerCheck{Program: "ssh", Exactly: []string{"tcp/22"}}, nil, "not listening: tcp/22"},
		"part of a unit":     {layers.ListenerCheck{Unit: "app.service", Exactly: []string{"tcp/8080"}}, nil, "not listening: tcp/8080"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := s.inside(t.Context(), layers.Check{Listener: &c.check}, c.ports)
			holds(t, err, c.want)
		})
	}
}

func TestListenersNeedSS(t *testing.T) {
	t.Parallel()
	s := fakeShell(t, func(string) Output { return Output{Stderr: "Cannot open netlink socket", Exit: 1} })
	if _, err := s.listeners(t.Context(), layers.ListenerCheck{}, nil); err == nil || !strings.Contains(err.Error(), "netlink") {
		t.Errorf("takes a failed ss: %v", err)
	}
}
