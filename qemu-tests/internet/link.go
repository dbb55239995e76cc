package internet

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// maxFrame is the longest frame taken from QEMU, in bytes: more than any MTU
// this package allows, with room for VLAN tags.
const maxFrame = 16 << 10

// errLinkDown is what a probe reports when its machine goes away.
var errLinkDown = errors.New("the machine is not connected to the network: is QEMU running?")

// outbound is a frame to be written, or with no frame a mark in the stream.
type outbound struct {
	frame   []byte
	kind    kind
	written chan<- struct{}
}

// link is one QEMU's connection: frames behind a big-endian uint32 length.
// Scans and floods have a queue of their own, so that they cannot crowd out ARP
// or a tunnel.
type link struct {
	conn   net.Conn
	queue  chan outbound
	scan   chan outbound
	once   sync.Once
	closed chan struct{}
}

func newLink(conn net.Conn) *link {
	return &link{
		conn: conn,
		// Deep enough for a TCP window; beyond that a slow machine loses frames.
		queue:  make(chan outbound, 4096),
		scan:   make(chan outbound, 256),
		closed: make(chan struct{}),
	}
}

func (l *link) close() {
	l.once.Do(func() {
		close(l.closed)
		_ = l.conn.Close() // there is nobody to tell
	})
}

// offer queues a frame, or drops it when the machine does not keep up. It never
// blocks, so that a reader may call it.
func (l *link) offer(frame []byte) {
	select {
	case l.queue <- outbound{frame: frame}:
	default:
	}
}

// push queues a frame and waits for room, which paces a scan to the machine.
func (l *link) push(ctx context.Context, o outbound) error {
	select {
	case l.scan <- o:
		return nil
	case <-l.closed:
		return errLinkDown
	case <-ctx.Done():
		return ctx.Err()
	}
}

// flush waits until every frame pushed before is written.
func (l *link) flush(ctx context.Context) error {
	written := make(chan struct{})
	if err := l.push(ctx, outbound{written: written}); err != nil {
		return err
	}
	select {
	case <-written:
		return nil
	case <-l.closed:
		return errLinkDown
	case <-ctx.Done():
		return ctx.Err()
	}
}

// read hands each frame to receive, which must not keep it, until the
// connection ends.
func (l *link) read(receive func([]byte)) error {
	in := bufio.NewReaderSize(l.conn, 64<<10)
	buf := make([]byte, maxFrame)
	for {
		frame, err := readFrame(in, buf)
		if err != nil {
			return err
		}
		receive(frame)
	}
}

// readFrame reads one frame into buf and returns the part of it that is used.
func readFrame(r io.Reader, buf []byte) ([]byte, error) {
	if _, err := io.ReadFull(r, buf[:4]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(buf)
	if n > uint32(len(buf)) {
		return nil, fmt.Errorf("a frame of %d bytes cannot be: the stream is out of step or not from QEMU", n)
	}
	_, err := io.ReadFull(r, buf[:n])
	return buf[:n], err
}

// write writes queued frames that pass lets through until the link is closed.
// Frames that wait together share a system call.
func (l *link) write(pass func(outbound) bool) {
	out := bufio.NewWriterSize(l.conn, 64<<10)
	var err error
	for err == nil {
		o, ok := l.next()
		if !ok {
			return
		}
		err = l.writeOne(out, o, pass)
	}
	l.close()
}

// next waits for the next thing to write, ordinary traffic first.
func (l *link) next() (outbound, bool) {
	select {
	case o := <-l.queue:
		return o, true
	default:
	}
	select {
	case o := <-l.queue:
		return o, true
	case o := <-l.scan:
		return o, true
	case <-l.closed:
		return outbound{}, false
	}
}

func (l *link) writeOne(out *bufio.Writer, o outbound, pass func(outbound) bool) error {
	if o.frame != nil && pass(o) {
		var length [4]byte
		binary.BigEndian.PutUint32(length[:], uint32(len(o.frame)))
		_, _ = out.Write(length[:]) // a bufio.Writer repeats its error on Flush
		_, _ = out.Write(o.frame)
	}
	if len(l.queue)+len(l.scan) > 0 && o.written == nil {
		return nil
	}
	err := out.Flush()
	if o.written != nil {
		close(o.written)
	}
	return err
}
