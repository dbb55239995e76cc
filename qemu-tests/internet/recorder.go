package internet

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// Direction says who sent a frame.
type Direction uint8

// The directions of a frame.
const (
	FromMachine Direction = iota
	ToMachine
)

// String returns "from machine" or "to machine".
func (d Direction) String() string {
	return [...]string{"from machine", "to machine"}[d]
}

// packetHeader is what precedes the frame in an enhanced packet block, in bytes
// (pcapng specification, 4.3).
const packetHeader = 28

// kind is why a frame is on the wire.
type kind uint8

const (
	ordinary kind = iota
	probing       // a stranger's probe
	flooding      // a SYN of a flood, or the answer to one
)

// errRecordClosed is the end of a record that is complete.
var errRecordClosed = errors.New("the packet record is closed")

// floodShown is how many frames of a flood are written; the others are counted.
// A minute at full speed would be gigabytes.
const floodShown = 10_000

// recorder writes every frame to a pcapng file and remembers where each one is.
type recorder struct {
	mu        sync.Mutex
	file      *os.File
	temporary bool
	buffer    *bufio.Writer
	written   *countingWriter
	ng        *pcapgo.NgWriter
	index     index
	tallies   []tally
	marked    int            // the last mark that was given out
	room      int            // for frames of floods
	untold    map[int]uint64 // frames not written, by interface, since the last one that was
	changed   chan struct{}  // closed at the next frame, if somebody waits
	err       error          // the first failure to write
}

// entry is 24 bytes, where the frame itself would be up to 1514.
type entry struct {
	time    int64 // nanoseconds since 1970
	offset  int64 // in the file, of the frame
	length  uint32
	machine uint8 // interface number; there are 200 at most
	dir     Direction
	kind    kind
	dropped bool
}

// index is cut into blocks, because a slice that grows to millions of entries
// is copied and held twice.
type index [][]entry

const blockEntries = 4096

func (x *index) add(e entry) {
	if n := len(*x); n == 0 || len((*x)[n-1]) == blockEntries {
		*x = append(*x, make([]entry, 0, blockEntries))
	}
	last := &(*x)[len(*x)-1]
	*last = append(*last, e)
}

func (x index) at(n int) entry { return x[n/blockEntries][n%blockEntries] }

func (x index) len() int {
	if len(x) == 0 {
		return 0
	}
	return (len(x)-1)*blockEntries + len(x[len(x)-1])
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// newRecorder writes to path, or when that is empty to a temporary file in dir.
func newRecorder(path, dir string) (*recorder, error) {
	r := &recorder{temporary: path == "", untold: map[int]uint64{}}
	var err error
	if r.temporary {
		r.file, err = os.CreateTemp(dir, "pcap")
	} else {
		r.file, err = os.Create(path)
	}
	if err != nil {
		return nil, fmt.Errorf("create the packet record: %w", err)
	}
	r.buffer = bufio.NewWriterSize(r.file, 64<<10)
	r.written = &countingWriter{w: r.buffer}
	first := pcapgo.DefaultNgInterface
	first.Name, first.LinkType = "internet", layers.LinkTypeEthernet
	if r.ng, err = pcapgo.NewNgWriterInterface(r.written, first, pcapgo.DefaultNgWriterOptions); err != nil {
		return nil, errors.Join(fmt.Errorf("start the packet record: %w", err), r.close())
	}
	if err = r.ng.Flush(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the packet record: %w", err), r.close())
	}
	return r, nil
}

// addInterface adds a machine's link to the file and returns its number.
func (r *recorder) addInterface(name string) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := pcapgo.DefaultNgInterface
	i.Name, i.LinkType = name, layers.LinkTypeEthernet
	number, err := r.ng.AddInterface(i)
	if err == nil {
		err = r.ng.Flush()
	}
	if err != nil {
		return 0, fmt.Errorf("add %s to the packet record: %w", name, err)
	}
	return number, nil
}

// add records a frame. A failure to write is reported by the next reading, so
// that no assertion is made on half a record.
func (r *recorder) add(m *Machine, d Direction, k kind, dropped bool, frame []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return
	}
	if k == flooding && !r.takeRoom() {
		r.countOnly(m, d)
		return
	}
	now := time.Now()
	ci := gopacket.CaptureInfo{Timestamp: now, CaptureLength: len(frame), Length: len(frame), InterfaceIndex: m.iface}
	start := r.written.n
	if r.err = r.ng.WritePacketWithOptions(ci, frame, r.packetOptions(m, d, dropped)); r.err != nil {
		return
	}
	if r.err = r.ng.Flush(); r.err != nil { // into the buffer, which counts
		return
	}
	r.index.add(entry{
		time: now.UnixNano(), offset: start + packetHeader, length: uint32(len(frame)),
		machine: uint8(m.iface), dir: d, kind: k, dropped: dropped,
	})
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// packetOptions tells readers of the file the direction, seen from the machine,
// whether a fault ate the frame, and how many before it were only counted.
func (r *recorder) packetOptions(m *Machine, d Direction, dropped bool) pcapgo.NgPacketOptions {
	flags := pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionOutbound}
	if d == ToMachine {
		flags.Direction = pcapgo.NgEpbFlagDirectionInbound
	}
	opts := pcapgo.NgPacketOptions{Flags: &flags}
	if dropped {
		opts.Comments = []string{"dropped by a fault"}
	}
	if n := r.untold[m.iface]; n > 0 {
		opts.DropCount = &n
		opts.Comments = append(opts.Comments, fmt.Sprintf("%d frames of a flood before this one were counted and not written", n))
		delete(r.untold, m.iface)
	}
	return opts
}

// length returns the number of written frames so far.
func (r *recorder) length() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.marked = r.index.len()
	return r.marked
}

// get returns frame n; with none yet, a channel that is closed when there may
// be one.
func (r *recorder) get(n int) (e entry, data []byte, wait <-chan struct{}, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return entry{}, nil, nil, fmt.Errorf("the packet record is incomplete: %w", r.err)
	}
	if n >= r.index.len() {
		if r.changed == nil {
			r.changed = make(chan struct{})
		}
		return entry{}, nil, r.changed, nil
	}
	e = r.index.at(n)
	if e.offset+int64(e.length) > r.written.n-int64(r.buffer.Buffered()) {
		if r.err = r.buffer.Flush(); r.err != nil {
			return entry{}, nil, nil, fmt.Errorf("complete the packet record: %w", r.err)
		}
	}
	data = make([]byte, e.length)
	if _, err = r.file.ReadAt(data, e.offset); err != nil {
		return entry{}, nil, nil, fmt.Errorf("read the packet record: %w", err)
	}
	return e, data, nil, nil
}

func (r *recorder) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.err
	if err == nil && r.ng != nil {
		err = r.closeInterfaces()
	}
	r.err = errRecordClosed
	err = errors.Join(err, r.buffer.Flush(), r.file.Close())
	if r.temporary {
		err = errors.Join(err, os.Remove(r.file.Name()))
	}
	return err
}
