package hetzner

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/hetznercloud/hcloud-go/v2/hcloud"
	"golang.org/x/crypto/ssh"

	"ingot/fault"
	"ingot/providers"
)

// The sizes that a volume may have, in GiB: POST /volumes in the document of the API,
// "the minimum Volume size is 10GB and the maximum size is 10TB (10240GB)".
const (
	minState = 10
	maxState = 10240
)

const (
	// labelState is on volumes whose file system is whole, and has the number of the work
	// that made them: of their first server, whoever has them now.
	labelState = "ingot-state"
	// formatTime is how long the making of a file system may take: that of the largest
	// volume has some 80,000 groups to be written.
	formatTime = 10 * time.Minute
)

// ensureState is the volume for a server's state, whole and attached to nothing, or to
// the server when that is there already; nil when none is wanted.
//
// The machine makes a file system on no disk but its own, and Hetzner's make none with
// a label: a temporary server does.
func (p *Provider) ensureState(ctx context.Context, m providers.Machine, id, location string) (*hcloud.Volume, error) {
	if p.opts.State == 0 {
		return nil, nil
	}
	t := temporary{Provider: p, id: id, name: "ingot-format-" + id, location: location, why: "making of a file system", journal: m.Journal}
	if m.Journal != nil {
		// What an earlier try has left is of no use: its keys are lost.
		if err := t.clear(ctx, nil); err != nil {
			return nil, err
		}
	}
	v, err := p.newVolume(ctx, m.Journal, id, m.Name, location)
	if err != nil || v.Labels[labelState] != "" {
		return v, err
	}
	return t.format(ctx, v)
}

// newVolume makes an empty volume, or finds the one of the same work. Its name is that
// of the work: names are unique here, and a volume outlives its first server.
func (p *Provider) newVolume(ctx context.Context, e *providers.Entry, id, server, location string) (*hcloud.Volume, error) {
	name := "ingot-state-" + id
	var action *hcloud.Action
	v, err := createOrFind(ctx, p, e, kindVolume, name, func() (*hcloud.Volume, error) {
		result, _, err := p.client.Volume.Create(ctx, hcloud.VolumeCreateOpts{
			Name: name, Size: p.opts.State, Location: &hcloud.Location{Name: location},
			Labels: map[string]string{providers.LabelID: id, providers.LabelServer: server},
		})
		action = result.Action
		return result.Volume, err
	}, func() (*hcloud.Volume, bool, error) {
		list, err := p.client.Volume.AllWithOpts(ctx, hcloud.VolumeListOpts{Name: name, ListOpts: byID(id)})
		return one(list, err)
	})
	if err != nil {
		return nil, err
	}
	return v, p.wait(ctx, "create the volume "+name, action)
}

// format makes the file system of a volume on a temporary server, and takes it away
// from that.
func (t *temporary) format(ctx context.Context, v *hcloud.Volume) (whole *hcloud.Volume, err error) {
	command, err := formatCommand(v.LinuxDevice)
	if err != nil {
		return nil, err
	}
	defer func() { err = t.clear(ctx, err) }()
	server, err := t.start(ctx, 0, cheapest(t.location), v)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeoutCause(ctx, bootTime+formatTime, fault.Provider(fmt.Errorf("the file system is not made after %s", bootTime+formatTime)))
	defer cancel()
	err = t.over(limited, server, "make the file system of the volume "+v.Name, func(_ context.Context, c *ssh.Client) error {
		t.say("making the file system for the state")
		return run(c, command)
	})
	if err != nil {
		return nil, err
	}
	// From here on another try takes it as it is.
	if v, err = t.label(ctx, v, relabelled(v, labelState, t.id)); err != nil {
		return nil, err
	}
	return v, t.place(ctx, v, nil)
}

// clear removes the server, its firewall and its key. It goes on for a while when the
// work was interrupted.
func (t *temporary) clear(ctx context.Context, failed error) error {
	return t.Provider.clear(ctx, t.id, "the work of the temporary server "+t.name+" is done", failed, func(r providers.Resource) bool { return r.Name == t.name })
}

// isDevice is what a volume's device may be called: it goes into a command.
var isDevice = regexp.MustCompile(`^/dev/disk/by-id/[A-Za-z0-9._-]+$`)

// formatCommand makes the file system on a device that may take a while to appear. It
// is on the disk when the command ends: the device is taken away then.
func formatCommand(device string) (string, error) {
	if !isDevice.MatchString(device) {
		return "", fault.Provider(fmt.Errorf("%q cannot be the device of a volume", device))
	}
	return fmt.Sprintf(`n=0; until [ -b %[1]s ] || [ $n -eq 60 ]; do n=$((n+1)); sleep 1; done; `+
		`/sbin/mke2fs -q -t ext4 -L %[2]s -E nodiscard %[1]s </dev/null && sync`, device, providers.StateLabel), nil
}

// run runs a command, and has its last words in the error.
func run(c *ssh.Client, command string) error {
	s, err := c.NewSession()
	if err != nil {
		return err
	}
	defer s.Close()
	if out, err := s.CombinedOutput(command); err != nil {
		return fmt.Errorf("%w: %s", err, shortened(strings.TrimSpace(string(out)), 1000))
	}
	return nil
}
