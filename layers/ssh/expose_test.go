package ssh

import (
	"strings"
	"testing"

	"ingot/layers"
)

func TestExpose(t *testing.T) {
	t.Parallel()
	closed, open := Layer{}, Layer{Options{Expose: "internet"}}
	if got := closed.ports("a"); len(got) != 1 || got[0].From != layers.FromWireGuard {
		t.Errorf("closed, the ports are %+v", got)
	}
	got := open.ports("a")
	if len(got) != 2 || got[1].From != layers.FromInternet || got[1].NewPerMinute == 0 {
		t.Errorf("exposed, the ports are %+v", got)
	}
	if !strings.Contains(closed.socket(), "BindToDevice="+layers.TunnelInterface) || strings.Contains(open.socket(), "BindToDevice") {
		t.Errorf("the sockets are\n%s\n%s", closed.socket(), open.socket())
	}
	// A tunnel that does not come up must not take the exposed sshd with it.
	if strings.Contains(open.socket()+open.service(), device) {
		t.Error("the exposed sshd waits for the tunnel")
	}
}

func TestExposeToWhom(t *testing.T) {
	t.Parallel()
	for value, fine := range map[string]bool{"": true, "internet": true, "Internet": false, "wireguard": false, "internet\nPort 23": false} {
		if findings := (Layer{Options{Expose: value}}).Validate(layers.Site{}); (len(findings) == 0) != fine {
			t.Errorf("%q: %+v", value, findings)
		}
	}
}
