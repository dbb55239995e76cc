package internet

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/gopacket/gopacket/layers"
)

// Crowd is many strangers who hold TCP connections to one port at the same
// time. They acknowledge what the machine sends and say nothing.
type Crowd struct {
	throng *throng
	knock  knocker
	ctx    context.Context
	cancel context.CancelFunc
	once   sync.Once
	err    error
}

// OpenCrowd connects that many strangers to a machine's port, each from another
// source of the scanners' prefixes. It returns when all are connected, or the
// others did not get an answer to ProbeTries SYNs: Established says how many
// there are. The connections are held until Close.
//
// They live at frame level, a few bytes each. A stranger believes that it is
// connected when it has sent the last frame of the handshake. A machine whose
// queue of connections is full may think otherwise, as with real clients.
func (in *Internet) OpenCrowd(ctx context.Context, target netip.AddrPort, strangers int) (*Crowd, error) {
	t, err := in.beginThrong(target, false)
	if err != nil {
		return nil, fmt.Errorf("send a crowd to %v: %w", target, err)
	}
	c := &Crowd{throng: t}
	c.ctx, c.cancel = context.WithCancel(in.ctx)
	if err := c.open(ctx, strangers); err != nil {
		c.leave()
		return nil, fmt.Errorf("send a crowd to %v: %w", target, err)
	}
	return c, nil
}

func (c *Crowd) open(ctx context.Context, strangers int) (err error) {
	if most := c.throng.most(); strangers < 1 || strangers > most {
		return fmt.Errorf("a crowd of %d is not possible: use 1 to %d", strangers, most)
	}
	if c.knock, err = c.throng.knocker(); err != nil {
		return err
	}
	c.throng.in.running.Go(c.acknowledge)
	for range strangers {
		c.throng.join()
	}
	for range c.throng.in.opts.ProbeTries {
		for _, n := range c.throng.all(silent) {
			if err := c.knock.knock(ctx, n); err != nil {
				return err
			}
		}
		if err := c.knock.link.flush(ctx); err != nil {
			return err
		}
		if err := c.knock.settle(ctx); err != nil {
			return err
		}
	}
	return nil
}

// acknowledge answers what the machine sends to the strangers. It waits for
// room on the link, which the machine's reader must not.
func (c *Crowd) acknowledge() {
	for {
		select {
		case <-c.throng.work:
		case <-c.ctx.Done():
			return
		}
		for _, r := range c.throng.takeDue() {
			if err := c.say(c.ctx, r.stranger, &layers.TCP{Ack: r.next, ACK: true, Window: 64240}); err != nil {
				return // the machine went away, or the crowd
			}
		}
	}
}

// say sends a segment from an established connection.
func (c *Crowd) say(ctx context.Context, stranger int, tcp *layers.TCP) error {
	from, to := c.throng.stranger(stranger), c.throng.target
	tcp.SrcPort, tcp.DstPort, tcp.Seq = layers.TCPPort(from.Port()), layers.TCPPort(to.Port()), c.throng.sequence+1
	frame, err := c.knock.machine.probeFrame(from.Addr(), to.Addr(), layers.IPProtocolTCP, tcp)
	if err != nil {
		return err
	}
	return c.knock.link.push(ctx, outbound{frame: frame})
}

// Established returns how many connections there are now.
func (c *Crowd) Established() int { return c.throng.count(answered) }

// Refused returns how many strangers were turned away, by a reset or an ICMP
// error.
func (c *Crowd) Refused() int { return c.throng.count(reset) + c.throng.count(rejected) }

// Ended returns how many connections the machine has closed or reset.
func (c *Crowd) Ended() int { return c.throng.count(ended) }

// leaveTime is the patience with a machine that takes no more resets.
const leaveTime = 10 * time.Second

// Close resets the connections that are left. A second Close does nothing.
func (c *Crowd) Close() error {
	c.once.Do(func() {
		ctx, cancel := context.WithTimeout(c.ctx, leaveTime)
		defer cancel()
		for _, n := range c.throng.all(answered) {
			if c.err = c.say(ctx, n, &layers.TCP{RST: true}); c.err != nil {
				break
			}
		}
		if c.err == nil {
			c.err = c.knock.link.flush(ctx)
		}
		c.leave()
	})
	return c.err
}

// leave ends the strangers without a word.
func (c *Crowd) leave() {
	c.cancel()
	c.throng.end()
}
