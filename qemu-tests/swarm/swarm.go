// Package swarm is a BitTorrent tracker and a seeder with one file, for a real
// client to download: BEP 3 with the compact peer list of BEP 23, and no more of
// the protocol than a client needs that wants a file. Both remember who came.
package swarm

import (
	"bytes"
	"crypto/sha1" // BEP 3 identifies pieces by SHA-1
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
)

// pieceLength in bytes; clients ask for blocks of 16 KiB.
const pieceLength = 64 << 10

// maxBlock is the most that one request may ask for, in bytes (BEP 3: clients
// close connections that ask for more than 128 KiB).
const maxBlock = 128 << 10

// Torrent is a file to be downloaded.
type Torrent struct {
	Name     string
	Data     []byte
	Announce string // URL of the tracker
}

// InfoHash identifies the torrent.
func (t Torrent) InfoHash() [sha1.Size]byte { return sha1.Sum(t.info()) }

// info is the bencoded info dictionary, its keys sorted.
func (t Torrent) info() []byte {
	var pieces []byte
	for piece := range slices.Chunk(t.Data, pieceLength) {
		sum := sha1.Sum(piece)
		pieces = append(pieces, sum[:]...)
	}
	return fmt.Appendf(nil, "d6:lengthi%de4:name%s12:piece lengthi%de6:pieces%se", len(t.Data), text(t.Name), pieceLength, text(string(pieces)))
}

// Metainfo is the .torrent file.
func (t Torrent) Metainfo() []byte {
	return fmt.Appendf(nil, "d8:announce%s4:info%se", text(t.Announce), t.info())
}

func text(s string) string { return strconv.Itoa(len(s)) + ":" + s }

// Visitors are the addresses that connections came from.
type Visitors struct {
	mu   sync.Mutex
	seen map[netip.Addr]int
}

func (v *Visitors) note(address string) {
	a, err := netip.ParseAddrPort(address)
	if err != nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.seen == nil {
		v.seen = map[netip.Addr]int{}
	}
	v.seen[a.Addr().Unmap()]++
}

// Addresses are those that came, sorted.
func (v *Visitors) Addresses() []netip.Addr {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.SortedFunc(maps.Keys(v.seen), netip.Addr.Compare)
}

// Tracker tells whoever asks where the seeder is.
type Tracker struct {
	Seeder netip.AddrPort // IPv4
	// Interval is after how many seconds clients are to ask again, 30 when zero.
	Interval int
	Visitors Visitors
}

// ServeHTTP answers an announce (BEP 3, BEP 23).
func (t *Tracker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t.Visitors.note(r.RemoteAddr)
	peer := t.Seeder.Addr().As4()
	compact := binary.BigEndian.AppendUint16(peer[:], t.Seeder.Port())
	interval := t.Interval
	if interval == 0 {
		interval = 30
	}
	_, _ = fmt.Fprintf(w, "d8:intervali%de5:peers%se", interval, text(string(compact))) // who has gone asks again
}

// Seeder has the whole file.
type Seeder struct {
	Torrent  Torrent
	Visitors Visitors

	mu      sync.Mutex
	sent    int
	allowed int
	changed chan struct{} // closed when sent or allowed changes
}

// NewSeeder makes one that sends nothing until [Seeder.Allow].
func NewSeeder(t Torrent) *Seeder { return &Seeder{Torrent: t, changed: make(chan struct{})} }

// Allow lets the seeder send as many bytes of the file more, so that something can
// happen in the middle of a download. What is asked for again counts again.
func (s *Seeder) Allow(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.allowed = max(s.allowed, s.sent) + n
	s.wake()
}

func (s *Seeder) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Sent is how many bytes of the file have been sent.
func (s *Seeder) Sent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// take waits until a block may be sent.
func (s *Seeder) take(n int, stop <-chan struct{}) bool {
	for {
		s.mu.Lock()
		changed := s.changed
		if s.sent < s.allowed {
			s.sent += n
			s.wake()
			s.mu.Unlock()
			return true
		}
		s.mu.Unlock()
		select {
		case <-changed:
		case <-stop:
			return false
		}
	}
}

// Serve answers clients until the listener is closed.
func (s *Seeder) Serve(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		s.Visitors.note(conn.RemoteAddr().String())
		go func() {
			defer conn.Close()
			_ = s.talk(conn) // who has gone comes again
		}()
	}
}

const protocolName = "\x13BitTorrent protocol"

// Messages of the peer protocol (BEP 3).
const (
	unchoke    = 1
	interested = 2
	bitfield   = 5
	request    = 6
	piece      = 7
)

// maxMessage is the longest message taken from a client, in bytes.
const maxMessage = 1 << 20

// talk is one connection. Its answers are written by two goroutines, whole
// messages at a time.
func (s *Seeder) talk(conn io.ReadWriter) error {
	hash := s.Torrent.InfoHash()
	hello := make([]byte, len(protocolName)+8+2*sha1.Size)
	if _, err := io.ReadFull(conn, hello); err != nil {
		return err
	}
	if !bytes.HasPrefix(hello, []byte(protocolName)) || !bytes.Equal(hello[28:48], hash[:]) {
		return errors.New("this is not a client that wants the torrent, in plain text")
	}
	answer := append([]byte(protocolName), make([]byte, 8)...)
	answer = append(append(answer, hash[:]...), "-IN0001-assayseeder0"...)
	if _, err := conn.Write(append(answer, message(bitfield, s.bits())...)); err != nil {
		return err
	}
	// Requests wait for their turn while the connection is read on, or nobody would
	// notice that it has ended.
	requests, gone := make(chan []byte, 4096), make(chan struct{})
	defer close(gone)
	go s.send(conn, requests, gone)
	for {
		id, payload, err := readMessage(conn)
		if err != nil {
			return err
		}
		switch id {
		case interested:
			_, err = conn.Write(message(unchoke, nil))
		case request:
			select {
			case requests <- payload:
			default:
				err = errors.New("the client asks for more than it could take")
			}
		}
		if err != nil {
			return err
		}
	}
}

func (s *Seeder) send(w io.Writer, requests <-chan []byte, gone <-chan struct{}) {
	for {
		select {
		case payload := <-requests:
			if err := s.answer(w, payload, gone); err != nil {
				return
			}
		case <-gone:
			return
		}
	}
}

// bits are a one for each piece.
func (s *Seeder) bits() []byte {
	n := (len(s.Torrent.Data) + pieceLength - 1) / pieceLength
	field := make([]byte, (n+7)/8)
	for i := range n {
		field[i/8] |= 0x80 >> (i % 8)
	}
	return field
}

func (s *Seeder) answer(w io.Writer, payload []byte, gone <-chan struct{}) error {
	if len(payload) != 12 {
		return errors.New("a request has 12 bytes")
	}
	index, begin, length := binary.BigEndian.Uint32(payload), binary.BigEndian.Uint32(payload[4:]), binary.BigEndian.Uint32(payload[8:])
	start := uint64(index)*pieceLength + uint64(begin)
	if length > maxBlock || start+uint64(length) > uint64(len(s.Torrent.Data)) {
		return errors.New("the request is beyond the file")
	}
	if !s.take(int(length), gone) {
		return errors.New("the client has gone")
	}
	block := append(bytes.Clone(payload[:8]), s.Torrent.Data[start:start+uint64(length)]...)
	_, err := w.Write(message(piece, block))
	return err
}

func message(id byte, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)))
	return append(append(b, id), payload...)
}

// readMessage passes over keep-alives, which have no bytes.
func readMessage(r io.Reader) (id byte, payload []byte, err error) {
	for {
		var length uint32
		if err := binary.Read(r, binary.BigEndian, &length); err != nil {
			return 0, nil, err
		}
		if length == 0 {
			continue
		}
		if length > maxMessage {
			return 0, nil, fmt.Errorf("a message of %d bytes", length)
		}
		b := make([]byte, length)
		_, err := io.ReadFull(r, b)
		return b[0], b[1:], err
	}
}
